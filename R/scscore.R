# scScore: how informative each gene is, by the connections it ends with.

#' Score how informative genes are
#'
#' While the model is trained, genes that have need of connections win some and genes that carry
#' little information lose theirs. The scScore of a gene is its number of connections, scaled to
#' \[0, 1\] over all genes. Beside it stands what the fitted models know of the gene, and how likely
#' a gene without any structure would do as well.
#'
#' For counts the model is fitted `n_repeats` times from different starts, the first time as by
#' [fitSCVAE()] with the same `seed`, and everything is averaged over the fits before it is scaled
#' or ranked. With several batches the number of connections is the mean over the batches. A model,
#' or an object that holds one, is not fitted again: its score is that of the fits it was made with,
#' one unless `n_repeats` of [fitSCVAE()] was more.
#'
#' Ctrl-C gives the score over the fits that are complete by then, with a warning; without one it is
#' an interrupt as any other, and with `training = trainingControl(on_interrupt = "stop")` always.
#'
#' @section What the columns say, and what they do not:
#' * `scscore` says how much a gene had need of connections by the criterion of
#'   [connectionControl()], compared with the other genes of these cells. It is no test: in cells
#'   without any structure some genes have the score 1, too.
#' * `p.value` is that of a test. Its null hypothesis: given a cell's batch and depth, the gene's
#'   counts have nothing to do with the other genes'. A small value says that the gene varies with
#'   something that other genes share, be it a cell type, a state, the cell cycle or stress; it does
#'   not say that the gene is a marker, nor that it differs between groups found in the same data.
#' * The test needs no distribution of the counts. Copies of a fifth of the genes (at least 1,000),
#'   whose counts are dealt anew to the cells of the same batch and of about the same depth, are
#'   trained beside the genes in every fit. They are as much expressed and as overdispersed as
#'   genes are, but have no structure. How well the fitted rates of a gene follow its counts (a
#'   score statistic over its own standard deviation) is compared with what the copies of about the
#'   same expression reach; the p-value is the share of copies that reach as much. It is therefore
#'   never below 1 / (1 + number of copies), and fewer than about 20 times as many genes as there
#'   are genes per copy, 100 by default, cannot reach an `FDR` (Benjamini & Hochberg) of 0.05.
#' * The copies make fits slower by about their share, and connections that they give away go to
#'   genes. With `null = FALSE` there are none, and no p-values.
#'
#' @param x Counts in any form that [fitSCVAE()] takes; or a model, or an object with a model in it.
#' @param batch The batch of each cell, as in [fitSCVAE()].
#' @param n_repeats Number of fits.
#' @param null Train null copies of genes beside the genes, for `p.value` and `FDR`.
#' @param checkpoint A folder that keeps the fits that are done, a file each, made if there is none:
#'   the same call again makes those that are missing, also with more repeats or other `threads`, to
#'   the same scores. With `seed = NULL` it takes the seed that is kept there. Other counts or
#'   settings are refused. NULL: nothing is kept.
#' @param BPPARAM A BiocParallelParam: the fits are its tasks, in processes of their own, on this
#'   machine or others. The scores are the same, to the last bit. A file given as `x` is opened by
#'   each worker, so that it must be there on all machines; other counts are sent. A fit whose
#'   worker died is made again. NULL: one fit after the other in this process, each with all
#'   `threads`. With a BPPARAM, `threads = NULL` is the number of cores over that of the workers, or
#'   what the cluster gives a job.
#' @param seed,verbose As in [fitSCVAE()].
#' @param name The model's name in an object, see [scvaeModel()].
#' @param ... Further arguments of [fitSCVAE()], also those that say where the counts are in `x`.
#' @return A [S4Vectors::DataFrame] with a row for each gene of `x`, in their order and with their
#'   names; NA for genes that the filter dropped. Its columns:
#'   * `scscore`: mean number of connections, scaled to \[0, 1\];
#'   * `se`: the standard error of `scscore` over the fits (NA for one fit);
#'   * `rank`: 1 for the most informative gene. More connections come first; among genes with
#'     equally many, above all those that have as many as a gene can have, those with more
#'     `signal`;
#'   * `n_connections`: their mean number;
#'   * `explained`: share of the gene's Poisson deviance within batches that the fitted rates
#'     explain;
#'   * `signal`: dispersion of the fitted rate within batches, variance over the cells of `px_scale`
#'     times the median library over its mean, in counts; the deviance that is explained, per cell,
#'     is about this where the rates differ little, and less elsewhere;
#'   * `mean`, `detected`: mean count, and share of the cells that have one;
#'   * `agreement`: whether batches agree on the gene, from 0 to 1: 1 minus twice the standard
#'     deviation of its place among the genes by `signal` in each batch; NA without batches;
#'   * `p.value`, `FDR`: see below; NA without null copies.
#'
#'   `metadata()` of it has the genes x fits matrix `connections`, the numbers of these fits in
#'   `repeats`, and `null`: a data frame of the copies with the `gene` each was made of, their
#'   `n_connections` and their `statistic`; the genes' own is in `statistic`.
#' @references Barber and Candes (2015), Annals of Statistics 43:2055-2085, on such copies.
#' @seealso [informativeGenes()], [FindInformativeFeatures()], [plotScScore()]
#' @examples
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' score <- scScore(sim$counts,
#'   n_repeats = 2, min_genes = 10, max_epochs = 2, n_hidden = 16, seed = 1, threads = 1,
#'   verbose = FALSE
#' )
#' score
#' informativeGenes(score, n = 5)
#' @export
scScore <- function(x, ...) UseMethod("scScore")

