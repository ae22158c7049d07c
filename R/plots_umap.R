# Cells in the plane.

#' Plot an embedding
#'
#' All cells in the plane of a UMAP, coloured by their labels, by their batches, or both in two
#' panels. The names of labels stand among their cells; those of batches, which overlap where the
#' batches are joined, are in the legend. The colours can be told apart without red or green.
#'
#' @param x What [evaluateEmbedding()] takes: a model from [fitSCVAE()], a matrix of cells x
#'   dimensions, a Seurat or a SingleCellExperiment object. Two dimensions are plotted as they are,
#'   such as those of `reduction = "umap"`; of others a UMAP is made.
#' @param labels,batch The label and the batch of each cell, one value per cell or the name of a
#'   column of the object's annotation. Cells without a label are grey. For a model the default of
#'   `batch` is the batches it was fitted with; NULL: none.
#' @param reduction As in [evaluateEmbedding()].
#' @param n_neighbors,min_dist Arguments of [uwot::umap()].
#' @param max_cells With more cells than that so many are drawn at random.
#' @param seed The seed of the UMAP. R's random numbers are left untouched.
#' @return A ggplot. Its `data` has the coordinates `x` and `y`, the `cell`, its `group` and the
#'   `panel`.
#' @seealso [plotTransfer()]
#' @examplesIf all(vapply(c("ggplot2", "uwot"), requireNamespace, TRUE, quietly = TRUE))
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' model <- fitSCVAE(sim$counts,
#'   batch = sim$batch, min_genes = 10, max_epochs = 2, n_hidden = 16, seed = 1, threads = 1,
#'   verbose = FALSE
#' )
#' plotEmbedding(model, labels = sim$cell_type)
#' @export
plotEmbedding <- function(x, labels = NULL, batch = NULL, reduction = NULL, n_neighbors = 30,
                          min_dist = 0.3, max_cells = 20000, seed = 1) {
  call <- rlang::current_env()
  need_package("ggplot2", "for plots", call)
  check_string(reduction, "reduction", null_ok = TRUE, call = call)
  umap <- check_umap(n_neighbors, min_dist, max_cells, seed, call)
  cells <- as_embedding(x, reduction, call)
  if (missing(batch)) {
    batch <- cells$batch
  }
  groups <- cell_groups(cells, labels, batch, call)
  shown <- cells_to_show(which(rowSums(!is.finite(cells$values)) == 0), umap)
  if (length(shown) < 3) {
    abort_scvae(
      c("{.arg x} has coordinates of {length(shown)} cell{?s}.", i = "3 are needed for a plot."),
      "argument",
      call
    )
  }
  place <- plane_of(cells$values[shown, , drop = FALSE], umap, call)
  map_plot(place, lapply(groups, `[`, shown), cells$cell_names[shown]) +
    ggplot2::labs(title = sprintf("%s cells%s", big_number(length(shown)), by_text(groups)))
}

by_text <- function(groups) {
  if (length(groups) == 0) "" else paste(" by", paste(names(groups), collapse = " and by "))
}

check_umap <- function(n_neighbors, min_dist, max_cells, seed, call) {
  list(
    n_neighbors = check_number(n_neighbors, "n_neighbors", min = 2, whole = TRUE, call = call),
    min_dist = check_number(min_dist, "min_dist", 0, 1, call = call),
    max_cells = check_number(max_cells, "max_cells", min = 10, whole = TRUE, call = call),
    seed = check_seed(seed, call = call)
  )
}

# Factors by the titles of their panels. Batches have a legend, labels have their names among the
# cells.
cell_groups <- function(cells, labels, batch, call) {
  title <- function(given, other) {
    if (rlang::is_string(given) && cells$n_cells != 1) given else other
  }
  out <- list()
  values <- resolve_labels(labels, cells, call)
  if (!is.null(values)) {
    # In the order of a factor's levels, if it is one.
    column <- if (length(labels) == 1 && cells$n_cells != 1) cells$column(labels) else labels
    known <- if (is.factor(column)) levels(column) else sort(unique(values), method = "radix")
    out[[title(labels, "label")]] <- factor(values, intersect(known, values))
  }
  values <- resolve_batch(batch, cells, call)$values
  if (!is.null(values)) {
    name <- title(batch, "batch")
    if (name %in% names(out)) {
      # The same column as both, or a label called as batches without a name are.
      names(out) <- "label"
      name <- "batch"
    }
    out[[name]] <- overlapping(values)
  }
  out
}

