# The README's picture: maps of the same cells from this package's embedding and from principal components.
#
#   Rscript bench/picture.R SET.h5ad OUT.png [SEED]
#
# Needs uwot and ggplot2, and Debian's r-bioc-rhdf5 and r-cran-seurat.

suppressPackageStartupMessages({
  library(scVAE)
  library(Seurat)
})
given <- commandArgs(trailingOnly = TRUE)
if (length(given) < 2) stop("usage: picture.R SET.h5ad OUT.png [SEED]")
seed <- if (length(given) > 2) as.integer(given[3]) else 1L

counts <- function(file) {
  x <- rhdf5::h5read(file, "X")
  cells <- rhdf5::h5read(file, "obs/_index")
  genes <- rhdf5::h5read(file, "var/_index")
  Matrix::sparseMatrix(
    i = as.integer(x$indices) + 1L, p = as.integer(x$indptr), x = as.numeric(x$data),
    dims = c(length(genes), length(cells)), dimnames = list(genes, cells)
  )
}
labels <- function(file) {
  column <- rhdf5::h5read(file, "obs/cell_type")
  as.character(column$categories)[as.integer(column$codes) + 1L]
}
x <- counts(given[1])
model <- fitSCVAE(x, seed = seed, threads = 2, verbose = FALSE)
object <- suppressWarnings(CreateSeuratObject(x))
object <- NormalizeData(object, verbose = FALSE)
object <- FindVariableFeatures(object, verbose = FALSE)
object <- RunPCA(ScaleData(object, verbose = FALSE), npcs = 50, verbose = FALSE)

map <- function(embedding, title) {
  set.seed(1)
  places <- uwot::umap(embedding, n_neighbors = 30, min_dist = 0.3, n_threads = 1)
  data.frame(x = places[, 1], y = places[, 2], type = labels(given[1]), method = title)
}
shown <- rbind(
  map(model$embedding, sprintf("scVAE, all genes (%d components)", ncol(model$embedding))),
  map(Embeddings(object, "pca"), "PCA, 2,000 variable genes (50 components)")
)
shown$method <- factor(shown$method, levels = unique(shown$method))
picture <- ggplot2::ggplot(shown, ggplot2::aes(x, y, colour = type)) +
  ggplot2::geom_point(size = 0.6, alpha = 0.8) +
  ggplot2::facet_wrap("method", scales = "free") +
  ggplot2::scale_colour_viridis_d(option = "turbo", name = NULL) +
  ggplot2::guides(colour = ggplot2::guide_legend(override.aes = list(size = 3, alpha = 1))) +
  ggplot2::labs(x = "UMAP 1", y = "UMAP 2") +
  ggplot2::theme_minimal(base_size = 11) +
  ggplot2::theme(panel.grid.minor = ggplot2::element_blank(), axis.text = ggplot2::element_blank())
ggplot2::ggsave(given[2], picture, width = 9, height = 4, dpi = 130, bg = "white")
