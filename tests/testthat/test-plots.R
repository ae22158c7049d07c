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
  expect_identical(class(plot(model, "connections")), class(plot))
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

batch_fit <- function(...) {
  sim <- sim_small()
  quick_fit(sim$counts, batch = sim$batch, seed = 1, ...)
}

test_that("all groups have colours of their own, also for those who see no red or green", {
  linear <- function(x) ifelse(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055)^2.4)
  encoded <- function(x) {
    x <- pmin(pmax(x, 0), 1)
    ifelse(x <= 0.0031308, 12.92 * x, 1.055 * x^(1 / 2.4) - 0.055)
  }
  # Machado et al. (2009), severity 1.
  seen <- list(
    all = diag(3),
    no_green = rbind(
      c(0.367322, 0.860646, -0.227968), c(0.280085, 0.672501, 0.047413),
      c(-0.011820, 0.042940, 0.968881)
    ),
    no_red = rbind(
      c(0.152286, 1.052583, -0.204868), c(0.114503, 0.786281, 0.099216),
      c(-0.003882, -0.048116, 1.051998)
    )
  )
  nearest <- function(colours, eye) {
    rgb <- linear(t(grDevices::col2rgb(colours)) / 255) %*% t(eye)
    lab <- grDevices::convertColor(encoded(rgb), "sRGB", "Lab")
    min(dist(lab))
  }
  for (eye in seen) {
    # 2.3 is a difference that is just seen.
    expect_gt(nearest(colours_of(8), eye), 15)
    expect_gt(nearest(colours_of(24), eye), 10)
  }
  expect_false(anyDuplicated(colours_of(24)) > 0)
  expect_length(colours_of(60), 60)
})

test_that("cells are coloured by label and batch, in two panels of the same plane", {
  skip_if_not_installed("uwot")
  sim <- sim_small()
  model <- batch_fit()
  before <- random_state()
  plot <- plotEmbedding(model, sim$cell_type)
  expect_identical(random_state(), before)
  expect_s3_class(plot, "ggplot")
  expect_silent(ggplot2::ggplot_build(plot))
  data <- plot$data
  expect_identical(levels(data$panel), c("label", "batch"))
  panels <- split(data, data$panel)
  for (panel in panels) {
    expect_setequal(panel$cell, colnames(sim$counts))
  }
  rows <- match(colnames(sim$counts), panels$label$cell)
  expect_identical(panels$label$group[rows], as.character(sim$cell_type))
  expect_identical(panels$batch$group[match(panels$label$cell, panels$batch$cell)],
    as.character(sim$batch)[match(panels$label$cell, colnames(sim$counts))]
  )
  at <- function(panel) panel[match(colnames(sim$counts), panel$cell), c("x", "y")]
  expect_equal(at(panels$label), at(panels$batch), ignore_attr = TRUE)
  # The batches are in the legend, the labels among their cells.
  scale <- plot$scales$get_scales("colour")
  expect_identical(unname(unlist(scale$labels)), model$batch_names)
  names <- ggplot2::layer_data(plot, 2)
  expect_setequal(names$label, unique(as.character(sim$cell_type)))
  expect_identical(plotEmbedding(model, sim$cell_type)$data, data)
  expect_false(identical(plotEmbedding(model, sim$cell_type, seed = 2)$data, data))
  expect_identical(levels(plotEmbedding(model, batch = NULL)$data$panel), "cells")
})

test_that("two dimensions are plotted as they are, and unknown labels lie under the others", {
  place <- cbind(tSNE_1 = 1:20, tSNE_2 = 20:1)
  labels <- rep(c("a", NA, "b", NA), 5)
  plot <- plotEmbedding(place, factor(labels, c("b", "a")))
  expect_identical(plot$labels$x, "tSNE_1")
  expect_setequal(plot$data$x, 1:20)
  expect_true(all(is.na(plot$data$key[1:10])))
  expect_false(anyNA(plot$data$key[11:20]))
  expect_identical(names(plot$scales$get_scales("colour")$palette(2)), c("label\rb", "label\ra"))
  fewer <- plotEmbedding(place, max_cells = 12)
  expect_length(unique(fewer$data$cell), 12)
  place[3, 1] <- NA
  expect_identical(nrow(plotEmbedding(place, batch = NULL)$data), 19L)
})

test_that("embeddings and groups that do not fit are refused", {
  place <- cbind(1:20, 20:1)
  refused <- function(...) expect_error(plotEmbedding(...), class = "scvae_error_argument")
  refused(place, labels = c("a", "b"))
  refused(place, batch = rep("a", 19))
  refused(place, reduction = "umap")
  refused(place, max_cells = 1)
  refused(place, min_dist = 2)
  refused("place")
  refused(place * NA)
})

