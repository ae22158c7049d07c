skip_if_not_installed("SeuratObject")

seurat_small <- function() {
  sim <- sim_small()
  object <- suppressWarnings(SeuratObject::CreateSeuratObject(sim$counts))
  object$donor <- as.character(sim$batch)
  object
}

run_quick <- function(object, ...) {
  do.call(RunSCVAE, c(list(object), quick(...)))
}

has_assay5 <- function() utils::packageVersion("SeuratObject") >= "5.0.0"

test_that("RunSCVAE() on a Seurat object stores all its results", {
  object <- run_quick(seurat_small(), batch = "donor")
  sim <- sim_small()
  expected <- quick_fit(sim$counts, batch = sim$batch, seed = 42)
  reduction <- object[["scvae"]]
  expect_s4_class(reduction, "DimReduc")
  embedding <- SeuratObject::Embeddings(reduction)
  expect_identical(unname(embedding), unname(expected$latent))
  expect_identical(colnames(embedding), paste0("SCVAE_", 1:4))
  expect_identical(rownames(embedding), colnames(object))
  expect_identical(SeuratObject::Key(reduction), "SCVAE_", ignore_attr = TRUE)
  expect_identical(SeuratObject::DefaultAssay(reduction), "RNA")
  model <- scvaeModel(object)
  expect_identical(result_of(model), result_of(expected))
  expect_identical(predict(model, object), predict(expected, sim$counts, batch = sim$batch))
  expect_true(any(grepl("RunSCVAE", SeuratObject::Command(object))))
})

test_that("the genes' scores are in the assay", {
  object <- run_quick(seurat_small(), batch = "donor")
  model <- scvaeModel(object)
  table <- object[["RNA"]][[]]
  prefix <- if (inherits(object[["RNA"]], "StdAssay")) "vf_scscore_counts_" else "scscore."
  score <- table[[paste0(prefix, "score")]]
  expect_equal(score, model$genes$scscore)
  variable <- table[[paste0(prefix, "variable")]]
  expect_identical(as.logical(variable), !is.na(score) & score >= 0.6)
  expect_length(SeuratObject::VariableFeatures(seurat_small()), 0)
  if (has_assay5()) {
    found <- SeuratObject::VariableFeatures(object, method = "scscore")
    expect_setequal(found, informativeGenes(model))
  }
})

test_that("all methods give the same embedding", {
  object <- seurat_small()
  sim <- sim_small()
  whole <- SeuratObject::Embeddings(run_quick(object, batch = "donor")[["scvae"]])
  from_assay <- run_quick(object[["RNA"]], batch = object$donor)
  expect_s4_class(from_assay, "DimReduc")
  expect_identical(SeuratObject::Embeddings(from_assay), whole)
  from_matrix <- run_quick(sim$counts, batch = sim$batch)
  expect_identical(unname(SeuratObject::Embeddings(from_matrix)), unname(whole))
  expect_identical(
    unname(quick_fit(object, batch = "donor", seed = 42)$latent),
    unname(whole)
  )
})

test_that("split layers are joined in the object's order", {
  skip_if_not(has_assay5())
  object <- seurat_small()
  whole <- run_quick(object, batch = "donor")
  split <- object
  split[["RNA"]] <- split(split[["RNA"]], f = split$donor)
  expect_length(SeuratObject::Layers(split, search = "counts"), 2)
  joined <- run_quick(split, batch = "donor")
  expect_identical(
    SeuratObject::Embeddings(joined[["scvae"]]),
    SeuratObject::Embeddings(whole[["scvae"]])
  )
  expect_identical(result_of(scvaeModel(joined)), result_of(scvaeModel(whole)))
  expect_setequal(
    SeuratObject::VariableFeatures(joined, method = "scscore"),
    informativeGenes(scvaeModel(whole))
  )
  by_layer <- run_quick(split, batch = "layers")
  expect_identical(
    scvaeModel(by_layer)$batch_names,
    paste0("counts.", sort(unique(object$donor)))
  )
  expect_identical(unname(scvaeModel(by_layer)$latent), unname(scvaeModel(whole)$latent))
})

test_that("layers with different genes are filled with zero", {
  skip_if_not(has_assay5())
  x <- sim_small()$counts
  rownames(x) <- sub("_", "-", rownames(x))
  first <- x[1:450, 1:150]
  second <- x[51:500, 151:300]
  object <- suppressWarnings(SeuratObject::CreateSeuratObject(
    SeuratObject::CreateAssay5Object(list(one = first, two = second))
  ))
  layers <- SeuratObject::Layers(object)
  skip_if(length(layers) < 2)
  counts <- as_counts(object, layer = "counts")
  expected <- matrix(0, 500, 300, dimnames = dimnames(x))
  expected[rownames(first), colnames(first)] <- as.matrix(first)
  expected[rownames(second), colnames(second)] <- as.matrix(second)
  data <- as.matrix(counts$data)
  expect_identical(data[rownames(expected), colnames(expected)], expected)
})

test_that("an old assay in a new Seurat still works", {
  skip_if_not(has_assay5())
  withr::local_options(Seurat.object.assay.version = "v3")
  object <- seurat_small()
  expect_false(inherits(object[["RNA"]], "StdAssay"))
  object <- run_quick(object, batch = "donor")
  expect_true("scscore.score" %in% names(object[["RNA"]][[]]))
})

test_that("features limit the genes, all others have no score", {
  object <- seurat_small()
  features <- rev(rownames(object)[1:200])
  object <- suppressWarnings(run_quick(object, features = features, min_genes = 10))
  model <- scvaeModel(object)
  expect_identical(model$genes$gene, rownames(object)[1:200])
  expect_error(run_quick(seurat_small(), features = "nope"), class = "scvae_error_argument")
})

test_that("filtered cells are NA in the reduction", {
  sim <- sim_small()
  sim$counts[, 3] <- 0
  object <- suppressWarnings(SeuratObject::CreateSeuratObject(sim$counts))
  expect_warning(object <- run_quick(object), class = "scvae_warning_filtered")
  embedding <- SeuratObject::Embeddings(object[["scvae"]])
  expect_identical(unname(which(is.na(embedding[, 1]))), 3L)
})

test_that("a stored model survives saveRDS()", {
  object <- run_quick(seurat_small(), batch = "donor")
  path <- withr::local_tempfile(fileext = ".rds")
  saveRDS(object, path)
  again <- readRDS(path)
  expect_identical(predict(scvaeModel(again), again), predict(scvaeModel(object), object))
})

test_that("mistakes are named", {
  object <- seurat_small()
  error <- expect_error(run_quick(object, batch = "donr"), class = "scvae_error_argument")
  expect_match(conditionMessage(error), "nCount_RNA")
  expect_error(run_quick(object, assay = "ADT"), class = "scvae_error_argument")
  expect_error(run_quick(object, layer = "nope"), class = "scvae_error_argument")
  expect_error(run_quick(object, reduction.key = "bad"), class = "scvae_error_argument")
  expect_error(run_quick(object, no_such = 1), class = "scvae_error_argument")
  expect_error(run_quick(object, seed.use = 1.5), class = "scvae_error_argument")
  expect_error(scvaeModel(object), class = "scvae_error_argument")
})

test_that("the log does not hold the batch of every cell", {
  object <- seurat_small()
  object <- RunSCVAE(
    object,
    batch = object$donor, min_genes = 20, n_hidden = 16, max_epochs = 2, verbose = FALSE
  )
  command <- SeuratObject::Command(object, SeuratObject::Command(object)[1])
  expect_lt(as.numeric(object.size(command)), 20000)
})
