#!/bin/bash
# The benchmark of the transfer of a batch's style: can the batches still be told afterwards, and do
# transferred cells look like the target's? Rows that exist are kept.
#
#   bench/transfer.sh DATA_DIR
#
# Needs the package where R finds it, with jsonlite, and Python with bench/peers/requirements.txt
# and matplotlib and umap-learn as $PYTHON. RESULTS is the file of the rows, MODELS a folder in
# which the fitted models are kept and looked for, SEEDS "0 1 2" if not set. The figures are those
# of seed 0. About five minutes of one core per set and seed, and 1 GB of disk while it runs.
set -eu
. "$(dirname "$0")/setup.sh"

one_run() { # SET SEED
  local model=$models/$1.s$2.rds export=$work/export umap=()
  grep -q "\"kind\": \"run\", \"dataset\": \"$1\", \"seed\": $2," "$results" && return 0
  Rscript transfer.R fit "$data/$1.h5ad" "$model" "$2" "$threads"
  mkdir "$export"
  Rscript transfer.R export "$data/$1.h5ad" "$model" "$export" "$threads"
  [ "$2" != 0 ] || umap=(--umap "$work/$1.npz")
  "$python" transfer.py score "$export" "$data/$1.h5ad" --dataset "$1" --seed "$2" \
    "${umap[@]}" --results "$results"
  rm -r "$export"
}

# A function, so that the whole file is read before the work begins.
main() {
  setup "${1:?usage: transfer.sh DATA_DIR}" results/transfer.jsonl
  for seed in ${SEEDS:-0 1 2}; do
    for set in celllines_tian pbmc_kang_ctrl; do one_run "$set" "$seed"; done
  done
  # Drawn when seed 0 of both sets was scored just now: the coordinates are not kept.
  if [ "$(find "$work" -name "*.npz" | wc -l)" = 2 ]; then
    "$python" transfer.py figures --rows "$results" --umap "$work"/*.npz
  fi
  "$python" transfer.py table --rows "$results"
}

main "$@"
