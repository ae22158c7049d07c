# batchelor::batchCorrect(PARAM = SCVAEParam()). Without batchelor its generic is a stand-in's, see
# helper-batchelor.R.

test_that("without batchelor SCVAEParam() says that it is needed", {
  skip_if(isNamespaceLoaded("batchelor") || rlang::is_installed("batchelor"))
  error <- expect_error(SCVAEParam(), class = "scvae_error_package")
  expect_match(conditionMessage(error), "batchelor.*BiocManager::install")
})

test_that("the class and the method come with batchelor", {
  # A package that is loaded after scVAE; the next tests would also pass with one loaded before.
  load_batchelor()
  expect_true(methods::is(SCVAEParam(), "BatchelorParam"))
  expect_true(methods::existsMethod(batchelor::batchCorrect, "SCVAEParam"))
})

sce_of <- function(counts, ...) {
  SingleCellExperiment::SingleCellExperiment(list(counts = counts), ...)
}

# The cells of sim_small() by batch, and all of them in that order.
by_batch <- function() {
  sim <- sim_small()
  cells <- split(seq_along(sim$batch), sim$batch)
  list(
    parts = lapply(cells, function(i) sim$counts[, i]),
    counts = sim$counts[, unlist(cells)],
    batch = as.character(sim$batch[unlist(cells)])
  )
}

quick_param <- function(...) do.call(SCVAEParam, quick(seed = 1, ...))

correct <- function(..., PARAM = quick_param()) batchelor::batchCorrect(..., PARAM = PARAM)

assay_of <- function(x) SummarizedExperiment::assay(x, 1)

test_that("a parameter object is a list of settings that are checked", {
  load_batchelor()
  param <- SCVAEParam(n_latent = 5, connections = connectionControl(alpha_init = 0.3))
  expect_identical(param$n_latent, 5)
  param$n_latent <- 7
  expect_identical(param[["n_latent"]], 7)
  expect_identical(length(SCVAEParam()), 0L)
  expect_error(SCVAEParam(n_laten = 5), "n_latent", class = "scvae_error_argument")
  expect_error(SCVAEParam(5), "without a name", class = "scvae_error_argument")
  expect_error(SCVAEParam(n_latent = -1), "n_latent", class = "scvae_error_argument")
  expect_error(SCVAEParam(n_repeats = 0), "n_repeats", class = "scvae_error_argument")
  expect_error(SCVAEParam(seed = "a"), "seed", class = "scvae_error_argument")
  expect_error(SCVAEParam(embedding = "pca"), "embedding", class = "scvae_error_argument")
  for (name in c("batch", "restrict", "subset.row", "correct.all", "assay.type")) {
    expect_error(
      do.call(SCVAEParam, stats::setNames(list("donor"), name)), "batchCorrect",
      class = "scvae_error_argument"
    )
  }
  # What was changed afterwards is checked at the time of use.
  param$n_latent <- 0
  expect_error(
    correct(sim_small()$counts, batch = sim_small()$batch, PARAM = param), "n_latent",
    class = "scvae_error_argument"
  )
})

test_that("objects of one batch each are corrected together", {
  load_batchelor()
  data <- by_batch()
  out <- do.call(correct, lapply(data$parts, sce_of))
  expect_s4_class(out, "SingleCellExperiment")
  expect_identical(SummarizedExperiment::assayNames(out), "corrected")
  expect_identical(dimnames(out), dimnames(data$counts))
  expect_identical(out$batch, data$batch)
  expect_identical(out$SCVAE_trained, rep(TRUE, 300))

  expected <- quick_fit(data$counts, batch = data$batch, seed = 1)
  expect_identical(SingleCellExperiment::reducedDim(out, "SCVAE"), expected$embedding)
  model <- scvaeModel(out)
  expect_identical(result_of(model), result_of(expected))
  styles <- transferBatchStyle(
    model, data$counts, "all",
    batch = data$batch, output = "lognormalised"
  )
  kept <- rownames(styles[[1]])
  expect_identical(SummarizedExperiment::rowData(out)$SCVAE_kept, rownames(out) %in% kept)
  expect_equal(assay_of(out)[kept, ], Reduce(`+`, styles) / length(styles), tolerance = 1e-12)
})

