# Functions of a model take an object that holds one first, so that they stand in a pipe, and put
# their results into it.

# A model and the cells to use it on, from the first two arguments of such a function: a model and
# counts, or an object that holds a model, of whose own cells the result then is, unless other
# counts or another model come second. `own` says whether the cells are the model's.
model_and_cells <- function(model, x, call) {
  if (!is_object(model)) {
    check_model(model, call)
    if (is.null(x)) {
      abort_scvae(
        c(
          "{.arg x} is missing: the counts of the cells; the model does not hold them.",
          i = "Or give the Seurat or SingleCellExperiment object that holds the model."
        ),
        "argument",
        call
      )
    }
    return(list(model = model, x = x, own = FALSE, first = FALSE))
  }
  if (inherits(x, "SCVAE")) {
    return(list(model = x, x = model, own = FALSE, first = TRUE))
  }
  list(
    model = model_in(model, NULL, call), x = x %||% model, own = is.null(x), first = is.null(x),
    assay = if (is.null(x)) assay_of_model(model)
  )
}

is_object <- function(x) inherits(x, "Seurat") || methods::is(x, "SummarizedExperiment")

# Whether results can go into it.
holds_results <- function(x) inherits(x, "Seurat") || methods::is(x, "SingleCellExperiment")

# The assay of a Seurat object that its model was fitted to: another one may be the default by now.
assay_of_model <- function(object) {
  if (inherits(object, "Seurat")) {
    SeuratObject::DefaultAssay(object[[result_name(object)]])
  }
}

# The assay of a Seurat object that a new reduction is of.
assay_of_result <- function(given, ...) {
  if (inherits(given$x, "Seurat")) {
    list(...)$assay %||% given$assay %||% SeuratObject::DefaultAssay(given$x)
  }
}

# Their counts: those of its own cells are where the model was given them, unless `...` says
# otherwise. `given` is of model_and_cells().
counts_of_cells <- function(given, ..., call) {
  source <- if (given$own) given$model$source
  if (!is.null(given$assay)) {
    source$assay <- given$assay
  }
  asked <- list(...)
  source[names(asked)] <- asked
  do.call(as_counts, c(list(given$x), source, list(call = call)), quote = TRUE)
}

# A model knows the batches of its own cells, also where the column they came from is gone, as that
# of layers is when these are joined.
batch_of_cells <- function(given, batch, counts) {
  rows <- match(counts$cell_names, given$model$cell_names)
  if (!is.null(batch) || !given$own || is.null(given$model$batch) || anyNA(rows)) {
    return(batch)
  }
  as.character(given$model$batch[rows])
}

# The name that a result gets in the object, NULL where a matrix is to be returned.
name_of_result <- function(name, default, x, cells, call) {
  if (identical(name, NA) || (is.null(name) && is.null(default))) {
    return(NULL)
  }
  name <- check_string(name %||% default, "name", call = call)
  if (!holds_results(x)) {
    value <- describe(x)
    abort_scvae(
      c(
        "{.arg name} needs an object to put the result into, not {value}.",
        i = "Give a Seurat or SingleCellExperiment object, or leave {.arg name} out."
      ),
      "argument",
      call
    )
  }
  check_new_cells(cells, call)
  name
}

# An object cannot hold an assay of some of its cells.
check_new_cells <- function(cells, call) {
  if (!is.null(cells)) {
    abort_scvae(
      c(
        "{.arg cells} has no meaning when the result goes into the object.",
        i = "Use {.code name = NA} to get a matrix of these cells."
      ),
      "argument",
      call
    )
  }
}

# Only what an earlier call of the kind put there is replaced.
check_free_name <- function(x, name, call) {
  before <- if (inherits(x, "Seurat")) {
    if (name %in% names(slot(x, "assays"))) slot(x[[name]], "misc")
  } else if (name %in% SingleCellExperiment::altExpNames(x)) {
    S4Vectors::metadata(SingleCellExperiment::altExp(x, name))
  }
  if (!is.null(before) && !isTRUE(before$scvae_result)) {
    kind <- if (inherits(x, "Seurat")) "assay" else "alternative experiment"
    abort_scvae(
      c(
        "{.arg name} is {.val {name}}, the {kind} of which is no result of scVAE.",
        i = "Choose another {.arg name}, or remove what is there."
      ),
      "argument",
      call
    )
  }
}

