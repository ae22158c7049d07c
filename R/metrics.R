# evaluateEmbedding(): how well an embedding keeps the cell types and joins the batches.

#' Score an embedding
#'
#' The scores by which the field compares embeddings of single cells, in R alone: how well known
#' cell types (`labels`) come out, and how well batches are mixed. They are those of Luecken et
#' al. (2022) in the definitions of the Python package scib-metrics and have its values, apart from
#' `kbet` and from the chance in the clusterings.
#'
#' All scores but ARI lie in \[0, 1\]; ARI is at most 1, and about 0 for a clustering by chance.
#' Higher is better for every score: 1 for a batch score means that nothing of the batches is left.
#'
#' Look at both kinds of scores: noise mixes batches perfectly. Scores compare embeddings of the
#' same cells with the same labels; between data sets they do not compare.
#'
#' @section Scores of the cell types (`kind` "bio"):
#' * `asw`: the silhouette width \eqn{s} of the labels, Euclidean, in the embedding itself, as
#'   \eqn{(s + 1) / 2} (Rousseeuw 1987).
#' * `isolated_labels`: the same, of the labels that occur in the fewest batches only: the mean over
#'   these labels. Where all labels occur in equally many batches these are all labels. Needs
#'   `batch`.
#' * `nmi_leiden`, `ari_leiden`: normalised mutual information (by the arithmetic mean of the
#'   entropies) and adjusted Rand index (Hubert and Arabie 1985) between the labels and a Leiden
#'   clustering (Traag et al. 2019; modularity). It runs on the weighted graph of UMAP with 15
#'   neighbours, and the resolution with the best NMI is taken: an upper bound, because this looks
#'   at the labels.
#' * `nmi_kmeans`, `ari_kmeans`: the same for k-means, with as many clusters as there are labels,
#'   the best of 10 starts.
#' * `clisi`: LISI of the labels (Korsunsky et al. 2019): into how many labels the 90 nearest cells
#'   fall, weighted with perplexity 30; the median over the cells, scaled so that 1 means one label.
#'
#' @section Scores of the batches (`kind` "batch"):
#' * `batch_asw`: \eqn{1 - |s|} for the silhouette width \eqn{s} of the batches among the cells of
#'   one label; the mean over the label's cells, then over the labels that have several batches.
#' * `ilisi`: LISI of the batches, as `clisi`, scaled so that 1 means all batches in equal shares.
#' * `kbet`: kBET with a fixed neighbourhood (after Büttner et al. 2019): within one label, the
#'   batches among a cell's 50 nearest cells (itself and at most a third of the label's cells) are
#'   held against the label's shares by a chi-square test. The share of cells at which that is not
#'   rejected at 5 percent, mean over the labels with several batches and at least 30 cells.
#' * `graph_connectivity`: the share of a label's cells that are in its largest strongly connected
#'   part of the 15-neighbour graph, mean over the labels. It needs labels, not batches.
#' * `pcr_comparison`: principal component regression: the share of the variance that the batches
#'   explain, as (before - after) / before, 0 where it grew. Needs `unintegrated`.
#'
#' @section Means (`kind` "overall"):
#' With labels and batches there are the rows `bio` and `batch` with the means of both kinds, and
#' `total` = 0.6 `bio` + 0.4 `batch`. As in Luecken et al. (2022) one clustering counts, that of
#' Leiden, and the scores of k-means do not. Their stretching of every score over the methods that
#' are compared is not done, so that the result does not depend on which these are.
#' `pcr_comparison` counts only where it is there: give `unintegrated` for all embeddings or for
#' none. A score that these cells do not define is NA, and so are the means over it.
#'
#' @section Cells:
#' Left out, with a message, are cells without coordinates (NA, as for cells that the filter of
#' [fitSCVAE()] dropped) and cells without a label (NA).
#'
#' Nearest neighbours are exact, and no table of all pairs of cells is ever held. The cell itself is
#' the first of its 15, 50 or 90 nearest. Which of several at exactly the same distance is taken is
#' not defined.
#'
#' @param embedding A matrix, cells x dimensions (or a data frame of such numbers); a model from
#'   [fitSCVAE()]; a Seurat object, its `DimReduc`, or a SingleCellExperiment.
#' @param labels The cell type of each cell: a vector or factor with one value per cell (if it has
#'   names, they are matched with the cells'), or the name of a column of the object's annotation
#'   (Seurat meta data, `colData`).
#' @param batch The batch of each cell, as in [fitSCVAE()]. For a model the default is the batches
#'   it was fitted with; NULL: none.
#' @param reduction Which reduction of a Seurat or SingleCellExperiment object to score; NULL:
#'   `"scvae"` and `"SCVAE"`.
#' @param unintegrated For `pcr_comparison`: the cells before integration, a matrix of principal
#'   components with one row per row of `embedding`, or the name of such a reduction in the object.
#' @param resolutions Resolutions of the Leiden clustering to choose from.
#' @param max_silhouette With more cells than that the silhouette widths are those of so many cells
#'   drawn at random, because their time grows with the square of the number.
#' @param seed The seed of Leiden, of k-means and of that draw. R's random numbers are left
#'   untouched, unless it is NULL: then it is drawn from them.
#' @param verbose Say which cells are left out.
#' @return A data frame of class `scvae_evaluation` with the columns `score`, `value` and `kind`,
#'   one row per score. Its attributes `n_cells`, `n_left_out`, `n_labels` and `n_batches` say what
#'   was scored, `n_silhouette` how many cells the silhouette widths are of, and `leiden` the
#'   resolution and the number of clusters taken.
#' @references
#' Büttner et al. (2019) *Nature Methods* 16:43. Hubert and Arabie (1985) *Journal of
#' Classification* 2:193. Korsunsky et al. (2019) *Nature Methods* 16:1289. Luecken et al. (2022)
#' *Nature Methods* 19:41. Rousseeuw (1987) *Journal of Computational and Applied Mathematics*
#' 20:53. Traag et al. (2019) *Scientific Reports* 9:5233.
#' @examplesIf all(vapply(c("igraph", "RANN", "uwot"), requireNamespace, TRUE, quietly = TRUE))
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' principal <- prcomp(log1p(t(as.matrix(sim$counts))), rank. = 5)$x
#' scores <- evaluateEmbedding(principal, sim$cell_type, sim$batch)
#' scores
#'
#' # A column that tells several embeddings apart; rbind() puts them into one table
#' head(cbind(method = "pca", scores), 3)
#' @export
evaluateEmbedding <- function(embedding, labels = NULL, batch = NULL, reduction = NULL,
                              unintegrated = NULL, resolutions = seq(0.1, 2, by = 0.1),
                              max_silhouette = 10000, seed = 1, verbose = TRUE) {
  call <- rlang::current_env()
  check_string(reduction, "reduction", null_ok = TRUE, call = call)
  check_resolutions(resolutions, call)
  max_silhouette <- check_number(
    max_silhouette, "max_silhouette",
    min = 100, whole = TRUE, cure = "The default is 10000.", call = call
  )
  check_flag(verbose, "verbose", call)
  for (package in c("igraph", "RANN", "uwot")) {
    need_package(package, "for the scores of an embedding", call)
  }
  cells <- as_embedding(embedding, reduction, call)
  if (missing(batch)) {
    batch <- cells$batch
  }
  scored <- cells_to_score(cells, labels, batch, unintegrated, verbose, call)
  seed <- check_seed(seed, call = call)
  keep_random_state()
  score_cells(scored, resolutions, max_silhouette, seed, verbose)
}

