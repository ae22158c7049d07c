# Objects that change between calls: other assays, other names, results replaced.
skip_if_not_installed("SeuratObject")
skip_if_not_installed("SingleCellExperiment")

seurat_of <- function(counts, donor = NULL) {
  object <- suppressWarnings(SeuratObject::CreateSeuratObject(counts))
  object$donor <- as.character(donor %||% sim_small()$batch)
  object
}

sce_of <- function(sim = sim_small(), ...) {
  SingleCellExperiment::SingleCellExperiment(
    list(counts = sim$counts),
    colData = S4Vectors::DataFrame(donor = as.character(sim$batch)), ...
  )
}

run <- function(x, ...) {
  fit <- if (inherits(x, "Seurat")) RunSCVAE else runSCVAE
  do.call(fit, c(list(x), quick(...)))
}

assay_values_of <- function(assay) unname(as.matrix(SeuratObject::GetAssayData(assay, "counts")))

test_that("a column belongs to the cells by its place, whatever names it has kept", {
  sim <- sim_small()
  sce <- sce_of(sim)
  SummarizedExperiment::colData(sce)$donor <- stats::setNames(
    as.character(sim$batch), rev(colnames(sce))
  )
  model <- scvaeModel(run(sce, batch = "donor", seed = 1))
  expect_identical(as.character(model$batch), as.character(sim$batch))
  by_table <- quick_fit(sim$counts, batch = SummarizedExperiment::colData(sce), seed = 1)
  expect_identical(as.character(by_table$batch), as.character(sim$batch))
})

test_that("a gene that was not fitted has no score, not that of one whose name begins the same", {
  counts <- sim_small()$counts
  rownames(counts)[1:2] <- c("KIT", "KITLG")
  object <- run(seurat_of(counts), features = rownames(counts)[-1])
  table <- object[["RNA"]][[]]
  scores <- grep("score", colnames(table), value = TRUE)[1]
  expect_identical(is.na(table[1:2, scores]), c(TRUE, FALSE))
})

test_that("another assay's genes are not given the scores of the model's", {
  counts <- sim_small()$counts
  object <- run(seurat_of(counts))
  other <- counts[rev(seq_len(nrow(counts))), ]
  object[["other"]] <- SeuratObject::CreateAssayObject(counts = other)
  score <- do.call(
    scScore, c(list(object, assay = "other", n_repeats = 1, null = FALSE, seed = 1), quick())
  )
  expect_identical(rownames(score), rownames(other))
  arguments <- quick(assay = "other", n = 5, set.variable = TRUE, n_repeats = 1, null = FALSE)
  object <- do.call(FindInformativeFeatures, c(list(object), arguments))
  expected <- do.call(scScore, c(list(other), quick(n_repeats = 1, null = FALSE, seed = 42)))
  expect_identical(
    SeuratObject::VariableFeatures(object, assay = "other"), informativeGenes(expected, n = 5)
  )
  expect_error(
    FindInformativeFeatures(object, seed.use = "a"),
    class = "scvae_error_argument", regexp = "seed.use"
  )
  expect_error(FindInformativeFeatures(object, batch = "donor"), "refit = TRUE")
})

test_that("the counts of a model's own cells are where they were when it was fitted", {
  sim <- sim_small()
  sce <- sce_of(sim)
  SummarizedExperiment::assay(sce, "spliced") <- sim$counts
  SummarizedExperiment::assay(sce, "counts") <- 2 * sim$counts
  sce <- run(sce, assay.type = "spliced", seed = 1)
  expect_identical(
    denoiseCounts(sce, name = NA), denoiseCounts(sce, name = NA, assay.type = "spliced")
  )
  expect_false(identical(
    denoiseCounts(sce, name = NA), denoiseCounts(sce, name = NA, assay.type = "counts")
  ))
  inner <- sce_of(sim)
  rownames(inner) <- paste0("inner_", rownames(inner))
  outer <- sce_of(sim)
  SingleCellExperiment::altExp(outer, "inner") <- inner
  outer <- run(outer, altexp = "inner", seed = 1)
  expect_identical(
    denoiseCounts(outer, name = NA), denoiseCounts(scvaeModel(outer), inner, name = NA)
  )
})

