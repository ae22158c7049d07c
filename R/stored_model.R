# The model that a Seurat or SingleCellExperiment object holds, and the cells it tells of: objects
# are cut, put together and renamed by functions that know nothing of it.

#' The model in a Seurat or SingleCellExperiment object
#'
#' The model tells of the object's cells as they are now: after `subset()` or `[` its embedding,
#' batches and names are those of the cells that were kept, in their order. The weights are always
#' those of the whole fit.
#'
#' Objects that were put together from several ones have no model of all their cells, and embeddings
#' of different models must not be compared with each other: it is an error to ask for the model
#' then. `merge()` of Seurat objects makes a new object of assays and meta data only and drops the
#' models, wherever they lie, also with `merge.dr`; [predict()][predict.Seurat()] puts one back,
#' with the places of all cells. `subset()`, `split()` and `JoinLayers()` keep it. `cbind()` of
#' SingleCellExperiment objects keeps all of them in `metadata(x)`.
#'
#' @param object A Seurat object after [RunSCVAE()], its `DimReduc`, or a SingleCellExperiment after
#'   [runSCVAE()].
#' @param name Name of the result that the model is with. NULL: `"scvae"` or `"SCVAE"`, or, if there
#'   is none of that name, the only one that has a model.
#' @return The model, as from [fitSCVAE()].
#' @inherit RunSCVAE examples
#' @export
scvaeModel <- function(object, name = NULL) {
  call <- rlang::current_env()
  check_string(name, "name", null_ok = TRUE, call = call)
  model_in(object, name, call)
}

model_in <- function(object, name, call) {
  if (inherits(object, "SCVAE")) {
    return(object)
  }
  if (is.null(name)) {
    check_one_result(object, call)
  }
  stored <- stored_models(object, name)
  # Objects that were cut apart and put together again hold the same model several times.
  models <- stored$models[!duplicated(lapply(stored$models, `[[`, "model"))]
  if (length(models) == 0) {
    refuse_without_model(object, stored, call)
  }
  aligned <- lapply(models, model_of_cells, stored$cells, stored$coordinates)
  aligned <- Filter(Negate(is.null), aligned)
  if (length(aligned) != 1) {
    refuse_unclear_model(length(models), stored$name, call)
  }
  aligned[[1]]
}

# Where a result is kept, what is there, and the cells of today: their names (NULL if they have
# none) and their coordinates in the embedding.
stored_models <- function(object, name) {
  if (inherits(object, "Seurat")) {
    name <- name %||% result_name(object)
    if (!name %in% names(slot(object, "reductions"))) {
      return(list(name = name))
    }
    object <- object[[name]]
  }
  if (inherits(object, "DimReduc")) {
    coordinates <- slot(object, "cell.embeddings")
    return(list(
      name = name, models = only_models(list(slot(object, "misc")$model)),
      # Seurat 5 names the new names by the old ones when cells are renamed.
      cells = unname(rownames(coordinates)), coordinates = coordinates
    ))
  }
  if (!is(object, "SummarizedExperiment")) {
    return(list(name = name))
  }
  name <- name %||% result_name(object)
  kept <- all_results(S4Vectors::metadata(object))
  has_place <- is(object, "SingleCellExperiment") &&
    name %in% SingleCellExperiment::reducedDimNames(object)
  list(
    name = name,
    models = only_models(kept[names(kept) == name]),
    cells = unname(colnames(object)),
    coordinates = if (has_place) as.matrix(SingleCellExperiment::reducedDim(object, name))
  )
}

# The results of an object that have a model.
result_names <- function(object) {
  if (inherits(object, "Seurat")) {
    reductions <- slot(object, "reductions")
    has_model <- vapply(reductions, function(x) inherits(slot(x, "misc")$model, "SCVAE"), NA)
    names(reductions)[has_model]
  } else if (is(object, "SummarizedExperiment")) {
    unique(names(all_results(S4Vectors::metadata(object))))
  }
}

# The one that is meant where none is named: that of the default name, else the last.
result_name <- function(object) {
  default <- c("scvae", "SCVAE")
  if (!inherits(object, "Seurat")) {
    default <- rev(default)
  }
  names <- result_names(object)
  found <- intersect(default, names)
  if (length(found) > 0) {
    found[1]
  } else if (length(names) == 0) {
    default[1]
  } else {
    names[length(names)]
  }
}

check_one_result <- function(object, call) {
  names <- result_names(object)
  if (length(names) > 1 && !any(c("scvae", "SCVAE") %in% names)) {
    abort_scvae(
      c(
        "The object holds models under several names: {.val {names}}.",
        i = "Take one out with {.code scvaeModel(object, \"{names[1]}\")}."
      ),
      "argument",
      call
    )
  }
}

