# Functions of a model with the object that holds it as their first argument.
skip_if_not_installed("SeuratObject")

fitted_object <- function(...) {
  sim <- sim_small()
  object <- suppressWarnings(SeuratObject::CreateSeuratObject(sim$counts))
  object$donor <- as.character(sim$batch)
  do.call(RunSCVAE, c(list(object, batch = "donor"), quick(...)))
}

assay_values <- function(object, name, kind = "counts") {
  unname(as.matrix(SeuratObject::GetAssayData(object[[name]], kind)))
}

test_that("a Seurat object in a pipe comes back with the result", {
  object <- fitted_object()
  model <- scvaeModel(object)
  expected <- denoiseCounts(model, object)
  expect_true(is.matrix(expected))
  denoised <- object |> denoiseCounts()
  expect_identical(assay_values(denoised, "denoised"), unname(expected))
  expect_identical(SeuratObject::DefaultAssay(denoised), "RNA")
  # Nothing that was there is touched.
  expect_identical(denoised[["RNA"]], object[["RNA"]])
  expect_identical(object |> denoiseCounts(name = NA), expected)
  named <- denoiseCounts(model, object, name = "clean", genes = 1:5, output = "lognormalised")
  expect_identical(dim(named[["clean"]]), c(5L, 300L))
  styled <- object |> transferBatchStyle("batch_2")
  expect_identical(
    assay_values(styled, "style_batch_2"),
    unname(transferBatchStyle(model, object, to = "batch_2", name = NA))
  )
  given <- object |> transferBatchStyle(model, "batch_2")
  expect_identical(assay_values(given, "style_batch_2"), assay_values(styled, "style_batch_2"))
  expect_no_warning(transferBatchStyle(object, "batch_2", output = "lognormalised"))
})

test_that("predict() takes the object, too", {
  object <- fitted_object()
  model <- scvaeModel(object)
  expect_identical(predict(object), model$embedding)
  expect_identical(predict(object, type = "sd", cells = 1:3), model$latent_sd[1:3, ])
  rate <- predict(model, object, "px_rate", genes = 1:5)
  expect_identical(predict(object, type = "px_rate", genes = 1:5), rate)
  # Rounded otherwise among other cells.
  few <- predict(object, object[, 1:9], "px_rate", genes = 1:5)
  expect_equal(few, rate[, 1:9], tolerance = 1e-5)
  object <- predict(object, type = "px_rate", genes = 1:5, name = "rate")
  expect_identical(assay_values(object, "rate"), unname(rate))
  object <- predict(object, type = "sd", name = "spread")
  expect_identical(
    unname(SeuratObject::Embeddings(object[["spread"]])), unname(model$latent_sd)
  )
  expect_error(predict(object, type = "px_rates"), "px_rate", class = "scvae_error_argument")
})

test_that("the model knows the batches and the assay of its own cells", {
  object <- fitted_object()
  expected <- object |> denoiseCounts(name = NA)
  object$donor <- NULL
  object <- denoiseCounts(object)
  SeuratObject::DefaultAssay(object) <- "denoised"
  expect_identical(denoiseCounts(object, name = NA), expected)
  # Not so with a model from elsewhere.
  expect_error(
    denoiseCounts(scvaeModel(object), object, assay = "RNA"), "`batch` is needed",
    class = "scvae_error_argument"
  )
  part <- denoiseCounts(object[, c(9, 4, 200)], name = NA)
  expect_equal(part, expected[, colnames(part)], tolerance = 1e-5)
})

test_that("an object with several models says so, and one of any name is found", {
  object <- fitted_object(reduction.name = "mine")
  expect_identical(predict(object), scvaeModel(object, "mine")$embedding)
  object <- do.call(RunSCVAE, c(
    list(object, reduction.name = "other", reduction.key = "O_"), quick()
  ))
  error <- expect_error(denoiseCounts(object), class = "scvae_error_argument")
  expect_match(conditionMessage(error), 'scvaeModel(object, "mine")', fixed = TRUE)
  expect_identical(
    object |> denoiseCounts(scvaeModel(object, "other"), name = NA),
    denoiseCounts(scvaeModel(object, "other"), object)
  )
})

