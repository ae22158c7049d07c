# scScore: how informative each gene is, by the connections it ends with.

#' Score how informative genes are
#'
#' While the model is trained, genes that are hard to reconstruct win connections and genes that
#' carry little information lose them. The scScore of a gene is its number of connections, scaled
#' to \[0, 1\] over all genes.
#'
#' For a fitted model the score is that of one fit, which depends on where the connections started.
#' For counts the model is fitted `n_repeats` times from different starts and the numbers of
#' connections are averaged before they are scaled. With several batches the number of a gene is
#' the mean over the batches.
#'
#' Ctrl-C gives the score over the fits that are complete by then, with a warning; without one it is
#' an interrupt as any other, and with `training = trainingControl(on_interrupt = "stop")` always.
#'
#' @param x A model from [fitSCVAE()], or counts in any form that [fitSCVAE()] takes.
#' @param details FALSE: a named vector of scores. TRUE: a data frame.
#' @param batch The batch of each cell, as in [fitSCVAE()].
#' @param n_repeats Number of fits.
#' @param checkpoint A folder that keeps the fits that are done, made if there is none: the same
#'   call again goes on after them, also with more repeats or other `threads`, to the same scores.
#'   With `seed = NULL` it takes the seed that is kept there. Other counts or settings are refused.
#'   NULL: nothing is kept.
#' @param seed,verbose As in [fitSCVAE()].
#' @param ... Further arguments of [fitSCVAE()], also those that say where the counts are in `x`.
#' @return With `details = FALSE` a numeric vector with one score per gene of `x`, named; NA for
#'   genes that the filter dropped. With `details = TRUE` a data frame with the columns `gene`,
#'   `scscore`, `n_connections` (the mean) and `se`, the standard error of that mean over the fits
#'   (NA for one fit).
#' @seealso [informativeGenes()], [plotScScore()]
#' @examples
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' score <- scScore(sim$counts,
#'   n_repeats = 2, min_genes = 10, max_epochs = 2, n_hidden = 16, seed = 1, threads = 1,
#'   verbose = FALSE
#' )
#' informativeGenes(score, n = 5)
#' @export
scScore <- function(x, ...) UseMethod("scScore")

#' @rdname scScore
#' @export
scScore.SCVAE <- function(x, ..., details = FALSE) {
  check_known_arguments(dots_names(...), c("x", "details"))
  check_flag(details, "details")
  genes <- x$genes
  score_result(
    data.frame(
      gene = genes$gene, scscore = genes$scscore, n_connections = genes$n_connections, se = NA_real_
    ),
    details
  )
}

#' @rdname scScore
#' @export
scScore.default <- function(x, batch = NULL, ..., n_repeats = 20, details = FALSE,
                            checkpoint = NULL, seed = NULL, verbose = TRUE) {
  call <- rlang::current_env()
  n_repeats <- check_number(n_repeats, "n_repeats", min = 1, max = 10000, whole = TRUE, call = call)
  check_flag(details, "details", call)
  check_flag(verbose, "verbose", call)
  dots <- split_dots(...)
  settings <- settings_from(dots$settings, call)
  checkpoint <- checkpoint_folder(checkpoint, call)
  counts <- do.call(as_counts, c(list(x), dots$input, list(call = call)), quote = TRUE)
  if (!is.null(checkpoint)) {
    seed <- seed %||% rust_call(rs_score_seed(checkpoint), call)
  }
  seed <- check_seed(seed, call = call)
  batch <- resolve_batch(batch, counts, call)
  check_batch_size(batch, call = call)
  batch <- drop_single_batch(batch, verbose)
  check_masks(settings, batch, call)
  settings$seed <- seed
  keep_interrupted <- settings$on_interrupt == "return"
  settings <- without_interrupt(settings)
  progress <- new_progress(verbose, "Scoring ", score_progress)
  on.exit(progress$done())
  fit <- rust_call(
    rs_score(
      counts$data, counts$gene_names, rust_batch(batch), settings, n_repeats, checkpoint,
      progress$update
    ),
    call
  )
  progress$done()
  if (fit$interrupted && !keep_interrupted) {
    rlang::interrupt()
  }
  score_result(score_table(fit, counts$gene_names, n_repeats), details)
}

