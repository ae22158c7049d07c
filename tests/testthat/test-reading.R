# A dense matrix of which nothing was written takes no room, but long to read: tens of seconds.
slow_file <- function(path) {
  rhdf5::h5createFile(path)
  for (table in c("obs", "var")) rhdf5::h5createGroup(path, table)
  n <- c(obs = 200000, var = 20000)
  for (table in names(n)) {
    rhdf5::h5write(paste0(table, seq_len(n[[table]])), path, paste0(table, "/_index"))
  }
  rhdf5::h5createDataset(
    path, "X", rev(unname(n)), chunk = c(20000, 10), storage.mode = "double"
  )
  rhdf5::h5closeAll()
}

test_that("Ctrl-C ends the reading of a file, and R goes on", {
  skip_on_cran()
  skip_on_os("windows")
  skip_if_not_installed("callr")
  skip_if_not_installed("rhdf5")
  path <- test_data("pbmc_kang_ctrl.h5ad")
  slow <- withr::local_tempfile(fileext = ".h5ad")
  slow_file(slow)
  started <- withr::local_tempfile()
  process <- callr::r_bg(
    function(slow, path, started) {
      read <- function(path) scVAE:::rust_call(scVAE:::rs_read_counts(path, NULL, NULL, FALSE))
      file.create(started)
      ended <- tryCatch(
        {
          read(slow)
          "read to its end"
        },
        interrupt = function(e) Sys.time()
      )
      list(ended = ended, n_cells = read(path)$n_cells)
    },
    list(slow = slow, path = path, started = started)
  )
  withr::defer(process$kill())
  deadline <- Sys.time() + 30
  while (!file.exists(started) && Sys.time() < deadline) Sys.sleep(0.1)
  Sys.sleep(2)
  pressed <- Sys.time()
  process$interrupt()
  process$wait(60000)
  result <- process$get_result()
  expect_s3_class(result$ended, "POSIXct")
  expect_lt(as.numeric(result$ended) - as.numeric(pressed), 0.5)
  expect_gt(result$n_cells, 0)
})

read_quietly <- function(...) readCounts(..., verbose = FALSE)

said <- function(expr) {
  messages <- character()
  withCallingHandlers(expr, message = function(m) {
    messages <<- c(messages, cli::ansi_strip(conditionMessage(m)))
    invokeRestart("muffleMessage")
  })
  gsub("\\s+", " ", paste(messages, collapse = " "))
}

test_that("a folder of 10x Genomics is read in both versions", {
  counts <- small_counts()
  for (version in 2:3) {
    folder <- write_mex(counts, withr::local_tempfile(), version)
    expect_identical(read_quietly(folder, "dgCMatrix"), counts)
  }
  expect_match(said(readCounts(folder, "dgCMatrix")), "Read 40 cells and 60 genes from")
  expect_silent(read_quietly(folder, "dgCMatrix"))
})

test_that("files of every kind give the same fit as their matrix", {
  skip_if_not_installed("rhdf5")
  sim <- sim_small()
  expected <- result_of(quick_fit(sim$counts, seed = 1))
  folder <- write_mex(sim$counts, withr::local_tempfile())
  expect_identical(result_of(quick_fit(folder, seed = 1)), expected)
  h5 <- write_10x(sim$counts, withr::local_tempfile(fileext = ".h5"))
  expect_identical(read_quietly(h5, "dgCMatrix"), sim$counts)
  expect_identical(result_of(quick_fit(h5, seed = 1)), expected)
  h5ad <- write_h5ad(sim$counts, withr::local_tempfile(fileext = ".h5ad"))
  expect_identical(result_of(quick_fit(h5ad, seed = 1)), expected)
  loom <- write_loom(
    sim$counts, withr::local_tempfile(fileext = ".loom"),
    cells = list(donor = as.character(sim$batch))
  )
  expect_identical(result_of(quick_fit(loom, seed = 1)), expected)
  from_file <- quick_fit(loom, batch = "donor", seed = 1)
  from_matrix <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  expect_identical(result_of(from_file), result_of(from_matrix))
  expect_identical(from_file$batch_column, "donor")
})

