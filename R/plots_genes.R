# Scores of genes, plotted.

#' Plot the scores of genes
#'
#' A histogram of the scores, with its peaks (numbers above the bars) and the threshold. Genes at or
#' above it are blue, and counted in the subtitle.
#'
#' @param score Scores from [scScore()] or a model from [fitSCVAE()].
#' @param threshold Where to draw the line of informative genes; NULL: none.
#' @param bins Number of bars; NULL: one for each value if there are few, as those of a single fit
#'   are, else 50.
#' @return A ggplot.
#' @inherit plot.SCVAE examples
#' @export
plotScScore <- function(score, threshold = 0.6, bins = NULL) {
  call <- rlang::current_env()
  need_package("ggplot2", "for plots", call)
  bins <- check_number(
    bins, "bins",
    min = 2, max = 1000, whole = TRUE, null_ok = TRUE, call = call
  )
  threshold <- check_number(threshold, "threshold", 0, 1, null_ok = TRUE, call = call)
  score <- score_table(score, call = call)$scscore
  score <- score[!is.na(score)]
  bars <- score_bars(score, bins)
  peaks <- score_peaks(score)
  chosen <- if (is.null(threshold)) FALSE else score >= threshold
  bars$chosen <- !is.null(threshold) & bars$score >= threshold %||% 2
  plot <- ggplot2::ggplot(bars, ggplot2::aes(.data$score, .data$genes, fill = .data$chosen)) +
    ggplot2::geom_col(width = bars$width[1]) +
    ggplot2::geom_vline(xintercept = peaks, linetype = "dotted", colour = "grey30") +
    ggplot2::annotate(
      "text",
      x = peaks, y = max(bars$genes) * 1.05, label = sprintf("%.2f", peaks), size = 3
    ) +
    ggplot2::scale_fill_manual(
      values = c("FALSE" = quiet, "TRUE" = group_colours[1]), guide = "none"
    ) +
    ggplot2::labs(title = "Scores of the genes", x = "scScore", y = "genes") +
    theme_scvae()
  if (is.null(threshold)) {
    return(plot)
  }
  plot +
    ggplot2::geom_vline(xintercept = threshold, colour = highlight, linewidth = 0.8) +
    ggplot2::labs(subtitle = sprintf(
      "%s of %s genes at or above %s (blue)", big_number(sum(chosen)), big_number(length(score)),
      format_number(threshold)
    ))
}

# Numbers of connections of a single fit are whole: bars of any other width than theirs would have
# now one of them and now two.
score_bars <- function(score, bins) {
  values <- sort(unique(score))
  steps <- if (length(values) > 1) round(1 / min(diff(values)))
  if (is.null(bins) && !is.null(steps) && steps <= 100) {
    at <- round(score * steps) / steps
    width <- 1 / steps
  } else {
    bins <- bins %||% 50
    width <- 1 / bins
    at <- (pmin(floor(score / width), bins - 1) + 0.5) * width
  }
  number <- table(match(at, unique(at)))
  data.frame(score = unique(at), genes = as.vector(number), width = width)
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
    ggplot2::geom_point(
      ggplot2::aes(colour = .data$found),
      size = max(0.9, point_size(nrow(table))), alpha = 0.4, shape = 16, stroke = 0
    ) +
    ggplot2::scale_colour_manual(
      values = c(no = quiet, yes = group_colours[1]), name = sprintf("FDR <= %s", fdr),
      guide = if (colours) ggplot2::guide_legend(override.aes = list(size = 2)) else "none"
    ) +
    ggplot2::labs(
      x = axis_title(x), y = axis_title(y),
      title = sprintf("%s genes", big_number(nrow(table))),
      subtitle = sprintf("Spearman's correlation above the median mean: %.2f", rho)
    ) +
    theme_scvae()
  logarithmic <- c("mean", "detected", "signal")
  if (x %in% logarithmic) plot <- plot + ggplot2::scale_x_log10(labels = plain_numbers)
  if (y %in% logarithmic) plot <- plot + ggplot2::scale_y_log10(labels = plain_numbers)
  with_names(plot, table[match(genes, table$gene), ])
}

with_names <- function(plot, named) {
  named <- named[!is.na(named$gene), ]
  if (nrow(named) == 0) {
    return(plot)
  }
  mapping <- ggplot2::aes(!!plot$mapping$x, !!plot$mapping$y, label = .data$gene)
  plot +
    ggplot2::geom_point(data = named, colour = highlight, size = 1.8) +
    layer_names(named, mapping)
}

axis_title <- function(column) {
  titles <- c(
    scscore = "scScore", mean = "mean count", detected = "share of cells with a count",
    signal = "signal (dispersion of the fitted rate)", explained = "share of deviance explained",
    n_connections = "connections", agreement = "agreement of batches", p.value = "p-value"
  )
  if (column %in% names(titles)) titles[[column]] else column
}

