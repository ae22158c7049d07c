# Seurat's own linear embedding: NormalizeData, FindVariableFeatures (vst, 2,000
# genes), ScaleData, RunPCA, every other argument at its default.
#
#   Rscript run_seurat_pca.R IN.h5ad OUT_PREFIX
#
# writes OUT_PREFIX.pca10.csv and OUT_PREFIX.pca50.csv (first column the cell
# name, one row per cell of the file, NA for a cell that the filter drops) for
# score_embedding.py, and OUT_PREFIX.json with the time taken.
#
# The filter is the one that all methods share: genes in fewer than 3 cells go
# first, then cells with fewer than 200 genes. CreateSeuratObject would drop the
# cells first, so it is done here by hand.
#
# Needs Seurat, Matrix and hdf5r.

suppressPackageStartupMessages({
  library(Matrix)
  library(Seurat)
})

# Raw counts (genes x cells) of an h5ad file whose X is a CSR matrix.
read_counts <- function(path) {
  f <- hdf5r::H5File$new(path, mode = "r")
  on.exit(f$close_all())
  if (!identical(hdf5r::h5attr(f[["X"]], "encoding-type"), "csr_matrix")) {
    stop("X of ", path, " is not a CSR matrix")
  }
  names_of <- function(group) {
    f[[group]][[hdf5r::h5attr(f[[group]], "_index")]][]
  }
  # the rows of a CSR matrix are the columns of its transpose's CSC form
  cells <- names_of("obs")
  genes <- make.unique(names_of("var"))
  # @i of a dgCMatrix must rise within a column; sparseMatrix() sorts it
  indptr <- as.integer(f[["X/indptr"]][])
  sparseMatrix(
    i = as.integer(f[["X/indices"]][]) + 1L,
    p = indptr,
    x = as.numeric(f[["X/data"]][]),
    dims = c(length(genes), length(cells)),
    dimnames = list(genes, cells)
  )
}

args <- commandArgs(trailingOnly = TRUE)
if (length(args) != 2L) {
  stop("usage: Rscript run_seurat_pca.R IN.h5ad OUT_PREFIX")
}
counts <- read_counts(args[1])
all_cells <- colnames(counts)
counts <- counts[rowSums(counts > 0) >= 3, ]
counts <- counts[, colSums(counts > 0) >= 200]
message(nrow(counts), " genes, ", ncol(counts), " cells")

started <- proc.time()[["elapsed"]]
obj <- CreateSeuratObject(counts)
obj <- NormalizeData(obj, verbose = FALSE)
obj <- FindVariableFeatures(obj, nfeatures = 2000, verbose = FALSE)
obj <- ScaleData(obj, verbose = FALSE)
obj <- RunPCA(obj, npcs = 50, verbose = FALSE)
seconds <- proc.time()[["elapsed"]] - started

pca <- Embeddings(obj, "pca")
full <- matrix(
  NA_real_, length(all_cells), ncol(pca),
  dimnames = list(all_cells, colnames(pca))
)
full[rownames(pca), ] <- pca
for (d in c(10L, 50L)) {
  write.csv(full[, seq_len(d)], sprintf("%s.pca%d.csv", args[2], d))
}
cat(
  sprintf(
    '{"genes_used": %d, "wall_s": %.2f, "versions": {"R": "%s", "Seurat": "%s"}}\n',
    length(VariableFeatures(obj)), seconds, getRversion(),
    packageVersion("Seurat")
  ),
  file = paste0(args[2], ".json")
)
