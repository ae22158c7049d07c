#!/bin/bash
# A new user's first minutes by the README alone, on a Debian that has neither R nor this package: each
# command and the seconds it takes.
#
#   bench/first_minutes.sh DATA_DIR [FOLDER]     -> results/first-minutes.md
#
# The machine is a minimal Debian in a chroot (FOLDER, default /var/cache/scvae/new-machine), made anew;
# its Rust and the crates' sources are this machine's, read-only. R's own repositories are not asked: R's
# packages are Debian's. Needs root and debootstrap, and a machine without other work.
set -eu

data=$(realpath "${1:?usage: first_minutes.sh DATA_DIR [FOLDER]}")
root=$(realpath -m "${2:-/var/cache/scvae/new-machine}")
cd "$(dirname "$0")/.."
if [ -z "${SCVAE_IN_NAMESPACE:-}" ]; then
  export CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}"
  # All mounts end with this script.
  exec unshare --mount --propagation private env SCVAE_IN_NAMESPACE=1 "bench/${0##*/}" "$data" "$root"
fi
PATH="$CARGO_HOME/bin:$PATH"

# shellcheck disable=SC1091  # names the release
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
# shellcheck disable=SC2016  # apt's own variables
mirror=$(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Created-By: Packages' |
  awk '$2 == "Debian" { print $1; exit }')
rm -rf --one-file-system "$root"
mkdir -p "$root"
debootstrap --variant=minbase "$codename" "$root" "$mirror" >"$root.log" 2>&1 ||
  { tail -n 20 "$root.log" >&2; exit 1; }
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
apt-config dump | grep -E '^Acquire::https?::' >"$root/etc/apt/apt.conf.d/90host" || true
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
  mkdir -p "$root/etc/ssl/certs"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
fi
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
bind() { # SOURCE FOLDER
  mkdir -p "$root$2"
  mount --bind "$1" "$root$2"
  mount -o remount,bind,ro "$root$2"
}
bind "$(rustc --print sysroot)" /opt/rust
bind "$CARGO_HOME" /opt/cargo
bind "$data" /data
mkdir -p "$root/home/user/scVAE"
git archive HEAD | tar -x -C "$root/home/user/scVAE"

rows=()
total=0
# step WHAT COMMAND: in the package's folder, by bash.
step() {
  local start=$SECONDS
  chroot "$root" /usr/bin/env -i PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
    LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive CARGO_HOME=/opt/cargo CARGO_NET_OFFLINE=true \
    bash -ec "cd /home/user/scVAE; $2" >>"$root.log" 2>&1 ||
    { tail -n 30 "$root.log" >&2; echo "first_minutes: '$1' failed" >&2; exit 1; }
  local took=$((SECONDS - start))
  total=$((total + took))
  rows+=("| $1 | \`$(tr '\n' ' ' <<<"$2" | sed 's/  */ /g; s/ $//; s/|/\\|/g')\` | $took | $total |")
  echo "$took s: $1"
}

install="apt-get install -y --no-install-recommends"
step "R" "apt-get update && $install r-base-dev make g++"
step "HDF5" "$install libhdf5-dev pkg-config pandoc"
step "what the package imports" "$install r-cran-cli r-cran-matrix r-cran-rlang r-bioc-s4vectors"
step "the package" "R CMD INSTALL ."
step "Seurat, for that section" "$install r-cran-seurat"
step "a file: model and embedding" "Rscript -e '
library(scVAE)
model <- fitSCVAE(\"/data/pbmc_kang_ctrl.h5ad\", batch = \"batch\", seed = 1)
embedding <- predict(model)
saveRDS(model, \"model.rds\")'"
step "a file: all cells in one donor's style" "Rscript -e '
library(scVAE)
model <- readRDS(\"model.rds\")
corrected <- transferBatchStyle(model, \"/data/pbmc_kang_ctrl.h5ad\", to = \"donor_1015\")
stopifnot(all(is.finite(corrected)))'"
step "Seurat: clusters and a map" "Rscript -e '
library(Seurat)
library(scVAE)
seurat <- readCounts(\"/data/pbmc_kang_ctrl.h5ad\", as = \"Seurat\")
seurat <- RunSCVAE(seurat, batch = \"batch\")
seurat <- FindNeighbors(seurat, reduction = \"scvae\", dims = 1:10)
seurat <- RunUMAP(FindClusters(seurat), reduction = \"scvae\", dims = 1:10)
plot <- DimPlot(seurat, group.by = c(\"seurat_clusters\", \"batch\"))
ggplot2::ggsave(\"umap.png\", plot)'"
step "Bioconductor's plots, for that section" "$install r-bioc-scater"
step "SingleCellExperiment: a map" "Rscript -e '
library(scVAE)
library(SingleCellExperiment)
sce <- readCounts(\"/data/pbmc_kang_ctrl.h5ad\")
set.seed(1)
sce <- runSCVAE(sce, batch = \"batch\", gene_scores = TRUE)
sce <- scater::runUMAP(sce, dimred = \"SCVAE\")
plot <- scater::plotUMAP(sce, colour_by = \"batch\")
stopifnot(!is.null(rowData(sce)\$scScore))'"

{
  cat <<HEAD
# A new user's first minutes

Written by \`bench/first_minutes.sh DATA_DIR\`; do not edit by hand.

By the README alone on a minimal Debian $codename without R, two cores. Rust is there already, and the crates' sources, which
cargo would fetch (some 15 MB). R's packages are Debian's. The cells are \`pbmc_kang_ctrl\`, 954 cells of eight donors.

| step | command | seconds | since the start |
|---|---|---:|---:|
HEAD
  printf '%s\n' "${rows[@]}"
} >bench/results/first-minutes.md