#' Plot how well batches agree
#'
#' With `type = "genes"` each gene's agreement over its signal, see [scScore()]: in the lower right
#' corner are genes that vary much in some batches and little in others, by what was done to a batch
#' or because a cell type is lacking in it. With `type = "batches"`, for models with separate
#' connections of the batches, how similar the numbers of connections are that two batches gave the
#' genes (Spearman's correlation): a batch that stands apart from the others has low values.
#'
#' @param x A model of several batches from [fitSCVAE()], an object with one, or, for
#'   `type = "genes"`, scores from [scScore()].
#' @param type `"genes"` or `"batches"`.
#' @param genes Genes to name; NULL: the ten that agree the least among the tenth of the genes with
#'   the highest signal.
#' @return A ggplot.
#' @examplesIf requireNamespace("ggplot2", quietly = TRUE)
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' model <- fitSCVAE(sim$counts,
#'   batch = sim$batch, batches = batchControl(masks = "separate"), min_genes = 10, max_epochs = 2,
#'   n_hidden = 16, seed = 1, threads = 1, verbose = FALSE
#' )
#' plotBatchAgreement(model)
#' plotBatchAgreement(model, "batches")
#' @export
plotBatchAgreement <- function(x, type = c("genes", "batches"), genes = NULL) {
  call <- rlang::current_env()
  need_package("ggplot2", "for plots", call)
  type <- check_choice(type, c("genes", "batches"), "type", call)
  if (type == "batches") {
    return(batches_plot(scvaeModel(x)$connections, call))
  }
  score <- if (is(x, "DataFrame") || is.data.frame(x)) x else known_scores(x, NULL, call)
  if (!all(c("agreement", "signal") %in% names(score)) || all(is.na(score$agreement))) {
    abort_scvae(
      c("{.arg x} knows of no agreement of batches.", i = "Fit the model with {.arg batch}."),
      "argument",
      call
    )
  }
  if (is.null(genes)) {
    known <- which(!is.na(score$agreement) & score$signal > 0)
    strong <- known[order(-score$signal[known])][seq_len(ceiling(length(known) / 10))]
    genes <- rownames(score)[utils::head(strong[order(score$agreement[strong])], 10)]
  }
  plotGeneScores(score, x = "signal", y = "agreement", genes = genes, fdr = NULL) +
    ggplot2::labs(
      title = "Agreement of the batches on each gene",
      subtitle = "lower right: genes of much signal in some batches and little in others"
    )
}

# `connections`: genes x batches.
batches_plot <- function(connections, call) {
  if (ncol(connections) < 2 || all(connections == connections[, 1])) {
    abort_scvae(
      c(
        "The batches of this model have no connections of their own.",
        i = "Use {.code type = \"genes\"}, or fit it with \
             {.code batches = batchControl(masks = \"separate\")}."
      ),
      "argument",
      call
    )
  }
  similar <- stats::cor(connections, method = "spearman")
  names <- colnames(connections)
  pairs <- data.frame(
    first = factor(names[row(similar)], rev(names)), second = factor(names[col(similar)], names),
    correlation = as.vector(similar)
  )
  pairs <- pairs[pairs$first != pairs$second, ]
  ggplot2::ggplot(
    pairs, ggplot2::aes(.data$second, .data$first, fill = .data$correlation)
  ) +
    ggplot2::geom_tile(colour = "white") +
    ggplot2::geom_text(
      ggplot2::aes(
        label = sprintf("%.2f", .data$correlation),
        colour = .data$correlation > mean(range(.data$correlation))
      ),
      size = 3
    ) +
    ggplot2::scale_fill_viridis_c(name = "Spearman's\ncorrelation", direction = -1) +
    ggplot2::scale_colour_manual(values = c("grey10", "white"), guide = "none") +
    ggplot2::labs(
      title = "Agreement of the batches on the genes' connections", x = NULL, y = NULL
    ) +
    ggplot2::coord_equal() +
    theme_scvae() +
    ggplot2::theme(
      legend.position = "right", panel.grid = ggplot2::element_blank(),
      axis.text.x = ggplot2::element_text(angle = 45, hjust = 1)
    )
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
    ggplot2::geom_line(linewidth = 0.8) +
    ggplot2::geom_point(size = 1.5) +
    ggplot2::scale_x_log10(breaks = unique(curves$n_genes)) +
    ggplot2::scale_colour_manual(values = colours_of(nlevels(curves$ranking))) +
    ggplot2::labs(
      title = "How well the first genes of a ranking tell cells apart", x = "number of genes",
      y = ylab, colour = "ranking (area)"
    ) +
    theme_scvae() +
    ggplot2::theme(legend.position = "right")
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