test_that("results of batches with any names stand beside each other, and R's draws are kept", {
  sim <- sim_small()
  names <- c(batch_1 = "CD45+", batch_2 = "CD45-")
  object <- run(seurat_of(sim$counts, names[as.character(sim$batch)]), batch = "donor")
  expect_message(styled <- transferBatchStyle(object, "all"), "style_CD45..1")
  made <- setdiff(SeuratObject::Assays(styled), "RNA")
  expect_length(made, 2)
  one <- transferBatchStyle(object, "CD45+", name = NA)
  expect_true(any(vapply(made, function(name) {
    identical(assay_values_of(styled[[name]]), unname(one))
  }, TRUE)))

  # Names that give one key: Seurat would draw another from R's random numbers.
  names <- c(batch_1 = "d_1", batch_2 = "d1")
  object <- run(seurat_of(sim$counts, names[as.character(sim$batch)]), batch = "donor")
  near <- Matrix::Diagonal(300)
  dimnames(near) <- list(colnames(object), colnames(object))
  graph <- SeuratObject::as.Graph(as(as(near, "generalMatrix"), "CsparseMatrix"))
  suppressWarnings(object[["graph"]] <- graph)
  set.seed(1)
  before <- random_state()
  styled <- transferBatchStyle(object, "all")
  expect_identical(random_state(), before)
  expect_length(setdiff(SeuratObject::Assays(styled), "RNA"), 2)
})

test_that("cells without names have a result without them", {
  sce <- sce_of()
  colnames(sce) <- NULL
  sce <- run(sce, seed = 1)
  expect_no_warning(sce <- denoiseCounts(sce))
  expect_true("denoised" %in% SingleCellExperiment::altExpNames(sce))
})

test_that("what else an object holds stays, what an earlier result left goes", {
  sce <- sce_of(metadata = list("a note"))
  metadata <- S4Vectors::metadata(run(sce, seed = 1))
  expect_identical(metadata[[1]], "a note")

  object <- run(run(seurat_of(sim_small()$counts), n_repeats = 2))
  expect_false("scvae_stability" %in% colnames(object[[]]))
  skip_if_not_installed("RANN")
  query <- MapSCVAE(object, run(seurat_of(sim_small()$counts), batch = "donor"),
    batch = rep("new", 300), labels = "donor", max_epochs = 1, verbose = FALSE
  )
  expect_true("scvae_label" %in% colnames(query[[]]))
  some <- scvaeModel(query[, 10:20])
  expect_identical(rownames(some$labels), some$cell_names)
  expect_identical(some$labels$label, unname(query$scvae_label[10:20]))
  query <- run(query)
  expect_false(any(c("scvae_label", "scvae_confidence") %in% colnames(query[[]])))
})

test_that("scores of before do not stand beside those of a new fit", {
  counts <- sim_small()$counts
  object <- do.call(
    FindInformativeFeatures,
    c(list(seurat_of(counts)), quick(n_repeats = 2, n = 10))
  )
  fdr <- function(object) {
    table <- object[["RNA"]][[]]
    table[[grep("FDR$", colnames(table))[1]]]
  }
  expect_false(all(is.na(fdr(object))))
  refitted <- run(object)
  expect_true(all(is.na(fdr(refitted))))
  expect_identical(scScore(refitted, verbose = FALSE), scScore(scvaeModel(refitted)))
})

test_that("cells without names are known by their places, also where several are at one", {
  counts <- sim_small()$counts
  # Without counts, so that they are embedded alike.
  counts[, 3:5] <- 0
  dimnames(counts) <- list(rownames(counts), NULL)
  sce <- SingleCellExperiment::SingleCellExperiment(list(counts = counts))
  sce <- suppressWarnings(run(sce, seed = 1), classes = "scvae_warning_filtered")
  model <- scvaeModel(sce)
  expect_identical(unname(model$embedding[3, ]), unname(model$embedding[4, ]))
  few <- scvaeModel(sce[, c(1:4, 200)])
  expect_identical(unname(few$embedding), unname(model$embedding[c(1:4, 200), ]))
  expect_identical(few$trained_cells, c(TRUE, TRUE, FALSE, FALSE, TRUE))
})

test_that("what is not a result of before is not replaced", {
  object <- denoiseCounts(run(seurat_of(sim_small()$counts), batch = "donor"), genes = 1:5)
  expect_identical(dim(denoiseCounts(object, genes = 1:3)[["denoised"]]), c(3L, 300L))
  part <- denoiseCounts(object[, 1:50], genes = 1:3)
  expect_identical(dim(part[["denoised"]]), c(3L, 50L))
  refused <- function(expr) expect_error(expr, "name", class = "scvae_error_argument")
  refused(denoiseCounts(object, name = "RNA"))
  refused(predict(object, type = "px_rate", name = "RNA"))
  refused(transferBatchStyle(object, "batch_1", name = "RNA"))
  refused(predict(object, type = "latent", name = "scvae"))
  sce <- sce_of()
  SingleCellExperiment::altExp(sce, "ADT") <- sce[1:3, ]
  sce <- denoiseCounts(run(sce, seed = 1), genes = 1:5)
  expect_identical(
    dim(SingleCellExperiment::altExp(denoiseCounts(sce, genes = 1:3), "denoised")), c(3L, 300L)
  )
  refused(denoiseCounts(sce, name = "ADT"))
  refused(predict(sce, type = "sd", name = "SCVAE"))
})

