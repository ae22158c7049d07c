#!/usr/bin/env bash
# run_seurat_integration.R where there is a Seurat 5.
#
#   seurat5.sh IN.h5ad OUT_PREFIX cca|rpca [BATCH]
#
# That is $RSCRIPT5 where it is set, otherwise the Debian trixie chroot of `make test-seurat5`,
# which is made when it is not there (tools/trixie-chroot.sh; needs root).
set -euo pipefail

counts=${1:?usage: seurat5.sh IN.h5ad OUT_PREFIX cca|rpca [BATCH]}
out=${2:?OUT_PREFIX is missing}
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ -n "${RSCRIPT5:-}" ]; then
  exec "$RSCRIPT5" "$here/run_seurat_integration.R" "$counts" "$out" "$@"
fi
"$here/../../tools/trixie-chroot.sh" make
chroot_dir=${SCVAE_CHROOT:-/var/cache/scvae/trixie}
work=$(mktemp -d -p "$chroot_dir/tmp")
trap 'rm -rf "$work"' EXIT
cp "$here/run_seurat_integration.R" "$here/seurat_counts.R" "$work"
cp "$counts" "$work/counts.h5ad"
inside=${work#"$chroot_dir"}
threads=${THREADS:-1}
chroot "$chroot_dir" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
  OMP_NUM_THREADS="$threads" OPENBLAS_NUM_THREADS="$threads" \
  Rscript "$inside/run_seurat_integration.R" "$inside/counts.h5ad" "$inside/out" "$@"
cp "$work/out.csv" "$out.csv"
cp "$work/out.json" "$out.json"
