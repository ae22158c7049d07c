skip_if_not_installed("Seurat")
skip_if_not(utils::packageVersion("SeuratObject") >= "5.0.0", "layers need Seurat 5")

split_small <- function() {
  sim <- sim_small()
  object <- suppressWarnings(SeuratObject::CreateSeuratObject(sim$counts))
  object$donor <- as.character(sim$batch)
  object[["RNA"]] <- split(object[["RNA"]], f = object$donor)
  object
}

normalised_small <- function() {
  object <- Seurat::NormalizeData(split_small(), verbose = FALSE)
  object <- Seurat::FindVariableFeatures(object, nfeatures = 50, verbose = FALSE)
  Seurat::ScaleData(object, verbose = FALSE)
}

integrate <- function(object, ...) {
  arguments <- list(
    object,
    method = SCVAEIntegration, orig.reduction = NULL, new.reduction = "integrated.scvae"
  )
  do.call(Seurat::IntegrateLayers, utils::modifyList(c(arguments, quick()), list(...)))
}

test_that("IntegrateLayers() gets what RunSCVAE() stores, of all genes, with layers as batches", {
  expect_identical(attr(SCVAEIntegration, "Seurat.method"), "integration")
  object <- integrate(normalised_small())
  sim <- sim_small()
  expected <- quick_fit(sim$counts, batch = as.character(sim$batch), seed = 42)
  reduction <- object[["integrated.scvae"]]
  expect_identical(unname(SeuratObject::Embeddings(reduction)), unname(expected$latent))
  expect_identical(SeuratObject::DefaultAssay(reduction), "RNA")
  model <- scvaeModel(object, "integrated.scvae")
  expect_identical(result_of(model)$genes$n_connections, expected$genes$n_connections)
  expect_identical(model$batch_names, c("batch_1", "batch_2"))
  expect_true(all(object$integrated.scvae_trained))
  expect_true("vf_scscore_counts_score" %in% names(object[["RNA"]][[]]))
})

test_that("a reduction that is given is not used", {
  object <- Seurat::RunPCA(normalised_small(), npcs = 5, verbose = FALSE)
  with_pca <- integrate(object, orig.reduction = "pca")
  without <- integrate(object)
  expect_identical(with_pca[["integrated.scvae"]][[]], without[["integrated.scvae"]][[]])
})

test_that("after JoinLayers() the model takes the column that the assay was split by", {
  object <- SeuratObject::JoinLayers(integrate(normalised_small()))
  model <- scvaeModel(object, "integrated.scvae")
  expect_identical(predict(model, object, batch = "donor"), predict(model))
})

test_that("the passed features are used on request, and it is said once that they are not", {
  object <- normalised_small()
  features <- SeuratObject::VariableFeatures(object)
  few <- suppressWarnings(integrate(object, features.use = "passed", min_genes = 2))
  expect_setequal(scvaeModel(few, "integrated.scvae")$genes$gene, features)
  rlang::reset_message_verbosity("scvae_integration_features")
  expect_message(
    integrate(object, verbose = TRUE), "All 500 genes are used, not only 50"
  )
  expect_no_message(integrate(object, verbose = TRUE), message = "All 500 genes")
})

test_that("some layers, and batches of one's own, can be chosen", {
  sim <- sim_small()
  object <- normalised_small()
  assay <- object[["RNA"]]
  own <- stats::setNames(rep(c("x", "y"), length.out = 300), colnames(object))
  found <- do.call(SCVAEIntegration, c(list(assay, batch = own), quick()))
  expect_identical(names(found), c("scvae", "scvae_trained", "RNA"))
  expect_identical(scvaeModel(found$scvae)$batch_names, c("x", "y"))
  three <- rep(c("a", "b", "c"), each = 100)
  object <- suppressWarnings(SeuratObject::CreateSeuratObject(sim$counts))
  object[["RNA"]] <- split(object[["RNA"]], f = three)
  two <- do.call(
    SCVAEIntegration, c(list(object[["RNA"]], layers = c("data.a", "data.c")), quick())
  )
  expect_identical(
    rownames(SeuratObject::Embeddings(two$scvae)), colnames(object)[three != "b"]
  )
  expect_identical(scvaeModel(two$scvae)$batch_names, c("a", "c"))
})

test_that("mistakes in integration are named", {
  object <- normalised_small()
  joined <- SeuratObject::JoinLayers(object)
  features <- rownames(SeuratObject::LayerData(joined, layer = "scale.data"))
  error <- expect_error(integrate(joined, features = features), class = "scvae_error_argument")
  expect_match(conditionMessage(error), "Split the assay first", fixed = TRUE)
  error <- expect_error(
    do.call(SCVAEIntegration, c(list(object[["RNA"]], layers = "data.nope"), quick())),
    class = "scvae_error_counts"
  )
  expect_match(conditionMessage(error), "counts.nope", fixed = TRUE)
  expect_error(integrate(object, n_latents = 3), "n_latent", class = "scvae_error_argument")
  expect_error(integrate(object, features.use = "variable"), class = "scvae_error_argument")
  expect_error(do.call(SCVAEIntegration, c(list(object), quick())), class = "scvae_error_argument")
  sct <- suppressWarnings(Seurat::CreateSCTAssayObject(sim_small()$counts))
  expect_error(
    do.call(SCVAEIntegration, c(list(sct), quick())), "SCTransform",
    class = "scvae_error_argument"
  )
})
