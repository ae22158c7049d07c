#!/bin/bash
# Our rows of the quality table: five seeds of each set at default settings. Rows that exist are kept.
#
#   bench/quality.sh DATA_DIR [SET...]     SET: kang, bladder, facs; default all
#
# Needs the package where R finds it, and Python with bench/peers/requirements.txt as $PYTHON.
set -eu
data=$(realpath "${1:?usage: quality.sh DATA_DIR [SET...]}")
cd "$(dirname "$0")"
shift
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
results=results/quality.jsonl
touch "$results"

score_flags=()
. ./fit.sh

[ $# -gt 0 ] || set -- kang bladder facs
for set in "$@"; do
  for seed in 0 1 2 3 4; do
    case $set in
      kang) fit pbmc_kang_ctrl - scvae "$seed" ;;
      bladder) fit mouse_bladder_han - scvae "$seed" ;;
      facs) fit pbmc_facs_zheng - scvae "$seed" ;;
      *) echo "unknown set $set" >&2; exit 2 ;;
    esac
  done
done
"$python" quality_table.py
