skip_if_not_installed("SingleCellExperiment")
suppressPackageStartupMessages(requireNamespace("SingleCellExperiment"))

sce_small <- function() {
  sim <- sim_small()
  SingleCellExperiment::SingleCellExperiment(
    list(counts = sim$counts),
    colData = data.frame(donor = sim$batch, row.names = colnames(sim$counts))
  )
}

se_small <- function() {
  sim <- sim_small()
  SummarizedExperiment::SummarizedExperiment(
    list(counts = sim$counts),
    colData = data.frame(donor = sim$batch, row.names = colnames(sim$counts))
  )
}

test_that("runSCVAE() stores embedding, scores and model", {
  sim <- sim_small()
  expected <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  x <- do.call(runSCVAE, c(list(sce_small(), batch = "donor"), quick(seed = 1)))
  expect_identical(SingleCellExperiment::reducedDim(x, "SCVAE"), expected$latent)
  expect_identical(
    SummarizedExperiment::rowData(x)$scScore,
    expected$genes$scscore
  )
  model <- scvaeModel(x)
  expect_identical(result_of(model), result_of(expected))
  expect_identical(predict(model, x), predict(expected, sim$counts, batch = sim$batch))
})

test_that("calculateSCVAE() gives the matrix by every route", {
  sim <- sim_small()
  run <- function(x, batch) {
    do.call(calculateSCVAE, c(list(x, batch = batch), quick(seed = 1)))
  }
  from_matrix <- run(sim$counts, sim$batch)
  expect_s3_class(attr(from_matrix, "model"), "SCVAE")
  expect_identical(dim(from_matrix), c(300L, 4L))
  for (x in list(sce_small(), se_small())) {
    from_object <- run(x, "donor")
    expect_identical(
      result_of(attr(from_object, "model")),
      result_of(attr(from_matrix, "model"))
    )
  }
})

test_that("set.seed() is honoured", {
  run <- function() {
    result_of(attr(do.call(calculateSCVAE, c(list(sce_small()), quick())), "model"))
  }
  set.seed(1)
  first <- run()
  set.seed(1)
  expect_identical(run(), first)
})

test_that("assays, alternative experiments and rows can be chosen", {
  x <- sce_small()
  SummarizedExperiment::assay(x, "raw") <- SummarizedExperiment::assay(x, "counts")
  SummarizedExperiment::assay(x, "counts") <- NULL
  expect_error(
    do.call(runSCVAE, c(list(x), quick(seed = 1))),
    class = "scvae_error_argument"
  )
  y <- do.call(runSCVAE, c(list(x, assay.type = "raw", name = "other"), quick(seed = 1)))
  expect_identical(SingleCellExperiment::reducedDimNames(y), "other")
  expect_s3_class(scvaeModel(y, "other"), "SCVAE")

  whole <- sce_small()
  part <- whole[1:300, ]
  SingleCellExperiment::altExp(part, "more") <- whole
  z <- do.call(runSCVAE, c(list(part, altexp = "more", batch = "donor"), quick(seed = 1)))
  expected <- do.call(runSCVAE, c(list(whole, batch = "donor"), quick(seed = 1)))
  expect_identical(
    SingleCellExperiment::reducedDim(z, "SCVAE"),
    SingleCellExperiment::reducedDim(expected, "SCVAE")
  )
  expect_null(SummarizedExperiment::rowData(z)$scScore)
  expect_length(SummarizedExperiment::rowData(SingleCellExperiment::altExp(z))$scScore, 500)

  few <- do.call(
    runSCVAE,
    c(list(whole, subset_row = 300:1), quick(seed = 1))
  )
  same <- do.call(runSCVAE, c(list(whole[1:300, ]), quick(seed = 1)))
  expect_identical(
    SingleCellExperiment::reducedDim(few),
    SingleCellExperiment::reducedDim(same)
  )
  expect_true(all(is.na(SummarizedExperiment::rowData(few)$scScore[301:500])))
})

test_that("objects without names keep none", {
  x <- sce_small()
  dimnames(x) <- NULL
  y <- do.call(runSCVAE, c(list(x), quick(seed = 1)))
  expect_null(rownames(SingleCellExperiment::reducedDim(y)))
  expect_length(SummarizedExperiment::rowData(y)$scScore, 500)
})

test_that("a BiocParallelParam sets the threads", {
  skip_if_not_installed("BiocParallel")
  x <- do.call(
    runSCVAE,
    c(list(sce_small(), BPPARAM = BiocParallel::SerialParam()), quick(seed = 1))
  )
  expect_identical(scvaeModel(x)$settings$threads, 1L)
  expect_error(
    runSCVAE(sce_small(), BPPARAM = BiocParallel::SerialParam(), threads = 2),
    class = "scvae_error_argument"
  )
})

test_that("mistakes are named", {
  x <- sce_small()
  expect_error(runSCVAE(x, batch = "donr"), "donor", class = "scvae_error_argument")
  expect_error(runSCVAE(x, altexp = "ADT"), class = "scvae_error_argument")
  expect_error(runSCVAE(x, max_epoch = 3), "max_epochs", class = "scvae_error_argument")
  expect_error(runSCVAE(sim_small()$counts), class = "scvae_error_argument")
  expect_error(
    runSCVAE(se_small()),
    class = "scvae_error_argument"
  )
  expect_error(scvaeModel(x), class = "scvae_error_argument")
})