test_that("cells are plotted before and after a transfer", {
  skip_if_not_installed("uwot")
  sim <- sim_small()
  model <- batch_fit(max_epochs = 5)
  before <- random_state()
  plot <- plotTransfer(
    model, sim$counts, "batch_2",
    batch = sim$batch, labels = sim$cell_type, n_genes = 50, threads = 1
  )
  expect_identical(random_state(), before)
  expect_silent(ggplot2::ggplot_build(plot))
  expect_identical(levels(plot$data$panel), c("label", "batch"))
  panels <- split(plot$data, plot$data$style)
  expect_length(panels, 2)
  known <- list(label = sim$cell_type, batch = sim$batch)
  for (panel in panels) {
    rows <- match(panel$cell, colnames(sim$counts))
    expect_identical(tabulate(rows), rep(2L, ncol(sim$counts)))
    for (what in names(known)) {
      of <- panel$panel == what
      expect_identical(panel$group[of], as.character(known[[what]])[rows[of]])
    }
  }
  # The share in the second title is that of the values themselves.
  genes <- best_genes(model, 50)
  after <- transferBatchStyle(
    model, sim$counts, "batch_2",
    batch = sim$batch, genes = genes, output = "lognormalised", threads = 1
  )
  share <- 100 * batch_share(t(after), factor(sim$batch))
  expect_match(names(panels)[2], sprintf("%.1f %%", share), fixed = TRUE)
  refused <- function(...) {
    expect_error(plotTransfer(model, sim$counts, ..., batch = sim$batch),
      class = "scvae_error_argument"
    )
  }
  refused("batch_9")
  refused("all")
  refused()
  refused("batch_1", labels = "a")
  refused("batch_1", n_genes = 1)
})

test_that("connections are known for every epoch", {
  model <- quick_fit(sim_small()$counts, seed = 1, max_epochs = 5)
  all <- connectionHistory(model)
  expect_type(all, "integer")
  expect_identical(dimnames(all), list(rownames(model$connections), as.character(1:5)))
  expect_length(unique(all[, 1]), 1)
  expect_equal(all[, 5], model$connections[, "all"])
  some <- rownames(all)[c(7, 3)]
  expect_identical(connectionHistory(model, some), all[some, ])
  plot <- plotConnections(model, some)
  expect_identical(plot$data$connections[plot$data$gene == some[1]], unname(all[some[1], ]))
  expect_silent(ggplot2::ggplot_build(plot))
  expect_length(levels(plotConnections(model)$data$gene), 6)
  expect_identical(plotConnections(model, c(some, some[1]))$data, plot$data)
  file <- withr::local_tempfile(fileext = ".scvae")
  saveSCVAE(model, file)
  expect_identical(connectionHistory(loadSCVAE(file)), all)
  expect_error(plotConnections(model, "nobody"), "nobody", class = "scvae_error_argument")
  expect_error(plotConnections(model, character()), class = "scvae_error_argument")
  fixed <- quick_fit(
    sim_small()$counts,
    seed = 1, connections = connectionControl(adjust_every = 0)
  )
  expect_error(connectionHistory(fixed), "record", class = "scvae_error_model")
  separate <- batch_fit(batches = batchControl(masks = "separate"))
  expect_equal(connectionHistory(separate)[, 2], round(rowMeans(separate$connections) + 1e-9))
})

test_that("the agreement of batches is plotted by gene and by pair of batches", {
  model <- batch_fit(batches = batchControl(masks = "separate"), max_epochs = 4)
  plot <- plotBatchAgreement(model)
  score <- scScore(model)
  expect_equal(
    plot$data$agreement[match(rownames(score)[1:50], plot$data$gene)], score$agreement[1:50]
  )
  expect_silent(ggplot2::ggplot_build(plot))
  pairs <- plotBatchAgreement(model, "batches")$data
  expect_identical(nrow(pairs), 2L)
  known <- stats::cor(model$connections[, 1], model$connections[, 2], method = "spearman")
  expect_equal(pairs$correlation, rep(known, 2))
  expect_error(plotBatchAgreement(batch_fit(), "batches"), "separate")
  alone <- quick_fit(sim_small()$counts, seed = 1)
  expect_error(plotBatchAgreement(alone), "batch", class = "scvae_error_argument")
})

test_that("columns and reductions of objects are plotted", {
  skip_if_not_installed("SingleCellExperiment")
  sim <- sim_small()
  place <- matrix(
    seq_len(2 * ncol(sim$counts)), ncol(sim$counts),
    dimnames = list(colnames(sim$counts), c("TSNE1", "TSNE2"))
  )
  sce <- SingleCellExperiment::SingleCellExperiment(
    list(counts = sim$counts),
    colData = S4Vectors::DataFrame(type = sim$cell_type, donor = sim$batch),
    reducedDims = list(TSNE = place)
  )
  # A column that is called as batches without a name are.
  sce$batch <- sce$type
  both <- plotEmbedding(sce, "batch", as.character(sce$donor), reduction = "TSNE")
  expect_identical(levels(both$data$panel), c("label", "batch"))
  plot <- plotEmbedding(sce, "type", "donor", reduction = "TSNE")
  expect_identical(levels(plot$data$panel), c("type", "donor"))
  expect_identical(plot$labels$x, "TSNE1")
  rows <- match(plot$data$cell, colnames(sce))
  expect_equal(plot$data$x, unname(place[rows, 1]))
  donor <- plot$data$panel == "donor"
  expect_identical(plot$data$group[donor], as.character(sim$batch)[rows[donor]])
  expect_error(plotEmbedding(sce, "tpye", reduction = "TSNE"), "Did you mean")
})

test_that("names are written without ggrepel, too", {
  replace_in_package("has_package", function(package) FALSE)
  place <- cbind(1:20, 20:1)
  plot <- plotEmbedding(place, rep(c("a", "b"), 10))
  expect_silent(ggplot2::ggplot_build(plot))
  expect_setequal(ggplot2::layer_data(plot, 2)$label, c("a", "b"))
})
