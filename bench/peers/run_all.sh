#!/usr/bin/env bash
# All peer runs of the quality table, one after another.
#
#   run_all.sh DATA_DIR [RESULTS.jsonl] [EMB_DIR]
#
# DATA_DIR holds the four h5ad files; a fifth is made of one of them. Rows that the results already hold are
# skipped, so an interrupted run can be started again. One core takes about twelve hours
# for all of it, most of that scVI on the full gene lists; with ONE_PASS=1 half as long.
#
# PYTHON (with requirements.txt installed), RSCRIPT (with Seurat and hdf5r) and
# THREADS can be set in the environment.
set -euo pipefail

data=${1:?usage: run_all.sh DATA_DIR [RESULTS.jsonl] [EMB_DIR]}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
results=${2:-$here/../results/peers.jsonl}
emb=${3:-$(mktemp -d)}
mkdir -p "$emb"
. "$here/runs.sh"

"$python" "$here/../make_hard_sets.py" "$data" "$emb/sets"
ln -sf "$(realpath "$data")"/*.h5ad "$emb/sets"
data=$emb/sets

single="pbmc_facs_zheng mouse_bladder_han zheng_t_cells"
batched="celllines_tian pbmc_kang_ctrl"

for set in $single $batched; do
  pca "$set"
  subsampled pca "$set"
  seurat_pca "$set"
done
for set in $single pbmc_kang_ctrl; do subsampled seurat_pca "$set"; done
for set in $batched; do
  harmony "$set" 10
  harmony "$set" 50
done

# 400 epochs is scvi-tools' own default for sets of this size. With batches: integration.sh makes those rows.
for seed in 0 1 2 3 4; do
  for set in $single pbmc_kang_ctrl; do scvi "$set" hvg2000 "$seed" 400; done
  for set in pbmc_facs_zheng mouse_bladder_han pbmc_kang_ctrl; do scvi "$set" full "$seed" 400; done
done

# cut short, for the comparison at equal epochs
scvi pbmc_facs_zheng hvg2000 0 100
scvi mouse_bladder_han hvg2000 0 200
scvi mouse_bladder_han full 0 100
scvi celllines_tian hvg2000 0 200
scvi celllines_tian full 0 100
scvi celllines_tian hvg2000 0 200 batch
scvi celllines_tian full 0 100 batch
for seed in 0 1 2; do scvi pbmc_kang_ctrl hvg2000 "$seed" 200; done
scvi pbmc_kang_ctrl full 0 100
scvi pbmc_kang_ctrl hvg2000 0 200 batch
