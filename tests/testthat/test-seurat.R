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

test_that("an embedding in expression space has loadings and standard deviations", {
  object <- run_quick(seurat_small(), n_repeats = 2)
  model <- scvaeModel(object)
  reduction <- object[["scvae"]]
  n <- ncol(model$embedding)
  expect_identical(unname(SeuratObject::Embeddings(reduction)), unname(model$embedding))
  expect_identical(SeuratObject::Stdev(reduction), unname(model$components$sd))
  loadings <- SeuratObject::Loadings(reduction)
  expect_identical(unname(loadings), unname(model$components$loadings))
  expect_identical(rownames(loadings), rownames(model$components$loadings))
  expect_identical(colnames(loadings), paste0("SCVAE_", seq_len(n)))
  expect_identical(unname(object$scvae_stability), unname(model$stability))
  skip_if_not_installed("Seurat")
  expect_s3_class(Seurat::ElbowPlot(object, ndims = n, reduction = "scvae"), "ggplot")
  expect_s3_class(Seurat::VizDimLoadings(object, 1, reduction = "scvae", nfeatures = 5), "ggplot")
})

test_that("latent dimensions have their standard deviations", {
  object <- run_quick(seurat_small(), batch = "donor")
  expect_equal(
    SeuratObject::Stdev(object[["scvae"]]),
    unname(apply(scvaeModel(object)$embedding, 2, stats::sd))
  )
})

test_that("the most used settings are arguments of their own, with the defaults of fitSCVAE()", {
  defaults <- lapply(formals(fitSCVAE)[scVAE:::shown_settings], function(x) eval(x)[1])
  methods <- list(scVAE:::RunSCVAE.Seurat, SCVAEIntegration)
  for (method in methods) {
    expect_identical(lapply(formals(method)[scVAE:::shown_settings], eval), defaults)
  }
  object <- run_quick(seurat_small(), lr = 2e-3)
  params <- slot(object[[SeuratObject::Command(object)[1]]], "params")
  expect_identical(params$max_epochs, 2)
  expect_identical(params$n_latent, 4)
  expect_identical(params$lr, 2e-3)
  expect_identical(params$likelihood, "zinb")
  expect_identical(scvaeModel(object)$settings$lr, 2e-3)
})

test_that("an assay without its object is not taken for RNA", {
  object <- seurat_small()
  proteins <- object[["RNA"]]
  SeuratObject::Key(proteins) <- "adt_"
  error <- expect_error(run_quick(proteins), class = "scvae_error_argument")
  expect_match(conditionMessage(error), 'assay = "ADT"', fixed = TRUE)
  reduction <- run_quick(proteins, assay = "ADT")
  expect_identical(SeuratObject::DefaultAssay(reduction), "ADT")
  expect_identical(SeuratObject::DefaultAssay(run_quick(object[["RNA"]])), "RNA")
  # In its object it has its name.
  object[["ADT"]] <- proteins
  found <- run_quick(object, assay = "ADT")
  expect_identical(SeuratObject::DefaultAssay(found[["scvae"]]), "ADT")
})

