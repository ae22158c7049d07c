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
  expect_identical(x$SCVAE_trained, rep(TRUE, 300))
  model <- scvaeModel(x)
  expect_identical(scScore(model), scScore(expected))
  expect_identical(result_of(model), result_of(expected))
  expect_identical(predict(model, x), predict(expected, sim$counts, batch = sim$batch))
})

test_that("an embedding in expression space has the attributes of principal components", {
  x <- do.call(runSCVAE, c(list(sce_small()), quick(seed = 1, n_repeats = 2)))
  model <- scvaeModel(x)
  embedding <- SingleCellExperiment::reducedDim(x, "SCVAE")
  expect_identical(embedding[, ], model$embedding)
  expect_identical(attr(embedding, "rotation"), model$components$loadings)
  expect_identical(attr(embedding, "varExplained"), model$components$sd^2)
  expect_equal(
    attr(embedding, "percentVar"), 100 * model$components$sd^2 / model$components$total_variance
  )
  expect_identical(x$SCVAE_stability, unname(model$stability))
  part <- x[, c(7, 3)]
  expect_identical(scvaeModel(part)$embedding, model$embedding[c(7, 3), ])
  expect_identical(scvaeModel(part)$stability, model$stability[c(7, 3)])
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
  expect_identical(nrow(scScore(scvaeModel(z))), 500L)

  few <- do.call(
    runSCVAE,
    c(list(whole, subset_row = 300:1), quick(seed = 1))
  )
  same <- do.call(runSCVAE, c(list(whole[1:300, ]), quick(seed = 1)))
  expect_identical(
    SingleCellExperiment::reducedDim(few),
    SingleCellExperiment::reducedDim(same)
  )
  expect_identical(nrow(scScore(scvaeModel(few))), 300L)
})

test_that("objects without names keep none", {
  x <- sce_small()
  dimnames(x) <- NULL
  y <- do.call(runSCVAE, c(list(x), quick(seed = 1)))
  expect_null(rownames(SingleCellExperiment::reducedDim(y)))
  expect_identical(nrow(scScore(scvaeModel(y))), 500L)
  # The cells are found by their place in the embedding.
  part <- scvaeModel(y[, c(9, 4)])
  expect_identical(part$latent, scvaeModel(y)$latent[c(9, 4), ])
})

test_that("a BiocParallelParam sets the threads, within the cores there are", {
  skip_if_not_installed("BiocParallel")
  withr::local_options(scVAE.threads = 2)
  x <- do.call(
    runSCVAE,
    c(list(sce_small(), BPPARAM = BiocParallel::SerialParam()), quick(seed = 1))
  )
  expect_identical(scvaeModel(x)$settings$threads, 1L)
  expect_error(
    runSCVAE(sce_small(), BPPARAM = BiocParallel::SerialParam(), threads = 2),
    class = "scvae_error_argument"
  )
  # R CMD check --as-cran would have BiocParallel refuse so many.
  withr::local_envvar(`_R_CHECK_LIMIT_CORES_` = NA)
  cluster <- BiocParallel::SnowParam(100)
  withr::local_envvar(OMP_THREAD_LIMIT = "1")
  expect_message(threads <- workers(cluster, NULL, TRUE, NULL), "100 workers.* 1 core ")
  expect_identical(threads, 1L)
  expect_silent(workers(cluster, NULL, FALSE, NULL))
  withr::local_envvar(OMP_THREAD_LIMIT = NA)
  expect_identical(workers(cluster, NULL, FALSE, NULL), min(100L, available_threads()))
  expect_silent(workers(BiocParallel::SerialParam(), NULL, TRUE, NULL))
})

run_sce_quick <- function(x, ...) do.call(runSCVAE, c(list(x), quick(...)))

