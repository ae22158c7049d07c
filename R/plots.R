# Plots, with ggplot2 (suggested).

#' Plot a fitted model
#'
#' `plot()` on a model shows the history of its training or the scores of its genes.
#'
#' @param x A model from [fitSCVAE()].
#' @param type `"history"` or `"scscore"`.
#' @param ... Arguments of [plotHistory()] or [plotScScore()].
#' @return A ggplot.
#' @examplesIf requireNamespace("ggplot2", quietly = TRUE)
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' model <- fitSCVAE(sim$counts,
#'   min_genes = 10, max_epochs = 3, n_hidden = 16, seed = 1, threads = 1, verbose = FALSE
#' )
#' plot(model)
#' plot(model, "scscore")
#' @export
plot.SCVAE <- function(x, type = c("history", "scscore"), ...) {
  type <- check_choice(type, c("history", "scscore"), "type", rlang::current_env())
  if (type == "history") plotHistory(x, ...) else plotScScore(x, ...)
}

#' Plot the training
#'
#' @param model A model from [fitSCVAE()].
#' @param metrics Which metrics to show, of `"elbo"`, `"reconstruction_loss"` and `"kl_local"`.
#' @return A ggplot: each metric over the epochs, for training and validation cells.
#' @inherit plot.SCVAE examples
#' @export
plotHistory <- function(model, metrics = c("elbo", "reconstruction_loss", "kl_local")) {
  call <- rlang::current_env()
  need_package("ggplot2", "for plots", call)
  check_model(model, call)
  known <- c("elbo", "reconstruction_loss", "kl_local")
  for (metric in metrics) {
    check_choice(metric, known, "metrics", call)
  }
  ggplot2::ggplot(
    history_long(model$history, metrics),
    ggplot2::aes(.data$epoch, .data$value, colour = .data$cells)
  ) +
    ggplot2::geom_line() +
    ggplot2::facet_wrap(~metric, scales = "free_y") +
    ggplot2::labs(x = "epoch", y = NULL, colour = "cells") +
    ggplot2::theme_minimal()
}

history_long <- function(history, metrics) {
  parts <- list()
  for (metric in metrics) {
    for (cells in c("train", "validation")) {
      values <- history[[paste(metric, cells, sep = "_")]]
      if (any(is.finite(values))) {
        part <- data.frame(epoch = history$epoch, value = values, metric = metric, cells = cells)
        parts <- c(parts, list(part[is.finite(values), ]))
      }
    }
  }
  out <- do.call(rbind, parts)
  out$metric <- factor(out$metric, levels = metrics)
  out
}

#' Plot the scores of genes
#'
#' A histogram of the scores, with its peaks (numbers above the bars) and the threshold.
#'
#' @param score Scores from [scScore()] or a model from [fitSCVAE()].
#' @param threshold Where to draw the line of informative genes; NULL: none.
#' @param bins Number of bars.
#' @return A ggplot.
#' @inherit plot.SCVAE examples
#' @export
plotScScore <- function(score, threshold = 0.6, bins = 50) {
  call <- rlang::current_env()
  need_package("ggplot2", "for plots", call)
  bins <- check_number(bins, "bins", min = 2, max = 1000, whole = TRUE, call = call)
  threshold <- check_number(threshold, "threshold", 0, 1, null_ok = TRUE, call = call)
  score <- score_table(score, call = call)$scscore
  score <- score[!is.na(score)]
  width <- 1 / bins
  middle <- (pmin(floor(score / width), bins - 1) + 0.5) * width
  bars <- as.data.frame(table(middle), stringsAsFactors = FALSE)
  bars <- data.frame(score = as.numeric(bars$middle), genes = bars$Freq)
  peaks <- score_peaks(score)
  plot <- ggplot2::ggplot(bars, ggplot2::aes(.data$score, .data$genes)) +
    ggplot2::geom_col(width = width, fill = "grey60") +
    ggplot2::geom_vline(xintercept = peaks, linetype = "dotted") +
    ggplot2::annotate(
      "text",
      x = peaks, y = max(bars$genes) * 1.05, label = sprintf("%.2f", peaks), size = 3
    ) +
    ggplot2::labs(x = "scScore", y = "genes") +
    ggplot2::theme_minimal()
  if (!is.null(threshold)) {
    plot <- plot + ggplot2::geom_vline(xintercept = threshold, colour = "firebrick")
  }
  plot
}

# Local maxima of the smoothed density that hold a share of the highest.
score_peaks <- function(score, share = 0.02) {
  if (length(score) < 2 || diff(range(score)) == 0) {
    return(unique(score))
  }
  # Reflected at both ends, where the highest peaks often are.
  smooth <- stats::density(c(-score, score, 2 - score), bw = 0.02, from = 0, to = 1, n = 501)
  y <- smooth$y
  rises <- c(TRUE, diff(y) > 0)
  falls <- c(diff(y) <= 0, TRUE)
  smooth$x[rises & falls & y >= share * max(y)]
}
