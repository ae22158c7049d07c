#!/bin/bash
# Our rows of the quality table: five seeds of each set at default settings, and three seeds of three
# repeats each. Rows that exist are kept. RESULTS is the file of the rows, THREADS is 1 if not set.
#
#   bench/quality.sh DATA_DIR [SET...]     SET: kang, bladder, facs, tcells; default all
#
# Needs the package where R finds it, and Python with bench/peers/requirements.txt as $PYTHON.
set -eu
data=$(realpath "${1:?usage: quality.sh DATA_DIR [SET...]}")
cd "$(dirname "$0")"
shift
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
results=${RESULTS:-results/quality.jsonl}
touch "$results"

score_flags=()
. ./fit.sh

"$python" make_hard_sets.py "$data" "$work"
ln -s "$data"/*.h5ad "$work"
data=$work

[ $# -gt 0 ] || set -- kang bladder facs tcells
for set in "$@"; do
  for seed in 0 1 2 3 4; do
    case $set in
      kang) file=pbmc_kang_ctrl ;;
      bladder) file=mouse_bladder_han ;;
      facs) file=pbmc_facs_zheng ;;
      tcells) file=zheng_t_cells ;;
      *) echo "unknown set $set" >&2; exit 2 ;;
    esac
    fit $file - scvae "$seed"
    [ "$seed" -gt 2 ] || fit $file - scvae_3_repeats "$seed" "n_repeats = 3"
  done
done
[ -n "${RESULTS:-}" ] || "$python" quality_table.py
