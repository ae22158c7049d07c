# Style transfer, seen.

#' Plot cells before and after a transfer of style
#'
#' [transferBatchStyle()] shows all cells as if they came from one batch. Panels in the same plane:
#' on the left the counts without noise that each cell has in its own batch's style
#' ([denoiseCounts()]), on the right those in the style of the batch `to`. Where the transfer does
#' what it is meant to, cells of the same type come together on the right, and the share of the
#' variance that lies between batches, in the titles of the panels, falls.
#'
#' The plane is a UMAP of the 20 first principal components of the genes with the best scores, in
#' units of log1p(counts per 10,000), over both panels.
#'
#' @inheritParams transferBatchStyle
#' @inheritParams plotEmbedding
#' @param to The batch whose style the cells take; with several covariates a named vector, as in
#'   [transferBatchStyle()].
#' @param labels The label of each cell, such as its type: one value per cell, or the name of a
#'   column of the annotation of `x`. NULL: the cells are coloured by their batches only.
#' @param n_genes So many genes with the best scores are compared.
#' @param max_cells With more cells than that so many are drawn at random.
#' @return A ggplot. Its `data` has the coordinates `x` and `y`, the `cell`, its `group`, the
#'   `panel` (`"label"` or `"batch"`) and the `style`.
#' @examplesIf all(vapply(c("ggplot2", "uwot"), requireNamespace, TRUE, quietly = TRUE))
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' model <- fitSCVAE(sim$counts,
#'   batch = sim$batch, min_genes = 10, max_epochs = 2, n_hidden = 16, seed = 1, threads = 1,
#'   verbose = FALSE
#' )
#' plotTransfer(model, sim$counts, "batch_1", batch = sim$batch, labels = sim$cell_type)
#' @export
plotTransfer <- function(model, x, to, ..., batch = NULL, labels = NULL, n_genes = 500,
                         n_neighbors = 30, min_dist = 0.3, max_cells = 5000, seed = 1,
                         threads = NULL) {
  call <- rlang::current_env()
  need_package("ggplot2", "for plots", call)
  need_package("uwot", "for a UMAP", call)
  check_model(model, call)
  umap <- check_umap(n_neighbors, min_dist, max_cells, seed, call)
  n_genes <- check_number(n_genes, "n_genes", min = 3, whole = TRUE, call = call)
  if (missing(to)) {
    to <- NULL
  }
  counts <- as_counts(x, ..., call = call)
  open <- open_model(model, call)
  check_one_style(open, to, call)
  codes <- model_batch_codes(open, batch, counts, call)
  values <- resolve_labels(labels, counts, call)
  cells <- sort(cells_to_show(seq_len(counts$n_cells), umap))
  genes <- best_genes(model, n_genes)
  own <- factor(open$batch_names[codes + 1], open$batch_names)
  style <- function(...) {
    # Of the handle, so that a file is read once.
    t(transferBatchStyle(model, counts, ...,
      batch = own, genes = genes, cells = cells, output = "lognormalised", name = NA,
      threads = threads
    ))
  }
  after <- style(to = to)
  before <- t(denoiseCounts(model, counts,
    batch = own, genes = genes, cells = cells, output = "lognormalised", threads = threads
  ))
  transfer_plot(before, after, droplevels(own[cells]), values[cells], paste(to, collapse = ", "),
    umap = umap, call = call
  )
}

check_one_style <- function(open, to, call) {
  styles <- transfer_styles(open, to, call)
  if (length(styles) != 1) {
    abort_scvae(
      c(
        "{.arg to} must name one style, not {length(styles)}.",
        i = "Plot them one after the other."
      ),
      "argument",
      call
    )
  }
}

best_genes <- function(model, n) {
  score <- score_table(model)
  score <- score[!is.na(score$rank), ]
  utils::head(score$gene[order(score$rank)], n)
}

# `before` and `after` are cells x genes. A row of panels for the batches and one for the labels.
transfer_plot <- function(before, after, batch, labels, to, umap, call) {
  place <- plane_of(principal_components(rbind(before, after), 20), umap, call)
  n <- nrow(before)
  share <- function(x) 100 * batch_share(x, batch)
  titles <- c(
    sprintf("Before: %.1f %% of the variance\nis between batches", share(before)),
    sprintf("In the style of\n%s: %.1f %%", to, share(after))
  )
  groups <- list(label = if (!is.null(labels)) factor(labels), batch = overlapping(batch))
  groups <- groups[!vapply(groups, is.null, TRUE)]
  # Every row's cells in the same random order.
  drawn <- cells_to_show(seq_len(n), umap)
  rows <- c(drawn, n + drawn)
  twice <- lapply(groups, function(group) rep(group, 2)[rows])
  data <- map_data(place[rows, ], twice, rep(rownames(before), 2)[rows])
  data$style <- rep(rep(factor(titles, titles), each = n)[rows], length(groups))
  ggplot2::ggplot(data, ggplot2::aes(.data$x, .data$y)) +
    layer_cells(n) +
    (if (length(groups) > 1) {
      ggplot2::facet_grid(ggplot2::vars(.data$panel), ggplot2::vars(.data$style), switch = "y")
    } else {
      ggplot2::facet_wrap(~style)
    }) +
    group_scale(groups) +
    ggplot2::labs(
      title = sprintf("Transfer of %s cells to the style of %s", big_number(n), to),
      x = colnames(place)[1], y = colnames(place)[2]
    ) +
    theme_map() +
    # Before, a label can be in as many places as there are batches.
    group_names(data[data$style == titles[2], ], groups)
}

# The first principal components of the rows, which are more than a few; those of no variance are
# left out.
principal_components <- function(x, n) {
  x <- sweep(x, 2, colMeans(x))
  found <- eigen(crossprod(x), symmetric = TRUE)
  kept <- which(found$values > 1e-9 * max(found$values))
  x %*% found$vectors[, utils::head(kept, n), drop = FALSE]
}
