#!/bin/bash
# The CUDA backend where there is no GPU: builds it, and tests it on what plays a GPU, see
# tests/cuda_on_cpu. Called by make. Usage:
#   tools/cuda-tests.sh          build and test
#   tools/cuda-tests.sh build    build only: the programs are linked from TARGET/cuda/programs
# TARGET is cargo's target folder. The CUDA toolkit is that of CUDA_HOME, or of the nvcc on PATH; if
# there is neither, what is needed of it is downloaded to TARGET/cuda-toolkit.
set -u

cd "$(dirname "$0")/.." || exit 1
. tools/build-env.sh
emulator=$CARGO_TARGET_DIR/cuda-on-cpu
toolkit_dir=$CARGO_TARGET_DIR/cuda-toolkit
# A folder of its own: candle has more features here, and the other builds are not to be redone.
export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/cuda
programs=$CARGO_TARGET_DIR/programs
failed=()

case ${1-} in
  '' | build) ;;
  *) echo "usage: $0 [build]" >&2; exit 2 ;;
esac
if [ "$(uname -s)" != Linux ]; then
  echo "the CUDA backend is for Linux: nothing is built, nothing is tested"
  exit 0
fi
mkdir -p "$emulator" "$programs"
log=$emulator/log
messages=$CARGO_TARGET_DIR/messages

# check NAME COMMAND...
check() {
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$log" 2>&1; then
    printf 'ok      %s (%ss)\n' "$name" $((SECONDS - start))
  else
    failed+=("$name")
    printf 'FAILED  %s\n' "$name"
    tail -n 60 "$log" | sed 's/^/        /'
    return 1
  fi
}

