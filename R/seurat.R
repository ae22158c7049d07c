# RunSCVAE(): a fit whose results go into the Seurat object.

#' Fit scVAE to a Seurat object
#'
#' Fits the model to the raw counts of all genes and stores the embedding as a dimensional
#' reduction and the score of every gene with the genes of the assay.
#'
#' Unlike most Seurat functions this one takes raw **counts**, and all genes by default: no
#' normalisation, no variable features, no scaling are needed before it.
#'
#' Counts that are split over layers (`counts.1`, `counts.2`, ...; Seurat 5) are joined: the cells
#' in the object's order, the union of the genes, zero where a layer lacks a gene. The layers do
#' not become batches by themselves; `batch = "layers"` asks for that (unless the cells have a
#' column of this name, which then counts). The batches then have the names that the assay was split
#' by. [SCVAEIntegration()] does the same within `IntegrateLayers()`.
#'
#' The assay must hold counts as they were measured. Assays that were made from another one, by
#' `SCTransform()` or by an integration, are refused, also where their counts are whole numbers:
#' give `assay = "RNA"` where such an assay is the default one.
#'
#' Cells that the filter drops are embedded like all others, so that neighbours and a UMAP can be
#' computed, but the model is not trained on them: a warning says how many there are, and the meta
#' data tell which. To leave them out use `subset(object, scvae_trained)`; with
#' `filtered_cells = "NA"` their rows are NA, which few functions bear.
#'
#' @section What is stored:
#' * the reduction `reduction.name`, with the embedding and its standard deviations, for
#'   `ElbowPlot()`. In expression space it has loadings, too, as that of `RunPCA()`, for
#'   `VizDimLoadings()`; the latent dimensions have none, and `ProjectDim()` finds genes that go
#'   with them. Its `misc` slot holds the model, which [scvaeModel()] returns and which survives
#'   `saveRDS()`;
#' * with the cells: the column `scvae_trained` (the reduction's name and `_trained`), FALSE for
#'   cells that the filter dropped; with `n_repeats` also `scvae_stability`, see [fitSCVAE()];
#' * with the genes: assays of version 5 get the columns `vf_scscore_counts_score`, `_variable`
#'   (a score of at least 0.6) and `_rank`, so that `VariableFeatures(object, method = "scscore")`
#'   works (for split layers there are such columns for each layer, with the same content); assays
#'   of version 3 and 4 get `scscore.score`, `scscore.variable` and `scscore.rank`. Scores that
#'   [FindInformativeFeatures()] left are replaced;
#' * the command's log.
#'
#' @param object A Seurat object, an assay, or a matrix of counts (genes x cells).
#' @param batch The batch of each cell: the name of a column of the cells' meta data (of several
#'   columns for several covariates), `"layers"` for the layers of a split assay, or a vector with
#'   one value per cell. NULL: no batches.
#' @param assay The assay to use; NULL: the default assay. It must hold raw counts. For an assay
#'   that is given without its object: its name, which must be told unless its key is `rna_`.
#' @param layer The layer with the raw counts (in assays of version 3 and 4 called slot).
#' @param features Genes to use. NULL, the default: all genes.
#' @param reduction.name,reduction.key Name and key of the new reduction; where another one has the
#'   default key, it is made from the name.
#' @param seed.use The seed; NULL: drawn from R's random numbers.
#' @param verbose Show progress.
#' @param ... Further arguments of [fitSCVAE()]; for assays and matrices these are all of its
#'   settings.
#' @inheritParams fitSCVAE
#' @return The Seurat object with the results; for assays and matrices a `DimReduc`.
#' @seealso [SCVAEIntegration()], [MapSCVAE()], [scvaeModel()], [fitSCVAE()]
#' @examplesIf requireNamespace("SeuratObject", quietly = TRUE)
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' object <- SeuratObject::CreateSeuratObject(sim$counts)
#' object$donor <- sim$batch
#' object <- RunSCVAE(object,
#'   batch = "donor", min_genes = 10, max_epochs = 2, n_hidden = 16,
#'   threads = 1, verbose = FALSE
#' )
#' object[["scvae"]]
#' scvaeModel(object)
#' @export
RunSCVAE <- function(object, ...) UseMethod("RunSCVAE")

#' @rdname RunSCVAE
#' @export
RunSCVAE.default <- function(object, batch = NULL, assay = NULL, features = NULL,
                             reduction.key = "SCVAE_", seed.use = 42, verbose = TRUE, ...) {
  call <- rlang::current_env()
  fit <- dimreduc_arguments(list(...), reduction.key, seed.use, call)
  counts <- with_features(as_counts(object, call = call), features, call)
  run_dimreduc(counts, batch, assay %||% "RNA", fit, verbose, call)
}

#' @rdname RunSCVAE
#' @method RunSCVAE Assay
#' @export
RunSCVAE.Assay <- function(object, batch = NULL, assay = NULL, layer = "counts", features = NULL,
                           reduction.key = "SCVAE_", seed.use = 42, verbose = TRUE, ...) {
  call <- rlang::current_env()
  fit <- dimreduc_arguments(list(...), reduction.key, seed.use, call)
  counts <- as_counts(object, layer = layer, features = features, call = call)
  run_dimreduc(counts, batch, assay_name(object, assay, call), fit, verbose, call)
}

#' @rdname RunSCVAE
#' @method RunSCVAE StdAssay
#' @export
RunSCVAE.StdAssay <- RunSCVAE.Assay