test_that("features of other types are left out, and it is said", {
  counts <- small_counts()
  types <- rep(c("Gene Expression", "Antibody Capture", "CRISPR Guide Capture"), c(50, 7, 3))
  folder <- write_mex(counts, withr::local_tempfile(), types = types)
  text <- said(genes <- readCounts(folder, "dgCMatrix"))
  expect_identical(genes, counts[1:50, ])
  expect_match(text, "left out: 7 \"Antibody Capture\", 3 \"CRISPR Guide Capture\".", fixed = TRUE)
  expect_identical(read_quietly(folder, "dgCMatrix", feature_types = "all"), counts)
  antibodies <- read_quietly(folder, "dgCMatrix", feature_types = "Antibody Capture")
  expect_identical(antibodies, counts[51:57, ])
  expect_match(
    said(suppressWarnings(quick_fit(folder, min_genes = 5, verbose = TRUE, max_epochs = 1))),
    "7 \"Antibody Capture\"",
    fixed = TRUE
  )
  error <- expect_error(
    read_quietly(folder, "dgCMatrix", feature_types = "Antibodies"),
    class = "scvae_error_argument"
  )
  expect_match(conditionMessage(error), "CRISPR Guide Capture")
  for (wrong in list(1, NA_character_, c("all", "Peaks"), character())) {
    expect_error(
      read_quietly(folder, "dgCMatrix", feature_types = wrong),
      "feature_types",
      class = "scvae_error_argument"
    )
  }
  skip_if_not_installed("SingleCellExperiment")
  sce <- read_quietly(folder, feature_types = "all")
  row_data <- SummarizedExperiment::rowData(sce)
  expect_identical(row_data$feature_types, types)
  expect_identical(row_data$gene_ids[1], "ENSG00001")
})

test_that("counts are found by their values", {
  skip_if_not_installed("rhdf5")
  counts <- small_counts()
  logged <- counts
  logged@x <- log1p(logged@x)
  path <- write_h5ad(
    logged, withr::local_tempfile(fileext = ".h5ad"),
    layers = list(counts = counts, scaled = logged)
  )
  text <- said(found <- readCounts(path, "dgCMatrix"))
  expect_identical(found, counts)
  expect_match(text, "those of \"counts\": X holds 0.69", fixed = TRUE)
  expect_error(read_quietly(path, "dgCMatrix", layer = "X"), class = "scvae_error_counts")
  expect_error(read_quietly(path, "dgCMatrix", layer = "x"), class = "scvae_error_file")
  fit <- function(x, ...) {
    quick_fit(x, ..., min_genes = 5, min_cells = 1, max_epochs = 1, seed = 1)
  }
  expect_identical(result_of(fit(path)), result_of(fit(counts)))
  expect_match(said(fit(path, verbose = TRUE)), "those of \"counts\"", fixed = TRUE)
  none <- write_h5ad(logged, withr::local_tempfile(), layers = list(scaled = logged))
  error <- expect_error(read_quietly(none, "dgCMatrix"), class = "scvae_error_counts")
  expect_match(conditionMessage(error), "X holds 0.69.*scaled holds 0.69")
})

annotated_file <- function() {
  counts <- small_counts()
  n <- ncol(counts)
  obs <- list(
    donor = rep(c("a", "b"), length.out = n), age = seq_len(n) / 7, n = seq_len(n)
  )
  var <- list(mean = exp(seq_len(nrow(counts))), start = seq_len(nrow(counts)))
  path <- write_h5ad(counts, tempfile(fileext = ".h5ad"), obs, var)
  list(path = path, counts = counts, obs = obs, var = var)
}