check_resolutions <- function(resolutions, call) {
  ok <- is.numeric(resolutions) && length(resolutions) > 0 && all(is.finite(resolutions)) &&
    all(resolutions > 0)
  if (!ok) {
    value <- describe(resolutions)
    abort_scvae(
      c(
        "{.arg resolutions} must be numbers above 0, not {value}.",
        i = "The default is {.code seq(0.1, 2, by = 0.1)}."
      ),
      "argument",
      call
    )
  }
}

# Any input becomes its coordinates, cells x dimensions, and what is known of the cells. The
# elements have the names of a counts handle, so that resolve_batch() takes both.
new_embedding <- function(values, columns = character(), column = function(name) NULL,
                          other = NULL, batch = NULL, call = rlang::caller_env()) {
  values <- numeric_matrix(values, "embedding", call)
  list(
    values = values,
    cell_names = rownames(values) %||% sprintf("cell%d", seq_len(nrow(values))),
    has_names = !is.null(rownames(values)),
    n_cells = nrow(values),
    columns = columns,
    hidden_columns = character(),
    column = column,
    other = other,
    batch = batch
  )
}

numeric_matrix <- function(x, name, call) {
  if (is.data.frame(x)) {
    x <- as.matrix(x)
  }
  if (!is.matrix(x) || !is.numeric(x) || ncol(x) == 0) {
    value <- if (is.matrix(x)) sprintf("a matrix of type \"%s\"", typeof(x)) else describe(x)
    cure <- if (name == "embedding") {
      "A model, a Seurat or a SingleCellExperiment object may be given too."
    } else {
      "Give principal components of the cells, or leave it out."
    }
    abort_scvae(
      c(
        "{.arg {name}} must be a matrix of numbers, cells x dimensions, not {value}.",
        i = "{cure}"
      ),
      "argument",
      call
    )
  }
  storage.mode(x) <- "double"
  x
}