#' @rdname scScore
#' @export
scScore.SCVAE <- function(x, ...) {
  check_known_arguments(dots_names(...), "x")
  # Objects that earlier versions made know no more than the connections.
  scores <- x$scores %||% fits_of_model(which(x$genes$kept), x$connections, NULL)
  score_frame(scores, x$genes$gene)
}

#' @rdname scScore
#' @export
scScore.Seurat <- function(x, ..., name = NULL) {
  score_of_object(x, ..., name = name)
}

#' @rdname scScore
#' @method scScore DimReduc
#' @export
scScore.DimReduc <- function(x, ...) scScore(scvaeModel(x), ...)

#' @rdname scScore
#' @method scScore SummarizedExperiment
#' @export
scScore.SummarizedExperiment <- scScore.Seurat

# The score that is stored; counts without a model are fitted.
score_of_object <- function(x, ..., name, verbose = TRUE, assay = NULL, arg = "x") {
  stored <- stored_scores(x, name, assay)
  if (is.null(stored)) {
    if (!is.null(name)) {
      # Says that there is none of this name.
      scvaeModel(x, name)
    }
    if (is.null(assay)) {
      return(scScore.default(x, ..., verbose = verbose))
    }
    return(scScore.default(x, ..., assay = assay, verbose = verbose))
  }
  fitting <- setdiff(dots_names(...), "verbose")
  if (length(fitting) > 0) {
    abort_scvae(
      c(
        "{.arg {arg}} holds scores already, so {.arg {fitting}} has no meaning.",
        i = if (arg == "object") {
          "Leave it out, or fit again with {.code refit = TRUE}."
        } else {
          "Leave it out, or give the counts themselves to fit again."
        }
      ),
      "argument",
      rlang::caller_env()
    )
  }
  n_fits <- ncol(S4Vectors::metadata(stored$score)$connections)
  if (isTRUE(verbose)) {
    seconds <- stored$seconds
    cli::cli_inform(c(
      i = "The score of the {n_fits} fit{?s} that {.arg {arg}} holds.",
      i = if (!is.null(seconds) && n_fits == 1) {
        "20 fits tell genes apart better and would take about {duration_text(20 * seconds)}: give \\
         the counts to {.fn scScore}."
      }
    ))
  }
  stored$score
}

#' @rdname scScore
#' @export
scScore.default <- function(x, batch = NULL, ..., n_repeats = 20, null = TRUE, checkpoint = NULL,
                            BPPARAM = NULL, seed = NULL, verbose = TRUE) {
  call <- rlang::current_env()
  n_repeats <- check_repeats(n_repeats, call)
  check_flag(null, "null", call)
  check_flag(verbose, "verbose", call)
  dots <- split_dots(...)
  plan <- list(
    settings = settings_for_repeats(dots$settings, BPPARAM, call),
    numbers = seq_len(n_repeats),
    null = null,
    checkpoint = checkpoint_folder(checkpoint, call),
    BPPARAM = BPPARAM
  )
  counts <- do.call(as_counts, c(list(x), dots$input, list(call = call)), quote = TRUE)
  if (is.character(x)) {
    plan$file <- c(list(normalizePath(x)), dots$input)
  }
  if (!is.null(plan$checkpoint)) {
    seed <- seed %||% rust_call(rs_score_seed(plan$checkpoint), call)
  }
  plan$settings$seed <- check_seed(seed, call = call)
  say_notes(counts, verbose)
  batch <- resolve_batch(batch, counts, call)
  check_batch_size(batch, call = call)
  batch <- drop_single_batch(batch, verbose)
  check_masks(plan$settings, batch, call)
  fits <- repeated_fits(counts, batch, plan, verbose, call)
  if (fits$interrupted && plan$settings$on_interrupt != "return") {
    rlang::interrupt()
  }
  warn_repeats(fits, n_repeats)
  score_frame(fits, counts$gene_names)
}

