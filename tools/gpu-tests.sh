#!/bin/bash
# The CUDA backend on a GPU: its tests, or how fast it trains. Fails where there is none. Usage:
#   tools/gpu-tests.sh test [--dry-run DIR] [FILE]    to FILE, gpu-tests.json: what passed, as JSON
#   tools/gpu-tests.sh bench [--dry-run DIR] [FILE]   to FILE, bench-gpu.jsonl: cells per second, and
#                                                     those of scVI if $PYTHON, python3, can import it
# The programs are built, or brought along: CUDA_TEST_BINARY and CUDA_SPEED_BINARY name them.
# --dry-run tests this script on no GPU, but on the emulator in DIR (tests/cuda_on_cpu).
set -u

fail() { printf 'gpu-tests: %s\n' "$*" >&2; exit 1; }
usage="usage: $0 test | bench [--dry-run DIR] [FILE]"
what=${1-}
emulator=
case $what in
  test) file=gpu-tests.json ;;
  bench) file=bench-gpu.jsonl ;;
  *) fail "$usage" ;;
esac
shift
if [ "${1-}" = --dry-run ]; then
  emulator=${2:?$usage}
  shift 2
fi
[ $# -le 1 ] || fail "$usage"
mkdir -p "$(dirname "${1-$file}")" || exit 1
file=$(realpath "${1-$file}")
root=$(cd "$(dirname "$0")/.." && pwd)

# --- The card -----------------------------------------------------------------------------------
card='none, dry run' driver=none
if [ -z "$emulator" ]; then
  # The first that CUDA sees shall be the first that is described here.
  export CUDA_DEVICE_ORDER=PCI_BUS_ID
  first=${CUDA_VISIBLE_DEVICES-0}
  if line=$(nvidia-smi -i "${first%%,*}" --query-gpu=name,driver_version --format=csv,noheader 2>&1)
  then
    card=${line%, *} driver=${line##*, }
  elif [ -e /proc/driver/nvidia/version ]; then
    card=$(sed -n 's/^Model:[[:space:]]*//p' /proc/driver/nvidia/gpus/*/information | head -n 1)
    driver=$(grep -o -m 1 '[0-9][0-9]*\.[0-9.]*' /proc/driver/nvidia/version | head -n 1)
  else
    fail "no NVIDIA driver: nvidia-smi says '$line'. The tests without a GPU are 'make test-cuda'."
  fi
  IFS=: read -r -a folders <<<"${LD_LIBRARY_PATH-}"
  for folder in ${folders[@]+"${folders[@]}"}; do
    [ ! -e "$folder/libcuda_on_cpu.so" ] || fail "what plays a GPU is in LD_LIBRARY_PATH: $folder"
  done
  # In NVIDIA's Python packages, cuBLAS and cuRAND may lie in folders of their own.
  for library in 'libcublas.so.1[23]' 'libcurand.so.10'; do
    if ! PATH=$PATH:/sbin ldconfig -p | grep -q "$library" &&
      ! find ${folders[@]+"${folders[@]}"} -maxdepth 1 -name "$library" 2>/dev/null | grep -q .; then
      while read -r folder; do
        LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
      done < <(find /usr/local /opt -name "$library" -printf '%h\n' 2>/dev/null | sort -u)
    fi
  done
else
  LD_LIBRARY_PATH=$(realpath "$emulator")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi

# --- The program --------------------------------------------------------------------------------
if [ "$what" = test ]; then
  program=${CUDA_TEST_BINARY-} name=cuda_tests
else
  program=${CUDA_SPEED_BINARY-} name=cuda_speed
fi
if [ -z "$program" ]; then
  "$root/tools/cuda-tests.sh" build || exit 1
  program=${SCVAE_CARGO_TARGET:-$root/target}/cuda/programs/$name
fi
[ -x "$program" ] || fail "$program is no program"
program=$(realpath "$program")
# That of the toolkit which compiled the kernels. They lie in the program as text.
cuda=$(grep -a -m 1 -o 'Cuda compilation tools, release [0-9.]*' "$program" | head -n 1)
about="\"card\": \"$card\", \"driver\": \"$driver\", \"cuda\": \"${cuda##* }\""
export LD_LIBRARY_PATH
echo "gpu-tests: $about"
status=0

# --- The tests ----------------------------------------------------------------------------------
# run_tests TF32: adds to $runs. Twice each, as what happens at the same time differs.
run_tests() {
  local start=${EPOCHREALTIME/[.,]/} passed=true output milliseconds
  output=$(SCVAE_TF32=$1 "$program" "${options[@]}" 2>&1) && [[ $output == *"test result: ok. "[1-9]* ]] ||
    passed=false
  milliseconds=$(((${EPOCHREALTIME/[.,]/} - start) / 1000))
  printf '%s\n' "$output"
  [ $passed = true ] || status=1
  runs+=("$(printf '{"tf32": %s, "passed": %s, "seconds": %d.%03d}' \
    "$([ "$1" = 1 ] && echo true || echo false)" $passed \
    $((milliseconds / 1000)) $((milliseconds % 1000)))")
}

# --- The speed ----------------------------------------------------------------------------------
# measure COMMAND...: adds the lines of JSON that it prints.
measure() {
  "$@" | tee -a "$file"
  [ "${PIPESTATUS[0]}" -eq 0 ] || { status=1; echo "gpu-tests: failed: $*" >&2; }
}

if [ "$what" = test ]; then
  runs=()
  # Those too that take too long where a CPU plays the GPU.
  options=(--include-ignored)
  [ -z "$emulator" ] || options=()
  for tf32 in 0 0 1 1; do run_tests $tf32; done
  printf '{%s, "passed": %s, "runs": [%s]}\n' "$about" "$([ $status = 0 ] && echo true || echo false)" \
    "$(IFS=,; echo "${runs[*]}")" | tee "$file"
else
  sizes=(--genes "2000,20000,40000" --batch-size "128,1024,4096")
  device=gpu
  if [ -n "$emulator" ]; then
    sizes=(--genes 50 --cells 200 --batch-size 64 --epochs 2)
    device=cpu
  fi
  python=${PYTHON:-python3}
  printf '{%s}\n' "$about" >"$file"
  measure "$program" "${sizes[@]}"
  measure "$program" "${sizes[@]}" --tf32
  if "$python" -c 'import scvi' 2>/dev/null; then
    measure "$python" "$root/bench/gpu/scvi_speed.py" "${sizes[@]}" --device $device
  else
    echo "gpu-tests: $python has no scvi to compare with"
  fi
fi
exit $status
