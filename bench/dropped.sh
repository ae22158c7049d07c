#!/bin/bash
# Settings that were measured and are not in the package any more, from the commits that had them.
# Rows that exist are kept.
#
#   bench/dropped.sh DATA_DIR
#
# Needs cargo, the repository's history and Python with bench/peers/requirements.txt as $PYTHON.
# RESULTS is the file of the rows. About a minute of one core per row.
set -eu
. "$(dirname "$0")/setup.sh"

# build SUBJECT [FILE_SUBJECT FILE]: the driver with the package of the commit with that subject; a
# file of it may be that of another commit.
build() {
  local repository commit
  repository=$(git rev-parse --show-toplevel)
  commit_of() { git log --fixed-strings --grep="$1" --format=%H | tail -1; }
  commit=$(commit_of "$1")
  [ -n "$commit" ] || { echo "no commit \"$1\" in the history" >&2; exit 1; }
  rm -rf "$work/dropped"
  cp -r dropped "$work/dropped"
  mkdir "$work/dropped/checkout"
  git -C "$repository" archive "$commit" | tar -xm -C "$work/dropped/checkout"
  if [ $# -gt 1 ]; then
    git -C "$repository" show "$(commit_of "$2"):$3" >"$work/dropped/checkout/$3"
  fi
  cp "$work/dropped/checkout/Cargo.lock" "$work/dropped/Cargo.lock"
  (
    . ../tools/build-env.sh
    cd "$work/dropped"
    CARGO_TARGET_DIR=$work/target cargo build --release --quiet
  )
}

# rows GROUP NAME SETTINGS
rows() {
  local set seed
  for set in pbmc_kang_ctrl celllines_tian; do
    for seed in 0 1 2; do
      grep -q "\"dataset\": \"$set\", \"method\": \"$2\", \"seed\": $seed," "$results" && continue
      "$work/target/release/dropped" "$data/$set.h5ad" \
        "{$3, \"seed\": $seed, \"threads\": $threads}" "$work/e.csv"
      "$python" score_embedding.py "$work/e.csv" "$data/$set.h5ad" --dataset "$set" \
        --method "$2" --seed "$seed" --model-batch --scib-total \
        --extra "{\"group\": \"$1\"}" --results "$results" >/dev/null
    done
  done
}

# A function, so that the whole file is read before the work begins.
main() {
  setup "${1:?usage: dropped.sh DATA_DIR}" results/batches.jsonl
  build "Batches: differences measured from matching cells" \
    "Matching looks at more cells" src/model/matching.rs
  rows masks "separate, criteria pooled" '"batch_masks": "separate", "mask_pooling": 1.0'
  rows masks "separate, criteria pooled by half" '"batch_masks": "separate", "mask_pooling": 0.5'
  rows masks "separate, consensus every 10 epochs" '"batch_masks": "separate", "consensus_every": 10'
  build "Dispersion per batch, as a setting of the Rust crate"
  rows settings "dispersion per batch" '"batch_dispersion": true'
  build "Offsets of the extra zeros per batch and gene, to be measured"
  rows settings "offsets for the extra zeros, too" '"batch_offsets": true'
  [ "$results" != results/batches.jsonl ] || "$python" ablation_table.py
}

main "$@"
