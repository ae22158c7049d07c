#!/bin/bash
# Our rows of the quality table: every set, five seeds, default settings. Rows that exist are kept.
#
#   bench/quality.sh [DATA_DIR]      Python with bench/peers/requirements.txt as $PYTHON, the package where R finds it
set -eu
cd "$(dirname "$0")"
data=${1:-../../shared/data}
python=${PYTHON:-python3}
work=${TMPDIR:-/tmp}/scvae-quality
results=results/quality.jsonl
mkdir -p "$work"
touch "$results"

# fit SET BATCH METHOD SEED
fit() {
  grep -q "\"dataset\": \"$1\", \"method\": \"$3\", \"seed\": $4," "$results" && return 0
  local out=$work/$1.$3.s$4 batch=()
  [ "$2" = - ] || batch=(--model-batch)
  Rscript fit_embedding.R "$data/$1.h5ad" "$out.csv" "$2" "$4" 1 >"$out.json"
  "$python" score_embedding.py "$out.csv" "$data/$1.h5ad" --dataset "$1" --method "$3" --seed "$4" \
    "${batch[@]}" --extra "$(cat "$out.json")" --results "$results" >/dev/null
  echo "$1 $3 seed $4 done"
}

for seed in 0 1 2 3 4; do
  fit pbmc_kang_ctrl - scvae "$seed"
  fit pbmc_kang_ctrl batch scvae_batch "$seed"
  fit celllines_tian batch scvae_batch "$seed"
  fit mouse_bladder_han - scvae "$seed"
  fit pbmc_facs_zheng - scvae "$seed"
done
"$python" quality_table.py
