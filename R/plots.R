# Plots, with ggplot2 (suggested).

#' Plot a fitted model
#'
#' `plot()` on a model shows the history of its training, its embedding, the scores of its genes or
#' how these genes' connections came about.
#'
#' @param x A model from [fitSCVAE()].
#' @param type `"history"`, `"embedding"`, `"scscore"` or `"connections"`.
#' @param ... Arguments of [plotHistory()], [plotEmbedding()], [plotScScore()] or
#'   [plotConnections()].
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
plot.SCVAE <- function(x, type = c("history", "embedding", "scscore", "connections"), ...) {
  types <- c("history", "embedding", "scscore", "connections")
  type <- check_choice(type, types, "type", rlang::current_env())
  switch(type,
    history = plotHistory(x, ...),
    embedding = plotEmbedding(x, ...),
    scscore = plotScScore(x, ...),
    connections = plotConnections(x, ...)
  )
}

#' Plot the training
#'
#' @param model A model from [fitSCVAE()].
#' @param metrics Which metrics to show, of `"elbo"`, `"reconstruction_loss"` and `"kl_local"`.
#' @return A ggplot: each metric over the epochs, for training and validation cells. A dotted line
#'   is at the epoch whose model was kept, if training was stopped early.
#' @inherit plot.SCVAE examples
#' @export
plotHistory <- function(model, metrics = c("elbo", "reconstruction_loss", "kl_local")) {
  call <- rlang::current_env()
  need_package("ggplot2", "for plots", call)
  check_model(model, call)
  for (metric in metrics) {
    check_choice(metric, names(metric_titles), "metrics", call)
  }
  plot <- ggplot2::ggplot(
    history_long(model$history, metrics),
    ggplot2::aes(.data$epoch, .data$value, colour = .data$cells)
  ) +
    ggplot2::geom_line(linewidth = 0.8) +
    # A training of one epoch has no line.
    (if (nrow(model$history) < 10) ggplot2::geom_point(size = 1.5)) +
    ggplot2::facet_wrap(
      ~metric,
      scales = "free_y", labeller = ggplot2::as_labeller(metric_titles)
    ) +
    ggplot2::scale_colour_manual(
      values = c(train = group_colours[1], validation = group_colours[2]), name = NULL,
      labels = c(train = "cells trained on", validation = "validation cells")
    ) +
    ggplot2::labs(
      title = "Loss of the training", subtitle = "nats per cell, lower is better", x = "epoch",
      y = NULL
    ) +
    theme_scvae()
  if (!isTRUE(model$best_epoch > 0)) {
    return(plot)
  }
  plot + ggplot2::geom_vline(xintercept = model$best_epoch, linetype = "dotted")
}

metric_titles <- c(
  elbo = "negative ELBO", reconstruction_loss = "reconstruction",
  kl_local = "KL divergence"
)

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