test_that("a second result has a key of its own, and R's random numbers are kept", {
  set.seed(1)
  state <- random_state()
  object <- run(seurat_of(sim_small()$counts))
  expect_no_warning(object <- run(object, reduction.name = "second"))
  expect_no_warning(object <- predict(object, type = "latent", name = "SCVAE"))
  expect_identical(random_state(), state)
  keys <- SeuratObject::Key(object)
  expect_identical(anyDuplicated(keys), 0L)
  expect_identical(keys[["scvae"]], "SCVAE_")
  expect_identical(keys[["second"]], "second_")
})

test_that("a reduction by itself is scored as the object that it is of", {
  counts <- sim_small()$counts
  counts[, 3:5] <- 0
  object <- suppressWarnings(
    run(seurat_of(counts), batch = "donor"),
    classes = "scvae_warning_filtered"
  )
  scored <- function(x) {
    evaluateEmbedding(x, labels = sim_small()$cell_type, seed = 1, verbose = FALSE)
  }
  expect_identical(scored(object[["scvae"]]), scored(scvaeModel(object)))
})

test_that("a name that no result has is an error, and the default's comes before others", {
  object <- run(seurat_of(sim_small()$counts), reduction.name = "SCVAE")
  expect_error(scScore(object, name = "nope"), class = "scvae_error_argument")
  object <- run(object, reduction.name = "nb", reduction.key = "NB_", likelihood = "nb")
  expect_identical(scvaeModel(object)$settings$likelihood, "zinb")
})

test_that("arguments that mean nothing are refused", {
  object <- run(seurat_of(sim_small()$counts))
  sce <- sce_of()
  refused <- function(expr, what) expect_error(expr, class = "scvae_error_argument", regexp = what)
  refused(predict(object, tpye = "px_rate"), "tpye")
  refused(predict(object, genes = 1:3), "genes")
  refused(predict(scvaeModel(object), genes = 1:3), "genes")
  refused(predict(scvaeModel(object), tpye = "px_rate"), "tpye")
  refused(mapSCVAE(object), "newdata")
  refused(run(sce, subset_row = "nope"), "subset_row")
  skip_if_not_installed("BiocParallel")
  refused(calculateSCVAE(sce, BPPARAM = 2), "BPPARAM")
  refused(scScore(sim_small()$counts, BPPARAM = 2, threads = 1), "BPPARAM")
})

test_that("genes are chosen by a run-length encoded column, too", {
  sce <- sce_of()
  kept <- rep(c(TRUE, FALSE), c(400, 100))
  expected <- run(sce, subset_row = kept, seed = 1)
  found <- run(sce, subset_row = S4Vectors::Rle(kept), seed = 1)
  expect_identical(result_of(scvaeModel(found)), result_of(scvaeModel(expected)))
})

test_that("names that were made up for cells without any say nothing of the order", {
  sim <- sim_small()
  counts <- unname(sim$counts)
  rownames(counts) <- rownames(sim$counts)
  n <- ncol(counts)
  batch <- stats::setNames(as.character(sim$batch), paste0("cell", n:1))
  expect_identical(as.character(quick_fit(counts, batch = batch)$batch), unname(batch))
  table <- data.frame(donor = unname(batch), row.names = names(batch))
  expect_identical(as.character(quick_fit(counts, batch = table)$batch), unname(batch))
  skip_if_not_installed("RANN")
  skip_if_not_installed("uwot")
  place <- matrix(stats::rnorm(2 * n), n)
  score <- function(labels) {
    evaluateEmbedding(place, labels, resolutions = 1, verbose = FALSE)
  }
  expect_identical(
    score(stats::setNames(sim$cell_type, names(batch))), score(unname(sim$cell_type))
  )
})

test_that("a single cell gets its result", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  one <- sim$counts[, 5, drop = FALSE]
  batch <- as.character(sim$batch[5])
  found <- predict(model, one, batch = batch)
  expect_equal(found, predict(model)[5, , drop = FALSE], tolerance = 1e-5)
  expect_identical(dim(denoiseCounts(model, one, batch = batch)), c(sum(model$genes$kept), 1L))
  expect_error(quick_fit(one), class = "scvae_error_counts")
})

test_that("a control that was changed is checked as one that is made", {
  counts <- sim_small()$counts
  changed <- trainingControl()
  changed$on_interrupt <- "foo"
  refused <- function(what, ...) {
    expect_error(quick_fit(counts, ...), what, class = "scvae_error_argument")
  }
  refused("on_interrupt", training = changed)
  twice <- list(alpha_init = 0.2, alpha_init = 0.3)
  refused("twice", connections = twice)
})