check_repeats <- function(n_repeats, call) {
  check_number(
    n_repeats, "n_repeats",
    min = 1, max = 10000, whole = TRUE, cure = "20 tell genes apart well.", call = call
  )
}

# Arguments for the fit, and those that say where the counts are.
split_dots <- function(...) {
  args <- list(...)
  given <- dots_names(...)
  is_setting <- given %in% setting_names()
  list(settings = args[is_setting], input = args[!is_setting])
}

warn_repeats <- function(fits, n_repeats) {
  if (fits$interrupted) {
    done <- length(fits$numbers)
    warn_scvae(
      c(
        "The scoring was interrupted after {done} of {n_repeats} fits.",
        i = "The score is the mean over these."
      ),
      "interrupted"
    )
  }
}

# From fits, see repeats.R, to the table that users see.
score_frame <- function(fits, gene_names) {
  kept <- seq_along(fits$genes)
  values <- lapply(fits$values, function(x) x[kept, , drop = FALSE])
  average <- function(column) {
    out <- rep(NA_real_, length(gene_names))
    if (!is.null(values[[column]])) {
      out[fits$genes] <- rowMeans(values[[column]])
    }
    out[is.nan(out)] <- NA
    out
  }
  n_connections <- average("connections")
  signal <- average("signal")
  p_value <- rep(NA_real_, length(gene_names))
  p_value[fits$genes] <- null_p_values(fits)
  connections <- matrix(NA_real_, length(gene_names), ncol(values$connections))
  connections[fits$genes, ] <- values$connections
  dimnames(connections) <- list(gene_names, paste0("repeat", fits$numbers))
  width <- diff(range(n_connections, na.rm = TRUE))
  out <- S4Vectors::DataFrame(
    scscore = scale01(n_connections),
    # Scores are 0 where there is no difference.
    se = unname(standard_error(connections)) / (if (width > 0) width else Inf),
    rank = rank_genes(n_connections, signal),
    n_connections = n_connections,
    explained = average("explained"),
    signal = signal,
    mean = average("mean"),
    detected = average("detected"),
    agreement = average("agreement"),
    p.value = p_value,
    FDR = stats::p.adjust(p_value, "BH"),
    row.names = gene_names
  )
  S4Vectors::metadata(out) <- list(
    connections = connections,
    repeats = fits$numbers,
    statistic = stats::setNames(average("statistic"), gene_names),
    null = null_table(fits, gene_names)
  )
  out
}

# NA for one fit.
standard_error <- function(values) apply(values, 1, stats::sd) / sqrt(ncol(values))

# Many genes end with as many connections as a gene can have: what the model knows of them tells
# them apart.
rank_genes <- function(n_connections, signal) {
  known <- !is.na(n_connections)
  out <- rep(NA_integer_, length(n_connections))
  signal[is.na(signal)] <- 0
  order <- order(-n_connections[known], -signal[known], method = "radix")
  out[known][order] <- seq_along(order)
  out
}

# Averages over the fits are compared with averages over the same fits.
null_p_values <- function(fits) {
  if (length(fits$sources) == 0) {
    return(rep(NA_real_, length(fits$genes)))
  }
  statistic <- rowMeans(fits$values$statistic)
  genes <- seq_along(fits$genes)
  rs_null_p_values(
    statistic[genes], fits$values$mean[genes, 1], statistic[-genes], fits$sources
  )
}

null_table <- function(fits, gene_names) {
  copies <- length(fits$genes) + seq_along(fits$sources)
  # Models of before it was kept have no statistic, and no copies.
  statistic <- fits$values$statistic %||% fits$values$connections
  data.frame(
    gene = gene_names[fits$genes[fits$sources]],
    n_connections = rowMeans(fits$values$connections[copies, , drop = FALSE]),
    statistic = rowMeans(statistic[copies, , drop = FALSE])
  )
}
