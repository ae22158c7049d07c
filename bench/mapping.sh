#!/bin/bash
# The mapping benchmark: a batch is left out, a model of the others is fitted, the batch is mapped
# to it, and the result is held against the model of all batches. Rows that exist are kept.
#
#   bench/mapping.sh DATA_DIR [SET...]     SET: celllines_tian, pbmc_kang_ctrl; default both
#
# Needs the package where R finds it, with jsonlite and RANN, and Python with
# bench/peers/requirements.txt as $PYTHON. RESULTS is the file of the rows, MODELS a folder in
# which the fitted models are kept and looked for. 10 fits, about half an hour of one core.
set -eu

have() { # SET BATCH MODE
  grep -q "\"dataset\": \"$1\", \"mode\": \"$3\", \"seed\": 0, \"left_out\": \"$2\"" "$results"
}

score() { # SET EMB MODE EXTRA BATCH...
  "$python" mapping.py score "$2" "$data/$1.h5ad" --dataset "$1" --mode "$3" --extra "$4" \
    --results "$results" --batch "${@:5}"
}

one_set() { # SET [--largest N]
  local set=$1 names name at extra
  mapfile -t names < <("$python" mapping.py batches "$data/$set.h5ad" "${@:2}")
  if ! have "$set" "${names[-1]}" joint; then
    Rscript transfer.R fit "$data/$set.h5ad" "$models/$set.s0.rds" 0 "$threads"
    Rscript mapping.R "$models/$set.s0.rds" - - - "$work/$set.csv"
    score "$set" "$work/$set.csv" joint "{}" "${names[@]}"
  fi
  for name in "${names[@]}"; do
    at=$work/$set.$name
    if ! have "$set" "$name" mapped || ! have "$set" "$name" "1 epoch"; then
      "$python" mapping.py split "$data/$set.h5ad" "$name" "$at"
      Rscript transfer.R fit "$at.reference.h5ad" "$models/$set.without_$name.s0.rds" 0 "$threads"
      for mode in mapped "1 epoch"; do
        have "$set" "$name" "$mode" && continue
        extra=$(Rscript mapping.R "$models/$set.without_$name.s0.rds" "$at.new.h5ad" "$name" \
          "$at.labels.csv" "$at.csv" "$([ "$mode" = mapped ] && echo - || echo 1)" "$threads")
        score "$set" "$at.csv" "$mode" "$extra" "$name"
      done
    fi
  done
}

# A function, so that the whole file is read before the work begins.
main() {
  data=$(realpath "${1:?usage: mapping.sh DATA_DIR [SET...]}")
  cd "$(dirname "${BASH_SOURCE[0]}")"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  results=${RESULTS:-results/mapping.jsonl}
  models=${MODELS:-$work}
  python=${PYTHON:-python3}
  threads=${THREADS:-1}
  export OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads
  export OPENBLAS_NUM_THREADS=$threads NUMBA_NUM_THREADS=$threads
  mkdir -p "$models"
  touch "$results"
  shift
  [ $# -gt 0 ] || set -- celllines_tian pbmc_kang_ctrl
  for set in "$@"; do
    case $set in
      celllines_tian) one_set "$set" ;;
      pbmc_kang_ctrl) one_set "$set" --largest 3 ;;
      *) echo "unknown set $set" >&2; exit 2 ;;
    esac
  done
  "$python" mapping.py table --rows "$results"
}

main "$@"
