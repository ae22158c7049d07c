test_that("denoised counts are px_rate", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  genes <- model$genes$gene[model$genes$kept][c(3, 1, 40, 7, 9)]
  denoised <- denoiseCounts(model, sim$counts, batch = sim$batch, genes = genes, cells = 1:6)
  expect_identical(
    denoised,
    predict(model, sim$counts, "px_rate", batch = sim$batch, genes = genes, cells = 1:6)
  )
  # By the definition, from what the counts say of the library.
  whole <- denoiseCounts(model, sim$counts, batch = sim$batch)
  library <- Matrix::colSums(sim$counts[model$genes$kept, ])
  expect_equal(colSums(whole), library, tolerance = 1e-4)
  expect_equal(denoised, whole[genes, 1:6], tolerance = 1e-6)
  logs <- denoiseCounts(
    model, sim$counts,
    batch = sim$batch, genes = genes, cells = 1:6, output = "lognormalised"
  )
  scale <- predict(model, sim$counts, "px_scale", batch = sim$batch, genes = genes, cells = 1:6)
  expect_equal(logs, log1p(1e4 * scale))
  expect_equal(logs, log1p(1e4 * sweep(denoised, 2, library[1:6], "/")), tolerance = 1e-4)
})

test_that("style transfer leaves the batch's own cells and changes the others", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1, max_epochs = 5)
  own <- denoiseCounts(model, sim$counts, batch = sim$batch)
  styled <- transferBatchStyle(model, sim$counts, to = "batch_1", batch = sim$batch)
  expect_identical(dimnames(styled), dimnames(own))
  first <- sim$batch == "batch_1"
  expect_equal(styled[, first], own[, first], tolerance = 1e-6)
  expect_gt(max(abs(styled[, !first] - own[, !first])), 1e-4)
})

test_that("mistakes in style transfer are named", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  plain <- quick_fit(sim$counts, seed = 1)
  expect_snapshot({
    cat(error_text(transferBatchStyle(model, sim$counts, batch = sim$batch)))
    cat(error_text(transferBatchStyle(model, sim$counts, to = "batch_3", batch = sim$batch)))
    cat(error_text(transferBatchStyle(model, sim$counts, to = c("batch_1", "batch_9"))))
    cat(error_text(transferBatchStyle(plain, sim$counts, to = "batch_1")))
    cat(error_text(transferBatchStyle(sim$counts, model, to = "batch_1")))
    cat(error_text(denoiseCounts(model, sim$counts, batch = sim$batch, output = "log")))
  })
})

test_that("several batches give a result each, and the library can be the target's", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  transfer <- function(...) {
    transferBatchStyle(model, sim$counts, batch = sim$batch, cells = 1:5, ...)
  }
  all <- transfer("all")
  expect_identical(names(all), c("batch_1", "batch_2"))
  second <- sim$batch == "batch_2"
  # Each is in the style that its name says: a batch's own cells stay as they are, others do not.
  own <- denoiseCounts(model, sim$counts, batch = sim$batch, cells = 1:5)
  expect_identical(sort(unique(second[1:5])), c(FALSE, TRUE))
  for (batch in names(all)) {
    is_own <- sim$batch[1:5] == batch
    expect_equal(all[[batch]][, is_own], own[, is_own], tolerance = 1e-6)
    expect_gt(min(apply(abs(all[[batch]] - own)[, !is_own, drop = FALSE], 2, max)), 1e-4)
  }
  target <- colSums(transfer("batch_2", library = "target"))
  kept <- rownames(model$connections)
  median <- stats::median(Matrix::colSums(sim$counts[kept, second]))
  expect_equal(unname(target), rep(median, 5), tolerance = 1e-4)
  expect_snapshot({
    cat(error_text(denoiseCounts(model, sim$counts, batch = sim$batch, library = "target")))
    cat(error_text(transfer("batch_1", library = "mine")))
  })
})

test_that("a Seurat object gets a new assay", {
  skip_if_not_installed("SeuratObject")
  sim <- sim_small()
  object <- suppressWarnings(SeuratObject::CreateSeuratObject(sim$counts))
  object$donor <- as.character(sim$batch)
  model <- quick_fit(object, batch = "donor", seed = 1)
  styled <- transferBatchStyle(model, object, to = "batch_1")
  expect_true("style_batch_1" %in% SeuratObject::Assays(styled))
  plain <- transferBatchStyle(model, object, to = "batch_1", name = NA)
  in_assay <- SeuratObject::GetAssayData(styled[["style_batch_1"]], "counts")
  expect_equal(unname(as.matrix(in_assay)), unname(plain))
  both <- transferBatchStyle(
    model, object,
    to = "all", name = "logs", output = "lognormalised", genes = rownames(plain)[1:5]
  )
  expect_true(all(c("logs_batch_1", "logs_batch_2") %in% SeuratObject::Assays(both)))
  expect_identical(dim(both[["logs_batch_2"]]), c(5L, 300L))
  expect_snapshot(cat(error_text(transferBatchStyle(model, object, to = "batch_1", cells = 1:3))))
})

test_that("a SingleCellExperiment gets a new alternative experiment", {
  skip_if_not_installed("SingleCellExperiment")
  sim <- sim_small()
  object <- SingleCellExperiment::SingleCellExperiment(
    assays = list(counts = sim$counts), colData = data.frame(donor = sim$batch)
  )
  model <- quick_fit(object, batch = "donor", seed = 1)
  styled <- transferBatchStyle(model, object, to = "batch_2", output = "lognormalised")
  alt <- SingleCellExperiment::altExp(styled, "style_batch_2")
  expect_identical(SummarizedExperiment::assayNames(alt), "logcounts")
  expect_identical(rownames(alt), rownames(model$connections))
})