# Groups that lie on top of each other: a name among their cells would say nothing.
overlapping <- function(group) structure(group, class = c("scvae_overlapping", class(group)))

has_legend <- function(group) inherits(group, "scvae_overlapping")

# In random order, so that no group lies on top of the others.
cells_to_show <- function(cells, umap) {
  keep_random_state()
  start_random(umap$seed)
  cells <- cells[sample.int(length(cells))]
  utils::head(cells, umap$max_cells)
}

# Coordinates in the plane, with the names of the axes as names of the columns.
plane_of <- function(values, umap, call) {
  if (ncol(values) == 2) {
    colnames(values) <- colnames(values) %||% c("1", "2")
    return(values)
  }
  need_package("uwot", "for a UMAP", call)
  keep_random_state()
  start_random(umap$seed)
  place <- uwot::umap(
    unname(values),
    n_neighbors = min(umap$n_neighbors, nrow(values) - 1), min_dist = umap$min_dist,
    # One thread, so that the same seed gives the same picture.
    init = if (ncol(values) > 1) "spca" else "random", n_threads = 1, n_sgd_threads = 1,
    verbose = FALSE
  )
  colnames(place) <- c("UMAP 1", "UMAP 2")
  place
}

# One panel per factor of `groups`.
map_plot <- function(place, groups, cell_names) {
  axes <- colnames(place)
  if (length(groups) == 0) {
    groups <- list(cells = overlapping(factor(rep("cells", nrow(place)))))
  }
  data <- map_data(place, groups, cell_names)
  # Unknown cells under the known ones.
  data <- data[order(!is.na(data$key)), ]
  plot <- ggplot2::ggplot(data, ggplot2::aes(.data$x, .data$y)) +
    layer_cells(nrow(place)) +
    group_scale(groups) +
    ggplot2::labs(x = axes[1], y = axes[2]) +
    theme_map()
  if (length(groups) > 1) {
    plot <- plot + ggplot2::facet_wrap(~panel)
  }
  plot + group_names(data, groups)
}

# All cells once for every factor of `groups`.
map_data <- function(place, groups, cell_names) {
  data <- do.call(rbind, lapply(names(groups), function(panel) {
    group <- groups[[panel]]
    data.frame(
      x = place[, 1], y = place[, 2], cell = cell_names, group = as.character(group),
      panel = panel, key = ifelse(is.na(group), NA, paste(panel, group, sep = "\r"))
    )
  }))
  data$panel <- factor(data$panel, names(groups))
  data
}

layer_cells <- function(n) {
  ggplot2::geom_point(
    ggplot2::aes(colour = .data$key),
    size = point_size(n), shape = 16, stroke = 0, alpha = 0.8
  )
}

# One scale for all panels; in its legend are the groups that need one.
group_scale <- function(groups) {
  keys <- Map(function(group, panel) paste(panel, levels(group), sep = "\r"), groups, names(groups))
  colours <- unlist(lapply(keys, function(key) colours_of(length(key))))
  with_legend <- vapply(groups, function(x) has_legend(x) && nlevels(x) > 1, TRUE)
  title <- names(groups)[with_legend]
  ggplot2::scale_colour_manual(
    values = stats::setNames(colours, unlist(keys)), na.value = "grey85",
    breaks = unlist(keys[with_legend]),
    labels = unlist(lapply(unname(groups[with_legend]), levels)),
    name = if (length(title) > 0) title,
    guide = if (any(with_legend)) {
      ggplot2::guide_legend(override.aes = list(size = 3, alpha = 1), ncol = legend_columns(groups))
    } else {
      "none"
    }
  )
}

legend_columns <- function(groups) {
  1 + max(vapply(groups, function(x) if (has_legend(x)) nlevels(x) else 0L, 0L)) %/% 16
}

group_names <- function(data, groups) {
  named <- data[data$panel %in% names(groups)[!vapply(groups, has_legend, TRUE)], ]
  named <- named[!is.na(named$key), ]
  if (nrow(named) == 0) {
    return(NULL)
  }
  layer_names(
    middle_cells(named, named$key), ggplot2::aes(.data$x, .data$y, label = .data$group),
    fontface = "bold", point.size = NA
  )
}

# Of each group the cell that is the nearest to the group's median: where its name is put.
middle_cells <- function(data, group) {
  do.call(rbind, lapply(split(data, group, drop = TRUE), function(cells) {
    far <- (cells$x - stats::median(cells$x))^2 + (cells$y - stats::median(cells$y))^2
    cells[which.min(far), ]
  }))
}
