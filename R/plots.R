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
#' @method plot SCVAE
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

#' Plot what is known of the genes
#'
#' One value of each gene over another: by default the score over the mean count, which shows
#' whether it is more than a measure of expression. Spearman's correlation of the two, among the
#' genes above the median mean, is in the subtitle.
#'
#' @param score Scores from [scScore()], or a model, or an object with a model.
#' @param x,y Columns of the scores. `mean`, `detected` and `signal` are on a logarithmic axis.
#' @param genes Genes to name in the plot, such as known markers.
#' @param fdr Genes with an FDR of at most this are coloured, if p-values are known; NULL: none.
#' @return A ggplot.
#' @inherit plot.SCVAE examples
#' @export
plotGeneScores <- function(score, x = "mean", y = "scscore", genes = NULL, fdr = 0.05) {
  call <- rlang::current_env()
  need_package("ggplot2", "for plots", call)
  fdr <- check_number(fdr, "fdr", 0, 1, null_ok = TRUE, call = call)
  if (!is(score, "DataFrame") && !is.data.frame(score)) {
    score <- known_scores(score, NULL, call)
  }
  table <- cbind(gene = rownames(score), as.data.frame(score))
  known <- setdiff(names(table)[vapply(table, is.numeric, logical(1))], "gene")
  check_choice(x, known, "x", call)
  check_choice(y, known, "y", call)
  absent <- setdiff(genes, table$gene)
  if (length(absent) > 0) {
    abort_scvae(
      c(
        "{length(absent)} of {.arg genes} {?is/are} not among the scores: {.val {absent}}.",
        i = "Take names from {.code rownames()} of the scores."
      ),
      "argument",
      call
    )
  }
  table <- table[is.finite(table[[x]]) & is.finite(table[[y]]), ]
  high <- table[["mean"]] > stats::median(table[["mean"]])
  rho <- suppressWarnings(stats::cor(table[[x]][high], table[[y]][high], method = "spearman"))
  colours <- !is.null(fdr) && any(!is.na(table$FDR))
  table$found <- if (colours) ifelse(table$FDR <= fdr, "yes", "no") else "no"
  plot <- ggplot2::ggplot(table, ggplot2::aes(.data[[x]], .data[[y]])) +
    ggplot2::geom_point(ggplot2::aes(colour = .data$found), size = 0.5, alpha = 0.5) +
    # Two colours that those who see no red or no green tell apart.
    ggplot2::scale_colour_manual(
      values = c(no = "grey55", yes = "#0072B2"), name = sprintf("FDR <= %s", fdr),
      guide = if (colours) ggplot2::guide_legend(override.aes = list(size = 2)) else "none"
    ) +
    ggplot2::labs(
      x = axis_title(x), y = axis_title(y),
      subtitle = sprintf("Spearman's correlation above the median mean: %.2f", rho)
    ) +
    ggplot2::theme_minimal()
  logarithmic <- c("mean", "detected", "signal")
  if (x %in% logarithmic) plot <- plot + ggplot2::scale_x_log10()
  if (y %in% logarithmic) plot <- plot + ggplot2::scale_y_log10()
  with_names(plot, table[match(genes, table$gene), ])
}

with_names <- function(plot, named) {
  named <- named[!is.na(named$gene), ]
  if (nrow(named) == 0) {
    return(plot)
  }
  plot +
    ggplot2::geom_point(data = named, colour = "#D55E00", size = 1.5) +
    ggplot2::geom_text(
      ggplot2::aes(label = .data$gene),
      data = named, colour = "#A04000", size = 3, vjust = -0.7, check_overlap = TRUE
    )
}

axis_title <- function(column) {
  titles <- c(
    scscore = "scScore", mean = "mean count", detected = "share of cells with a count",
    signal = "signal (dispersion of the fitted rate)", explained = "share of deviance explained",
    n_connections = "connections", agreement = "agreement of batches", p.value = "p-value"
  )
  if (column %in% names(titles)) titles[[column]] else column
}

#' Plot how well chosen genes tell cells apart
#'
#' The curve of a measure, such as the NMI of clusters with cell types, over the number of genes
#' that a ranking puts first, for several rankings. The legend has the mean height of each curve
#' over the logarithm of the number of genes (its area under the curve), the highest first.
#'
#' @param x A data frame with the columns `ranking`, `n_genes` and `value`; several rows of the same
#'   ranking and number (seeds, say) are averaged.
#' @param ylab What `value` is.
#' @return A ggplot.
#' @examplesIf requireNamespace("ggplot2", quietly = TRUE)
#' curves <- expand.grid(n_genes = c(100, 500, 2000), ranking = c("scScore", "random"))
#' curves$value <- c(0.7, 0.8, 0.78, 0.4, 0.55, 0.7)
#' plotGeneSelection(curves)
#' @export
plotGeneSelection <- function(x, ylab = "NMI with the cell types") {
  call <- rlang::current_env()
  need_package("ggplot2", "for plots", call)
  check_string(ylab, "ylab", call = call)
  columns <- c("ranking", "n_genes", "value")
  if (!is.data.frame(x) || !all(columns %in% names(x))) {
    value <- describe(x)
    abort_scvae(
      "{.arg x} must be a data frame with the columns {.val {columns}}, not {value}.",
      "argument",
      call
    )
  }
  curves <- stats::aggregate(value ~ ranking + n_genes, as.data.frame(x)[columns], mean)
  curves <- curves[order(curves$n_genes), ]
  heights <- vapply(split(curves, as.character(curves$ranking)), mean_height, numeric(1))
  heights <- sort(heights, decreasing = TRUE)
  labels <- sprintf("%s (%.3f)", names(heights), heights)
  curves$ranking <- factor(as.character(curves$ranking), names(heights), labels)
  ggplot2::ggplot(curves, ggplot2::aes(.data$n_genes, .data$value, colour = .data$ranking)) +
    ggplot2::geom_line() +
    ggplot2::geom_point(size = 1) +
    ggplot2::scale_x_log10(breaks = unique(curves$n_genes)) +
    ggplot2::scale_colour_viridis_d(end = 0.95) +
    ggplot2::labs(x = "number of genes", y = ylab, colour = "ranking (area)") +
    ggplot2::theme_minimal() +
    ggplot2::theme(panel.grid.minor = ggplot2::element_blank())
}

# By the trapezoidal rule over the logarithm of the number of genes.
mean_height <- function(curve) {
  if (nrow(curve) == 1) {
    return(curve$value)
  }
  step <- diff(log(curve$n_genes))
  middle <- (curve$value[-1] + curve$value[-nrow(curve)]) / 2
  sum(step * middle) / sum(step)
}
