# What mapping.sh and transfer.sh begin with, for sourcing: `setup DATA_DIR ROWS` sets $data, $results
# (RESULTS, or ROWS), $models (MODELS, or thrown away), $python (PYTHON), $threads (THREADS, or 1) and
# the folder $work, and goes to bench/: RESULTS and MODELS are best given as absolute paths.

setup() {
  data=$(realpath "$1")
  cd "$(dirname "${BASH_SOURCE[0]}")"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  results=${RESULTS:-$2}
  models=${MODELS:-$work}
  python=${PYTHON:-python3}
  threads=${THREADS:-1}
  export OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads
  export OPENBLAS_NUM_THREADS=$threads NUMBA_NUM_THREADS=$threads
  mkdir -p "$models"
  touch "$results"
}