# Internal generic.
as_embedding <- function(x, reduction, call) UseMethod("as_embedding")

as_embedding.default <- function(x, reduction, call) {
  refuse_reduction(reduction, call)
  new_embedding(x, call = call)
}

as_embedding.SCVAE <- function(x, reduction, call) {
  refuse_reduction(reduction, call)
  if (is.null(x$latent)) {
    abort_scvae(
      c(
        "This model was read from a file, which does not hold the cells' embedding.",
        i = "Give the result of {.code predict()} for the counts."
      ),
      "model",
      call
    )
  }
  new_embedding(x$latent, batch = x$batch, call = call)
}

as_embedding.DimReduc <- function(x, reduction, call) {
  refuse_reduction(reduction, call)
  need_package("SeuratObject", "for Seurat objects", call)
  new_embedding(SeuratObject::Embeddings(x), call = call)
}

as_embedding.Seurat <- function(x, reduction, call) {
  need_package("SeuratObject", "for Seurat objects", call)
  known <- names(slot(x, "reductions"))
  coordinates <- function(name, argument) {
    check_reduction(name, known, argument, call)
    SeuratObject::Embeddings(x[[name]])
  }
  values <- coordinates(reduction %||% "scvae", "reduction")
  meta <- x[[]]
  cells <- rownames(values)
  new_embedding(
    values,
    columns = colnames(meta),
    column = function(name) meta[cells, name, drop = TRUE],
    other = coordinates,
    call = call
  )
}

as_embedding.SummarizedExperiment <- function(x, reduction, call) {
  need_package("SingleCellExperiment", "for this class", call)
  known <- if (is(x, "SingleCellExperiment")) SingleCellExperiment::reducedDimNames(x)
  coordinates <- function(name, argument) {
    check_reduction(name, known, argument, call)
    as.matrix(SingleCellExperiment::reducedDim(x, name))
  }
  col_data <- SummarizedExperiment::colData(x)
  new_embedding(
    coordinates(reduction %||% "SCVAE", "reduction"),
    columns = colnames(col_data),
    column = function(name) col_data[[name]],
    other = coordinates,
    call = call
  )
}

refuse_reduction <- function(reduction, call) {
  if (!is.null(reduction)) {
    abort_scvae(
      c(
        "{.arg reduction} is for Seurat and SingleCellExperiment objects only.",
        i = "Leave it out."
      ),
      "argument",
      call
    )
  }
}

check_reduction <- function(name, known, argument, call) {
  if (!name %in% known) {
    abort_scvae(
      c(
        "There is no reduction {.val {name}} in {.arg embedding} ({.arg {argument}}).",
        i = if (length(known)) "There is {.val {known}}." else "It has none."
      ),
      "argument",
      call
    )
  }
}

# What is scored: coordinates, and the labels and batches as factors without empty levels.
cells_to_score <- function(cells, labels, batch, unintegrated, verbose, call) {
  labels <- resolve_labels(labels, cells, call)
  batch <- resolve_batch(batch, cells, call)$values
  before <- resolve_unintegrated(unintegrated, cells, call)
  if (is.null(labels) && is.null(batch)) {
    abort_scvae(
      c(
        "There is nothing to compare the embedding with.",
        i = "Give {.arg labels}, {.arg batch} or both."
      ),
      "argument",
      call
    )
  }
  placed <- rowSums(!is.finite(cells$values)) == 0
  labelled <- if (is.null(labels)) rep(TRUE, cells$n_cells) else !is.na(labels)
  kept <- which(placed & labelled)
  report_left_out(sum(!placed), sum(placed & !labelled), cells$n_cells, verbose)
  check_enough_cells(kept, labels[kept], call)
  batch <- batch[kept]
  if (length(unique(batch)) == 1) {
    batch <- only_batch(batch, labels, verbose, call)
  }
  if (!is.null(before) && is.null(batch)) {
    abort_scvae(
      c(
        "{.arg unintegrated} is for a score of batches, and there are none.",
        i = "Give {.arg batch} too, or leave it out."
      ),
      "argument",
      call
    )
  }
  list(
    values = unname(cells$values[kept, , drop = FALSE]),
    labels = if (!is.null(labels)) factor(labels[kept]),
    batch = if (!is.null(batch)) factor(batch),
    before = if (!is.null(before)) finite_rows(before, kept, call),
    n_all = cells$n_cells
  )
}

