#!/bin/bash
# Everything in results/speed.md. Rows are made anew.
#
#   bench/speed.sh DATA_DIR
#
# Needs the package where R finds it, and Python with bench/peers/requirements.txt as $PYTHON.
set -eu
data=$(realpath "${1:?usage: speed.sh DATA_DIR}")
cd "$(dirname "$0")"
python=${PYTHON:-python3}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -f results/speed.jsonl

cargo run --quiet --release --manifest-path kernels/Cargo.toml -- --bench
# The same compiled for this very processor, to see what run-time dispatch costs.
(
  export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/native RUSTFLAGS="-C target-cpu=native"
  cargo run --quiet --release --manifest-path kernels/Cargo.toml -- --bench code
)
"$python" make_synthetic.py "$work/synthetic.h5ad"
"$python" speed.py pair "$work/synthetic.h5ad" "$data/pbmc_facs_zheng.h5ad"
"$python" speed.py memory "$work/synthetic.h5ad" "$data/pbmc_facs_zheng.h5ad"
for over in genes cells hidden threads; do
  "$python" speed.py curve "$over" --work "$work"
done
for cells in 16000 64000 256000 1000000; do
  "$python" speed.py memory "$work/synthetic_${cells}_2000.h5ad" --rounds 1 --tools scvae --min-genes 1
done
"$python" speed_table.py
