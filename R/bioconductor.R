# Bioconductor: calculateSCVAE() and runSCVAE().
#
# Both are S4 generics, so that other packages can add methods for classes of their own. What they
# do by default suits all classes that as_counts() knows, without one of Bioconductor's packages
# being loaded before it is needed.

#' Fit scVAE to a SingleCellExperiment
#'
#' Fits the model to raw **counts** (not to log-counts, as most methods of this kind do) of all
#' genes. `calculateSCVAE()` returns the embedding, `runSCVAE()` stores it in the object.
#'
#' Cells that the filter drops are embedded like all others, so that neighbours and a UMAP can be
#' computed, but the model is not trained on them: a warning says how many there are, and
#' `colData(x)` tells which. With `filtered_cells = "NA"` their rows are NA.
#'
#' @section What is stored:
#' * `reducedDim(x, name)`: the embedding, one row per cell; in expression space with the
#'   attributes `varExplained`, `percentVar` and `rotation`, as principal components have them;
#' * `colData(x)$SCVAE_trained` (`name` and `_trained`): FALSE for cells that the filter dropped;
#'   with `n_repeats` also `SCVAE_stability`, see [fitSCVAE()];
#' * `metadata(x)$scVAE[[name]]`: the model, which [scvaeModel()] returns and which survives
#'   `saveRDS()`. It holds the score of each gene: `scScore(scvaeModel(x))`.
#'
#' The scores become the column `scScore` of `rowData(x)` with `gene_scores = TRUE` only (with
#' `altexp` that of the alternative experiment), because `cbind()` refuses objects whose columns of
#' one name differ, as those of two fits do.
#'
#' @inheritSection fitSCVAE Expression space
#' @section Random numbers:
#' Unless `seed` is given it is drawn from R's random numbers: use [set.seed()] for results that can
#' be repeated.
#'
#' @section Methods for other classes:
#' Both functions are S4 generics on `x`. A method must have all their arguments: R drops those that
#' it lacks.
#'
#' @param x A SingleCellExperiment, or an object of a class that extends it, such as
#'   SpatialExperiment; for `calculateSCVAE()` also a SummarizedExperiment or any counts that
#'   [fitSCVAE()] takes. Of a MultiAssayExperiment give one of the experiments, as `x[["rna"]]`.
#'   The counts may be a DelayedMatrix, in an HDF5 file for example: it is read by blocks.
#' @param batch The batch of each cell: the name of a column of `colData(x)`, or a vector with one
#'   value per cell. NULL: no batches.
#' @param ... Further arguments of [fitSCVAE()]; for `calculateSCVAE()` also `assay.type`, `altexp`
#'   and `subset_row`.
#' @param assay.type Name or number of the assay with the raw counts.
#' @param altexp Name of an alternative experiment to use; the embedding is stored in `x` itself.
#' @param subset_row Genes to use, by name, number or as a logical vector; NULL: all.
#' @inheritParams fitSCVAE
#' @param BPPARAM A BiocParallelParam, whose number of workers becomes the number of `threads`, but
#'   never more than this machine has cores for; NULL: see `threads`.
#' @param name Name of the result in `reducedDims(x)`.
#' @param gene_scores TRUE writes the genes' scores to `rowData(x)`, see below.
#' @return For `calculateSCVAE()` a matrix, cells x dimensions, whose attribute `model` is the
#'   fitted model. For `runSCVAE()` the object `x` with the results.
#' @seealso [fitSCVAE()], [scvaeModel()]
#' @examplesIf requireNamespace("SingleCellExperiment", quietly = TRUE)
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' sce <- SingleCellExperiment::SingleCellExperiment(
#'   list(counts = sim$counts),
#'   colData = data.frame(donor = sim$batch)
#' )
#' set.seed(1)
#' sce <- runSCVAE(sce,
#'   batch = "donor", min_genes = 10, max_epochs = 2, n_hidden = 16, threads = 1,
#'   verbose = FALSE
#' )
#' SingleCellExperiment::reducedDim(sce, "SCVAE")[1:3, 1:3]
#' @export
calculateSCVAE <- function(x, batch = NULL, ..., n_latent = 10,
                           likelihood = c("zinb", "nb", "poisson"), max_epochs = NULL,
                           embedding = c("auto", "expression", "latent"), n_repeats = 1,
                           seed = NULL, threads = NULL, BPPARAM = NULL, verbose = TRUE) {
  calculate_scvae(
    x, batch, ...,
    n_latent = n_latent, likelihood = likelihood, max_epochs = max_epochs, embedding = embedding,
    n_repeats = n_repeats, seed = seed, threads = threads, BPPARAM = BPPARAM, verbose = verbose,
    call = quote(calculateSCVAE())
  )
}

