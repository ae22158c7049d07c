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
#' * `isolated_f1`: the F1 score of the cluster that matches such a label best, among the Leiden
#'   clusterings of all resolutions; mean over these labels. Needs `batch`.
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
#' * `bras`: batch removal adapted silhouette (Rautenstrauch and Ohler 2025): the same with cosine
#'   distances and all cells of other batches as one group. `batch_asw` takes the nearest of the
#'   other batches and so calls batches joined that are joined in pairs only.
#' * `ilisi`: LISI of the batches, as `clisi`, scaled so that 1 means all batches in equal shares.
#' * `cilisi`: the same among the cells of one label only, mean over the labels with several batches
#'   and at least 30 cells: it does not reward that different cell types are mixed.
#' * `kbet`: kBET with a fixed neighbourhood (after Büttner et al. 2019): within one label, the
#'   batches among a cell's 50 nearest cells (itself and at most a third of the label's cells) are
#'   held against the label's shares by a chi-square test. The share of cells at which that is not
#'   rejected at 5 percent, mean over the labels with several batches and at least 30 cells.
#' * `graph_connectivity`: the share of a label's cells that are in its largest strongly connected
#'   part of the 15-neighbour graph, mean over the labels. It needs labels, not batches.
#' * `pcr_comparison`: principal component regression: the share of the variance that the batches
#'   explain, as (before - after) / before, 0 where it grew. Needs `unintegrated`.
#' * `nmi_batch`, `ari_batch`: 1 less NMI, and 1 less ARI (at least 0), of the batches with the
#'   clustering that `nmi_leiden` is of.
#'
#' @section Means (`kind` "overall"):
#' With labels and batches there are the rows `bio` and `batch` with the means of both kinds, and
#' `total` = 0.6 `bio` + 0.4 `batch`. As in Luecken et al. (2022) one clustering counts, that of
#' Leiden, and the scores of k-means do not. Their stretching of every score over the methods that
#' are compared is not done, so that the result does not depend on which these are.
#' Nor do `isolated_f1`, which scib-metrics leaves out, and `bras`, `cilisi`, `nmi_batch` and
#' `ari_batch`, which came later.
#' `pcr_comparison` counts only where it is there: give `unintegrated` for all embeddings or for
#' none. A score that these cells do not define is NA, and so are the means over it.
#'
#' @section Cells:
#' Left out, with a message, are cells without coordinates (NA), cells that were embedded by scVAE
#' without being trained on (the filter of [fitSCVAE()] dropped them; give a matrix to score them,
#' too) and cells without a label (NA).
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
#' *Nature Methods* 19:41. Rautenstrauch and Ohler (2025) *Nature Biotechnology*. Rousseeuw (1987)
#' *Journal of Computational and Applied Mathematics* 20:53. Traag et al. (2019) *Scientific
#' Reports* 9:5233.
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
    width <- silhouette_widths(part, as.integer(droplevels(labels[drawn])))
  }
  leiden <- if (has_labels) best_leiden(neighbours, labels, resolutions, seed)
  with_batch <- if (has_both) agreement(leiden$clusters, batch)
  kmeans <- if (has_labels) agreement(kmeans_clusters(x, nlevels(labels), seed), labels)
  scores <- list(
    asw = if (has_labels) (mean(width) + 1) / 2,
    isolated_labels = if (has_both) isolated_width(width, drawn, labels, batch),
    isolated_f1 = if (has_both) isolated_f1(leiden$f1, labels, batch),
    nmi_leiden = leiden$nmi,
    ari_leiden = leiden$ari,
    nmi_kmeans = kmeans$nmi,
    ari_kmeans = kmeans$ari,
    clisi = if (has_labels) 1 - scaled_lisi(neighbours, labels),
    batch_asw = if (has_both) batch_width(part, labels[drawn], batch[drawn]),
    bras = if (has_both) bras(x, labels, batch),
    ilisi = if (has_batch) scaled_lisi(neighbours, batch),
    cilisi = if (has_both) cell_type_lisi(x, labels, batch),
    kbet = if (has_both) kbet_acceptance(x, labels, batch),
    graph_connectivity = if (has_labels) graph_connectivity(neighbours$index, labels),
    pcr_comparison = if (!is.null(cells$before)) pcr_comparison(cells$before, x, batch),
    nmi_batch = if (has_both) 1 - with_batch$nmi,
    ari_batch = if (has_both) 1 - max(0, with_batch$ari)
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

# Those that the means are over, and those that came later.
batch_scores <- c("batch_asw", "ilisi", "kbet", "graph_connectivity", "pcr_comparison")
later_batch_scores <- c("bras", "cilisi", "nmi_batch", "ari_batch")
not_counted <- c("nmi_kmeans", "ari_kmeans", "isolated_f1", later_batch_scores)

evaluation_table <- function(scores, overall) {
  kind <- ifelse(names(scores) %in% c(batch_scores, later_batch_scores), "batch", "bio")
  if (overall) {
    counted <- !names(scores) %in% not_counted
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
