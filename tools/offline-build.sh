#!/bin/bash
# Installs a source package that has its crates with it (`make dist VENDOR=1`) as a machine without
# network does: no network device, an empty home folder that must stay empty, at most two jobs.
# Then fits a small model with what was installed. Usage: tools/offline-build.sh TARBALL
set -eu

fail() { printf 'offline-build: FAILED, %s\n' "$*" >&2; exit 1; }

[ $# -eq 1 ] && [ -f "$1" ] || fail "usage: $0 TARBALL"
tarball=$(realpath "$1")
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
# Not rustup's own cargo, which looks into the home folder for the one to call.
toolchain=$(rustc --print sysroot)/bin
[ -x "$toolchain/cargo" ] || toolchain=$(dirname "$(command -v cargo)")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work"/{home,tmp,library}

isolate=(unshare --net)
[ "$(id -u)" -eq 0 ] || isolate+=(--map-root-user)
offline() {
  "${isolate[@]}" env -i HOME="$work/home" TMPDIR="$work/tmp" LC_ALL=C.UTF-8 SCVAE_CUDA=0 \
    CARGO_BUILD_JOBS=2 OMP_NUM_THREADS=2 R_LIBS="$work/library" \
    PATH="$toolchain:/usr/local/bin:/usr/bin:/bin" "$@"
}

devices=$(offline sed -n 's/^ *\([^ ]*\):.*/\1/p' /proc/self/net/dev)
[ "$devices" = lo ] || fail "there are network devices: $devices"

start=$SECONDS
offline R CMD INSTALL --library="$work/library" "$tarball" >"$work/log" 2>&1 ||
  { tail -n 40 "$work/log" >&2; fail "R CMD INSTALL (its last lines are above)"; }
took=$((SECONDS - start))
grep -q -e '-j 2 --offline' "$work/log" || fail "cargo was not called with -j 2 --offline"

written=$(find "$work/home" -mindepth 1)
[ -z "$written" ] || fail "the build wrote to the home folder: $written"
find "$work/library/scVAE" -name AUTHORS | grep -q . || fail "AUTHORS is not installed"

cd "$work"
offline Rscript -e '
  library(scVAE)
  counts <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)$counts
  fit <- fitSCVAE(counts,
    min_genes = 10, max_epochs = 2, n_hidden = 16, threads = 1, verbose = FALSE
  )
  print(fit)
  stopifnot(nrow(fit$embedding) == 120, all(is.finite(fit$embedding)))' >"$work/fit" 2>&1 ||
  { cat "$work/fit" >&2; fail "a fit with what was installed"; }

printf 'offline-build: %s MB, installed without network in %s s, a library of %s MB; a fit runs\n' \
  "$(du -m "$tarball" | cut -f 1)" "$took" "$(du -m "$work"/library/scVAE/libs/*.so | cut -f 1)"
