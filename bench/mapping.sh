#!/bin/bash
# The mapping benchmark: a batch is left out, a model of the others is fitted, the batch is mapped
# to it, and the result is held against the model of all batches. Rows that exist are kept.
#
#   bench/mapping.sh DATA_DIR [SET...]     SET: celllines_tian, pbmc_kang_ctrl,
#                                          pbmc_kang_ctrl_12k_1287genes; default all
#
# Needs the package where R finds it, with jsonlite and RANN, and Python with
# bench/peers/requirements.txt as $PYTHON. RESULTS is the file of the rows, MODELS a folder in
# which the fitted models are kept and looked for, MODE what the rows are called, SEEDS the seeds
# ("0 1 2"). 17 fits, about forty minutes of one core, for each seed.
set -eu
. "$(dirname "$0")/setup.sh"

have() { # SET BATCH MODE
  grep -q "\"dataset\": \"$1\", \"mode\": \"$3\", \"seed\": $seed, \"left_out\": \"$2\"" "$results"
}

score() { # SET EMB MODE EXTRA WHICH...
  "$python" mapping.py score "$2" "$data/$1.h5ad" --dataset "$1" --mode "$3" --seed "$seed" \
    --extra "$4" --results "$results" "${@:5}"
}

one_set() { # SET [--largest N]
  local set=$1 names name at extra
  mapfile -t names < <("$python" mapping.py batches "$data/$set.h5ad" "${@:2}")
  if ! have "$set" "${names[-1]}" joint; then
    Rscript transfer.R fit "$data/$set.h5ad" "$models/$set.s$seed.rds" "$seed" "$threads"
    Rscript mapping.R "$models/$set.s$seed.rds" - - - "$work/$set.csv"
    score "$set" "$work/$set.csv" joint "{}" --batch "${names[@]}"
  fi
  for name in "${names[@]}"; do
    at=$work/$set.$name
    if ! have "$set" "$name" "$mode" || ! have "$set" "$name" "by types"; then
      "$python" mapping.py split "$data/$set.h5ad" "$name" "$at"
      Rscript transfer.R fit "$at.reference.h5ad" "$models/$set.without_$name.s$seed.rds" "$seed" "$threads"
      extra=$(Rscript mapping.R "$models/$set.without_$name.s$seed.rds" "$at.new.h5ad" "$name" \
        "$at.labels.csv" "$at.csv" "$seed" "$threads")
      have "$set" "$name" "$mode" || score "$set" "$at.csv" "$mode" "$extra" --batch "$name"
      have "$set" "$name" "by types" ||
        score "$set" "$at.csv" "by types" "{}" --batch "$name" --by-types
    fi
  done
  if ! have "$set" "a random fifth" unseen; then
    at=$work/$set.fifth
    "$python" mapping.py split "$data/$set.h5ad" - "$at"
    Rscript transfer.R fit "$at.reference.h5ad" "$models/$set.without_fifth.s$seed.rds" "$seed" "$threads"
    Rscript mapping.R "$models/$set.without_fifth.s$seed.rds" "$at.new.h5ad" - - "$at.csv"
    score "$set" "$at.csv" unseen "{}" --new "$at.new.h5ad"
  fi
}

# A function, so that the whole file is read before the work begins.
main() {
  setup "${1:?usage: mapping.sh DATA_DIR [SET...]}" results/mapping.jsonl
  shift
  mode=${MODE:-mapped}
  [ $# -gt 0 ] || set -- celllines_tian pbmc_kang_ctrl pbmc_kang_ctrl_12k_1287genes
  for seed in ${SEEDS:-0 1 2}; do
    for set in "$@"; do
      case $set in
        celllines_tian) one_set "$set" ;;
        pbmc_kang_ctrl*) one_set "$set" --largest 3 ;;
        *) echo "unknown set $set" >&2; exit 2 ;;
      esac
    done
  done
  "$python" mapping.py table --rows "$results"
}

main "$@"
