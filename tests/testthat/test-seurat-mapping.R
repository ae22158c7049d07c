skip_if_not_installed("SeuratObject")

# Two donors as the reference with a model, the third as the query.
reference_and_query <- function() {
  sim <- simulateCounts(
    n_cells = 240, n_genes = 400, n_types = 3, n_batches = 3, n_markers = 15, library_size = 300,
    batch_effect = 0.5, seed = 4
  )
  object <- suppressWarnings(SeuratObject::CreateSeuratObject(sim$counts))
  object$donor <- as.character(sim$batch)
  object$type <- as.character(sim$cell_type)
  new <- object$donor == "batch_3"
  reference <- do.call(RunSCVAE, c(
    list(object[, !new], batch = "donor"),
    quick(max_epochs = 40, n_hidden = 32, lr = 3e-3)
  ))
  list(reference = reference, query = object[, new])
}

map_quickly <- function(query, reference, ...) {
  MapSCVAE(query, reference, ..., max_epochs = 5, threads = 1, verbose = FALSE)
}

test_that("MapSCVAE() returns the query with reduction, labels and confidence", {
  skip_if_not_installed("RANN")
  objects <- reference_and_query()
  query <- map_quickly(objects$query, objects$reference, batch = "donor", labels = "type")
  expect_s4_class(query, "Seurat")
  expected <- mapSCVAE(
    scvaeModel(objects$reference), objects$query,
    batch = "donor", labels = objects$reference$type, max_epochs = 5, seed = 42, threads = 1,
    verbose = FALSE
  )
  embedding <- SeuratObject::Embeddings(query[["scvae"]])
  expect_identical(unname(embedding), unname(expected$latent))
  expect_identical(rownames(embedding), colnames(query))
  expect_identical(SeuratObject::Key(query[["scvae"]]), "SCVAE_", ignore_attr = TRUE)
  expect_identical(unname(query$scvae_label), expected$labels$label)
  expect_identical(unname(query$scvae_confidence), expected$labels$confidence)
  expect_gt(mean(query$scvae_label == query$type), 0.8)
  # The log knows what was done, and holds neither the reference nor a label for each cell.
  log <- slot(query, "commands")[[length(slot(query, "commands"))]]
  expect_identical(slot(log, "params")$labels, "type")
  expect_lt(as.numeric(object.size(log)), 20000)
  # The model of the query does what that of the reference does.
  expect_identical(scvaeModel(query)$batch_names, c("batch_1", "batch_2", "batch_3"))
  styled <- transferBatchStyle(query, "batch_1", genes = 1:5, threads = 1)
  expect_true("style_batch_1" %in% SeuratObject::Assays(styled))
})

test_that("reference and query can be merged with their embeddings", {
  objects <- reference_and_query()
  query <- map_quickly(objects$query, objects$reference, batch = "donor")
  merged <- suppressWarnings(merge(objects$reference, query, merge.dr = "scvae"))
  both <- SeuratObject::Embeddings(merged[["scvae"]])
  expect_identical(
    both[colnames(query), ], SeuratObject::Embeddings(query[["scvae"]])
  )
  expect_identical(
    both[colnames(objects$reference), ], SeuratObject::Embeddings(objects$reference[["scvae"]])
  )
})

test_that("a model, or an object without batches, can be the reference", {
  objects <- reference_and_query()
  by_object <- map_quickly(objects$query, objects$reference)
  by_model <- map_quickly(objects$query, scvaeModel(objects$reference))
  expect_identical(
    SeuratObject::Embeddings(by_model[["scvae"]]), SeuratObject::Embeddings(by_object[["scvae"]])
  )
  expect_identical(scvaeModel(by_object)$batch_names, c("batch_1", "batch_2", "new"))
  plain <- do.call(RunSCVAE, c(list(objects$reference), quick()))
  query <- map_quickly(objects$query, plain, reduction.name = "mapped", reduction.key = "M_")
  # In expression space, by the components of the reference.
  expect_identical(
    SeuratObject::Loadings(query[["mapped"]]), SeuratObject::Loadings(plain[["scvae"]]),
    ignore_attr = TRUE
  )
  expect_identical(dim(query[["mapped"]])[2], ncol(SeuratObject::Embeddings(plain[["scvae"]])))
})

test_that("mistakes in mapping an object are named", {
  objects <- reference_and_query()
  error <- expect_error(map_quickly(objects$query), class = "scvae_error_argument")
  expect_match(conditionMessage(error), "`reference` is missing", fixed = TRUE)
  expect_error(map_quickly(objects$query, objects$query), class = "scvae_error_argument")
  expect_error(
    map_quickly(objects$query, objects$reference, batch = "batch_1"), "known to the model",
    class = "scvae_error_argument"
  )
  skip_if_not_installed("RANN")
  expect_error(
    map_quickly(objects$query, objects$reference, labels = "typ"), "type",
    class = "scvae_error_argument"
  )
  expect_error(
    map_quickly(objects$query, objects$reference, labelz = "type"), "labels",
    class = "scvae_error_argument"
  )
  expect_error(
    MapSCVAE(sim_small()$counts, objects$reference), "mapSCVAE()",
    fixed = TRUE, class = "scvae_error_argument"
  )
  expect_error(
    map_quickly(objects$query, objects$reference, reduction.key = "scvae"),
    class = "scvae_error_argument"
  )
})
