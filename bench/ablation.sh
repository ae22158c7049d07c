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
separate='batches = batchControl(masks = "separate")'
shuffle='training = trainingControl(sampling = "shuffle")'
for set in pbmc_kang_ctrl mouse_bladder_han; do
  fit $set - "100 epochs" "max_epochs = 100" 0 1 2
  fit $set - "200 epochs" "max_epochs = 200" 0 1 2
  fit $set - "no adjustment" "$never" 0 1 2
  fit $set - "no fc_layer" "fc_layer = FALSE" 0 1 2
  fit $set - "kl_weight 0.25" "kl_weight = 0.25" 0 1 2
  fit $set - "shuffle" "$shuffle" 0 1 2
done
fit pbmc_kang_ctrl batch "donors given, separate masks" "$separate" 0 1 2
fit celllines_tian batch "protocols given, separate masks" "$separate" 0 1 2
"$python" ablation_table.py
