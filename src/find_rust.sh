# shellcheck shell=sh
# Sourced by configure and configure.win: finds cargo and rustc, new enough, or stops and says how to
# get them. Sets cargo_dir.
say() { printf '* %s\n' "$*"; }
fail() {
  printf '\n' >&2
  printf '  %s\n' "$@" >&2
  printf '\n' >&2
  exit 1
}

minimum=$(tr '\n' ' ' <DESCRIPTION | sed -n 's/.*rustc *(*>= *\([0-9.]*[0-9]\).*/\1/p')
rustup_cure="Install it, as yourself, with rustup: see https://rustup.rs, then start a new session."
cargo_home=${CARGO_HOME:-$HOME/.cargo}
PATH="$PATH:$cargo_home/bin:$HOME/.cargo/bin"
# On Windows HOME is the user's documents, and rustup installs beside them.
if [ -n "${USERPROFILE:-}" ]; then PATH="$PATH:$(cygpath -u "$USERPROFILE")/.cargo/bin"; fi
for program in cargo rustc; do
  command -v $program >/dev/null 2>&1 || fail \
    "scVAE is written in Rust, and '$program' was found neither on PATH nor in $cargo_home/bin." \
    "$rustup_cure"
done
cargo_dir=$(dirname "$(command -v cargo)")
rustc_version=$(rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
cargo_version=$(cargo --version | sed 's/^cargo \([0-9.]*\).*/\1/')
say "rustc $rustc_version, cargo $cargo_version (in $cargo_dir)"
old=$(printf '%s %s\n' "$rustc_version" "$minimum" |
  awk '{ split($1, a, "."); split($2, b, ".");
         print (a[1] + 0 < b[1] + 0 || (a[1] + 0 == b[1] + 0 && a[2] + 0 < b[2] + 0)) }')
[ "$old" = 0 ] || fail \
  "scVAE needs rustc $minimum or newer, and this is rustc $rustc_version." \
  "Update it with 'rustup update stable'. A distribution's own rustc is often too old:" \
  "rustup (https://rustup.rs) installs a newer one beside it."

# A package made by `make dist VENDOR=1` brings its crates along and is built without network.
# use_vendored_crates TARGET: its flags for cargo, with this target folder, in cargo_flags and cargo_env.
cargo_flags=
use_vendored_crates() {
  [ -f src/vendor.tar.xz ] || return 0
  say "the crates are in the package: building offline"
  rm -rf src/vendor
  tar -xJf src/vendor.tar.xz -C src
  # cargo's own notes stay in the build's folder too, out of the user's home.
  cargo_env="$cargo_env CARGO_HOME='$1/cargo-home'"
  cargo_flags="-j 2 --offline --config 'source.crates-io.replace-with=\"vendored\"'"
  cargo_flags="$cargo_flags --config 'source.vendored.directory=\"src/vendor\"'"
}
