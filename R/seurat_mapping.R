# MapSCVAE(): cells of a new batch in a Seurat object, against a model of other cells.

#' Map a Seurat object to a reference
#'
#' Maps the cells of a Seurat object, the query, to the model of other cells, the reference, and
#' carries labels over. As [mapSCVAE()] does it, which tells more: only what is the new batch's is
#' trained, which takes seconds, and the reference stays as it is. The query needs raw counts, and
#' neither normalisation nor variable features.
#'
#' Both objects then have a reduction of one name whose coordinates can be compared:
#' `merge(reference, query, merge.dr = TRUE)` puts them into one (`merge.dr = "scvae"` before Seurat
#' 5). The `model` of the query knows the reference's batches and the new ones, so
#' `transferBatchStyle(query, "donor_1")` shows the query in the style of the reference's donor.
#'
#' @param object A Seurat object with the new cells.
#' @param reference A Seurat or SingleCellExperiment object that holds a model, from [RunSCVAE()],
#'   [SCVAEIntegration()] or [runSCVAE()], or a model from [fitSCVAE()].
#' @param batch The new batch's name, or the new batch of each cell: a column of the query's meta
#'   data, `"layers"`, or a vector. A batch that the model knows cannot be among them.
#' @param labels Labels of the reference's cells: the name of a column of its meta data, or a
#'   vector. NULL: no labels are carried over.
#' @param assay,layer The query's assay and its layer of raw counts, as in [RunSCVAE()].
#' @param reduction.name,reduction.key Name and key of the new reduction.
#' @param ... Not used.
#' @inheritParams RunSCVAE
#' @inheritParams mapSCVAE
#' @return The query with the reduction, whose model [scvaeModel()] returns, and with `labels` the
#'   columns `scvae_label` and `scvae_confidence` (the reduction's name, `_label` and
#'   `_confidence`): each cell's label and the fraction of the votes for it.
#' @seealso [mapSCVAE()], [RunSCVAE()]
#' @examplesIf requireNamespace("SeuratObject", quietly = TRUE)
#' sim <- simulateCounts(n_cells = 150, n_genes = 300, n_batches = 3, seed = 1)
#' object <- SeuratObject::CreateSeuratObject(sim$counts)
#' object$donor <- sim$batch
#' object$type <- sim$cell_type
#' reference <- subset(object, donor != "batch_3")
#' reference <- RunSCVAE(reference,
#'   batch = "donor", min_genes = 10, max_epochs = 2, n_hidden = 16, threads = 1, verbose = FALSE
#' )
#' query <- subset(object, donor == "batch_3")
#' query <- MapSCVAE(query, reference,
#'   batch = "donor", labels = if (rlang::is_installed("RANN")) "type", max_epochs = 2, threads = 1,
#'   verbose = FALSE
#' )
#' query[["scvae"]]
#' @rdname map-seurat
#' @export
MapSCVAE <- function(object, ...) UseMethod("MapSCVAE")

#' @export
MapSCVAE.default <- function(object, ...) { # nolint: object_name_linter.
  value <- describe(object)
  abort_scvae(
    c(
      "{.arg object} must be a Seurat object with the new cells, not {value}.",
      i = "Use {.fn mapSCVAE} for other counts, the model first."
    ),
    "argument",
    rlang::current_env()
  )
}

#' @rdname map-seurat
#' @method MapSCVAE Seurat
#' @export
MapSCVAE.Seurat <- function(object, reference, batch = "new", labels = NULL, assay = NULL,
                            layer = "counts", reduction.name = "scvae", reduction.key = "SCVAE_",
                            seed.use = 42, verbose = TRUE, ..., k = 15, max_epochs = NULL,
                            lr = 1e-3, threads = NULL) {
  call <- rlang::current_env()
  check_known_arguments(dots_names(...), names(formals(MapSCVAE.Seurat)), call)
  check_string(reduction.name, "reduction.name", call = call)
  if (missing(reduction.key)) {
    reduction.key <- free_key(object, reduction.name, reduction.key)
  }
  check_key(reduction.key, call)
  seed <- check_seed(seed.use, "seed.use", call)
  if (missing(reference)) {
    abort_scvae(
      c(
        "{.arg reference} is missing.",
        i = "Give the object or the model that the cells of {.arg object} are to be mapped to."
      ),
      "argument",
      call
    )
  }
  assay <- seurat_assay(object, assay, call)
  counts <- as_counts(object, assay = assay, layer = layer, call = call)
  model <- mapSCVAE(
    reference, counts,
    batch = batch, labels = labels, k = k, max_epochs = max_epochs, lr = lr, seed = seed,
    threads = threads, verbose = verbose
  )
  model$call <- NULL
  object[[reduction.name]] <- new_dimreduc(model, assay, reduction.key)
  others <- c("_label", "_confidence", "_trained", "_stability")
  object <- drop_columns(object, paste0(reduction.name, others))
  for (part in names(model$labels)) {
    values <- stats::setNames(model$labels[[part]], model$cell_names)
    object[[paste0(reduction.name, "_", part)]] <- values[colnames(object)]
  }
  # The log keeps every argument: what is large is left out of it.
  reference <- class(reference)[1]
  if (length(batch) > 1) {
    batch <- NULL
  }
  if (length(labels) > 1) {
    labels <- NULL
  }
  SeuratObject::LogSeuratCommand(object)
}
