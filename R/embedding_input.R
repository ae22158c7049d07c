# Any embedding becomes one handle on its coordinates, cells x dimensions.

# The elements have the names of a counts handle, so that resolve_batch() takes both. `trained`
# is FALSE for cells that were embedded without being trained on, NULL where nothing is known.
new_embedding <- function(values, columns = character(), column = function(name) NULL,
                          other = NULL, batch = NULL, trained = NULL,
                          call = rlang::caller_env()) {
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
    batch = batch,
    trained = trained
  )
}

# The flag that RunSCVAE() or runSCVAE() left with the cells, if the embedding is theirs.
trained_flag <- function(annotation, reduction) {
  flag <- annotation[[trained_column(reduction)]]
  if (is.logical(flag)) flag
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
  if (is.null(x$embedding)) {
    abort_scvae(
      c(
        "This model was read from a file, which does not hold the cells' embedding.",
        i = "Give the result of {.code predict()} for the counts."
      ),
      "model",
      call
    )
  }
  new_embedding(x$embedding, batch = x$batch, trained = trained_cells(x), call = call)
}

as_embedding.DimReduc <- function(x, reduction, call) {
  refuse_reduction(reduction, call)
  need_package("SeuratObject", "for Seurat objects", call)
  values <- SeuratObject::Embeddings(x)
  model <- slot(x, "misc")$model
  if (inherits(model, "SCVAE")) {
    # NULL where cells of others were added to its own.
    model <- model_of_cells(model, unname(rownames(values)), values)
  }
  trained <- if (!is.null(model)) trained_cells(model)
  new_embedding(values, batch = model$batch, trained = trained, call = call)
}

as_embedding.Seurat <- function(x, reduction, call) {
  need_package("SeuratObject", "for Seurat objects", call)
  known <- names(slot(x, "reductions"))
  coordinates <- function(name, argument) {
    check_reduction(name, known, argument, call)
    SeuratObject::Embeddings(x[[name]])
  }
  reduction <- reduction %||% "scvae"
  values <- coordinates(reduction, "reduction")
  meta <- x[[]]
  cells <- rownames(values)
  new_embedding(
    values,
    columns = colnames(meta),
    column = function(name) meta[cells, name, drop = TRUE],
    other = coordinates,
    trained = trained_flag(meta[cells, , drop = FALSE], reduction),
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
  reduction <- reduction %||% "SCVAE"
  new_embedding(
    coordinates(reduction, "reduction"),
    columns = colnames(col_data),
    column = function(name) col_data[[name]],
    other = coordinates,
    trained = trained_flag(col_data, reduction),
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
