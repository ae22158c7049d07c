#!/bin/bash
# Other ways to set the encoder's module of a new batch, on the batches of mapping.sh. Rows that
# exist are kept.
#
#   bench/mapping_variants.sh DATA_DIR
#
# Needs what mapping.sh needs, and takes its RESULTS and MODELS, which should be kept from there:
# absolute paths. It builds what is committed, and the commit before the own cells of a group were
# found as new ones are, with models of its own.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=$(realpath "${1:?usage: mapping_variants.sh DATA_DIR}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# install COMMIT [CONSTANT VALUE]: the package of a commit, a constant of alignment.rs changed
install() {
  rm -rf "$work/tree" "$work/library"
  mkdir "$work/tree" "$work/library"
  git -C "$here/.." archive "$1" | tar -xm -C "$work/tree"
  if [ $# -gt 1 ]; then
    sed -i "s/^const $2: \\(.*\\) = .*;/const $2: \\1 = $3;/" "$work/tree/src/mapping/alignment.rs"
    grep -q "^const $2: .* = $3;" "$work/tree/src/mapping/alignment.rs"
  fi
  SCVAE_CARGO_TARGET=$work/target R CMD INSTALL --library="$work/library" "$work/tree"
}

map() { # NAME
  MODE=$1 R_LIBS=$work/library "$here/mapping.sh" "$data" celllines_tian pbmc_kang_ctrl
}

install HEAD STEPS 0
map "no alignment"
before=$(git -C "$here/.." log --fixed-strings --grep="Remembered groups are those that new cells" \
  --format=%H | tail -1)
install "$before^"
MODELS=$work/models map "the groups' own cells"
