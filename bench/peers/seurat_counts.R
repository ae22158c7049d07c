# Reading and writing shared by the Seurat runs: counts and batches of an h5ad file whose X is
# a CSR matrix, the filter that all methods share, and the embedding as score_embedding.py
# takes it. Needs Matrix and hdf5r.

open_h5ad <- function(path) {
  f <- hdf5r::H5File$new(path, mode = "r")
  if (!identical(hdf5r::h5attr(f[["X"]], "encoding-type"), "csr_matrix")) {
    stop("X of ", path, " is not a CSR matrix")
  }
  f
}

# Raw counts, genes x cells.
read_counts <- function(path) {
  f <- open_h5ad(path)
  on.exit(f$close_all())
  names_of <- function(group) {
    f[[group]][[hdf5r::h5attr(f[[group]], "_index")]][]
  }
  # the rows of a CSR matrix are the columns of its transpose's CSC form
  cells <- names_of("obs")
  genes <- make.unique(names_of("var"))
  # @i of a dgCMatrix must rise within a column; sparseMatrix() sorts it
  indptr <- as.integer(f[["X/indptr"]][])
  Matrix::sparseMatrix(
    i = as.integer(f[["X/indices"]][]) + 1L,
    p = indptr,
    x = as.numeric(f[["X/data"]][]),
    dims = c(length(genes), length(cells)),
    dimnames = list(genes, cells)
  )
}

# A categorical column of obs, named by cell.
read_category <- function(path, column) {
  f <- open_h5ad(path)
  on.exit(f$close_all())
  group <- f[["obs"]][[column]]
  values <- group[["categories"]][][group[["codes"]][] + 1L]
  names(values) <- f[["obs"]][[hdf5r::h5attr(f[["obs"]], "_index")]][]
  values
}

# Genes in fewer than 3 cells go first, then cells with fewer than 200 genes.
# CreateSeuratObject would drop the cells first, so it is done here by hand.
shared_filter <- function(counts) {
  counts <- counts[Matrix::rowSums(counts > 0) >= 3, ]
  counts <- counts[, Matrix::colSums(counts > 0) >= 200]
  message(nrow(counts), " genes, ", ncol(counts), " cells")
  counts
}

# First column the cell name, one row per cell of the file, NA for a cell that the filter drops.
write_embedding <- function(embedding, all_cells, path) {
  full <- matrix(
    NA_real_, length(all_cells), ncol(embedding),
    dimnames = list(all_cells, colnames(embedding))
  )
  full[rownames(embedding), ] <- embedding
  write.csv(full, path)
}
