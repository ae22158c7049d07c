skip_if_not_installed("ggplot2")

test_that("the history is plotted for training and validation", {
  model <- quick_fit(sim_small()$counts, seed = 1, max_epochs = 4)
  plot <- plot(model)
  expect_s3_class(plot, "ggplot")
  shown <- ggplot2::layer_data(plot)
  expect_gte(nrow(shown), 3 * 4)
  elbo <- plotHistory(model, metrics = "elbo")
  expect_true(all(model$history$elbo_train %in% ggplot2::layer_data(elbo)$y))
  expect_error(plotHistory(model, "elbow"), class = "scvae_error_argument")
  expect_error(plot(model, "umap"), class = "scvae_error_argument")
})

test_that("the histogram holds all scores", {
  model <- quick_fit(sim_small()$counts, seed = 1)
  plot <- plot(model, "scscore")
  expect_s3_class(plot, "ggplot")
  expect_equal(sum(ggplot2::layer_data(plot)$y), sum(model$genes$kept))
})

test_that("peaks are found, also at the ends", {
  score <- rep(c(0, 0.34, 0.7, 1), c(50, 400, 60, 40))
  expect_equal(score_peaks(score), c(0, 0.34, 0.7, 1), tolerance = 0.01)
  expect_identical(score_peaks(c(0.5, 0.5)), 0.5)
})

test_that("information on the installation is there", {
  info <- scvaeInfo()
  expect_match(info$version, "^[0-9]+\\.[0-9]+\\.[0-9]+$")
  expect_true("cpu" %in% info$devices)
})
