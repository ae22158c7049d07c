#!/bin/bash
# seeded_faults.sh OUT_DIR TEST_PROGRAM: shows that the tests of the CUDA backend, which TEST_PROGRAM holds, notice faults
# of its kernels. Each is one change of a source, made in a copy. Builds in OUT_DIR.
set -u

[ $# -eq 2 ] || { echo "usage: $0 OUT_DIR TEST_PROGRAM" >&2; exit 2; }
mkdir -p "$1" || exit 1
out=$(cd "$1" && pwd)
program=$(realpath "$2")
here=$(cd "$(dirname "$0")" && pwd)
kernels=$(realpath "$here/../../src/kernels/cuda")
n=0
failed=0
ulimit -c 0
export RUST_BACKTRACE=0

# run BUILD ORDER [VARIABLE=VALUE...]: the tests, with what they print in $output.
run() {
  # By another shell, which keeps to itself that a command was aborted. A fault may be that nothing ends.
  output=$(sh -c '"$@"; exit $?' sh timeout 120 env LD_LIBRARY_PATH="$1${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" \
    CUDA_ON_CPU_ORDER="$2" "${@:3}" "$program" 2>&1)
}
sanitized() { run "$1" forward LD_PRELOAD="$(g++ -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0; }

# What of the output says best how a fault was noticed.
reason() {
  local pattern
  for pattern in '^cuda_on_cpu: ' 'ERROR: AddressSanitizer' '^test result: FAILED'; do
    grep -m 1 -e "$pattern" <<<"$output" && return
  done
  tail -n 1 <<<"$output"
}

# build KIND [KERNELS]: into $out/KIND, or with those kernels into a copy of that, where only what differs is compiled.
build() {
  local to=$out/$1 sanitize=
  [ "$1" != address ] || sanitize=address
  if [ $# -gt 1 ]; then
    to=$out/faults/$1
    rm -rf "$to"
    cp -a "$out/$1" "$to"
  fi
  KERNEL_DIRS=${2-} SANITIZE=$sanitize "$here/build.sh" "$to"
}

# caught WHAT HOW
caught() { printf 'ok      %s; %s: %s\n' "$1" "$2" "$(reason | cut -c 1-160)"; }

# fault WHAT FILE FROM TO: FROM, which stands in FILE once, becomes TO.
fault() {
  local text rest order changed=$out/faults/kernels
  n=$((n + 1))
  text=$(<"$kernels/$2")
  rest=${text#*"$3"}
  if [ "$rest" = "$text" ] || [[ $rest == *"$3"* ]]; then
    failed=1
    echo "FAILED  $1: $2 is another, the place of the fault is not in it exactly once. Choose one anew."
    return
  fi
  rm -rf "$changed"
  mkdir -p "$changed"
  # With their times: what is not changed is not compiled.
  cp -p "$kernels"/* "$changed"
  printf '%s\n' "${text/"$3"/"$4"}" >"$changed/$2"
  if ! output=$(build plain "$changed" 2>&1); then
    failed=1
    printf 'FAILED  %s: cannot be compiled\n%s\n' "$1" "$output"
    return
  fi
  for order in forward reverse 1 2; do
    run "$out/faults/plain" $order || { caught "$1" "order $order"; return; }
  done
  if output=$(build address "$changed" 2>&1) && ! sanitized "$out/faults/address"; then
    caught "$1" sanitized
    return
  fi
  failed=1
  printf 'FAILED  %s is not noticed\n%s\n' "$1" "$output"
}

for kind in plain address; do build $kind >/dev/null || exit 1; done
for order in forward reverse 1 2; do
  run "$out/plain" $order || { printf '%s\nFAILED  order %s, without a fault\n' "$output" $order; exit 1; }
done
sanitized "$out/address" || { printf '%s\nFAILED  sanitized, without a fault\n' "$output"; exit 1; }

fault 'no barrier before the parts of a sum are read' activate.cu \
  'all[warp][feature] = x;
    __syncthreads();' \
  'all[warp][feature] = x;'
fault 'no barrier before the parts of the next sum are written' activate.cu \
  '__syncthreads();
    if (lane < FEATURES)' \
  'if (lane < FEATURES)'
fault 'no barrier before the counts of a cell are read' encode.cu \
  '__syncthreads();
            const int n =' \
  'const int n ='
fault 'no barrier of the warp before counts found by other lanes are read' encode.cu \
  '__syncwarp();
            for (int k = 0; k < n; k++)' \
  'for (int k = 0; k < n; k++)'
fault 'no barrier of the warp before sums of other lanes are read' encode.cu \
  'own.sum[lane + j * LANES] = sum[j];
        __syncwarp();' \
  'own.sum[lane + j * LANES] = sum[j];'
fault 'no barrier of the warp before places found by other lanes are read' count_loss.cu \
  '__syncwarp();
        for (int k = lane; k < n_found; k += LANES)' \
  'for (int k = lane; k < n_found; k += LANES)'
fault 'no barrier before the tiles of a module are read' modules.cu \
  'fill(x, first, layer.last, k, a.n, [&](size_t i) { return a.x[i]; });
        __syncthreads();' \
  'fill(x, first, layer.last, k, a.n, [&](size_t i) { return a.x[i]; });'
fault 'a row too many is written' connections.cu 'if (gene >= a.n_rows) return;' 'if (gene > a.n_rows) return;'
fault 'a count too many of a cell is gathered' minibatch.cu \
  'i < a.cells.offsets[row + 1]' 'i <= a.cells.offsets[row + 1]'
fault 'counts beyond the last cell are read, and not used' count_loss.cu \
  'const bool above = first + i < n && counts[i] > 0.0f;' 'const bool above = counts[i] > 0.0f && first + i < n;'
fault 'no barrier of the warp before connections that other lanes read are overwritten' sparse_heads.cu \
  'sum[k][h][j] += one.weights[h] * x;
                    }
                }
                __syncwarp();' \
  'sum[k][h][j] += one.weights[h] * x;
                    }
                }'
fault 'a connection too many of a part of the genes' sparse_heads.cu \
  'a.genes[i] < behind' 'a.genes[i] <= behind'
fault 'a struct of another size than that of the PTX' sums.cu \
  'struct SumPartsArgs {' 'struct SumPartsArgs { u64 more;'

rm -rf "$out/faults"
[ $failed -eq 0 ] && echo "all $n faults were noticed"
exit $failed
