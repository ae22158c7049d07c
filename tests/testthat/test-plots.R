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
  expect_match(info$hdf5, "^[12]\\.[0-9]+\\.[0-9]+$")
  expect_identical("cuda" %in% info$features, !is.null(info$cuda_toolkit))
  expect_identical(names(info$devices)[1], "cpu")
  expect_match(info$devices[["cpu"]], "threads")
  # Either there is a card, or it is said why not.
  expect_identical(any(grepl("^cuda:0$", names(info$devices))), is.null(info$cuda_missing))
})

test_that("a device is named as devices are, and must be there", {
  counts <- sim_small()$counts
  expect_error(fitSCVAE(counts, device = "gpu"), class = "scvae_error_argument")
  expect_error(fitSCVAE(counts, device = "cuda:x"), class = "scvae_error_argument")
  skip_if(is.null(scvaeInfo()$cuda_missing), "a card is there")
  expect_error(fitSCVAE(counts, device = "cuda", max_epochs = 1, verbose = FALSE), "CPU|cuda")
  expect_error(fitSCVAE(counts, device = "cuda:1", max_epochs = 1, verbose = FALSE), "cuda:1")
})

test_that("genes are plotted over what is known of them", {
  model <- quick_fit(sim_small()$counts, seed = 1, n_repeats = 2)
  plot <- plotGeneScores(model, genes = model$genes$gene[5:6])
  expect_s3_class(plot, "ggplot")
  score <- as.data.frame(scScore(model))
  score <- score[!is.na(score$scscore), ]
  expect_setequal(plot$data$gene, rownames(score))
  high <- score$mean > stats::median(score$mean)
  rho <- stats::cor(score$mean[high], score$scscore[high], method = "spearman")
  expect_match(plot$labels$subtitle, sprintf("%.2f", rho), fixed = TRUE)
  expect_silent(ggplot2::ggplot_build(plot))
  expect_s3_class(plotGeneScores(model, x = "detected", y = "explained"), "ggplot")
  expect_error(plotGeneScores(model, x = "size"), class = "scvae_error_argument")
  expect_error(plotGeneScores(model, genes = "nobody"), "nobody", class = "scvae_error_argument")
})

test_that("curves over the number of genes are ordered by their area", {
  curves <- data.frame(
    ranking = rep(c("low", "high"), each = 6), n_genes = rep(c(1, 10, 1000), 4),
    value = c(0, 0.2, 0.2, 0.2, 0.2, 0.4, 1, 0.5, 0.5, 1, 0.5, 0.5)
  )
  plot <- plotGeneSelection(curves)
  # low: 0.1, 0.2, 0.3 after averaging; a third of the axis at 0.15, the rest at 0.25.
  expect_identical(levels(plot$data$ranking), c("high (0.583)", "low (0.217)"))
  expect_silent(ggplot2::ggplot_build(plot))
  expect_error(plotGeneSelection(curves[1:2]), class = "scvae_error_argument")
})