test_that("filtered cells have a place and a mark", {
  x <- sce_small()
  counts <- SummarizedExperiment::assay(x, "counts")
  counts[, 3] <- 0
  SummarizedExperiment::assay(x, "counts") <- counts
  expect_warning(y <- run_sce_quick(x, seed = 1), class = "scvae_warning_filtered")
  expect_true(all(is.finite(SingleCellExperiment::reducedDim(y))))
  expect_identical(which(!y$SCVAE_trained), 3L)
  z <- suppressWarnings(run_sce_quick(x, seed = 1, filtered_cells = "NA"))
  expect_identical(unname(which(is.na(SingleCellExperiment::reducedDim(z)[, 1]))), 3L)
  expect_error(run_sce_quick(x, filtered_cells = "drop"), class = "scvae_error_argument")
})

test_that("after `[` the model is that of the cells that are left", {
  x <- run_sce_quick(sce_small(), batch = "donor", seed = 1)
  whole <- scvaeModel(x)
  cells <- c(20, 10, 200)
  model <- scvaeModel(x[, cells])
  expect_identical(model$cell_names, colnames(x)[cells])
  expect_identical(model$latent, whole$latent[cells, ])
  expect_identical(model$latent_sd, whole$latent_sd[cells, ])
  expect_identical(model$batch, whole$batch[cells])
  expect_identical(model$trained_cells, rep(TRUE, 3))
  expect_identical(scvaeModel(x), whole)
  # Without the embedding the names are enough.
  bare <- x
  SingleCellExperiment::reducedDims(bare) <- NULL
  expect_identical(scvaeModel(bare[, cells])$latent, whole$latent[cells, ])
})

test_that("objects with results of their own can be put together", {
  x <- sce_small()
  first <- run_sce_quick(x[, 1:150], seed = 1)
  second <- run_sce_quick(x[, 151:300], seed = 2)
  both <- SummarizedExperiment::cbind(first, second)
  expect_identical(dim(both), c(500L, 300L))
  error <- expect_error(scvaeModel(both), class = "scvae_error_model")
  expect_match(conditionMessage(error), "2 models", fixed = TRUE)
  # Each part is still told of by its own model.
  expect_identical(scvaeModel(both[, 1:150]), scvaeModel(first))
  expect_identical(scvaeModel(both[, 151:300])$latent, scvaeModel(second)$latent)
  # A new fit takes the place of both.
  again <- run_sce_quick(both, batch = "donor", seed = 1)
  expect_identical(
    scvaeModel(again)$latent,
    SingleCellExperiment::reducedDim(again, "SCVAE")
  )
})

test_that("an object that was cut and put together again has its model", {
  x <- run_sce_quick(sce_small(), batch = "donor", seed = 1)
  again <- SummarizedExperiment::cbind(x[, 101:300], x[, 1:100])
  expect_identical(scvaeModel(again)$latent, scvaeModel(x)$latent[c(101:300, 1:100), ])
})

test_that("results of two names are told apart", {
  x <- run_sce_quick(sce_small(), seed = 1)
  y <- run_sce_quick(x, seed = 2, name = "other")
  expect_identical(scvaeModel(y), scvaeModel(x))
  expect_identical(
    scvaeModel(y, "other")$embedding,
    SingleCellExperiment::reducedDim(y, "other"),
    ignore_attr = TRUE
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

test_that("scores are written to rowData where that is asked for", {
  skip_if_not_installed("SingleCellExperiment")
  sim <- sim_small()
  sce <- SingleCellExperiment::SingleCellExperiment(list(counts = sim$counts))
  run <- function(...) {
    runSCVAE(sce,
      min_genes = 10, max_epochs = 2, n_hidden = 16, seed = 1, threads = 1, verbose = FALSE, ...
    )
  }
  without <- run()
  expect_null(SummarizedExperiment::rowData(without)$scScore)
  with <- run(gene_scores = TRUE)
  expect_identical(
    SummarizedExperiment::rowData(with)$scScore,
    scScore(without, verbose = FALSE)[rownames(sce), "scscore"]
  )
  expect_error(run(gene_scores = 1), class = "scvae_error_argument")
})
