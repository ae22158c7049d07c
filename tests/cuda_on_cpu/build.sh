#!/bin/sh
# build.sh OUT_DIR: compiles the kernels, and what plays CUDA's libraries around them, into OUT_DIR.
#
# KERNEL_DIRS   folders of .cu files, separated by spaces; the project's kernels unless set
# CANDLE        0: without candle's kernels
# SANITIZE      for -fsanitize=, such as address
# CXX, CXXFLAGS the compiler, g++, and its options of optimisation
# JOBS          compilations at a time
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUT_DIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)

# The folder of a crate of the project's Cargo.lock, all of its versions. Cargo has unpacked it if it has built it.
crate() {
    awk -v name="$1" '$1 == "name" { at = ($3 == "\"" name "\"") } at && $1 == "version" { gsub(/"/, "", $3); print $3 }' \
        "$project/Cargo.lock" |
    while read -r version; do
        for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$1-$version"; do
            if [ -d "$folder" ]; then echo "$folder"; break; fi
        done
    done
}

kernels=
for folder in ${KERNEL_DIRS:-"$project/src/kernels/cuda"}; do
    for file in "$folder"/*.cu; do
        [ -e "$file" ] || { echo "no kernels in $folder" >&2; exit 1; }
        kernels="$kernels $file"
    done
done

candle=
if [ "${CANDLE:-1}" != 0 ]; then
    candle=$(crate candle-kernels | tail -n 1)
    [ -n "$candle" ] || { echo "candle-kernels is not there: cargo fetch brings it" >&2; exit 1; }
fi

# The functions that the bindings declare, so that a program links whatever it drops of them later.
bindings=$(for folder in $(crate cudarc); do
    for library in driver cublas cublaslt curand nvrtc; do printf '%s ' "$folder/src/$library/sys/mod.rs"; done
done)

exec make --silent --no-print-directory -C "$here" -j "${JOBS:-$(nproc)}" \
    OUT="$out" KERNELS="$kernels" CANDLE="$candle" BINDINGS="$bindings" \
    SANITIZE="${SANITIZE:-}" CXX="${CXX:-g++}" CXXFLAGS="${CXXFLAGS:--O2 -g}"
