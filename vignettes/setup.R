# What the articles begin with.
knitr::opts_chunk$set(
  collapse = TRUE, comment = "#>", fig.width = 6.5, fig.height = 4, dpi = 80, message = FALSE
)
options(scVAE.threads = 2)

has <- function(...) all(vapply(c(...), requireNamespace, logical(1), quietly = TRUE))

# A published set with the columns cell_type and batch, if the variable SCVAE_TEST_DATA names the
# folder where it lies, else simulated cells with the same columns.
example_cells <- function(set) {
  path <- file.path(Sys.getenv("SCVAE_TEST_DATA"), paste0(set, ".h5ad"))
  if (nzchar(Sys.getenv("SCVAE_TEST_DATA")) && file.exists(path)) {
    return(scVAE::readCounts(path, verbose = FALSE))
  }
  sim <- scVAE::simulateCounts(
    n_cells = 300, n_genes = 1000, n_types = 3, n_batches = 3, library_size = 1000, seed = 1
  )
  SingleCellExperiment::SingleCellExperiment(
    list(counts = sim$counts),
    colData = S4Vectors::DataFrame(cell_type = sim$cell_type, batch = sim$batch),
    rowData = S4Vectors::DataFrame(marker = rownames(sim$counts) %in% sim$markers$gene)
  )
}

# Said where the cells are first used.
which_cells <- function(set, published) {
  path <- file.path(Sys.getenv("SCVAE_TEST_DATA"), paste0(set, ".h5ad"))
  if (file.exists(path)) {
    published
  } else {
    "This page was made without them, from simulated cells, so its pictures show the simulation."
  }
}