test_that("the genes' scores are in the assay", {
  object <- seurat_small()
  chosen <- rownames(object)[c(7, 2, 30)]
  SeuratObject::VariableFeatures(object) <- chosen
  object <- run_quick(object, batch = "donor")
  model <- scvaeModel(object)
  table <- object[["RNA"]][[]]
  prefix <- if (inherits(object[["RNA"]], "StdAssay")) "vf_scscore_counts_" else "scscore."
  score <- table[[paste0(prefix, "score")]]
  expect_equal(score, model$genes$scscore)
  variable <- table[[paste0(prefix, "variable")]]
  expect_identical(as.logical(variable), !is.na(score) & score >= 0.6)
  # What was chosen before stays chosen.
  expect_identical(SeuratObject::VariableFeatures(object), chosen)
  if (has_assay5()) {
    # What was chosen counts first there, so this is an object of which nothing was.
    object <- run_quick(seurat_small(), batch = "donor")
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
    sort(unique(object$donor))
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

poor_object <- function() {
  object <- seurat_small()
  counts <- sim_small()$counts
  counts[-(1:5), 3] <- 0
  object <- suppressWarnings(SeuratObject::CreateSeuratObject(counts))
  object$donor <- as.character(sim_small()$batch)
  object
}

test_that("filtered cells have a place and a mark", {
  expect_warning(object <- run_quick(poor_object()), class = "scvae_warning_filtered")
  expect_true(all(is.finite(SeuratObject::Embeddings(object[["scvae"]]))))
  expect_identical(unname(which(!object$scvae_trained)), 3L)
  skip_if_not_installed("Seurat")
  trained <- which(object$scvae_trained)
  nearest <- function(cells) {
    embedding <- SeuratObject::Embeddings(object[["scvae"]])[cells, ]
    found <- Seurat::FindNeighbors(embedding, k.param = 10, nn.method = "rann", verbose = FALSE)
    as.matrix(found$nn)
  }
  # A neighbour may give way to the cell that was filtered, but to no other.
  all_cells <- nearest(seq_len(300))
  lost <- rowSums(nearest(trained) > all_cells[trained, trained])
  expect_true(all(lost <= all_cells[trained, 3]))
})

test_that("filtered cells are NA in the reduction on request, and subset() leaves them out", {
  object <- suppressWarnings(run_quick(poor_object(), filtered_cells = "NA"))
  embedding <- SeuratObject::Embeddings(object[["scvae"]])
  expect_identical(unname(which(is.na(embedding[, 1]))), 3L)
  kept <- subset(object, scvae_trained)
  expect_identical(colnames(kept), colnames(object)[-3])
  expect_false(anyNA(SeuratObject::Embeddings(kept[["scvae"]])))
  expect_error(run_quick(object, filtered_cells = "drop"), class = "scvae_error_argument")
  error <- expect_error(run_quick(object, filtered_cell = "NA"), class = "scvae_error_argument")
  expect_match(conditionMessage(error), "filtered_cells", fixed = TRUE)
})

# An assay as SCTransform() leaves it: corrected counts, whole numbers, and the default.
with_sct <- function(object) {
  counts <- as_counts(object)$data
  object[["SCT"]] <- Seurat::CreateSCTAssayObject(counts = counts, umi.assay = "RNA")
  SeuratObject::DefaultAssay(object) <- "SCT"
  object
}

test_that("assays that were made from raw counts are refused", {
  skip_if_not_installed("Seurat")
  object <- suppressWarnings(with_sct(seurat_small()))
  expect_s4_class(object[["SCT"]], "SCTAssay")
  refused <- function(expr) {
    error <- expect_error(expr, class = "scvae_error_argument")
    expect_match(conditionMessage(error), "SCTransform", fixed = TRUE)
    conditionMessage(error)
  }
  for (message in c(
    refused(run_quick(object)), refused(run_quick(object, assay = "SCT")),
    refused(quick_fit(object)), refused(quick_fit(object, assay = "SCT"))
  )) {
    expect_match(message, 'assay = "RNA"', fixed = TRUE)
  }
  refused(run_quick(object[["SCT"]]))
  fitted <- run_quick(object, assay = "RNA")
  expect_identical(SeuratObject::DefaultAssay(fitted[["scvae"]]), "RNA")
  model <- scvaeModel(fitted)
  refused(predict(model, fitted))
  expect_identical(dim(predict(model, fitted, "latent", assay = "RNA")), c(300L, 4L))
})

test_that("so are those of an older SCTransform() and those without counts", {
  object <- seurat_small()
  counts <- as_counts(object)$data
  old <- SeuratObject::CreateAssayObject(counts = counts)
  SeuratObject::Misc(old, "vst.out") <- list(model_str = "y ~ log_umi")
  object[["old"]] <- old
  object[["integrated"]] <- SeuratObject::CreateAssayObject(data = log1p(counts))
  for (assay in c("old", "integrated")) {
    error <- expect_error(run_quick(object, assay = assay), class = "scvae_error_argument")
    expect_match(conditionMessage(error), 'assay = "RNA"', fixed = TRUE)
  }
})

test_that("a SingleCellExperiment is sent on", {
  skip_if_not_installed("SingleCellExperiment")
  x <- SingleCellExperiment::SingleCellExperiment(list(counts = sim_small()$counts))
  error <- expect_error(run_quick(x), class = "scvae_error_argument")
  expect_match(conditionMessage(error), "runSCVAE()", fixed = TRUE)
})

test_that("after subset() the model is that of the cells that are left", {
  object <- suppressWarnings(run_quick(poor_object(), batch = "donor"))
  whole <- scvaeModel(object)
  cells <- colnames(object)[c(3, 10, 200, 250)]
  part <- subset(object, cells = cells)
  for (model in list(scvaeModel(part), scvaeModel(part[["scvae"]]))) {
    expect_identical(model$cell_names, cells)
    expect_identical(model$latent, whole$latent[cells, ])
    expect_identical(model$latent_sd, whole$latent_sd[cells, ])
    expect_identical(model$batch, whole$batch[c(3, 10, 200, 250)])
    expect_identical(model$trained_cells, c(FALSE, TRUE, TRUE, TRUE))
    expect_identical(model$model, whole$model)
  }
  expect_match(format(scvaeModel(part)), "3 of 4 trained", all = FALSE, fixed = TRUE)
  expect_identical(scvaeModel(object), whole)
})

test_that("cells that were renamed are found, also after subset()", {
  object <- run_quick(seurat_small(), batch = "donor")
  whole <- scvaeModel(object)
  renamed <- SeuratObject::RenameCells(object, add.cell.id = "new")
  model <- scvaeModel(renamed)
  expect_identical(model$cell_names, paste0("new_", colnames(object)))
  expect_identical(unname(model$latent), unname(whole$latent))
  part <- scvaeModel(subset(renamed, cells = colnames(renamed)[c(4, 90)]))
  expect_identical(unname(part$latent), unname(whole$latent[c(4, 90), ]))
  expect_identical(part$batch, whole$batch[c(4, 90)])
})

test_that("after merge() it is said that the model is gone", {
  first <- run_quick(seurat_small(), batch = "donor")
  second <- run_quick(seurat_small(), seed.use = 1)
  ids <- c("a", "b")
  for (how in list(list(), list(merge.dr = "scvae"))) {
    merged <- do.call(merge, c(list(first, second, add.cell.ids = ids), how))
    expect_identical("scvae" %in% SeuratObject::Reductions(merged), length(how) > 0)
    error <- expect_error(scvaeModel(merged), class = "scvae_error_argument")
    expect_match(conditionMessage(error), "merge()", fixed = TRUE)
  }
  expect_error(scvaeModel(merged[["scvae"]]), "merge\\(\\)", class = "scvae_error_argument")
  # A reduction that kept the model of one part does not pass for one of all.
  reduction <- merged[["scvae"]]
  methods::slot(reduction, "misc") <- list(model = scvaeModel(first))
  expect_error(scvaeModel(reduction), class = "scvae_error_model")
  # An object that never had one is not told of merges.
  error <- expect_error(scvaeModel(seurat_small()), class = "scvae_error_argument")
  expect_no_match(conditionMessage(error), "merge")
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

test_that("informative features are found, kept and used", {
  object <- seurat_small()
  quickly <- function(object, ...) {
    do.call(FindInformativeFeatures, c(list(object), quick(n_repeats = 2, ...)))
  }
  found <- quickly(object, n = 40, set.variable = TRUE)
  score <- scScore(found, verbose = FALSE)
  expect_s4_class(score, "DataFrame")
  expect_identical(rownames(score), rownames(object))
  expect_false(all(is.na(score$FDR)))
  expect_identical(SeuratObject::VariableFeatures(found), informativeGenes(score, n = 40))
  expect_identical(informativeGenes(found), informativeGenes(score))
  # Scores that are there are used.
  again <- FindInformativeFeatures(found, fdr = 1, verbose = FALSE)
  expect_identical(scScore(again, verbose = FALSE), score)
  expect_identical(SeuratObject::VariableFeatures(again), SeuratObject::VariableFeatures(found))
  expect_error(
    FindInformativeFeatures(found, n_repeats = 3, verbose = FALSE),
    "holds scores already",
    class = "scvae_error_argument"
  )
  refit <- quickly(found, refit = TRUE, null = FALSE)
  expect_true(all(is.na(scScore(refit, verbose = FALSE)$FDR)))
  # And so are those of a model.
  object <- run_quick(object, batch = "donor")
  of_model <- FindInformativeFeatures(object, threshold = 0.5, set.variable = TRUE, verbose = FALSE)
  expect_identical(
    SeuratObject::VariableFeatures(of_model),
    informativeGenes(scvaeModel(object), threshold = 0.5)
  )
  expect_message(FindInformativeFeatures(object), "The score of the 1 fit")
  expect_error(FindInformativeFeatures(object, fdr = 0.1), class = "scvae_error_argument")
  expect_error(FindInformativeFeatures(sim_small()$counts), class = "scvae_error_argument")
})

test_that("Seurat 5 finds the scores by their method, and its own without", {
  skip_if_not(has_assay5())
  skip_if_not_installed("Seurat")
  object <- run_quick(seurat_small(), batch = "donor")
  score <- scScore(scvaeModel(object))
  table <- SeuratObject::HVFInfo(object, method = "scscore")
  expect_equal(table[rownames(score), "score"], score$scscore)
  first <- Seurat::FindVariableFeatures(seurat_small(), nfeatures = 50, verbose = FALSE)
  after <- run_quick(first, batch = "donor")
  expect_identical(SeuratObject::HVFInfo(after), SeuratObject::HVFInfo(first))
  expect_identical(SeuratObject::VariableFeatures(after), SeuratObject::VariableFeatures(first))
})
