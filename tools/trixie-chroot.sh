#!/bin/bash
# Tests the package on a newer R: R CMD INSTALL and the testthat suite inside a
# Debian trixie chroot (R 4.5, Seurat 5). Usage:
#   tools/trixie-chroot.sh make              make the chroot, or complete it; quick when it is there
#   tools/trixie-chroot.sh test TARBALL DATA install TARBALL and run its tests; DATA is seen read-only
#   tools/trixie-chroot.sh check TARBALL     R CMD check --as-cran of TARBALL, without remote checks
# The chroot lies in $SCVAE_CHROOT, default /var/cache/scvae/trixie. Its Rust build keeps a target
# folder of its own, so that the dependencies are compiled once. All mounts are made in a mount
# namespace of this script's own: they are gone when it ends, however it ends.
set -eu

chroot_dir=${SCVAE_CHROOT:-/var/cache/scvae/trixie}
tools_dir=$(cd "$(dirname "$0")" && pwd)

say() { printf 'trixie-chroot: %s\n' "$*"; }
fail() { printf 'trixie-chroot: %s\n' "$*" >&2; exit 1; }

[ $# -ge 1 ] || fail "usage: $0 make | test TARBALL DATA | check TARBALL"

# Paths are resolved before sudo or unshare change anything.
if [ "$1" = test ]; then
  [ $# -eq 3 ] || fail "usage: $0 test TARBALL DATA"
  set -- test "$(realpath "$2")" "$(realpath -m "$3")"
  [ -f "$2" ] || fail "no tarball at $2"
elif [ "$1" = check ]; then
  [ $# -eq 2 ] || fail "usage: $0 check TARBALL"
  set -- check "$(realpath "$2")"
fi

if [ -z "${SCVAE_IN_NAMESPACE:-}" ]; then
  export CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}" RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}"
  as_root=""
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "a chroot needs root, and there is no sudo"
    as_root="sudo --preserve-env=CARGO_HOME,RUSTUP_HOME,SCVAE_CHROOT,CI"
  fi
  # shellcheck disable=SC2086  # $as_root is several words, or none
  exec $as_root unshare --mount --propagation private env SCVAE_IN_NAMESPACE=1 "$0" "$@"
fi

in_chroot() {
  chroot "$chroot_dir" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive ${CI:+CI="$CI"} "$@"
}

# The mirror the host's own apt uses: trixie lies in the same archive.
host_mirror() {
  # shellcheck disable=SC2016  # apt's own variables
  apt-get indextargets --format '$(REPO_URI) $(SUITE) $(LABEL)' 'Created-By: Packages' |
    awk '$3 == "Debian" && $2 !~ /security/ { print $1; exit }'
}

make_chroot() {
  packages=$(sed 's/#.*//' "$tools_dir/debian-packages.txt" | tr -s ' \n' ' ')
  if [ "$(cat "$chroot_dir/.complete" 2>/dev/null)" = "$packages" ]; then
    return
  fi
  command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"
  mirror=$(host_mirror)
  [ -n "$mirror" ] || fail "apt on this machine names no Debian archive to take trixie from"
  if [ ! -e "$chroot_dir/.bootstrapped" ]; then
    say "making $chroot_dir (about 6 minutes, 2.4 GB)"
    # What a broken attempt left. Nothing is mounted there in this fresh namespace unless someone
    # else did it, and then it is theirs to undo.
    if grep -q " $chroot_dir/" /proc/mounts; then
      fail "something is mounted under $chroot_dir: unmount it first"
    fi
    rm -rf --one-file-system "$chroot_dir"
    mkdir -p "$chroot_dir"
    debootstrap --variant=minbase trixie "$chroot_dir" "$mirror" >"$chroot_dir.log" 2>&1 ||
      { tail -n 20 "$chroot_dir.log" >&2; fail "debootstrap failed, see $chroot_dir.log"; }
    touch "$chroot_dir/.bootstrapped"
  fi
  # Network settings of the host: name servers, apt's proxy and certificates.
  cp -L /etc/resolv.conf "$chroot_dir/etc/resolv.conf"
  cp /etc/hosts "$chroot_dir/etc/hosts"
  apt-config dump | grep -E '^Acquire::https?::' >"$chroot_dir/etc/apt/apt.conf.d/90host" || true
  if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
    mkdir -p "$chroot_dir/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$chroot_dir/etc/ssl/certs/"
  fi
  # No service is to start inside.
  printf '#!/bin/sh\nexit 101\n' >"$chroot_dir/usr/sbin/policy-rc.d"
  chmod +x "$chroot_dir/usr/sbin/policy-rc.d"
  mount -t proc proc "$chroot_dir/proc"
  mount --rbind /dev "$chroot_dir/dev"
  say "installing R and its packages"
  # shellcheck disable=SC2086  # a list of names
  { in_chroot apt-get update &&
      in_chroot apt-get install -y --no-install-recommends $packages &&
      in_chroot apt-get clean; } >>"$chroot_dir.log" 2>&1 ||
    { tail -n 20 "$chroot_dir.log" >&2; fail "apt-get failed in the chroot, see $chroot_dir.log"; }
  umount -R "$chroot_dir/dev" "$chroot_dir/proc"
  printf '%s\n' "$packages" >"$chroot_dir/.complete"
  say "made"
}

# bind SOURCE FOLDER [ro]
bind() {
  mkdir -p "$chroot_dir$2"
  mount --bind "$1" "$chroot_dir$2"
  [ "${3:-}" != ro ] || mount -o remount,bind,ro "$chroot_dir$2"
}

# What building the package needs: devices, and Rust with the crates of this machine.
mount_build() {
  command -v rustc >/dev/null || PATH="$CARGO_HOME/bin:$PATH"
  # rustup would ask for its proxies' own name; the toolchain's folder has the plain programs.
  toolchain=$(rustc --print sysroot)
  mount -t proc proc "$chroot_dir/proc"
  mount --rbind /dev "$chroot_dir/dev"
  bind "$CARGO_HOME" /opt/cargo ro
  bind "$toolchain" /opt/rust ro
  rust_env="CARGO_HOME=/opt/cargo CARGO_NET_OFFLINE=true SCVAE_CARGO_TARGET=/build/target"
  rust_env="$rust_env PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

test_in_chroot() {
  tarball=$1
  data=$2
  mount_build
  mkdir -p "$chroot_dir/build/check"
  if [ -d "$data" ]; then bind "$data" /build/data ro; fi

  # Always the same folder: cargo then rebuilds only what changed.
  rm -rf "$chroot_dir/build/package"
  mkdir -p "$chroot_dir/build/package"
  # With new times: by those of the tarball cargo would take sources changed before its last build for unchanged.
  tar -xzmf "$tarball" -C "$chroot_dir/build/package" --strip-components=1

  in_chroot R --version | head -n 1
  # shellcheck disable=SC2086  # assignments for env
  in_chroot $rust_env R CMD INSTALL /build/package
  in_chroot SCVAE_TEST_DATA=/build/data NOT_CRAN=true Rscript -e '
    setwd("/build/package/tests")
    for (p in c("Seurat", "SeuratObject", "SingleCellExperiment")) {
      cat(p, format(packageVersion(p)), "\n")
    }
    library(testthat)
    library(scVAE)
    test_dir("testthat", package = "scVAE", load_package = "installed",
             reporter = "summary", stop_on_failure = TRUE)'
  say "the tests pass on trixie"
}

check_in_chroot() {
  mount_build
  rm -rf "$chroot_dir/build/cran"
  mkdir -p "$chroot_dir/build/cran"
  # For its checkbashisms.
  in_chroot apt-get install -y --no-install-recommends devscripts >>"$chroot_dir.log" 2>&1
  cp "$1" "$chroot_dir/build/cran/"
  # shellcheck disable=SC2086  # assignments for env
  in_chroot $rust_env _R_CHECK_FORCE_SUGGESTS_=false _R_CHECK_CRAN_INCOMING_=false SCVAE_CUDA=0 \
    sh -c 'cd /build/cran && R CMD check --as-cran --no-manual ./*.tar.gz'
  ! grep -E '^Status: .*(ERROR|WARNING)' "$chroot_dir"/build/cran/*.Rcheck/00check.log
}

case $1 in
  make) make_chroot ;;
  test)
    make_chroot
    test_in_chroot "$2" "$3"
    ;;
  check)
    make_chroot
    check_in_chroot "$2"
    ;;
  *) fail "unknown command '$1': make, test or check" ;;
esac