test_that("a SingleCellExperiment has the annotation", {
  skip_if_not_installed("rhdf5")
  skip_if_not_installed("SingleCellExperiment")
  file <- annotated_file()
  withr::defer(unlink(file$path))
  sce <- read_quietly(file$path)
  expect_s4_class(sce, "SingleCellExperiment")
  expect_identical(SummarizedExperiment::assay(sce, "counts"), file$counts)
  expect_equal(as.list(SummarizedExperiment::colData(sce)), file$obs)
  expect_equal(as.list(SummarizedExperiment::rowData(sce)), file$var)
  expect_identical(rownames(SummarizedExperiment::colData(sce)), colnames(file$counts))
})

test_that("a Seurat object has the annotation", {
  skip_if_not_installed("rhdf5")
  skip_if_not_installed("SeuratObject")
  file <- annotated_file()
  withr::defer(unlink(file$path))
  object <- suppressWarnings(read_quietly(file$path, as = "Seurat"))
  expect_s4_class(object, "Seurat")
  # Seurat changes underscores to dashes.
  expect_identical(unname(as.matrix(as_counts(object)$data)), unname(as.matrix(file$counts)))
  for (name in names(file$obs)) {
    expect_equal(unname(object[[name]][[1]]), file$obs[[name]])
  }
  for (name in names(file$var)) {
    expect_equal(unname(object[["RNA"]][[name]][[1]]), file$var[[name]])
  }
})

test_that("a Seurat object is made of files that know nothing of cells", {
  skip_if_not_installed("SeuratObject")
  counts <- small_counts()
  folder <- write_mex(counts, withr::local_tempfile())
  object <- suppressWarnings(read_quietly(folder, as = "Seurat"))
  expect_identical(unname(as.matrix(as_counts(object)$data)), unname(as.matrix(counts)))
  expect_identical(colnames(object), colnames(counts))
})

test_that("names that occur twice are made unique, and it is said", {
  skip_if_not_installed("rhdf5")
  counts <- small_counts()
  colnames(counts)[2] <- colnames(counts)[1]
  path <- write_h5ad(counts, withr::local_tempfile(fileext = ".h5ad"))
  text <- said(read <- readCounts(path, "dgCMatrix"))
  expect_match(text, "Names of cells were made unique")
  expect_identical(colnames(read), make.unique(colnames(counts)))
  text <- said(model <- quick_fit(path, min_genes = 5, verbose = TRUE, max_epochs = 1))
  expect_match(text, "Names of cells were made unique")
  expect_identical(model$cell_names, colnames(read))
})

test_that("what cannot be read is refused before anything is done", {
  file <- withr::local_tempfile(lines = "text")
  expect_error(read_quietly("no_such_file.h5", "dgCMatrix"), class = "scvae_error_file")
  expect_error(read_quietly(file, "dgCMatrix"), "not an HDF5 file", class = "scvae_error_file")
  folder <- withr::local_tempdir()
  expect_error(
    read_quietly(folder, "dgCMatrix"), "without matrix.mtx",
    class = "scvae_error_file"
  )
  expect_error(fitSCVAE(folder), "without matrix.mtx", class = "scvae_error_file")
  expect_error(read_quietly(1, "dgCMatrix"), "path", class = "scvae_error_argument")
  expect_error(read_quietly(file, "AnnData"), "as", class = "scvae_error_argument")
  expect_error(readCounts(file, "dgCMatrix", verbose = 2), class = "scvae_error_argument")
  expect_error(read_quietly(file, "dgCMatrix", layer = 1), class = "scvae_error_argument")
  folder <- write_mex(small_counts(), withr::local_tempfile(), version = 2)
  matrix <- file.path(folder, "matrix.mtx")
  lines <- readLines(matrix)
  writeLines(utils::head(lines, -5), matrix)
  expect_error(read_quietly(folder, "dgCMatrix"), "cut short", class = "scvae_error_file")
  writeLines(sub("^(\\d+ \\d+) \\d+$", "\\1 0.5", lines), matrix)
  expect_error(read_quietly(folder, "dgCMatrix"), class = "scvae_error")
  expect_error(
    read_quietly(folder, "dgCMatrix", layer = "counts"), "without layers",
    class = "scvae_error_argument"
  )
})