# The scores that an object holds, NULL if it holds none: those put with the genes of an assay, or
# the model's; and the seconds that the fit took, if known.
stored_scores <- function(object, name, assay = NULL) {
  asked <- assay
  if (inherits(object, "Seurat") && is.null(name)) {
    assay <- assay %||% SeuratObject::DefaultAssay(object)
    kept <- slot(object[[assay]], "misc")$scscore
    if (!is.null(kept)) {
      return(list(score = kept))
    }
  }
  if (length(stored_models(object, name)$models) == 0) {
    return(NULL)
  }
  # The genes of another assay have other scores.
  if (!is.null(asked) && !identical(assay_of_model(object), asked)) {
    return(NULL)
  }
  model <- scvaeModel(object, name)
  list(score = scScore(model), seconds = model$seconds)
}

only_models <- function(x) Filter(function(model) inherits(model, "SCVAE"), unname(x))

# cbind() strings the metadata of its objects together, so there may be several of one name.
all_results <- function(metadata) {
  do.call(c, unname(metadata[names(metadata) == "scVAE"]))
}

# Metadata in which the model has taken the place of all others of its name.
with_model <- function(metadata, name, model) {
  kept <- all_results(metadata)
  if (!is.null(names(metadata))) {
    metadata <- metadata[names(metadata) != "scVAE"]
  }
  metadata$scVAE <- c(kept[names(kept) != name], stats::setNames(list(model), name))
  metadata
}

# The column that says which cells a result's model was trained on.
trained_column <- function(name) paste0(name, "_trained")

# The column of how far the fits of a result agree on each cell's neighbours.
stability_column <- function(name) paste0(name, "_stability")

# The model as that of some of its cells, or NULL if they are not its own.
model_of_cells <- function(model, cells, coordinates) {
  rows <- rows_of_model(model, cells, coordinates)
  if (is.null(rows)) {
    return(NULL)
  }
  cells <- cells %||% model$cell_names[rows]
  if (identical(cells, model$cell_names)) {
    return(model)
  }
  for (part in embedding_parts) {
    model[[part]] <- model[[part]][rows, , drop = FALSE]
    rownames(model[[part]]) <- cells
  }
  model$trained_cells <- trained_cells(model)[rows]
  if (!is.null(model$stability)) {
    model$stability <- stats::setNames(model$stability[rows], cells)
  }
  model$batch <- model$batch[rows]
  if (!is.null(model$labels)) {
    model$labels <- model$labels[rows, , drop = FALSE]
    rownames(model$labels) <- cells
  }
  model$cell_names <- cells
  model
}

# Cells are known by their names; those that were renamed, or have none, by their place.
rows_of_model <- function(model, cells, coordinates) {
  rows <- match(cells, model$cell_names)
  if (length(rows) > 0 && !anyNA(rows) && !anyDuplicated(rows)) {
    return(rows)
  }
  if (is.null(coordinates) || ncol(coordinates) != ncol(model$embedding)) {
    return(NULL)
  }
  # A SingleCellExperiment's have attributes that the model's have not.
  if (identical(as.vector(coordinates), as.vector(model$embedding))) {
    return(seq_len(nrow(model$embedding)))
  }
  # All digits, as text; of cells at one place, as those without counts, the first is the first.
  place <- function(x) {
    at <- do.call(paste, lapply(seq_len(ncol(x)), function(k) sprintf("%a", x[, k])))
    paste(at, stats::ave(seq_along(at), at, FUN = seq_along))
  }
  rows <- match(place(coordinates), place(model$embedding))
  if (!anyNA(rows) && !anyDuplicated(rows)) rows
}

refuse_without_model <- function(object, stored, call) {
  name <- stored$name
  kind <- class(object)[1]
  where <- if (is.null(name)) "" else sprintf(" under the name \"%s\"", name)
  merged <- if (inherits(object, "Seurat")) {
    # A reduction without its model, or the mark of one that is gone.
    !is.null(stored$cells) || trained_column(name) %in% colnames(object[[]])
  } else {
    inherits(object, "DimReduc")
  }
  abort_scvae(
    c(
      "There is no scVAE model in this object of class {.cls {kind}}{where}.",
      i = if (merged) {
        "If it was merged: {.fn merge} drops the models, and with {.arg merge.dr} it may put \\
         embeddings together that cannot be compared. Take a model out with {.fn scvaeModel} \\
         before, and after it embed all cells by that model, \\
         {.code predict(object, model, name = \"scvae\")}, or fit one to all of them."
      },
      i = "Fit one with {.fn RunSCVAE} or {.fn runSCVAE}."
    ),
    "argument",
    call
  )
}

refuse_unclear_model <- function(n_models, name, call) {
  abort_scvae(
    c(
      if (n_models > 1) {
        "The object holds {n_models} models under the name {.val {name}}, and its cells are not \\
         those of one of them."
      } else {
        "The object's cells are not those of its model."
      },
      i = "It was put together from objects with models, or its cells were renamed. Take the \\
           models out with {.fn scvaeModel} before, and fit one to all cells after, with \\
           {.fn RunSCVAE} or {.fn runSCVAE}."
    ),
    "model",
    call
  )
}
