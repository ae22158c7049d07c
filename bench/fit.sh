# Our own runs, for quality.sh and integration.sh to source. Wants $data (folder of the h5ad
# files), $results (JSONL), $work (a folder to write in), $python, and score_flags for
# score_embedding.py.

fit() { # SET BATCH METHOD SEED
  grep -q "\"dataset\": \"$1\", \"method\": \"$3\", \"seed\": $4," "$results" && return 0
  local out=$work/embedding row=() extra
  [ "$2" = - ] || row=(--model-batch)
  extra=$(Rscript fit_embedding.R "$data/$1.h5ad" "$out.csv" "$2" "$4" "${THREADS:-1}") &&
    "$python" score_embedding.py "$out.csv" "$data/$1.h5ad" --dataset "$1" --method "$3" \
      --seed "$4" "${row[@]}" "${score_flags[@]}" --extra "$extra" --results "$results" >/dev/null &&
    echo "$(date +%T) $1 $3 seed $4 done"
}