# Values of genes x cells as a new assay or alternative experiment; `kind` is "counts" or "data".
with_assay <- function(x, values, name, kind) {
  if (is.null(colnames(x))) {
    colnames(values) <- NULL
  }
  if (inherits(x, "Seurat")) {
    assay <- do.call(SeuratObject::CreateAssayObject, stats::setNames(list(values), kind))
    SeuratObject::Key(assay) <- free_key(x, name)
    slot(assay, "misc")$scvae_result <- TRUE
    # Seurat 5 warns that an assay of other values has no counts.
    suppressWarnings(x[[name]] <- assay)
    return(x)
  }
  assay <- if (kind == "counts") "counts" else "logcounts"
  SingleCellExperiment::altExp(x, name) <- SingleCellExperiment::SingleCellExperiment(
    assays = stats::setNames(list(values), assay), metadata = list(scvae_result = TRUE)
  )
  x
}

# Where a model lies only another one may be put.
check_no_model <- function(x, name, type, call) {
  if (type != "embedding" && name %in% result_names(x)) {
    abort_scvae(
      c(
        "{.arg name} is {.val {name}}, where the model is, which would be lost.",
        i = "Choose another {.arg name}."
      ),
      "argument",
      call
    )
  }
}

# Values of cells x dimensions as a new reduction.
with_reduction <- function(x, values, name, assay) {
  if (inherits(x, "Seurat")) {
    key <- free_key(x, name)
    colnames(values) <- paste0(key, seq_len(ncol(values)))
    x[[name]] <- SeuratObject::CreateDimReducObject(embeddings = values, assay = assay, key = key)
    return(x)
  }
  if (is.null(colnames(x))) {
    rownames(values) <- NULL
  }
  SingleCellExperiment::reducedDim(x, name) <- values
  x
}

# The embedding of a model's cells with the model, as after a fit.
with_model_reduction <- function(x, model, name, assay) {
  if (inherits(x, "Seurat")) {
    x[[name]] <- new_dimreduc(model, assay, free_key(x, name))
    return(x)
  }
  x <- with_reduction(x, model$embedding, name)
  S4Vectors::metadata(x) <- with_model(S4Vectors::metadata(x), name, model)
  x
}

# A model as that of other cells than it was fitted to.
model_for_cells <- function(model, counts, batch, threads, call) {
  codes <- model_batch_codes(open_model(model, call), batch, counts, call)
  parts <- lapply(names(stored_parts), function(type) {
    predict.SCVAE(model, counts, type, batch = batch, threads = threads)
  })
  model[unname(stored_parts)] <- parts
  # What only a fit or a mapping knows of its cells.
  model[c("trained_cells", "stability", "labels")] <- NULL
  model["batch"] <- list(if (!is.null(codes)) {
    factor(model$batch_names[codes + 1], levels = model$batch_names)
  })
  model$cell_names <- counts$cell_names
  model$source <- counts$source
  model
}

# A key for a new assay or reduction that no other one has, `key` if it is free: Seurat would draw
# one from R's random numbers.
free_key <- function(x, name, key = key_of(name)) {
  used <- SeuratObject::Key(x)
  used <- used[names(used) != name]
  stem <- sub("_$", "", key_of(name))
  setdiff(c(key, paste0(stem, c("", paste0("x", seq_len(length(used) + 1))), "_")), used)[1]
}

# Keys hold letters and digits only, and end in an underscore.
key_of <- function(name) paste0(gsub("[^[:alnum:]]", "", name), "_")

