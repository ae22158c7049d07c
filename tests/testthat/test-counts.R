# The same counts give the same result by every route.

test_that("matrices of all classes give the same result", {
  sim <- sim_small()
  x <- sim$counts
  expected <- result_of(quick_fit(x, seed = 1))
  dense <- as.matrix(x)
  integers <- dense
  storage.mode(integers) <- "integer"
  routes <- list(
    dense, integers,
    as(x, "TsparseMatrix"), as(x, "RsparseMatrix"), Matrix::Matrix(dense, sparse = FALSE)
  )
  for (route in routes) {
    expect_identical(result_of(quick_fit(route, seed = 1)), expected)
  }
  expect_identical(result_of(quick_fit(Matrix::t(x), transposed = TRUE, seed = 1)), expected)
  expect_identical(result_of(quick_fit(t(dense), transposed = TRUE, seed = 1)), expected)
})

test_that("stored zeros change nothing", {
  x <- sim_small()$counts
  expected <- result_of(quick_fit(x, seed = 1))
  zeros <- as(x, "TsparseMatrix")
  absent <- which(as.matrix(x[1:20, 1:20]) == 0, arr.ind = TRUE)
  zeros@i <- c(zeros@i, unname(absent[, 1]) - 1L)
  zeros@j <- c(zeros@j, unname(absent[, 2]) - 1L)
  zeros@x <- c(zeros@x, rep(0, nrow(absent)))
  zeros <- as(zeros, "CsparseMatrix")
  expect_gt(length(zeros@x), length(x@x))
  expect_identical(result_of(quick_fit(zeros, seed = 1)), expected)
})

test_that("a dgCMatrix is passed on without a copy", {
  x <- sim_small()$counts
  # Values and indices lie where they lay.
  address <- function(m) vapply(list(m@x, m@i, m@p), rlang::obj_address, "")
  expect_identical(address(as_counts(x)$data), address(x))
  expect_false(identical(address(as_counts(x * 1)$data), address(x)))
})

test_that("a DelayedMatrix gives the same result", {
  skip_if_not_installed("DelayedArray")
  x <- sim_small()$counts
  expected <- result_of(quick_fit(x, seed = 1))
  expect_identical(
    result_of(quick_fit(DelayedArray::DelayedArray(x), seed = 1)),
    expected
  )
  expect_identical(
    result_of(quick_fit(DelayedArray::DelayedArray(as.matrix(x)), seed = 1)),
    expected
  )
})

test_that("an h5ad file gives the same result as its matrix", {
  skip_if_not_installed("HDF5Array")
  path <- test_data("pbmc_kang_ctrl.h5ad")
  x <- real_data("pbmc_kang_ctrl.h5ad")$counts
  # H5SparseMatrix() of the file itself can be called once a session in HDF5Array 1.26.
  delayed <- HDF5Array::writeHDF5Array(x, chunkdim = c(nrow(x), 50), as.sparse = TRUE)
  dimnames(delayed) <- dimnames(x)
  args <- quick(max_epochs = 1, min_genes = 200, seed = 1)
  batch <- rs_read_obs(path, "batch")
  from_file <- suppressWarnings(do.call(fitSCVAE, c(list(path, batch = "batch"), args)))
  from_matrix <- suppressWarnings(do.call(fitSCVAE, c(list(x, batch = batch), args)))
  expect_identical(result_of(from_file), result_of(from_matrix))
  expect_identical(levels(from_file$batch), sort(unique(batch)))
  from_delayed <- suppressWarnings(do.call(fitSCVAE, c(list(delayed, batch = batch), args)))
  expect_identical(result_of(from_delayed), result_of(from_matrix))
  expect_identical(
    predict(from_file, path, cells = 1:5),
    predict(from_matrix, x, batch = batch, cells = 1:5)
  )
})

test_that("columns and layers of an h5ad file are looked up", {
  path <- test_data("pbmc_kang_ctrl.h5ad")
  error <- expect_error(fitSCVAE(path, batch = "batsch"), class = "scvae_error_argument")
  expect_match(conditionMessage(error), "cell_type")
  expect_error(fitSCVAE(path, layer = "no_layer"), class = "scvae_error")
  expect_error(fitSCVAE(path, assay = "RNA"), class = "scvae_error_argument")
})

test_that("a file that is no h5ad is refused", {
  path <- withr::local_tempfile(fileext = ".h5ad", lines = "text")
  expect_error(fitSCVAE(path), class = "scvae_error_file")
})

test_that("missing names are made", {
  x <- unname(as.matrix(sim_small()$counts))
  model <- quick_fit(x)
  expect_identical(rownames(model$latent)[1:2], c("cell1", "cell2"))
  expect_identical(model$genes$gene[1:2], c("gene1", "gene2"))
})

test_that("the order of batches does not depend on levels or names", {
  sim <- sim_small()
  expected <- quick_fit(sim$counts, batch = as.character(sim$batch), seed = 1)
  reversed <- factor(sim$batch, levels = rev(levels(sim$batch)))
  expect_identical(
    result_of(quick_fit(sim$counts, batch = reversed, seed = 1)),
    result_of(expected)
  )
  expect_identical(
    result_of(quick_fit(sim$counts, batch = rev(sim$batch), seed = 1)),
    result_of(expected)
  )
  expect_identical(expected$batch_names, c("batch_1", "batch_2"))
})

test_that("one batch is no batch", {
  x <- sim_small()$counts
  expect_identical(
    result_of(quick_fit(x, batch = rep("a", 300), seed = 1)),
    result_of(quick_fit(x, seed = 1))
  )
})