#' @method RunSCVAE SummarizedExperiment
#' @export
RunSCVAE.SummarizedExperiment <- function(object, ...) {
  kind <- class(object)[1]
  abort_scvae(
    c(
      "{.fn RunSCVAE} is for Seurat; {.arg object} is of class {.cls {kind}}.",
      i = "Use {.fn runSCVAE}, which returns the object with its results."
    ),
    "argument",
    rlang::current_env()
  )
}

#' @rdname RunSCVAE
#' @method RunSCVAE Seurat
#' @export
RunSCVAE.Seurat <- function(object, batch = NULL, assay = NULL, layer = "counts", features = NULL,
                            reduction.name = "scvae", reduction.key = "SCVAE_", seed.use = 42,
                            verbose = TRUE, ..., n_latent = 10, max_epochs = NULL, n_repeats = 1,
                            embedding = "auto", likelihood = "zinb", n_hidden = 128,
                            batch_size = 128, lr = 1e-3, early_stopping = FALSE, min_cells = 3,
                            min_genes = 200, filtered_cells = "embed", threads = NULL,
                            device = "auto") {
  call <- rlang::current_env()
  check_string(reduction.name, "reduction.name", call = call)
  if (missing(reduction.key)) {
    reduction.key <- free_key(object, reduction.name, reduction.key)
  }
  fit <- dimreduc_arguments(given_settings(...), reduction.key, seed.use, call)
  assay <- seurat_assay(object, assay, call)
  counts <- as_counts(object, assay = assay, layer = layer, features = features, call = call)
  if (is.null(batch) && "layers" %in% counts$hidden_columns && isTRUE(verbose)) {
    cli::cli_inform(c(
      i = "The layers are joined and not taken as batches; {.code batch = \"layers\"} would."
    ))
  }
  reduction <- run_dimreduc(counts, batch, assay, fit, verbose, call)
  results <- seurat_results(reduction, reduction.name, object[[assay]], layer, colnames(object))
  object <- drop_columns(object, paste0(reduction.name, c("_stability", "_label", "_confidence")))
  for (name in names(results)) {
    object[[name]] <- results[[name]]
  }
  # The log keeps every argument, so a batch given as a vector is left out of it.
  if (length(batch) > 1) {
    batch <- NULL
  }
  SeuratObject::LogSeuratCommand(object)
}

# Without what an earlier result of the same name left.
drop_columns <- function(object, columns) {
  for (column in intersect(columns, colnames(object[[]]))) {
    object[[column]] <- NULL
  }
  object
}

# What a reduction is made with, checked before any work.
dimreduc_arguments <- function(args, reduction.key, seed.use, call) {
  need_package("SeuratObject", "for a dimensional reduction", call)
  check_key(reduction.key, call)
  c(
    fit_arguments(args, call),
    list(key = reduction.key, seed = check_seed(seed.use, "seed.use", call))
  )
}

check_key <- function(reduction.key, call) {
  check_string(reduction.key, "reduction.key", call = call)
  if (!grepl("^[a-zA-Z][a-zA-Z0-9]*_$", reduction.key)) {
    abort_scvae(
      c(
        "{.arg reduction.key} must be letters and digits and end in an underscore, not \\
         {.val {reduction.key}}.",
        i = "For example {.val SCVAE_}."
      ),
      "argument",
      call
    )
  }
}

run_dimreduc <- function(counts, batch, assay, fit, verbose, call) {
  model <- fit_counts(counts, batch, fit$settings, fit$options, fit$seed, verbose, call)
  new_dimreduc(model, assay, fit$key)
}

new_dimreduc <- function(model, assay, key) {
  embeddings <- model$embedding
  columns <- paste0(key, seq_len(ncol(embeddings)))
  colnames(embeddings) <- columns
  known <- if (is.null(model$components)) {
    list(stdev = unname(apply(embeddings, 2, stats::sd, na.rm = TRUE)))
  } else {
    loadings <- model$components$loadings
    colnames(loadings) <- columns
    list(loadings = loadings, stdev = unname(model$components$sd))
  }
  arguments <- list(
    embeddings = embeddings, assay = assay, key = key, misc = list(model = model)
  )
  do.call(SeuratObject::CreateDimReducObject, c(arguments, known))
}

# What a fit leaves in an object, by the names under which it is put there. `cells` are the
# object's.
seurat_results <- function(reduction, name, assay, layer, cells) {
  model <- slot(reduction, "misc")$model
  trained <- cells %in% model$cell_names[model$trained_cells]
  results <- list()
  results[[name]] <- reduction
  results[[trained_column(name)]] <- stats::setNames(trained, cells)
  results[[stability_column(name)]] <- model$stability[cells]
  # Those of other fits, which scScore() would take for these.
  slot(assay, "misc")$scscore <- NULL
  results[[SeuratObject::DefaultAssay(reduction)]] <- add_gene_scores(assay, scScore(model), layer)
  results
}

# The name of an assay that came without its object, from its key. A reduction under the name of
# another assay would be dropped with that one, and tell of the wrong features.
assay_name <- function(x, assay, call) {
  check_string(assay, "assay", null_ok = TRUE, call = call)
  key <- SeuratObject::Key(x)
  if (!is.null(assay) || length(key) == 0 || key %in% c("", "rna_")) {
    return(assay %||% "RNA")
  }
  guess <- toupper(sub("_$", "", key))
  abort_scvae(
    c(
      "{.arg assay} is needed: this assay, of key {.val {unname(key)}}, does not know its name.",
      i = "For example {.code assay = \"{guess}\"}. scVAE is made for counts of RNA."
    ),
    "argument",
    call
  )
}
