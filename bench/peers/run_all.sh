#!/usr/bin/env bash
# All peer runs of the quality table, one after another.
#
#   run_all.sh DATA_DIR [RESULTS.jsonl] [EMB_DIR]
#
# DATA_DIR holds the four h5ad files. Rows that the results already hold are
# skipped, so an interrupted run can be started again. On two cores all of it
# takes about two hours, most of that scVI on the full gene lists.
#
# PYTHON (with requirements.txt installed), RSCRIPT (with Seurat and hdf5r) and
# THREADS can be set in the environment.
set -euo pipefail

data=${1:?usage: run_all.sh DATA_DIR [RESULTS.jsonl] [EMB_DIR]}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
results=${2:-$here/../results/peers.jsonl}
emb=${3:-$(mktemp -d)}
python=${PYTHON:-python}
rscript=${RSCRIPT:-Rscript}
threads=${THREADS:-1}
export OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads
export OPENBLAS_NUM_THREADS=$threads NUMBA_NUM_THREADS=$threads
mkdir -p "$emb"

have() { # SET METHOD SEED [EPOCHS]
  "$python" "$here/have_row.py" "$results" "$@"
}

pca() { # SET
  have "$1" pca50 0 ||
    "$python" "$here/run_pca.py" "$data/$1.h5ad" --name "$1" --out "$emb" \
      --results "$results"
}

harmony() { # SET PCS
  have "$1" "harmony$2" 0 ||
    "$python" "$here/run_harmony.py" "$data/$1.h5ad" --name "$1" --out "$emb" \
      --pcs "$2" --results "$results"
}

seurat() { # SET
  local d
  if have "$1" seurat_pca10 0 && have "$1" seurat_pca50 0; then return; fi
  "$rscript" "$here/run_seurat_pca.R" "$data/$1.h5ad" "$emb/$1.seurat"
  for d in 10 50; do
    have "$1" "seurat_pca$d" 0 ||
      "$python" "$here/../score_embedding.py" "$emb/$1.seurat.pca$d.csv" \
        "$data/$1.h5ad" --dataset "$1" --method "seurat_pca$d" \
        --extra "$(cat "$emb/$1.seurat.json")" --results "$results"
  done
}

scvi() { # SET full|hvg2000 SEED EPOCHS [BATCH_KEY]
  have "$1" "scvi_$2${5:+_batch}" "$3" "$4" ||
    "$python" "$here/run_scvi.py" "$data/$1.h5ad" --name "$1" --out "$emb" \
      --genes "$2" --seed "$3" --max-epochs "$4" --threads "$threads" \
      ${5:+--batch-key "$5"} --results "$results"
}

single="pbmc_facs_zheng mouse_bladder_han"
batched="celllines_tian pbmc_kang_ctrl"

for set in $single $batched; do
  pca "$set"
  seurat "$set"
done
for set in $batched; do
  harmony "$set" 10
  harmony "$set" 50
done

# 400 epochs is scvi-tools' own default for sets of this size
for seed in 0 1 2; do
  for set in $single pbmc_kang_ctrl; do scvi "$set" hvg2000 "$seed" 400; done
  for set in $batched; do scvi "$set" hvg2000 "$seed" 400 batch; done
done
for set in $single pbmc_kang_ctrl; do scvi "$set" full 0 400; done
for set in $batched; do scvi "$set" full 0 400 batch; done

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
