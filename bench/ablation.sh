#!/bin/bash
# The choices behind the defaults, one changed at a time. Rows that exist are kept.
#
#   bench/ablation.sh DATA_DIR
#
# Needs what quality.sh needs.
set -eu
cd "$(dirname "$0")"
data=${1:?usage: ablation.sh DATA_DIR}
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
results=results/ablation.jsonl
touch "$results"

# fit SET BATCH NAME ARGUMENTS SEED...
fit() {
  local set=$1 batch=$2 name=$3 arguments=$4 extra
  shift 4
  for seed in "$@"; do
    grep -q "\"dataset\": \"$set\", \"method\": \"$name\", \"seed\": $seed," "$results" && continue
    extra=$(Rscript fit_embedding.R "$data/$set.h5ad" "$work/e.csv" "$batch" "$seed" 1 "$arguments")
    "$python" score_embedding.py "$work/e.csv" "$data/$set.h5ad" --dataset "$set" --method "$name" \
      --seed "$seed" --no-scib --extra "$extra" --results "$results" >/dev/null
  done
}

never='connections = connectionControl(adjust_every = 0)'
shuffle='training = trainingControl(sampling = "shuffle")'
kang=pbmc_kang_ctrl
fit $kang - "100 epochs" "max_epochs = 100" 0 1 2
fit $kang - "200 epochs" "max_epochs = 200" 0 1 2
fit $kang - "100 epochs, no fc_layer" "max_epochs = 100, fc_layer = FALSE" 0 1 2
fit $kang - "100 epochs, no adjustment" "max_epochs = 100, $never" 0 1 2
fit $kang - "100 epochs, shuffle" "max_epochs = 100, $shuffle" 0 1 2
fit $kang - "100 epochs, kl_weight 0.25" "max_epochs = 100, kl_weight = 0.25" 0 1 2
bladder=mouse_bladder_han
fit $bladder - "60 epochs" "max_epochs = 60" 0 1 2
fit $bladder - "120 epochs" "max_epochs = 120" 0 1 2
fit $bladder - "60 epochs, no fc_layer" "max_epochs = 60, fc_layer = FALSE" 0 1 2
fit $bladder - "60 epochs, kl_weight 0.25" "max_epochs = 60, kl_weight = 0.25" 0 1 2
fit pbmc_facs_zheng - "60 epochs" "max_epochs = 60" 0
fit $kang batch "donors given, 100 epochs" "max_epochs = 100" 0 1 2
fit celllines_tian batch "protocols given, 150 epochs" "max_epochs = 150" 0
"$python" ablation_table.py
