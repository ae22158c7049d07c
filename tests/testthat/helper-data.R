# Small data and quick fits for all tests.

options(scVAE.threads = 1)

sim_small <- function() {
  simulateCounts(
    n_cells = 300, n_genes = 500, n_types = 3, n_batches = 2, n_markers = 15,
    library_size = 300, seed = 7
  )
}

# Arguments of a quick fit.
quick <- function(...) {
  utils::modifyList(
    list(min_genes = 20, n_hidden = 16, n_latent = 4, max_epochs = 2, verbose = FALSE),
    list(...)
  )
}

quick_fit <- function(x, ...) do.call(fitSCVAE, c(list(x), quick(...)))

# What calls that should give the same result must agree in. The model's bytes hold the times of
# the epochs and cannot be compared; history, latents and connections follow from all weights.
result_of <- function(model) {
  model$history$seconds <- NULL
  model[c("latent", "latent_sd", "genes", "connections", "history", "n_parameters")]
}

# The folder with real data. Elsewhere than in CI its absence skips the test.
test_data <- function(file) {
  folder <- Sys.getenv("SCVAE_TEST_DATA", file.path("..", "..", "..", "shared", "data"))
  path <- file.path(folder, file)
  if (!file.exists(path)) {
    if (identical(Sys.getenv("CI"), "true")) {
      stop("The test data ", file, " are missing; set SCVAE_TEST_DATA.")
    }
    skip(paste("no test data", file))
  }
  normalizePath(path)
}

# Class and text of the error that `expr` gives.
error_text <- function(expr) {
  error <- tryCatch(
    {
      force(expr)
      NULL
    },
    error = identity
  )
  if (is.null(error)) {
    return("no error")
  }
  class <- grep("^scvae_error_", class(error), value = TRUE)
  paste0(class, "\n", cli::ansi_strip(conditionMessage(error)), "\n")
}

# The state of R's random numbers.
random_state <- function() get0(".Random.seed", envir = globalenv(), inherits = FALSE)

# For the rest of the calling test one of the package's functions is another.
replace_in_package <- function(name, value, envir = parent.frame()) {
  namespace <- asNamespace("scVAE")
  put <- function(value) {
    unlock <- get("unlockBinding", baseenv())
    unlock(name, namespace)
    assign(name, value, namespace)
    lockBinding(name, namespace)
  }
  original <- get(name, namespace)
  put(value)
  withr::defer(put(original), envir)
}

# Counts of the real data as a dgCMatrix, genes x cells, and what is known of the cells; read by
# another package, as Rust keeps what it reads.
real_data <- function(file) {
  path <- test_data(file)
  skip_if_not_installed("hdf5r")
  h5 <- getExportedValue("hdf5r", "H5File")$new(path, "r")
  on.exit(h5$close_all())
  known <- as_counts(path)
  # The rows of a CSR matrix are the columns of its transpose.
  counts <- Matrix::sparseMatrix(
    i = as.integer(h5[["X/indices"]][]) + 1L,
    p = as.integer(h5[["X/indptr"]][]),
    x = as.numeric(h5[["X/data"]][]),
    dims = c(known$n_genes, known$n_cells),
    dimnames = list(known$gene_names, known$cell_names)
  )
  cells <- data.frame(
    batch = known$column("batch"), cell_type = known$column("cell_type"),
    row.names = known$cell_names
  )
  list(counts = counts, cells = cells)
}