# One text per cell, NA where there is no label.
resolve_labels <- function(labels, cells, call) {
  if (is.null(labels)) {
    return(NULL)
  }
  column <- NULL
  if (is.character(labels) && length(labels) == 1 && cells$n_cells != 1) {
    column <- labels
    labels <- label_column(labels, cells, call)
  }
  source <- if (is.null(column)) "" else sprintf(" (column \"%s\")", column)
  if (!is.atomic(labels) || length(dim(labels)) > 1) {
    value <- describe(labels)
    abort_scvae(
      c(
        "{.arg labels}{source} must be a vector or a factor, not {value}.",
        i = "Give one value per cell, or the name of a column."
      ),
      "argument",
      call
    )
  }
  if (length(labels) != cells$n_cells) {
    abort_scvae(
      c(
        "{.arg labels}{source} must have one value per cell: {cells$n_cells}, not \\
         {length(labels)}.",
        i = "Its order must be that of the cells."
      ),
      "argument",
      call
    )
  }
  given <- names(labels)
  if (!is.null(given) && !anyDuplicated(given) && all(cells$cell_names %in% given)) {
    labels <- labels[cells$cell_names]
  }
  unname(as.character(labels))
}

label_column <- function(name, cells, call) {
  known <- cells$columns
  if (!name %in% known) {
    abort_scvae(
      if (length(known) == 0) {
        c(
          "{.arg labels} is {.val {name}}, but {.arg embedding} has no columns to look it up in.",
          i = "Give a vector with one value for each of the {cells$n_cells} cells."
        )
      } else {
        c(
          "There is no column {.val {name}} for {.arg labels}.",
          i = "The columns are {.val {known}}.",
          nearest_hint(name, known)
        )
      },
      "argument",
      call
    )
  }
  cells$column(name)
}

resolve_unintegrated <- function(unintegrated, cells, call) {
  if (is.null(unintegrated)) {
    return(NULL)
  }
  if (is.character(unintegrated) && length(unintegrated) == 1 && !is.null(cells$other)) {
    unintegrated <- cells$other(unintegrated, "unintegrated")
  }
  unintegrated <- numeric_matrix(unintegrated, "unintegrated", call)
  named <- cells$has_names && all(cells$cell_names %in% rownames(unintegrated))
  if (named) {
    return(unintegrated[cells$cell_names, , drop = FALSE])
  }
  if (nrow(unintegrated) != cells$n_cells) {
    abort_scvae(
      c(
        "{.arg unintegrated} must have one row per cell: {cells$n_cells}, not \\
         {nrow(unintegrated)}.",
        i = "Its order must be that of the rows of {.arg embedding}."
      ),
      "argument",
      call
    )
  }
  unintegrated
}

finite_rows <- function(before, kept, call) {
  before <- unname(before[kept, , drop = FALSE])
  lacking <- sum(rowSums(!is.finite(before)) > 0)
  if (lacking > 0) {
    abort_scvae(
      c(
        "{.arg unintegrated} lacks values for {lacking} of the {length(kept)} cells to score.",
        i = "Give every cell a value in every column."
      ),
      "argument",
      call
    )
  }
  before
}

report_left_out <- function(n_unplaced, n_unlabelled, n_cells, verbose) {
  left_out <- n_unplaced + n_unlabelled
  if (left_out > 0 && verbose) {
    why <- c(
      if (n_unplaced > 0) sprintf("%d without coordinates", n_unplaced),
      if (n_unlabelled > 0) sprintf("%d without a label", n_unlabelled)
    )
    cli::cli_inform(c(
      i = "{left_out} of {n_cells} cells {?is/are} left out: {why}."
    ))
  }
}

check_enough_cells <- function(kept, labels, call) {
  n <- length(kept)
  if (n < 10) {
    abort_scvae(
      c(
        "{n} cell{?s} {?is/are} left to score; at least 10 are needed.",
        i = "Look for NA in {.arg embedding} and {.arg labels}."
      ),
      "argument",
      call
    )
  }
  if (is.null(labels)) {
    return(invisible())
  }
  values <- unique(labels)
  n_values <- length(values)
  if (n_values < 2) {
    abort_scvae(
      c(
        "{.arg labels} must have at least 2 values, not only {.val {values}}.",
        i = "Give the cells' types, or leave it out to score the batches alone."
      ),
      "argument",
      call
    )
  }
  if (n_values > n / 2) {
    abort_scvae(
      c(
        "{.arg labels} has {n_values} different values for {n} cells.",
        i = "Give the cells' types, which many cells share."
      ),
      "argument",
      call
    )
  }
}

