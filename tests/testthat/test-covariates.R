covariates <- function(sim) {
  data.frame(donor = sim$batch, chemistry = rep(c("v2", "v3"), length.out = length(sim$batch)))
}

test_that("several covariates are levels that add up", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = covariates(sim), seed = 1)
  expect_identical(names(model$covariates), c("donor", "chemistry"))
  expect_identical(
    model$batch_names,
    c("batch_1 / v2", "batch_1 / v3", "batch_2 / v2", "batch_2 / v3")
  )
  as_list <- quick_fit(sim$counts, batch = as.list(covariates(sim)), seed = 1)
  expect_identical(as_list$latent, model$latent)
  expect_identical(
    predict(model, sim$counts, batch = covariates(sim), threads = 1), model$latent
  )
  # By the rows' and the covariates' names, not by their places.
  mixed <- covariates(sim)[300:1, 2:1]
  rownames(mixed) <- rev(colnames(sim$counts))
  expect_identical(predict(model, sim$counts, batch = mixed, threads = 1), model$latent)
  file <- withr::local_tempfile(fileext = ".scvae")
  saveSCVAE(model, file)
  expect_identical(loadSCVAE(file)$covariates, model$covariates)
})

test_that("a covariate that is the same for all cells is not used", {
  sim <- sim_small()
  alone <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  both <- quick_fit(sim$counts, batch = list(batch = sim$batch, site = rep("x", 300)), seed = 1)
  expect_identical(both$latent, alone$latent)
  expect_identical(both$batch_names, alone$batch_names)
  again <- list(batch = sim$batch, site = rep("x", 300))
  expect_identical(predict(both, sim$counts, batch = again, threads = 1), alone$latent)
})

test_that("the style of one covariate is changed, the other kept", {
  sim <- sim_small()
  batch <- covariates(sim)
  model <- quick_fit(sim$counts, batch = batch, seed = 1, max_epochs = 5)
  own <- denoiseCounts(model, sim$counts, batch = batch)
  styled <- transferBatchStyle(model, sim$counts, to = c(chemistry = "v2"), batch = batch)
  same <- batch$chemistry == "v2"
  expect_equal(styled[, same], own[, same], tolerance = 1e-6)
  expect_gt(max(abs(styled[, !same] - own[, !same])), 1e-4)
})

test_that("mistakes in covariates are named", {
  sim <- sim_small()
  batch <- covariates(sim)
  model <- quick_fit(sim$counts, batch = batch, seed = 1)
  one <- data.frame(donor = "batch_1", chemistry = "v9", n = 1:300)[, 1:2]
  expect_snapshot({
    cat(error_text(quick_fit(sim$counts, batch = list(sim$batch, batch$chemistry))))
    cat(error_text(quick_fit(sim$counts, batch = list())))
    cat(error_text(quick_fit(sim$counts, batch = c("donor", "chemistry"))))
    cat(error_text(quick_fit(sim$counts, batch = batch[1:9, ])))
    cat(error_text(quick_fit(sim$counts, batch = batch, batches = list(masks = "separate"))))
    cat(error_text(predict(model, sim$counts, batch = one)))
    cat(error_text(predict(model, sim$counts, batch = transform(one, chemistry = NULL, n = "a"))))
    cat(error_text(transferBatchStyle(model, sim$counts, batch = batch)))
    twice <- data.frame(donor = c("a / b", "a"), chemistry = c("c", "b / c"))
    cat(error_text(quick_fit(sim$counts, batch = twice[rep(1:2, 150), ])))
    cat(error_text(transferBatchStyle(model, sim$counts, to = "v2", batch = batch)))
    cat(error_text(transferBatchStyle(model, sim$counts, to = c(donor = "v2"), batch = batch)))
  })
})
