#!/bin/bash
# Everything in results/speed.md. Rows are made anew.
#
#   bench/speed.sh DATA_DIR
#
# Needs the package where R finds it, and Python with bench/peers/requirements.txt as $PYTHON.
set -eu
cd "$(dirname "$0")"
data=${1:?usage: speed.sh DATA_DIR}
python=${PYTHON:-python3}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -f results/speed.jsonl

cargo run --quiet --release --manifest-path kernels/Cargo.toml -- --bench
"$python" make_synthetic.py "$work/synthetic.h5ad"
"$python" speed.py pair "$work/synthetic.h5ad" "$data/pbmc_facs_zheng.h5ad"
"$python" speed.py memory "$work/synthetic.h5ad" "$data/pbmc_facs_zheng.h5ad"
for over in genes cells hidden threads; do
  "$python" speed.py curve "$over" --work "$work"
done
"$python" speed_table.py
