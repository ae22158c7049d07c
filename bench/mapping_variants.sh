#!/bin/bash
# Other ways to set the encoder's module of a new batch, on the batches of mapping.sh: the package
# with another constant in src/training/alignment.rs. Rows that exist are kept.
#
#   bench/mapping_variants.sh DATA_DIR
#
# Needs what mapping.sh needs, and takes its RESULTS and MODELS, which should be kept from there:
# absolute paths. It builds what is committed.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=$(realpath "${1:?usage: mapping_variants.sh DATA_DIR}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# variant NAME CONSTANT VALUE
variant() {
  rm -rf "$work/tree" "$work/library"
  mkdir "$work/tree" "$work/library"
  git -C "$here/.." archive HEAD | tar -xm -C "$work/tree"
  sed -i "s/^const $2: \\(.*\\) = .*;/const $2: \\1 = $3;/" "$work/tree/src/training/alignment.rs"
  grep -q "^const $2: .* = $3;" "$work/tree/src/training/alignment.rs"
  SCVAE_CARGO_TARGET=$work/target R CMD INSTALL --library="$work/library" "$work/tree"
  MODE=$1 R_LIBS=$work/library "$here/mapping.sh" "$data" celllines_tian pbmc_kang_ctrl
}

variant "means stay" WAY 0.0
variant "means go all of the way" WAY 1.0
variant "no alignment" STEPS 0
