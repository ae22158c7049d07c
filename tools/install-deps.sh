#!/bin/bash
# Installs the Debian packages that are missing, and says nothing when none is. Rust it only looks
# for. Usage: tools/install-deps.sh [MORE_PACKAGES...]
set -eu

say() { printf 'install-deps: %s\n' "$*"; }
fail() { printf 'install-deps: %s\n' "$@" >&2; exit 1; }

PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
for program in cargo rustc rustfmt cargo-clippy; do
  command -v "$program" >/dev/null ||
    fail "'$program' is missing. Install Rust as yourself with rustup, see https://rustup.rs"
done

list=$(dirname "$0")/debian-packages.txt
if ! command -v dpkg-query >/dev/null; then
  say "this is no Debian: R and the packages named in $list must be there already"
  exit 0
fi

missing=()
for package in $(sed 's/#.*//' "$list") "$@"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=absent
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  as_root=(sudo)
  { command -v sudo && sudo -n true; } >/dev/null 2>&1 ||
    fail "these packages are missing, and only root can install them:" \
      "  apt-get install --no-install-recommends ${missing[*]}"
fi

log=$(mktemp)
say "installing ${#missing[@]} Debian packages (about 2 minutes for all)"
# One source of packages that does not answer need not matter: the installation shows it.
"${as_root[@]}" apt-get update >"$log" 2>&1 || true
if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
  tail -n 15 "$log" >&2
  fail "apt-get failed (its last lines are above, all are in $log). Is there a network?" \
    "Wanted: ${missing[*]}"
fi
rm -f "$log"