# Arguments for the fit, and those that say where the counts are.
split_dots <- function(...) {
  args <- list(...)
  given <- dots_names(...)
  is_setting <- given %in% setting_names()
  list(settings = args[is_setting], input = args[!is_setting])
}

score_table <- function(fit, gene_names, n_repeats) {
  done <- ncol(fit$connections)
  if (fit$interrupted) {
    warn_scvae(
      c(
        "The scoring was interrupted after {done} of {n_repeats} fits.",
        i = "The score is the mean over these."
      ),
      "interrupted"
    )
  }
  n_genes <- length(gene_names)
  mean <- se <- rep(NA_real_, n_genes)
  mean[fit$genes] <- rowMeans(fit$connections)
  if (done > 1) {
    se[fit$genes] <- apply(fit$connections, 1, stats::sd) / sqrt(done)
  }
  data.frame(gene = gene_names, scscore = scale01(mean), n_connections = mean, se = se)
}

score_result <- function(table, details) {
  if (details) table else stats::setNames(table$scscore, table$gene)
}

#' The most informative genes
#'
#' In a single fit many genes may end with the same number of connections, above all those that have
#' as many as a gene can have, and so with the same score. Genes of the same score keep the order
#' that they have in `score`. When `n` cuts through such genes there is a warning of class
#' `scvae_warning_ties`: the mean over repeated fits tells them apart, see [scScore()].
#'
#' @param score Scores from [scScore()] (a vector or a data frame), or a model from [fitSCVAE()].
#' @param threshold Genes with at least this score are returned. About 0.6 separates the informative
#'   genes of usual data.
#' @param n Number of genes to return; NULL: as many as the threshold gives. With `n` the threshold
#'   is not used unless it is given too.
#' @return Names of genes, the highest score first.
#' @examples
#' informativeGenes(c(CD3D = 0.7, ACTB = 0.1, MS4A1 = 1))
#' @export
informativeGenes <- function(score, threshold = 0.6, n = NULL) {
  n <- check_number(n, "n", min = 1, whole = TRUE, null_ok = TRUE)
  if (!is.null(n) && missing(threshold)) {
    threshold <- 0
  }
  threshold <- check_number(threshold, "threshold", min = 0, max = 1)
  score <- score_vector(score)
  score <- score[!is.na(score) & score >= threshold]
  # This order leaves genes of the same score as they are.
  score <- score[order(-score, method = "radix")]
  if (is.null(n) || n >= length(score)) {
    return(names(score))
  }
  warn_ties(score, n)
  names(score)[seq_len(n)]
}

warn_ties <- function(score, n) {
  tied <- score == score[n]
  # As many of them as are among the first n.
  chosen <- sum(tied[seq_len(n)])
  if (sum(tied) > chosen) {
    value <- format(score[[n]], digits = 3)
    warn_scvae(
      c(
        "{sum(tied)} genes have the same score, {value}, and {.arg n} = {n} cuts through them: \\
         the first {chosen} {cli::qty(chosen)}{?is/are} returned.",
        i = "The mean over many fits tells genes apart: give the counts to {.fn scScore}, or \\
             raise its {.arg n_repeats}."
      ),
      "ties"
    )
  }
}

score_vector <- function(score, call = rlang::caller_env()) {
  if (inherits(score, "SCVAE")) {
    score <- scScore(score)
  }
  if (is.data.frame(score) && all(c("gene", "scscore") %in% names(score))) {
    score <- stats::setNames(score$scscore, score$gene)
  }
  if (!is.numeric(score) || is.null(names(score))) {
    value <- describe(score)
    abort_scvae(
      c(
        "{.arg score} must be a named vector of scores, not {value}.",
        i = "Give it the result of {.fn scScore} or a model."
      ),
      "argument",
      call
    )
  }
  score
}
