#!/bin/bash
# Which genes to take: scScore by each criterion of the connections, and what others choose genes
# with, by what the chosen genes tell of the cell types. Rows that exist are kept.
#
#   bench/genes.sh DATA_DIR OUT_DIR     -> results/genes.md, results/genes/SET.tsv
#
# Needs the package where R finds it, Debian's r-bioc-scran, and Python with
# bench/peers/requirements.txt as $PYTHON. About two hours on one core.
set -eu
data=$(realpath "${1:?usage: genes.sh DATA_DIR OUT_DIR}")
out=$(realpath -m "${2:?usage: genes.sh DATA_DIR OUT_DIR}")
cd "$(dirname "$0")"
python=${PYTHON:-python3}
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1
mkdir -p "$out" results/genes
sets="mouse_bladder_han pbmc_kang_ctrl pbmc_facs_zheng"
for set in $sets; do
  [ -e "$out/$set.ranks.tsv" ] || "$python" genes/rankings.py "$data/$set.h5ad" "$out/$set.ranks.tsv"
  for seed in 1 2 3; do
    for criterion in deviance mse dispersion log_mse relative_mse; do
      ranks=$out/$set.$criterion.$seed.ranks.tsv
      [ -e "$ranks" ] ||
        Rscript genes/fit.R "$data/$set.h5ad" "$ranks" "scScore_$criterion" $criterion $seed
    done
  done
  for ranks in "$out/$set".*ranks.tsv; do
    "$python" genes/evaluate.py "$data/$set.h5ad" cell_type "$ranks" "results/genes/$set.tsv" \
      --clusterings 3
  done
done
"$python" genes/table.py $(printf 'results/genes/%s.tsv ' $sets) > results/genes.md
Rscript genes/plot.R results/genes.png $(printf 'results/genes/%s.tsv ' $sets)