# One batch is no batch, as in fitSCVAE().
only_batch <- function(batch, labels, verbose, call) {
  name <- as.character(batch[1])
  if (is.null(labels)) {
    abort_scvae(
      c(
        "All cells are of batch {.val {name}}, so there is nothing to compare.",
        i = "Give {.arg labels}, or a {.arg batch} with at least 2 values."
      ),
      "argument",
      call
    )
  }
  if (verbose) {
    cli::cli_inform(c(i = "All cells are of batch {.val {name}}: batches are not scored."))
  }
  NULL
}

# All scores of cells that are checked; those that need what is not there are NULL and drop out.
score_cells <- function(cells, resolutions, max_silhouette, seed, verbose) {
  x <- cells$values
  labels <- cells$labels
  batch <- cells$batch
  has_labels <- !is.null(labels)
  has_batch <- !is.null(batch)
  has_both <- has_labels && has_batch
  neighbours <- nearest_cells(x, min(lisi_neighbours, nrow(x)))
  if (has_labels) {
    drawn <- draw_cells(nrow(x), max_silhouette, seed, verbose)
    part <- x[drawn, , drop = FALSE]
    width <- silhouette_widths(part, as.integer(labels)[drawn])
  }
  leiden <- if (has_labels) best_leiden(neighbours, labels, resolutions, seed)
  kmeans <- if (has_labels) agreement(kmeans_clusters(x, nlevels(labels), seed), labels)
  scores <- list(
    asw = if (has_labels) (mean(width) + 1) / 2,
    isolated_labels = if (has_both) isolated_width(width, labels[drawn], batch[drawn]),
    nmi_leiden = leiden$nmi,
    ari_leiden = leiden$ari,
    nmi_kmeans = kmeans$nmi,
    ari_kmeans = kmeans$ari,
    clisi = if (has_labels) 1 - scaled_lisi(neighbours, labels),
    batch_asw = if (has_both) batch_width(part, labels[drawn], batch[drawn]),
    ilisi = if (has_batch) scaled_lisi(neighbours, batch),
    kbet = if (has_both) kbet_acceptance(x, labels, batch),
    graph_connectivity = if (has_labels) graph_connectivity(neighbours$index, labels),
    pcr_comparison = if (!is.null(cells$before)) pcr_comparison(cells$before, x, batch)
  )
  structure(
    evaluation_table(unlist(scores), overall = has_both),
    n_cells = nrow(x),
    n_left_out = cells$n_all - nrow(x),
    n_dimensions = ncol(x),
    n_labels = nlevels(labels),
    n_batches = nlevels(batch),
    n_silhouette = if (has_labels) length(drawn),
    leiden = leiden[c("resolution", "n_clusters")]
  )
}

batch_scores <- c("batch_asw", "ilisi", "kbet", "graph_connectivity", "pcr_comparison")

evaluation_table <- function(scores, overall) {
  kind <- ifelse(names(scores) %in% batch_scores, "batch", "bio")
  if (overall) {
    counted <- !names(scores) %in% c("nmi_kmeans", "ari_kmeans")
    bio <- mean(scores[counted & kind == "bio"])
    batch <- mean(scores[counted & kind == "batch"])
    scores <- c(scores, bio = bio, batch = batch, total = 0.6 * bio + 0.4 * batch)
    kind <- c(kind, rep("overall", 3))
  }
  structure(
    data.frame(score = names(scores), value = unname(scores), kind = kind),
    class = c("scvae_evaluation", "data.frame")
  )
}

#' @method print scvae_evaluation
#' @export
print.scvae_evaluation <- function(x, ...) {
  table <- as.data.frame(x)
  n <- attr(x, "n_cells")
  # Parts of the table, or several in one, are no longer what the attributes tell of.
  if (!is.null(n) && !anyDuplicated(table$score) && is.numeric(table$value)) {
    of <- function(count, one, many) {
      if (count > 0) sprintf("%d %s", count, if (count == 1) one else many)
    }
    left_out <- attr(x, "n_left_out")
    cli::cat_line("Scores of an embedding: ", paste(c(
      paste0(of(n, "cell", "cells"), if (left_out > 0) sprintf(" (%d left out)", left_out)),
      of(attr(x, "n_dimensions"), "dimension", "dimensions"),
      of(attr(x, "n_labels"), "label", "labels"),
      of(attr(x, "n_batches"), "batch", "batches")
    ), collapse = ", "))
    table$value <- sprintf("%.3f", table$value)
  }
  print(table, row.names = FALSE, ...)
  invisible(x)
}
