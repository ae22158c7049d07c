#!/bin/bash
# All that `make test` checks, stage by stage. A failed stage does not stop those after it, unless
# they need its result; the last line says what happened. Called by make, which sets
# SCVAE_CARGO_TARGET, SCVAE_TEST_DATA and BUILD (where the tarball and the check go).
set -u

cd "$(dirname "$0")/.." || exit 1
. tools/build-env.sh
mkdir -p "$BUILD"
passed=$BUILD/stages-passed failed=$BUILD/stages-failed
: >"$passed" >"$failed"

# stage NAME COMMAND...
stage() {
  local name=$1 start=$SECONDS
  shift
  printf '\n== %s ==\n' "$name"
  if "$@"; then
    echo "$name $((SECONDS - start))s" >>"$passed"
  else
    echo "$name" >>"$failed"
    printf '== %s: FAILED ==\n' "$name"
    return 1
  fi
}

# The lines of a file in one.
joined() { paste -s -d , "$1" | sed 's/,/, /g'; }

clippy() {
  cargo clippy --locked --release --all-targets -- -D warnings &&
    cargo clippy --locked --release --all-targets --features r -- -D warnings
}

# The generated files are those that the sources give.
generated() {
  local copy=$BUILD/generated
  rm -rf "$copy"
  mkdir -p "$copy"
  cp -R DESCRIPTION NAMESPACE R man inst "$copy" &&
    cargo run --locked --quiet --release --features r --bin wrappers -- \
      "$copy/R/extendr-wrappers.R" &&
    Rscript tools/document.R "$copy" &&
    Rscript tools/crate-authors.R "$copy/inst/AUTHORS" &&
    for generated in R/extendr-wrappers.R NAMESPACE man inst/AUTHORS; do
      diff -ru "$generated" "$copy/$generated" || {
        echo "$generated is not current: run 'make docs' and commit what changes."
        return 1
      }
    done
}

check() {
  rm -rf "$BUILD/scVAE.Rcheck"
  # Packages that are only suggested may be absent; tests are not to be skipped as on CRAN. The articles
  # were built with the tarball just before.
  (cd "$BUILD" && NOT_CRAN=true _R_CHECK_FORCE_SUGGESTS_=false \
    R CMD check --no-manual --no-vignettes "$(basename "$TARBALL")")
  if grep -E '^Status: .*(ERROR|WARNING)' "$BUILD/scVAE.Rcheck/00check.log" ||
    ! grep -q '^Status: ' "$BUILD/scVAE.Rcheck/00check.log"; then
    tail -n 60 "$BUILD"/scVAE.Rcheck/00install.out "$BUILD"/scVAE.Rcheck/tests/*.Rout.fail 2>/dev/null
    return 1
  fi
}

lint() {
  Rscript -e '
    lints <- c(lintr::lint_package("."), lintr::lint_dir("tools"))
    for (lint in lints) print(lint)
    quit(status = length(lints) > 0)'
}

format() {
  cargo fmt --check && cargo fmt --check --manifest-path bench/kernels/Cargo.toml &&
    rustfmt --check --edition 2021 bench/dropped/main.rs
}
stage format format
stage clippy clippy
# The articles leave most of a core free. What runs beside them would not hear Ctrl-C.
trap 'kill 0' INT
{
  stage "cargo test" cargo test --locked --release
  stage generated generated
  stage lint lint
} >"$BUILD/beside.log" 2>&1 &
stage build make --no-print-directory tarball && built=yes
wait
cat "$BUILD/beside.log"
[ -n "${built:-}" ] && stage check check

printf '\ntook: %s\n' "$(joined "$passed")"
if [ -s "$failed" ]; then
  echo "make test: FAILED in $(joined "$failed") (${SECONDS}s)"
  exit 1
fi
echo "make test: all passed (${SECONDS}s, R CMD check: $(sed -n 's/^Status: //p' "$BUILD/scVAE.Rcheck/00check.log"))"