test_that("a SingleCellExperiment in a pipe comes back with the result", {
  skip_if_not_installed("SingleCellExperiment")
  sim <- sim_small()
  object <- SingleCellExperiment::SingleCellExperiment(
    assays = list(counts = sim$counts), colData = data.frame(donor = sim$batch)
  )
  object <- do.call(runSCVAE, c(list(object, batch = "donor", seed = 1), quick()))
  model <- scvaeModel(object)
  denoised <- object |> denoiseCounts(output = "lognormalised")
  alt <- SingleCellExperiment::altExp(denoised, "denoised")
  expect_identical(
    unname(SummarizedExperiment::assay(alt, "logcounts")),
    unname(denoiseCounts(model, object, output = "lognormalised"))
  )
  styled <- object |> transferBatchStyle("batch_1")
  expect_identical(SingleCellExperiment::altExpNames(styled), "style_batch_1")
  expect_identical(unname(predict(object)), unname(model$embedding))
  with_sd <- predict(object, type = "sd", name = "SD")
  expect_identical(
    unname(SingleCellExperiment::reducedDim(with_sd, "SD")), unname(model$latent_sd)
  )
})

test_that("an object as the reference of a mapping gives its labels by name", {
  skip_if_not_installed("RANN")
  object <- fitted_object()
  object$type <- as.character(sim_small()$cell_type)
  model <- scvaeModel(object)
  map <- function(x, labels) {
    mapSCVAE(
      x, sim_small()$counts[, 1:60],
      labels = labels, max_epochs = 2, seed = 1, threads = 1, verbose = FALSE
    )$labels
  }
  expect_identical(map(object, "type"), map(model, object$type))
  expect_error(map(object, "typ"), "type", class = "scvae_error_argument")
})

test_that("mistakes with an object first are named", {
  object <- fitted_object()
  model <- scvaeModel(object)
  plain <- suppressWarnings(SeuratObject::CreateSeuratObject(sim_small()$counts))
  expect_error(denoiseCounts(plain), "no scVAE model", class = "scvae_error_argument")
  expect_error(denoiseCounts(model), "`x` is missing", class = "scvae_error_argument")
  expect_error(
    denoiseCounts(model, sim_small()$counts, batch = sim_small()$batch, name = "denoised"),
    "`name` needs an object",
    class = "scvae_error_argument"
  )
  expect_error(denoiseCounts(object, cells = 1:3), "name = NA", class = "scvae_error_argument")
  expect_error(transferBatchStyle(object), "`to` is missing", class = "scvae_error_argument")
  expect_error(transferBatchStyle(object, "batch_9"), "batch_1", class = "scvae_error_argument")
})

test_that("predict() puts a model back into an object that was merged, with all its cells", {
  object <- fitted_object()
  model <- scvaeModel(object)
  merged <- merge(object[, 1:200], object[, 201:300], add.cell.ids = c("a", "b"))
  expect_error(scvaeModel(merged), "predict(object, model", fixed = TRUE)
  if (inherits(merged[["RNA"]], "StdAssay")) {
    merged <- SeuratObject::JoinLayers(merged)
  }
  merged <- merged |> predict(model, batch = "donor", name = "scvae", threads = 1)
  back <- scvaeModel(merged)
  expect_identical(back$cell_names, colnames(merged))
  expect_equal(unname(back$embedding), unname(model$embedding), tolerance = 1e-5)
  expect_identical(as.character(back$batch), as.character(model$batch))
  expect_identical(back$model, model$model)
  expect_true(all(scVAE:::trained_cells(back)))
  # And from then on it is as any other.
  expect_equal(
    denoiseCounts(merged, genes = 1:5, name = NA), denoiseCounts(object, genes = 1:5, name = NA),
    tolerance = 1e-5, ignore_attr = TRUE
  )
  part <- merged[, c(250, 3)]
  expect_identical(predict(part), back$embedding[colnames(part), ])
})
