#!/bin/bash
# The integration benchmark: how well methods join batches while keeping cell types apart. Runs
# the peers and this package on the sets with batches: three that were measured and one that is
# made of the cells of one of them (make_hard_sets.py). Rows that exist are kept.
#
#   bench/integration.sh DATA_DIR [PART...]     PART: peers, scvae; default both
#
# Needs the package where R finds it, Python with bench/peers/requirements.txt as $PYTHON, and
# for Seurat 5 either $RSCRIPT5 or root (bench/peers/seurat5.sh). RESULTS is the file of the
# rows, EMB a folder in which the embeddings are kept; THREADS is 1 if not set. The peers take
# about five hours of one core, cheap ones first. A run that fails is named and passed over.
set -eu

measured="pbmc_kang_ctrl celllines_tian pbmc_kang_ctrl_12k_1287genes"
sets="$measured tian_mixtures"

try() {
  "$@" >/dev/null || { echo "failed: $*" >&2; failed=1; }
}

run_peers() {
  local set seed
  for set in $sets; do
    try pca "$set"
    try pca "$set" --no-scale
    try harmony "$set" 50
    try subsampled pca "$set"
    try subsampled harmony "$set"
  done
  # The made set is left out where a run takes long.
  for set in $measured; do
    try seurat_integration "$set" rpca
    try seurat_integration "$set" cca
  done
  # 400 epochs is scvi-tools' own default for sets of this size. The set of 1,287 genes has no
  # 2,000 to choose.
  for seed in 0 1 2 3 4; do
    for set in pbmc_kang_ctrl celllines_tian tian_mixtures; do try scvi "$set" hvg2000 "$seed" 400 batch; done
  done
  for seed in 0 1 2 3 4; do
    for set in $measured; do try scvi "$set" full "$seed" 400 batch; done
  done
}

# Both embeddings of the same fits.
run_scvae() {
  local set seed latent_method=scvae
  for seed in 0 1 2 3 4; do
    for set in $sets; do
      try fit "$set" batch scvae_expression "$seed" 'embedding = "expression"'
    done
  done
}

# A function, so that the whole file is read before the hours begin.
main() {
  data=$(realpath "${1:?usage: integration.sh DATA_DIR [PART...]}")
  shift
  cd "$(dirname "${BASH_SOURCE[0]}")"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  results=${RESULTS:-results/integration.jsonl}
  emb=${EMB:-$work}
  failed=0
  mkdir -p "$emb"
  touch "$results"
  score_flags=(--scib-total)
  . peers/runs.sh
  . ./fit.sh

  "$python" make_hard_sets.py "$data" "$work"
  ln -s "$data"/*.h5ad "$work"
  data=$work

  [ $# -gt 0 ] || set -- peers scvae
  for part in "$@"; do
    case $part in
      peers) run_peers ;;
      scvae) run_scvae ;;
      *) echo "unknown part $part" >&2; exit 2 ;;
    esac
  done
  "$python" integration_table.py --rows "$results"
  return "$failed"
}

main "$@"
