test_that("denoised counts are px_rate", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  genes <- informativeGenes(model, n = 5)
  denoised <- denoiseCounts(model, sim$counts, batch = sim$batch, genes = genes, cells = 1:6)
  expect_identical(
    denoised,
    predict(model, sim$counts, "px_rate", batch = sim$batch, genes = genes, cells = 1:6)
  )
  expect_true(all(denoised >= 0))
  logs <- denoiseCounts(
    model, sim$counts,
    batch = sim$batch, genes = genes, cells = 1:6, output = "lognormalised"
  )
  scale <- predict(model, sim$counts, "px_scale", batch = sim$batch, genes = genes, cells = 1:6)
  expect_equal(logs, log1p(1e4 * scale))
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
    cat(error_text(transferBatchStyle(model, sim$counts, to = c("batch_1", "batch_2"))))
    cat(error_text(transferBatchStyle(plain, sim$counts, to = "batch_1")))
    cat(error_text(transferBatchStyle(sim$counts, model, to = "batch_1")))
    cat(error_text(denoiseCounts(model, sim$counts, batch = sim$batch, output = "log")))
  })
})