test_that("matrices, lists and one object with batches give the same", {
  load_batchelor()
  data <- by_batch()
  from_list <- correct(data$parts)
  for (out in list(
    do.call(correct, lapply(data$parts, as.matrix)),
    correct(S4Vectors::SimpleList(lapply(data$parts, sce_of))),
    correct(sce_of(data$counts), batch = factor(data$batch)),
    correct(sce_of(data$counts), batch = S4Vectors::Rle(data$batch)),
    correct(sce_of(data$counts, colData = S4Vectors::DataFrame(donor = data$batch)),
      batch = "donor"
    )
  )) {
    expect_identical(assay_of(out), assay_of(from_list))
    expect_identical(out$batch, data$batch)
  }
  unnamed <- do.call(correct, unname(data$parts))
  expect_identical(assay_of(unnamed), assay_of(from_list))
  expect_identical(unnamed$batch, match(data$batch, names(data$parts)))
})

test_that("the cells of one object keep their order", {
  load_batchelor()
  sim <- sim_small()
  # Those of the two batches take turns.
  expect_gt(length(rle(as.character(sim$batch))$lengths), 2)
  out <- correct(sim$counts, batch = sim$batch)
  expect_identical(colnames(out), colnames(sim$counts))
  expect_identical(out$batch, as.character(sim$batch))
  expected <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  expect_identical(SingleCellExperiment::reducedDim(out), expected$embedding)
})

test_that("cells keep their names, also where batches share them or have none", {
  load_batchelor()
  data <- by_batch()
  same <- lapply(data$parts, function(x) {
    colnames(x) <- sprintf("barcode%d", seq_len(ncol(x)))
    x
  })
  out <- correct(same)
  expect_identical(colnames(out), unlist(lapply(same, colnames), use.names = FALSE))
  expect_identical(assay_of(out), assay_of(correct(data$parts)), ignore_attr = TRUE)
  # Found by their place, as their names do not tell.
  expect_identical(nrow(scvaeModel(out)$latent), 300L)
  again <- correct(do.call(cbind, unname(same)), batch = data$batch)
  expect_identical(colnames(again), colnames(out))

  bare <- correct(lapply(data$parts, unname))
  expect_null(dimnames(bare)[[1]])
  expect_null(colnames(bare))
})

test_that("genes that the filter drops are returned as zero", {
  load_batchelor()
  data <- by_batch()
  data$counts[5, ] <- 0
  out <- correct(data$counts, batch = data$batch)
  expect_identical(nrow(out), 500L)
  expect_false(SummarizedExperiment::rowData(out)$SCVAE_kept[5])
  expect_true(all(assay_of(out)[5, ] == 0))
  expect_true(all(assay_of(out)[SummarizedExperiment::rowData(out)$SCVAE_kept, ] > 0))
})

test_that("subset.row is the genes of the fit and of the result, in its order", {
  load_batchelor()
  data <- by_batch()
  genes <- rownames(data$counts)[c(300:150, 1:20)]
  out <- correct(data$parts, subset.row = genes, min_genes = 10)
  expect_identical(rownames(out), genes)
  few <- data$counts[sort(match(genes, rownames(data$counts))), ]
  few <- correct(few, batch = data$batch, min_genes = 10)
  expect_identical(assay_of(out), assay_of(few)[genes, ])
  expect_identical(
    SingleCellExperiment::reducedDim(out), SingleCellExperiment::reducedDim(few)
  )
  expect_message(
    all <- correct(data$parts, subset.row = genes, correct.all = TRUE), "subset.row.*not used"
  )
  expect_identical(assay_of(all), assay_of(correct(data$parts)))
  expect_no_message(correct(data$parts, correct.all = TRUE))
  expect_error(
    correct(data$parts, subset.row = "nobody"), "subset.row",
    class = "scvae_error_argument"
  )
})

