#!/bin/sh
# self_test.sh OUT_DIR: shows that faults of kernels, and of who launches them, are caught. Builds in OUT_DIR.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT_DIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
failed=0
export ASAN_OPTIONS=detect_leaks=0

# build NAME CXXFLAGS [SANITIZE]
build() {
    CANDLE=0 KERNEL_DIRS="$here/self_test/kernels" CXXFLAGS="$2" SANITIZE="${3-}" "$here/build.sh" "$out/$1" > /dev/null
    "${CXX:-g++}" -std=c++17 -g ${3:+-fsanitize="$3"} "$here/self_test/main.cpp" "$here/self_test/driver.cpp" \
        -L "$out/$1" -lcuda -Wl,-rpath,"$out/$1" -o "$out/$1/self_test"
}

# expect WHAT PATTERN COMMAND...: its output must have a line that matches.
expect() {
    what=$1 pattern=$2
    shift 2
    # By another shell, which keeps to itself that a command was aborted.
    output=$(sh -c '"$@"; true' sh "$@" 2>&1) || true
    if printf '%s\n' "$output" | grep -q -e "$pattern"; then
        echo "ok      $what"
    else
        echo "FAILED  $what: no '$pattern' in"
        printf '%s\n' "$output" | sed 's/^/            /'
        failed=1
    fi
}

in_order() { # ORDER WHAT PATTERN COMMAND...
    order=$1 what=$2 pattern=$3
    shift 3
    expect "$what, order $order" "$pattern" env CUDA_ON_CPU_ORDER="$order" "$@"
}

build plain '-O2 -g'
build portable '-O2 -g -DCUDA_ON_CPU_UCONTEXT'
build sanitized '-O1 -g' address
plain=$out/plain/self_test
sanitized=$out/sanitized/self_test

# What is right is right in every order.
for build in plain portable sanitized; do
    program=$out/$build/self_test
    for order in forward reverse 1 2; do
        in_order "$order" "barriers, $build" '^right$' "$program" sums sum 0
        in_order "$order" "dynamic memory, $build" '^right$' "$program" sums sum_in_dynamic_memory 256
        in_order "$order" "barrier of a warp, $build" '^right$' "$program" passes-on pass_on
        in_order "$order" "a whole warp, $build" '^right$' "$program" warps all_of_a_warp 32
        in_order "$order" "parts of a warp, $build" '^right$' "$program" warps parts_of_a_warp 40
    done
done

# What is wrong may be right by luck in one order, which is why there are several.
for order in forward 1 2; do in_order "$order" 'missing barriers' '^wrong' "$plain" sums sum_without_barriers 0; done
for order in reverse 1 2; do
    in_order "$order" 'missing barrier of a warp' '^wrong' "$plain" passes-on pass_on_without_barrier
done
in_order reverse 'a block that counts on another' '^ran; out is 1, -\{0,1\}nan$' "$plain" runs counts_on_other_block 2 0 0
in_order sideways 'an order that is none' 'CUDA_ON_CPU_ORDER is not a number: sideways' "$plain" sums sum 0
expect 'shared memory read before it is written' '^ran; out is -\{0,1\}nan, 1$' "$plain" runs shared_before_written 1 0 0

expect 'divergent barriers' 'faults.cu:[0-9]*: threads of a block wait at different barriers.*block 0,0,0, thread' \
    "$plain" runs divergent_barriers 1 0 0
expect 'lanes that never come' 'faults.cu:[0-9]*: waits for lanes of its mask that never come' \
    "$plain" runs divergent_shuffle 1 0 0
expect 'a lane outside of its mask' 'a lane that its own mask leaves out' "$plain" runs lane_outside_of_mask 1 0 0

expect 'write beyond an allocation' 'write_outside wrote beyond the end' "$plain" runs write_outside 1 64 0
expect 'write before an allocation' 'write_outside wrote before the start' "$plain" runs write_outside 1 -1 0
expect 'write beyond, sanitized' 'AddressSanitizer: heap-buffer-overflow' "$sanitized" runs write_outside 1 64 0
expect 'read beyond, sanitized' 'AddressSanitizer: heap-buffer-overflow' "$sanitized" runs read_outside 1 64 0
expect 'beyond static shared memory, sanitized' 'AddressSanitizer: global-buffer-overflow' \
    "$sanitized" runs write_outside_of_static_shared 1 1 0
expect 'beyond dynamic shared memory, sanitized' 'AddressSanitizer: heap-buffer-overflow' \
    "$sanitized" runs write_outside_of_dynamic_shared 1 1 256

expect 'parameters of another size' 'of \[16\] bytes in the PTX and of \[24\] in the source' "$plain" finds sum 16
expect 'parameters of another size: result' '^result 200$' "$plain" finds sum 16
expect 'a kernel that is not in the PTX' '^result 500$' "$plain" finds divide 24
expect 'a launch that is right' '^result 0$' "$plain" launches 1 64 0 0
expect 'no blocks' '^result 1$' "$plain" launches 0 64 0 0
expect 'more threads than a block has' 'sum cannot be launched with blocks of 2048' "$plain" launches 1 2048 0 0
expect 'more threads than its bounds' 'more than its __launch_bounds__ of 64' "$plain" launches 1 128 0 0
expect 'too much shared memory' 'cannot be launched with 49000 bytes' "$plain" launches 1 64 49000 0
expect 'much shared memory, asked for' '^result 0$' "$plain" launches 1 64 49000 60000
expect 'copy beyond an allocation' '^result 1$' "$plain" copies 300 0
expect 'copy across the end of an allocation' '^result 1$' "$plain" copies 200 100
expect 'copy inside an allocation' '^result 0$' "$plain" copies 156 100

expect 'no device' '^cuInit: error 100$' env CUDA_ON_CPU_NO_DEVICE=1 "$plain" sums sum 0
expect 'memory that is out' '^result 2, 200 of 1000 bytes free$' env CUDA_ON_CPU_MEMORY=1000 "$plain" allocates 800 201
expect 'memory that suffices' '^result 0, 0 of 1000 bytes free$' env CUDA_ON_CPU_MEMORY=1000 "$plain" allocates 800 200
expect 'the report' ' 1 sum$' env CUDA_ON_CPU_REPORT=1 "$plain" sums sum 0

[ $failed -eq 0 ] && echo "all faults were caught"
exit $failed