#' @rdname calculateSCVAE
#' @export
runSCVAE <- function(x, batch = NULL, ..., assay.type = "counts", altexp = NULL, subset_row = NULL,
                     n_latent = 10, likelihood = c("zinb", "nb", "poisson"), max_epochs = NULL,
                     embedding = c("auto", "expression", "latent"), n_repeats = 1, seed = NULL,
                     threads = NULL, BPPARAM = NULL, verbose = TRUE, name = "SCVAE",
                     gene_scores = FALSE) {
  call <- quote(runSCVAE())
  check_single_cell(x, call)
  check_string(name, "name", call = call)
  check_flag(gene_scores, "gene_scores", call)
  result <- calculate_scvae(
    x, batch, ...,
    assay.type = assay.type, altexp = altexp, subset_row = subset_row,
    n_latent = n_latent, likelihood = likelihood, max_epochs = max_epochs, embedding = embedding,
    n_repeats = n_repeats, seed = seed, threads = threads, BPPARAM = BPPARAM, verbose = verbose,
    call = call
  )
  x <- with_result(x, result, name)
  if (!gene_scores) {
    return(x)
  }
  model <- attr(result, "model")
  if (is.null(altexp)) {
    return(with_gene_scores(x, model))
  }
  SingleCellExperiment::altExp(x, altexp) <-
    with_gene_scores(SingleCellExperiment::altExp(x, altexp), model)
  x
}

#' @export
setGeneric("calculateSCVAE", signature = "x")

#' @export
setGeneric("runSCVAE", signature = "x")

check_single_cell <- function(x, call) {
  if (is(x, "SingleCellExperiment")) {
    return(need_package("SingleCellExperiment", "for this class", call))
  }
  kind <- class(x)[1]
  abort_scvae(
    c(
      "{.fn runSCVAE} needs a {.cls SingleCellExperiment}, not an object of class {.cls {kind}}.",
      i = if (is(x, "SummarizedExperiment")) {
        "Convert it with {.code as(x, \"SingleCellExperiment\")}, or use {.fn calculateSCVAE}."
      } else if (is(x, "MultiAssayExperiment")) {
        "Give one of its experiments: {.code x[[\"name\"]] <- runSCVAE(x[[\"name\"]])}."
      } else {
        "Use {.fn fitSCVAE} for matrices and files, {.fn RunSCVAE} for Seurat objects."
      }
    ),
    "argument",
    call
  )
}

calculate_scvae <- function(x, batch, ..., BPPARAM = NULL, embedding = "auto",
                            filtered_cells = "embed",
                            checkpoint = NULL, checkpoint_every = 1, n_repeats = 1, seed = NULL,
                            verbose = TRUE,
                            call) {
  args <- split_dots(...)
  if (!is.null(BPPARAM)) {
    args$settings$threads <- workers(BPPARAM, args$settings$threads, verbose, call)
  }
  settings <- settings_from(args$settings, call)
  options <- fit_options(
    embedding, filtered_cells, checkpoint, checkpoint_every, n_repeats, call
  )
  counts <- do.call(as_counts, c(list(x), args$input, list(call = call)), quote = TRUE)
  seed <- check_seed(seed, call = call)
  model <- fit_counts(counts, batch, settings, options, seed, verbose, call)
  embedding <- model$embedding
  if (!is.null(model$components)) {
    # As the principal components of scater and BiocSingular have them.
    variance <- model$components$sd^2
    attr(embedding, "varExplained") <- variance
    attr(embedding, "percentVar") <- 100 * variance / model$components$total_variance
    attr(embedding, "rotation") <- model$components$loadings
  }
  structure(embedding, model = model)
}

# Workers can be other machines' or wait for one another; threads share the cores of this one.
workers <- function(BPPARAM, threads, verbose, call) {
  if (!is.null(threads)) {
    abort_scvae(
      c("{.arg BPPARAM} and {.arg threads} cannot both be given.", i = "Leave one of them out."),
      "argument",
      call
    )
  }
  check_bpparam(BPPARAM, call)
  n_workers <- as.integer(BiocParallel::bpnworkers(BPPARAM))
  available <- available_threads()
  if (n_workers > available && isTRUE(verbose)) {
    cli::cli_inform(c(
      i = "{.arg BPPARAM} has {n_workers} workers, but {available} core{?s} can be used here: \\
           fitted with {available} thread{?s}."
    ))
  }
  min(n_workers, available)
}

with_result <- function(x, embedding, name) {
  model <- attr(embedding, "model")
  attr(embedding, "model") <- NULL
  if (is.null(colnames(x))) {
    rownames(embedding) <- NULL
  }
  SingleCellExperiment::reducedDim(x, name) <- embedding
  SummarizedExperiment::colData(x)[[trained_column(name)]] <- model$trained_cells
  SummarizedExperiment::colData(x)[[stability_column(name)]] <- unname(model$stability)
  S4Vectors::metadata(x) <- with_model(S4Vectors::metadata(x), name, model)
  x
}

with_gene_scores <- function(x, model) {
  genes <- default_names(dim(x), dimnames(x))$genes
  scores <- scScore(model)[genes, c("scscore", "rank", "explained", "signal")]
  names(scores) <- c("scScore", "scScore_rank", "scScore_explained", "scScore_signal")
  for (column in names(scores)) {
    SummarizedExperiment::rowData(x)[[column]] <- scores[[column]]
  }
  x
}
