# The peers' runs, one function each, for run_all.sh and integration.sh to source. A run whose
# row the results hold already is skipped.
#
# Wants $data (folder of the h5ad files), $results (JSONL), $emb (folder for the embeddings) and,
# if the integration scores are to be added, score_flags=(--scib-total). PYTHON (with
# requirements.txt installed), RSCRIPT (with Seurat and hdf5r) and THREADS can be set in the
# environment.
peers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
rscript=${RSCRIPT:-Rscript}
threads=${THREADS:-1}
export OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads
export OPENBLAS_NUM_THREADS=$threads NUMBA_NUM_THREADS=$threads
[ -n "${score_flags+set}" ] || score_flags=()

have() { # SET METHOD SEED [EPOCHS]
  "$python" "$peers/have_row.py" "${score_flags[@]}" "$results" "$@"
}

pca() { # SET [--no-scale]
  have "$1" "pca50${2:+_unscaled}" 0 ||
    "$python" "$peers/run_pca.py" "$data/$1.h5ad" --name "$1" --out "$emb" \
      ${2:+"$2"} "${score_flags[@]}" --results "$results"
}

harmony() { # SET PCS
  have "$1" "harmony$2" 0 ||
    "$python" "$peers/run_harmony.py" "$data/$1.h5ad" --name "$1" --out "$emb" \
      --pcs "$2" "${score_flags[@]}" --results "$results"
}

# How far the one run of a method that has no seed can be trusted: nine tenths of the cells, five times.
subsampled() { # pca|harmony|seurat_pca SET [ARGUMENTS]
  local method=$1 set=$2 seed row
  shift 2
  row=${method/harmony/harmony50}
  row=${row/pca/pca50}_sub90
  for seed in 1 2 3 4 5; do
    if [ "$method" = seurat_pca ]; then
      seurat_pca "$set" "$seed"
      continue
    fi
    have "$set" "$row" "$seed" ||
      "$python" "$peers/run_$method.py" "$data/$set.h5ad" --name "$set" --out "$emb" \
        --seed "$seed" --subsample 0.9 "$@" "${score_flags[@]}" --results "$results"
  done
}

# With a seed, of the cells that the other methods' subsamples with this seed take.
seurat_pca() { # SET [SEED]
  local d seed=${2:-0} suffix=${2:+_sub90} out=$emb/$1.seurat${2:+.$2} cells=()
  if have "$1" "seurat_pca10$suffix" "$seed" && have "$1" "seurat_pca50$suffix" "$seed"; then return; fi
  if [ -n "$suffix" ]; then
    cells=("$out.cells")
    "$python" "$peers/scores.py" "$data/$1.h5ad" --seed "$seed" --subsample 0.9 >"${cells[0]}" || return
  fi
  "$rscript" "$peers/run_seurat_pca.R" "$data/$1.h5ad" "$out" "${cells[@]}" || return
  for d in 10 50; do
    have "$1" "seurat_pca$d$suffix" "$seed" ||
      "$python" "$peers/../score_embedding.py" "$out.pca$d.csv" "$data/$1.h5ad" --dataset "$1" \
        --method "seurat_pca$d$suffix" --seed "$seed" "${score_flags[@]}" \
        --extra "$(cat "$out.json")" --results "$results"
  done
}

seurat_integration() { # SET cca|rpca
  have "$1" "seurat_$2" 0 || {
    "$peers/seurat5.sh" "$data/$1.h5ad" "$emb/$1.seurat_$2" "$2" &&
      "$python" "$peers/../score_embedding.py" "$emb/$1.seurat_$2.csv" \
        "$data/$1.h5ad" --dataset "$1" --method "seurat_$2" --model-batch \
        "${score_flags[@]}" --extra "$(cat "$emb/$1.seurat_$2.json")" --results "$results"
  }
}

# With ONE_PASS set, in half the time, and not to be timed: one_pass.py.
scvi() { # SET full|hvg2000 SEED EPOCHS [BATCH_KEY]
  have "$1" "scvi_$2${5:+_batch}" "$3" "$4" ||
    "$python" "$peers/run_scvi.py" "$data/$1.h5ad" --name "$1" --out "$emb" \
      --genes "$2" --seed "$3" --max-epochs "$4" --threads "$threads" \
      ${ONE_PASS:+--one-pass} ${5:+--batch-key "$5"} "${score_flags[@]}" --results "$results"
}
