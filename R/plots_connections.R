# How the connections of genes came about.

#' The connections of genes in every epoch
#'
#' How many hidden units each gene was connected to while the model was trained: in the first epoch
#' as many as all others, in the last as many as its score is made of. The record is part of the
#' model and of its file.
#'
#' @param model A model from [fitSCVAE()] or [loadSCVAE()], or an object that holds one.
#' @param genes Names or numbers of genes of the model; NULL: all.
#' @return A matrix of whole numbers, genes x epochs. With separate connections of the batches
#'   (`batchControl(masks = "separate")`) the mean over the batches, rounded. If the training was
#'   interrupted, there is a column for the epoch that was not finished. With early stopping the
#'   model's connections are those of its `best_epoch`.
#' @section Errors:
#' There is no record in models that [mapSCVAE()] made or early versions saved, and where
#' connections are never adjusted.
#' @seealso [plotConnections()]
#' @examples
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' model <- fitSCVAE(sim$counts,
#'   min_genes = 10, max_epochs = 4, n_hidden = 16, seed = 1, threads = 1, verbose = FALSE
#' )
#' connectionHistory(model, genes = sim$markers$gene[1:3])
#' @export
connectionHistory <- function(model, genes = NULL) {
  call <- rlang::current_env()
  connections_by_epoch(scvaeModel(model), genes, call)
}

connections_by_epoch <- function(model, genes, call) {
  open <- open_model(model, call)
  index <- choose_index(genes, open$gene_names, "genes", call)
  out <- rust_call(rs_epochs_connections(open$handle, index), call)
  if (ncol(out) == 0) {
    abort_scvae(
      c(
        "The model has no record of its connections.",
        i = "It was saved by an early version, made by {.fn mapSCVAE}, or its connections were \\
             never adjusted. Fit it again to have one."
      ),
      "model",
      call
    )
  }
  dimnames(out) <- list(open$gene_names[index], seq_len(ncol(out)))
  out
}

#' Plot connections over the epochs
#'
#' Genes that the model has need of win connections while it is trained, others lose theirs. The
#' lines are chosen genes, the grey area is where nine in ten of all genes are, and the dashed line
#' is their median.
#'
#' @inheritParams connectionHistory
#' @param genes Names or numbers of the genes to show; NULL: the three with the best scores and, for
#'   comparison, the middle one and the last two.
#' @return A ggplot. Its `data` has `gene`, `epoch` and `connections`.
#' @seealso [connectionHistory()], which gives the numbers.
#' @examplesIf requireNamespace("ggplot2", quietly = TRUE)
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' model <- fitSCVAE(sim$counts,
#'   min_genes = 10, max_epochs = 4, n_hidden = 16, seed = 1, threads = 1, verbose = FALSE
#' )
#' plotConnections(model, genes = sim$markers$gene[1:3])
#' @export
plotConnections <- function(model, genes = NULL) {
  call <- rlang::current_env()
  need_package("ggplot2", "for plots", call)
  model <- scvaeModel(model)
  all <- connections_by_epoch(model, NULL, call)
  genes <- genes %||% typical_genes(model)
  shown <- all[unique(choose_index(genes, rownames(all), "genes", call)), , drop = FALSE]
  if (nrow(shown) == 0) {
    abort_scvae(
      c("{.arg genes} is empty.", i = "Name at least one gene."), "argument", call
    )
  }
  epochs <- seq_len(ncol(all))
  data <- data.frame(
    gene = factor(rep(rownames(shown), length(epochs)), rownames(shown)),
    epoch = rep(epochs, each = nrow(shown)), connections = as.vector(shown)
  )
  middle <- apply(all, 2, stats::quantile, c(0.05, 0.5, 0.95), names = FALSE)
  others <- data.frame(
    epoch = epochs, low = middle[1, ], connections = middle[2, ], high = middle[3, ]
  )
  ends <- data[data$epoch == max(epochs), ]
  ggplot2::ggplot(data, ggplot2::aes(.data$epoch, .data$connections)) +
    ggplot2::geom_ribbon(
      ggplot2::aes(.data$epoch, ymin = .data$low, ymax = .data$high),
      data = others, inherit.aes = FALSE, fill = "grey88"
    ) +
    ggplot2::geom_line(data = others, linetype = "dashed", colour = "grey45") +
    ggplot2::geom_line(ggplot2::aes(colour = .data$gene), linewidth = 0.9) +
    layer_names(
      ends, ggplot2::aes(.data$epoch, .data$connections, label = .data$gene),
      hjust = 0, direction = "y", nudge_x = max(epochs) / 50, size = 3.5
    ) +
    ggplot2::scale_colour_manual(values = colours_of(nrow(shown)), guide = "none") +
    ggplot2::scale_x_continuous(expand = ggplot2::expansion(c(0.01, 0.2))) +
    ggplot2::labs(
      title = "Connections of genes while the model was trained",
      subtitle = "grey: nine in ten of all genes, dashed: their median",
      x = "epoch", y = "connections to hidden units"
    ) +
    theme_scvae()
}

typical_genes <- function(model) {
  ranked <- best_genes(model, Inf)
  n <- length(ranked)
  ranked[unique(pmax(1, pmin(n, c(1:3, ceiling(n / 2), n - 1, n))))]
}