#' Embed or reconstruct the cells of an object with its model
#'
#' [predict.SCVAE()] for the model that a Seurat object holds after [RunSCVAE()], or a
#' SingleCellExperiment after [runSCVAE()].
#'
#' With a model as `newdata` it is that one instead. So the model comes back into an object that was
#' put together by `merge()` or `cbind()`, which keep none:
#' `merged <- predict(merged, model, name = "scvae")` embeds all cells, as far as `batch` names
#' batches that the model knows ([mapSCVAE()] adds others).
#'
#' @param object A Seurat or SingleCellExperiment object that holds a model.
#' @param newdata Counts of other cells, in any form that [fitSCVAE()] takes, or another model for
#'   the object's cells. If it is missing, the result is that of the object's own cells, whose
#'   batches the model knows.
#' @inheritParams predict.SCVAE
#' @param name Name of a new reduction (`"embedding"`, then with the model as after a fit;
#'   `"latent"`, `"sd"`) or of a new assay or alternative experiment (all others) for the result;
#'   NULL: a matrix is returned. Results of earlier calls are replaced; it is an error if another
#'   assay has the name, or the reduction that holds the model.
#' @return A matrix, or with `name` the object (`newdata`, if that was given) with the result: in
#'   an assay `"px_rate"` is in the counts, `"px_scale"` and `"px_dropout"` are in the data, in a
#'   SingleCellExperiment in `logcounts`.
#' @seealso [denoiseCounts()], [transferBatchStyle()], [mapSCVAE()]
#' @examplesIf requireNamespace("SeuratObject", quietly = TRUE)
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' object <- SeuratObject::CreateSeuratObject(sim$counts)
#' object <- RunSCVAE(object,
#'   min_genes = 10, max_epochs = 2, n_hidden = 16, threads = 1, verbose = FALSE
#' )
#' rate <- predict(object, type = "px_rate", genes = 1:5, threads = 1)
#' object <- predict(object, type = "latent", name = "scvaelatent")
#' @method predict Seurat
#' @export
predict.Seurat <- function(object, newdata, # nolint: object_name_linter.
                           type = c(
                             "embedding", "latent", "sd", "px_rate", "px_scale", "px_dropout"
                           ),
                           batch = NULL, genes = NULL, cells = NULL, library = "observed",
                           threads = NULL, ..., name = NULL) {
  call <- rlang::current_env()
  type <- check_choice(type, c(names(stored_parts), "px_rate", "px_scale", "px_dropout"), "type",
    call
  )
  given <- model_and_cells(object, if (!missing(newdata)) newdata, call)
  name <- name_of_result(name, NULL, given$x, cells, call)
  threads <- check_threads(threads, call)
  embeds <- type %in% names(stored_parts)
  if (!is.null(name) && embeds) {
    check_no_model(given$x, name, type, call)
  } else if (!is.null(name)) {
    check_free_name(given$x, name, call)
  }
  stored <- given$own && embeds && is.null(batch)
  if (embeds) {
    refuse_genes(genes, type, call)
  }
  if (stored) {
    where <- c("assay", "layer", "features", "assay.type", "altexp", "subset_row")
    refuse_dots(where, ..., call = call)
  } else {
    counts <- counts_of_cells(given, ..., call = call)
    batch <- batch_of_cells(given, batch, counts)
  }
  if (type == "embedding" && !is.null(name)) {
    model <- given$model
    if (!stored) {
      model <- model_for_cells(model, counts, batch, threads, call)
    }
    return(with_model_reduction(given$x, model, name, assay_of_result(given, ...)))
  }
  values <- if (stored) {
    stored_embedding(given$model, type, cells, call)
  } else {
    predict.SCVAE(
      given$model, counts, type,
      batch = batch, genes = genes, cells = cells, library = library, threads = threads
    )
  }
  if (is.null(name)) {
    values
  } else if (embeds) {
    with_reduction(given$x, values, name, assay_of_result(given, ...))
  } else {
    with_assay(given$x, values, name, if (type == "px_rate") "counts" else "data")
  }
}

#' @rdname predict.Seurat
#' @method predict SummarizedExperiment
#' @export
predict.SummarizedExperiment <- predict.Seurat
