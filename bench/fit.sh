# Our own runs, for quality.sh, integration.sh and ablation.sh to source. Wants $data (folder of the
# h5ad files), $results (JSONL), $work (a folder to write in), $python, and score_flags for
# score_embedding.py. A fit whose embedding is in expression space gets a second row for its
# latent values, METHOD_latent or $latent_method. With $group set, rows say that they are of it.

fit() { # SET BATCH METHOD SEED [ARGUMENTS]
  grep -q "\"dataset\": \"$1\", \"method\": \"$3\", \"seed\": $4," "$results" && return 0
  local out=$work/embedding row=() extra method
  [ "$2" = - ] || row=(--model-batch)
  rm -f "$out".*
  extra=$(Rscript fit_embedding.R "$data/$1.h5ad" "$out" "$2" "$4" "${THREADS:-1}" "${5:-}") ||
    return
  [ -z "${group:-}" ] || extra="${extra%\}}, \"group\": \"$group\"}"
  for part in .latent ""; do
    [ -e "$out$part.csv" ] || continue
    method=$3
    [ -z "$part" ] || method=${latent_method:-$3_latent}
    "$python" score_embedding.py "$out$part.csv" "$data/$1.h5ad" --dataset "$1" \
      --method "$method" --seed "$4" "${row[@]}" "${score_flags[@]}" --extra "$extra" \
      --results "$results" >/dev/null || return
  done
  echo "$(date +%T) $1 $3 seed $4 done"
}