test_that("restrict says which cells the model is fitted to", {
  load_batchelor()
  data <- by_batch()
  n <- vapply(data$parts, ncol, 1L)
  restrict <- list(seq(1, n[1], by = 2), NULL)
  used <- c(seq_len(n[1]) %% 2 == 1, rep(TRUE, n[2]))
  out <- do.call(correct, c(data$parts, list(restrict = restrict)))
  expect_identical(dimnames(out), dimnames(data$counts))
  expect_identical(out$SCVAE_trained, used)
  model <- scvaeModel(out)
  expected <- quick_fit(data$counts[, used], batch = data$batch[used], seed = 1)
  expect_identical(model$connections, expected$connections)
  expect_identical(model$n_parameters, expected$n_parameters)
  # Those that were left out are embedded by it.
  placed <- predict(expected, data$counts, batch = data$batch)
  expect_identical(SingleCellExperiment::reducedDim(out), placed)
  expect_identical(model$cell_names, colnames(data$counts))
  expect_identical(as.character(model$batch), data$batch)
  # By names, for one object.
  names <- colnames(data$counts)[used]
  single <- correct(data$counts, batch = data$batch, restrict = list(names))
  expect_identical(assay_of(single), assay_of(out))

  refused <- function(pattern, ...) {
    expect_error(correct(...), pattern, class = "scvae_error_argument")
  }
  refused("restrict.*list", data$parts, restrict = list(1:10))
  refused("restrict.*list", data$parts, restrict = 1:10)
  refused("restrict.*list", data$parts, restrict = list(x = 1:10, y = 1:10))
  refused("restrict", data$parts, restrict = list(1:10, "nobody"))
  refused("no cell of batch.*batch_2", data$parts, restrict = list(1:10, integer()))
})

test_that("repeats and restrict go together", {
  load_batchelor()
  skip_if_not_installed("RANN")
  data <- by_batch()
  out <- correct(data$parts,
    restrict = list(1:60, NULL), PARAM = quick_param(n_repeats = 2, embedding = "expression")
  )
  stability <- scvaeModel(out)$stability
  expect_identical(unname(is.na(stability)), !out$SCVAE_trained)
  expect_false(anyNA(SingleCellExperiment::reducedDim(out)))
})

test_that("settings beside the objects go before those of the parameter", {
  load_batchelor()
  data <- by_batch()
  out <- correct(data$parts, n_latent = 3)
  expect_identical(scvaeModel(out)$settings$n_latent, 3L)
  skip_if_not_installed("BiocParallel")
  out <- correct(data$parts, BPPARAM = BiocParallel::SerialParam())
  expect_identical(scvaeModel(out)$settings$threads, 1L)
})

test_that("set.seed() is honoured, and a seed leaves R's random numbers alone", {
  load_batchelor()
  data <- by_batch()
  param <- do.call(SCVAEParam, quick())
  run <- function() assay_of(correct(data$parts, PARAM = param))
  set.seed(1)
  first <- run()
  second <- run()
  set.seed(1)
  expect_identical(run(), first)
  expect_false(identical(first, second))
  before <- random_state()
  correct(data$parts)
  expect_identical(random_state(), before)
})

test_that("the assay holds counts; log-counts, for which batchelor asks, are not taken", {
  load_batchelor()
  data <- by_batch()
  both <- lapply(data$parts, function(x) {
    out <- sce_of(x)
    SummarizedExperiment::assay(out, "logcounts") <- log1p(x)
    out
  })
  expect_message(out <- correct(both, assay.type = "logcounts"), "counts.*is used, not.*logcounts")
  expect_identical(assay_of(out), assay_of(correct(data$parts)))
  renamed <- lapply(data$parts, function(x) {
    SingleCellExperiment::SingleCellExperiment(list(raw = x, logcounts = log1p(x)))
  })
  expect_identical(assay_of(correct(renamed, assay.type = "raw")), assay_of(out))
  expect_error(correct(renamed), "no assay.*counts", class = "scvae_error_argument")
  expect_error(
    correct(renamed, assay.type = "logcounts"), "raw counts",
    class = "scvae_error_argument"
  )
})

test_that("mistakes are named", {
  load_batchelor()
  data <- by_batch()
  a <- data$parts[[1]]
  b <- data$parts[[2]]
  refused <- function(pattern, ..., class = "scvae_error_argument") {
    expect_error(correct(...), pattern, class = class)
  }
  refused("same genes.*number 2", a, b[-1, ], class = "scvae_error_counts")
  refused("same genes.*Reduce", sce_of(a), sce_of(b[rev(rownames(b)), ]),
    class = "scvae_error_counts"
  )
  refused("batch.*needed", a)
  refused("nothing to correct", a, batch = rep("one", ncol(a)))
  refused("donor", sce_of(a), batch = "donor")
  refused("both kinds", a, sce_of(b))
  refused("data.frame", a, as.data.frame(as.matrix(b)))
  refused("none is given")
  refused("number 1", "counts.h5ad")
  refused("n_latent", a, b, n_laten = 3)
  refused("names of the batches must differ", x = a, x = b)
  refused("correct.all", a, b, correct.all = NA)
  refused("fewer than 3 cells", a, b[, 1:2], class = "scvae_error_counts")
})
