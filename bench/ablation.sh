#!/bin/bash
# The choices behind the defaults, one changed at a time. Rows that exist are kept.
#
#   bench/ablation.sh DATA_DIR
#
# Needs what quality.sh needs. The rows of the defaults are those of quality.sh and integration.sh.
set -eu
data=$(realpath "${1:?usage: ablation.sh DATA_DIR}")
cd "$(dirname "$0")"
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
touch results/ablation.jsonl results/batches.jsonl

# What the settings do without batches: rows of the embedding, and of the latent values -> results/ablation.jsonl
results=results/ablation.jsonl
score_flags=(--no-scib)
. ./fit.sh
try() { # SET NAME ARGUMENTS
  local seed
  for seed in 0 1 2; do fit "$1" - "$2" "$seed" "$3"; done
}

# fit_batches GROUP NAME ARGUMENTS: the same with batches, on both sets that have them -> results/batches.jsonl
fit_batches() {
  local group=$1 name=$2 arguments=$3 results=results/batches.jsonl set seed
  for set in pbmc_kang_ctrl celllines_tian; do
    for seed in 0 1 2; do
      grep -q "\"dataset\": \"$set\", \"method\": \"$name\", \"seed\": $seed," "$results" && continue
      Rscript fit_embedding.R "$data/$set.h5ad" "$work/e" batch "$seed" 1 "$arguments" >/dev/null
      "$python" score_embedding.py "$work/e.csv" "$data/$set.h5ad" --dataset "$set" --method "$name" --seed "$seed" \
        --model-batch --scib-total --extra "{\"group\": \"$group\"}" --results "$results" >/dev/null
    done
  done
}

# The weight decay of the heads: a prior of the weights with this standard deviation is a decay of one over its square
# and the number of training cells. The default is that of 0.1, its rows are those of quality.sh.
"$python" make_hard_sets.py "$data" "$work"
decays() { # FOLDER SET TRAINING_CELLS
  local data=$1 group="weight decay" sd decay
  try "$2" "no decay" "training = trainingControl(weight_decay = 0)"
  for sd in 0.2 0.15; do
    decay="training = trainingControl(weight_decay = 1 / ($3 * $sd^2))"
    try "$2" "sd $sd" "$decay"
  done
}
decays "$data" pbmc_kang_ctrl 859
decays "$data" mouse_bladder_han 1890
decays "$data" pbmc_facs_zheng 3396
decays "$work" zheng_t_cells 1335

# The length of the training with this decay; the default is 150 epochs for sets of this size.
lengths() { # FOLDER SET
  local data=$1 group=epochs
  try "$2" "75 epochs, prior" "max_epochs = 75"
  try "$2" "300 epochs, prior" "max_epochs = 300"
}
lengths "$data" pbmc_kang_ctrl
lengths "$work" zheng_t_cells

# The rest was measured when the heads had no decay of their own.
older='training = trainingControl(weight_decay = 0)'
mse='connections = connectionControl(criterion = "mse")'
dispersion='connections = connectionControl(criterion = "dispersion")'
never='connections = connectionControl(adjust_every = 0)'
for set in pbmc_kang_ctrl mouse_bladder_han; do
  try $set "75 epochs" "$older, max_epochs = 75"
  try $set "100 epochs" "$older, max_epochs = 100"
  try $set "300 epochs" "$older, max_epochs = 300"
  try $set "early_stopping" "$older, early_stopping = TRUE, max_epochs = 300"
  try $set "early_stopping, patience 10" "$older, early_stopping = TRUE, early_stopping_patience = 10, max_epochs = 300"
  try $set "kl_weight 0.25" "$older, kl_weight = 0.25"
  try $set "kl_weight 0.1" "$older, kl_weight = 0.1"
  try $set "n_latent 20" "$older, n_latent = 20"
  try $set "dropout_rate 0.1" "$older, dropout_rate = 0.1"
  try $set "likelihood nb" "$older, likelihood = \"nb\""
  try $set "no fc_layer" "$older, fc_layer = FALSE"
  try $set "no adjustment" "$older, $never"
  try $set "criterion mse (the paper)" "$older, $mse"
  try $set "criterion dispersion" "$older, $dispersion"
done

fit_batches epochs "75 epochs" "max_epochs = 75"
fit_batches epochs "300 epochs" "max_epochs = 300"
fit_batches "weight decay" "no decay of the heads" "$older"
fit_batches "weight decay" "no decay of the heads, in expression space" "$older, embedding = \"expression\""
# And this when the criterion was the paper's, too.
older="$older, $mse"
separate='batches = batchControl(masks = "separate")'
balanced='training = trainingControl(sampling = "balanced", weight_decay = 0)'
paper='batches = batchControl(masks = "separate", offsets = FALSE, beta = 1)'
fit_batches masks "separate (the paper)" "$older, $separate"
fit_batches settings "criterion mse (the paper)" "$older"
fit_batches settings "differences from the means of all cells" "$older, batches = batchControl(means = \"all\")"
fit_batches settings "no measured differences" "$older, batches = batchControl(offsets = FALSE)"
fit_batches settings "the same number of cells from every batch" "$balanced, $mse"
fit_batches settings "no modules (beta 0)" "$older, batches = batchControl(beta = 0)"
fit_batches settings "modules of weight 1" "$older, batches = batchControl(beta = 1)"
fit_batches settings "likelihood nb" "$older, likelihood = \"nb\""
fit_batches settings "the paper's way" "$paper, $balanced, $mse"
"$python" ablation_table.py