toolkit() {
  local nvcc
  if [ ! -x "${CUDA_HOME:-}/bin/nvcc" ]; then
    if nvcc=$(command -v nvcc); then
      # As nvcc itself sees it: what was found may be a link or a script.
      CUDA_HOME=$("$nvcc" --dryrun src/kernels/cuda/sums.cu 2>&1 | sed -n 's/^#\$ TOP=//p')
      CUDA_HOME=$(cd "${CUDA_HOME:-/nowhere}" && pwd -P) || return
    else
      CUDA_HOME=$(tools/cuda-toolkit.sh "$toolkit_dir") || return
    fi
  fi
  for CUDA_ROOT in "$CUDA_HOME" "$CUDA_HOME"/targets/* /usr; do
    if [ -e "$CUDA_ROOT/include/cuda.h" ]; then break; fi
  done
  CUDA_PATH=$CUDA_ROOT
  CUDA_COMPUTE_CAP=80
  PATH=$CUDA_HOME/bin:$PATH
  export CUDA_HOME CUDA_ROOT CUDA_PATH CUDA_COMPUTE_CAP PATH
  nvcc --version
}

cargo_cuda() { cargo "$1" --locked --release --features cuda "${@:2}"; }

# built FIELD PATTERN: that field of what cargo has built.
built() { sed -n "/$2/s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$messages" | tail -n 1; }

build() {
  # The example apart, or cargo would build it as a test.
  { cargo_cuda test --no-run --test cuda --lib --message-format json-render-diagnostics &&
    cargo_cuda build --example cuda_speed --message-format json-render-diagnostics
  } >"$messages" || return
  ptx=$(built out_dir '"package_id":"path+file') &&
    ln -sf "$(built executable '"kind":\["test"\]')" "$programs/cuda_tests" &&
    ln -sf "$(built executable '"kind":\["rlib"')" "$programs/unit_tests" &&
    ln -sf "$(built executable '"kind":\["example"\]')" "$programs/cuda_speed" &&
    ls -lL "$ptx/sums.ptx" "$programs"/*
}

# passes COMMAND...: all tests of a program pass, and there are some.
passes() {
  local output status
  output=$("$@" 2>&1)
  status=$?
  printf '%s\n' "$output"
  [ "$status" -eq 0 ] && [[ $output == *"test result: ok. "[1-9]* ]]
}

# on_cpu BUILD COMMAND...: with an emulator in place of CUDA.
on_cpu() {
  LD_LIBRARY_PATH=$emulator/$1${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "${@:2}"
}
sanitized() {
  on_cpu address env LD_PRELOAD="$(g++ -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 "$@"
}

# all_tests COMMAND...: of the backend, and of the library.
all_tests() { passes "$@" "$programs/cuda_tests" && passes "$@" "$programs/unit_tests"; }

# assemble ARCHITECTURE: as the driver will do it. Registers that do not suffice are spilled to
# memory, which is slow.
assemble() {
  local source name output status=0
  for source in src/kernels/cuda/*.cu; do
    name=$(basename "$source" .cu)
    output=$("$CUDA_HOME/bin/ptxas" -v --gpu-name "$1" "$ptx/$name.ptx" -o /dev/null 2>&1) || {
      printf '%s: %s\n' "$name" "$output"
      status=1
      continue
    }
    printf '%s\n' "$output" | awk -v file="$name" '
      /Function properties for/ { kernel = $NF }
      / spill stores/ {
        seen++
        if (!/ 0 bytes spill stores, 0 bytes spill loads/) { print file ", " kernel ":" $0; bad = 1 }
      }
      END {
        if (!seen) print file ": ptxas does not say what is spilled"
        exit bad || !seen
      }' || status=1
  done
  return "$status"
}

# Programs that were built with CUDA start where it is absent.
links_no_cuda() {
  local libraries program
  for program in cuda_tests cuda_speed; do
    libraries=$(ldd "$programs/$program") || return
    ! awk '{ print $1 }' <<<"$libraries" | grep -E 'lib(cuda|cublas|curand|nvrtc|nvidia)' || return
  done
}

small=(--genes 50 --cells 200 --batch-size 64 --epochs 1)
says_what_is_missing() {
  local output status
  # Found first, and no library: a machine that has a driver is as one without.
  mkdir -p "$emulator/no-driver" && : >"$emulator/no-driver/libcuda.so.1"
  output=$(LD_LIBRARY_PATH=$emulator/no-driver "$programs/cuda_speed" "${small[@]}" 2>&1)
  status=$?
  printf '%s\nexit status %s, expected: 1 and an error that names libcuda.so.1\n' "$output" "$status"
  # Not a panic (101), nor a signal (above 128).
  [ "$status" -eq 1 ] && [[ $output == *libcuda.so.1* ]]
}

gpu_tests() {
  local out=$emulator/gpu-tests
  CUDA_TEST_BINARY=$programs/cuda_tests CUDA_SPEED_BINARY=$programs/cuda_speed \
    tools/gpu-tests.sh "$1" --dry-run "$emulator/plain" "$out" && cat "$out"
}

if check 'CUDA toolkit' toolkit && check build build && [ "${1-}" != build ]; then
  check clippy cargo_cuda clippy --all-targets -- -D warnings
  for architecture in sm_80 sm_90 sm_100; do
    # Toolkits before CUDA 12.8 do not know the last.
    if nvcc --list-gpu-code | grep -q -x $architecture; then
      check "kernels for $architecture, nothing spilled" assemble $architecture
    else
      echo "skipped kernels for $architecture: not in this toolkit"
    fi
  done
  check 'no CUDA library linked' links_no_cuda
  check 'error where there is no driver' says_what_is_missing
  if check emulator tests/cuda_on_cpu/build.sh "$emulator/plain" &&
    check 'emulator, sanitized' env SANITIZE=address tests/cuda_on_cpu/build.sh "$emulator/address"
  then
    check 'emulator notices faults' tests/cuda_on_cpu/self_test.sh "$emulator/self-test"
    for order in forward reverse 1; do
      check "tests, order $order" all_tests on_cpu plain env CUDA_ON_CPU_ORDER=$order
    done
    check 'tests, sanitized' all_tests sanitized
    check 'cuda_speed runs' on_cpu plain "$programs/cuda_speed" "${small[@]}"
    check 'cuda_speed, counts of batches that are fetched' \
      on_cpu plain "$programs/cuda_speed" "${small[@]}" --batches 3 --fetch
    check 'cuda_speed, sparse products' on_cpu plain "$programs/cuda_speed" "${small[@]}" --sparse --adjust
    for what in test bench; do check "gpu-tests.sh $what, dry run" gpu_tests $what; done
    check 'tests notice faults of kernels' \
      tests/cuda_on_cpu/seeded_faults.sh "$emulator" "$programs/cuda_tests"
  fi
fi
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: $(IFS=,; echo "${failed[*]}")"
  exit 1
fi
