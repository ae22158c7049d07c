# From scores to genes.

#' The most informative genes
#'
#' The genes of highest score, by `rank` of [scScore()], which has no ties. Of the conditions that
#' are given all must hold; without any, the genes are those with a score of at least 0.6.
#'
#' @param x Scores from [scScore()]; a model from [fitSCVAE()]; a Seurat or SingleCellExperiment
#'   object with a model; or a named vector of scores.
#' @param threshold Genes with at least this score. About 0.6 separates the informative genes of
#'   usual data (paper, section 3.2).
#' @param n At most so many genes.
#' @param prop At most this proportion of the genes that have a score, rounded up.
#' @param fdr.threshold Genes with an `FDR` of at most this. Models hold none: it needs scores that
#'   were made with null copies, see [scScore()].
#' @param name The model's name in an object, see [scvaeModel()].
#' @return Names of genes, the most informative first.
#' @examples
#' informativeGenes(c(CD3D = 0.7, ACTB = 0.1, MS4A1 = 1))
#' @export
informativeGenes <- function(x, threshold = NULL, n = NULL, prop = NULL, fdr.threshold = NULL,
                             name = NULL) {
  call <- rlang::current_env()
  n <- check_number(n, "n", min = 1, whole = TRUE, null_ok = TRUE, call = call)
  prop <- check_number(prop, "prop", 0, 1, open = "min", null_ok = TRUE, call = call)
  fdr <- check_number(fdr.threshold, "fdr.threshold", 0, 1, null_ok = TRUE, call = call)
  threshold <- check_number(threshold, "threshold", 0, 1, null_ok = TRUE, call = call)
  scores <- score_table(x, name, call)
  if (is.null(n) && is.null(prop) && is.null(fdr)) {
    threshold <- threshold %||% 0.6
  }
  scores <- scores[!is.na(scores$scscore), ]
  most <- min(n, if (!is.null(prop)) ceiling(prop * nrow(scores)), nrow(scores))
  if (!is.null(fdr) && all(is.na(scores$FDR))) {
    abort_scvae(
      c(
        "{.arg fdr.threshold} is {fdr}, but these scores have no {.field FDR}.",
        i = "Give the counts to {.fn scScore}, with {.code null = TRUE}."
      ),
      "argument",
      call
    )
  }
  chosen <- rep(TRUE, nrow(scores))
  if (!is.null(threshold)) chosen <- chosen & scores$scscore >= threshold
  if (!is.null(fdr)) chosen <- chosen & scores$FDR <= fdr
  chosen <- scores[chosen, ]
  utils::head(chosen$gene[order(chosen$rank)], most)
}

# Scores in any form as a data frame with `gene`, `scscore`, `rank` and `FDR`.
score_table <- function(x, name = NULL, call = rlang::caller_env()) {
  if (inherits(x, c("SCVAE", "DimReduc", "Seurat")) || is(x, "SummarizedExperiment")) {
    x <- known_scores(x, name, call)
  }
  if (is.numeric(x) && !is.null(names(x))) {
    return(data.frame(
      gene = names(x), scscore = unname(x), rank = rank(-x, ties.method = "first"), FDR = NA_real_
    ))
  }
  columns <- c("scscore", "rank", "FDR")
  if ((is.data.frame(x) || is(x, "DataFrame")) && all(columns %in% names(x))) {
    return(cbind(gene = rownames(x), as.data.frame(x)[columns]))
  }
  value <- describe(x)
  abort_scvae(
    c(
      "The scores must come from {.fn scScore}, or be a named vector, not {value}.",
      i = "Give the result of {.fn scScore}, or a model or an object that holds one."
    ),
    "argument",
    call
  )
}

known_scores <- function(x, name, call) {
  if (inherits(x, "SCVAE")) {
    return(scScore(x))
  }
  stored <- stored_scores(x, name)
  if (is.null(stored)) {
    # Says what the object lacks, and what to do.
    return(scScore(scvaeModel(x, name)))
  }
  stored$score
}
