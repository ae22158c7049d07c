#!/bin/bash
# Which genes to take: scScore by each criterion of the connections, and what others choose genes
# with, by what the chosen genes tell of the cell types, by other families of scores, and by how well
# rankings of other cells agree. Rows that exist are kept.
#
#   bench/genes.sh DATA_DIR OUT_DIR     -> results/genes.md, results/genes_families.md,
#                                          results/genes_reliability.md,
#                                          results/genes_table3.md, results/genes/*.tsv
#
# Needs the package where R finds it, Debian's r-bioc-scran, and Python with
# bench/peers/requirements.txt and hotspotsc as $PYTHON. About seven hours on one core, three of
# them scVI's.
set -eu
data=$(realpath "${1:?usage: genes.sh DATA_DIR OUT_DIR}")
out=$(realpath -m "${2:?usage: genes.sh DATA_DIR OUT_DIR}")
cd "$(dirname "$0")"
python=${PYTHON:-python3}
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1
mkdir -p "$out/halves" results/genes
sets="mouse_bladder_han pbmc_kang_ctrl pbmc_facs_zheng"
large=pbmc_kang_ctrl_12k_1287genes
batches="celllines_tian pbmc_kang_ctrl $large"

# What each set is ranked by, and fits of it: fit SET NAME CRITERION [BATCH]
rank() {
  [ -e "$out/$1.ranks.tsv" ] || {
    "$python" genes/rankings.py "$data/$1.h5ad" "$out/$1.unfinished"
    mv "$out/$1.unfinished" "$out/$1.ranks.tsv"
  }
}
fit() {
  for seed in 1 2 3; do
    ranks=$out/$1.$2.$seed.ranks.tsv
    [ -e "$ranks" ] || Rscript genes/fit.R "$data/$1.h5ad" "$ranks" "scScore_$2" "$3" $seed 1 ${4:-}
  done
}
for set in $sets; do
  rank $set
  for criterion in deviance mse dispersion log_mse relative_mse; do fit $set $criterion $criterion; done
done
for set in $batches; do
  rank $set
  fit $set deviance_batch deviance batch
done

# The cell types.
for set in $sets; do
  for ranks in "$out/$set".*ranks.tsv; do
    "$python" genes/evaluate.py "$data/$set.h5ad" cell_type "$ranks" "results/genes/$set.tsv" \
      --clusterings 3 --only '^(?!.*_batch_)'
  done
done
"$python" genes/evaluate.py "$data/$large.h5ad" cell_type "$out/$large".*ranks.tsv \
  results/genes/$large.tsv --sizes 50,100,200,500,1000 --cells 3000 --matched '' \
  --only '^(?!.*ties_at_random)'
note="\`$large\` is scored with 3,000 of its cells (rankings: all), one clustering each.

The fits are from before the heads' weights had a prior (ablation.md). With it three fits of the default criterion have,
on pbmc_kang_ctrl, mouse_bladder_han and pbmc_facs_zheng, areas of .810/.752, .789/.756 and .793/.706 (before .807/.749,
.788/.754 and .793/.709; one clustering each), and follow the mean less: rho mean .08, .23 and .26 (before .24, .35 and .34)."
"$python" genes/table.py $(printf 'results/genes/%s.tsv ' $sets $large) --note "$note" \
  > results/genes.md
Rscript genes/plot.R results/genes.png $(printf 'results/genes/%s.tsv ' $sets)

# Integration, mapping, unseen populations, minority types.
families() {
  "$python" genes/families.py "$data/$1.h5ad" cell_type "$out/$1.ranks.tsv" \
    "$out/$1".deviance*.ranks.tsv results/genes/families.tsv --only '^(?!.*ties_at_random)' "${@:2}"
}
families celllines_tian
families pbmc_kang_ctrl
families $large --sizes 200,500 --cells 3000
"$python" genes/families_table.py results/genes/families.tsv \
  --reading results/genes/families_reading.txt > results/genes_families.md

# Halves of the cells and of the donors.
for set in pbmc_kang_ctrl mouse_bladder_han; do
  "$python" genes/halves.py "$data/$set.h5ad" "$out/halves"
  for half in "$out/halves/$set".*.h5ad; do
    half=${half%.h5ad}
    [ -e "$half.ranks.tsv" ] || "$python" genes/rankings.py "$half.h5ad" "$half.ranks.tsv" \
      --only '^(mean|hvg_seurat_v3|pearson_residuals|nbdrop)$'
    case $half in *.a) seed=1 ;; *) seed=2 ;; esac
    [ -e "$half.scscore.ranks.tsv" ] ||
      Rscript genes/fit.R "$half.h5ad" "$half.scscore.ranks.tsv" scScore deviance $seed
  done
done
fits=$(for set in $sets; do printf "$out/$set.deviance.%s.ranks.tsv," 1 2 3 | sed 's/,$/ /'; done)
"$python" genes/reliability.py "$out/halves" --fits $fits \
  --reading results/genes/reliability_reading.txt > results/genes_reliability.md

# The paper's table 3: the first 1,000 genes as the input of scVI and of Seurat.
for set in $sets; do
  scvi=results/genes/$set.scvi.tsv
  seurat=results/genes/$set.seurat.tsv
  "$python" genes/seurat_genes.py "$data/$set.h5ad" cell_type "$out/$set.ranks.tsv" 1000 "$seurat" \
    --only '^(hvg_seurat_v3|mean|nbdrop|pearson_residuals|deviance|scran|random_[123])$'
  for fit in 1 2 3; do
    "$python" genes/seurat_genes.py "$data/$set.h5ad" cell_type "$out/$set.deviance.$fit.ranks.tsv" \
      1000 "$seurat" --only '^scScore_deviance_(signal_)?seed'
  done
  for seed in 1 2 3 4 5; do
    "$python" genes/scvi_genes.py "$data/$set.h5ad" cell_type "$out/$set.ranks.tsv" 1000 $seed \
      "$scvi" --only '^hvg_seurat_v3$'
    "$python" genes/scvi_genes.py "$data/$set.h5ad" cell_type \
      "$out/$set.deviance.$(((seed - 1) % 3 + 1)).ranks.tsv" 1000 $seed "$scvi" \
      --only '^scScore_deviance_seed'
  done
done
"$python" genes/table3.py --scvi results/genes/*.scvi.tsv --seurat results/genes/*.seurat.tsv \
  > results/genes_table3.md
