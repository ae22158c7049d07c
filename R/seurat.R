# Seurat: counts from assays of version 3, 4 and 5, and RunSCVAE().

as_counts.Seurat <- function(x, assay = NULL, layer = "counts", # nolint: object_name_linter.
                             features = NULL, ..., call = rlang::caller_env()) {
  refuse_dots(c("assay", "layer", "features"), ..., call = call)
  need_package("SeuratObject", "for Seurat objects", call)
  assay <- seurat_assay(x, assay, call)
  check_raw_assay(x, assay, layer, call)
  out <- as_counts(x[[assay]], layer = layer, features = features, call = call)
  meta <- x[[]]
  cells <- out$cell_names
  layers <- out$column
  out$columns <- colnames(meta)
  out$column <- function(name) {
    if (name %in% colnames(meta)) meta[cells, name, drop = TRUE] else layers(name)
  }
  out
}

seurat_assay <- function(x, assay, call) {
  known <- SeuratObject::Assays(x)
  assay <- check_string(assay %||% SeuratObject::DefaultAssay(x), "assay", call = call)
  if (!assay %in% known) {
    abort_scvae(
      c("There is no assay {.val {assay}} in {.arg x}.", i = "There is {.val {known}}."),
      "argument",
      call
    )
  }
  assay
}

# Counts that were made from those of another assay look like counts (those of SCTransform are whole
# numbers), but are none.
check_raw_assay <- function(x, assay, layer, call) {
  reason <- derived_from_counts(x[[assay]])
  if (is.null(reason) && identical(layer, "counts") && !holds_counts(x[[assay]])) {
    reason <- "holds no counts, only values computed from those of another assay"
  }
  if (is.null(reason)) {
    return(invisible())
  }
  is_raw <- function(name) is.null(derived_from_counts(x[[name]])) && holds_counts(x[[name]])
  raw <- Filter(is_raw, SeuratObject::Assays(x))
  raw <- c(intersect(slot(x[[assay]], "assay.orig"), raw), raw)
  abort_scvae(
    c(
      "The assay {.val {assay}} {reason}. scVAE needs the raw counts.",
      i = if (length(raw) > 0) "Use {.code assay = \"{raw[1]}\"}." else "No other assay has them."
    ),
    "argument",
    call
  )
}

# Why an assay's counts are not raw ones, or NULL.
derived_from_counts <- function(assay) {
  # Before Seurat 4 the results of SCTransform() had no class of their own.
  by_sctransform <- inherits(assay, "SCTAssay") ||
    any(c("vst.out", "vst.set") %in% names(slot(assay, "misc")))
  if (by_sctransform) "holds counts that SCTransform has corrected"
}

holds_counts <- function(assay) {
  if (inherits(assay, "StdAssay")) {
    any(grepl("^counts($|\\.)", from_seurat5("Layers")(assay)))
  } else {
    min(dim(slot(assay, "counts"))) > 0
  }
}

as_counts.SCTAssay <- function(x, ..., # nolint: object_name_linter.
                               call = rlang::caller_env()) {
  reason <- derived_from_counts(x)
  abort_scvae(
    c(
      "This assay {reason}. scVAE needs the raw counts.",
      i = "Give the assay it was made from, for example {.code object[[\"RNA\"]]}."
    ),
    "argument",
    call
  )
}

# Version 3 and 4.
as_counts.Assay <- function(x, layer = "counts", # nolint: object_name_linter.
                            features = NULL, ..., call = rlang::caller_env()) {
  refuse_dots(c("layer", "features"), ..., call = call)
  known <- c("counts", "data", "scale.data")
  layer <- check_choice(layer, known, "layer", call)
  # The argument was renamed in SeuratObject 5.
  name <- if (utils::packageVersion("SeuratObject") < "5.0.0") "slot" else "layer"
  arguments <- stats::setNames(list(x, layer), c("object", name))
  counts <- do.call(SeuratObject::GetAssayData, arguments)
  if (min(dim(counts)) == 0) {
    abort_scvae(
      c(
        "The layer {.val {layer}} of this assay is empty.",
        i = "Choose another {.arg assay} or {.arg layer}."
      ),
      "counts",
      call
    )
  }
  matrix_counts(choose_features(counts, features, call), transposed = FALSE, call)
}

# Version 5, where the counts can be split over layers.
as_counts.StdAssay <- function(x, layer = "counts", # nolint: object_name_linter.
                               features = NULL, ..., call = rlang::caller_env()) {
  refuse_dots(c("layer", "features"), ..., call = call)
  check_string(layer, "layer", call = call)
  layers <- assay5_layers(x, layer, call)
  if (length(layers) == 1) {
    counts <- layer_data(x, layers)
    membership <- NULL
  } else {
    joined <- join_layers(x, layers, call)
    counts <- joined$counts
    membership <- joined$membership
  }
  out <- matrix_counts(choose_features(counts, features, call), transposed = FALSE, call)
  if (!is.null(membership)) {
    out$hidden_columns <- "layers"
    out$column <- function(name) if (name == "layers") membership
  }
  out
}

# Functions that SeuratObject has from version 5 on; assays of version 5 do not exist before it.
from_seurat5 <- function(name) getExportedValue("SeuratObject", name)

layer_data <- function(x, layer) from_seurat5("LayerData")(x, layer = layer)

# The layer of that name, else the layers it was split into ("counts.1", "counts.2").
assay5_layers <- function(x, layer, call) {
  known <- from_seurat5("Layers")(x)
  if (layer %in% known) {
    return(layer)
  }
  split <- known[startsWith(known, paste0(layer, "."))]
  if (length(split) == 0) {
    abort_scvae(
      c("There is no layer {.val {layer}} in this assay.", i = "There is {.val {known}}."),
      "argument",
      call
    )
  }
  split
}

# Split layers become one matrix: the cells in the object's order, the union of the genes in the
# object's order, zero where a layer lacks a gene.
join_layers <- function(x, layers, call) {
  parts <- lapply(layers, function(layer) as_dgc(layer_data(x, layer), call))
  found <- unique(unlist(lapply(parts, rownames)))
  genes <- intersect(rownames(x), found)
  cells <- unlist(lapply(parts, colnames))
  if (anyDuplicated(cells)) {
    abort_scvae(
      c(
        "Cells occur in more than one of the layers {.val {layers}}.",
        i = "Name one layer with {.arg layer}."
      ),
      "counts",
      call
    )
  }
  parts <- lapply(parts, function(part) {
    Matrix::sparseMatrix(
      i = match(rownames(part), genes)[part@i + 1L],
      p = part@p,
      x = part@x,
      dims = c(length(genes), ncol(part)),
      dimnames = list(genes, colnames(part))
    )
  })
  counts <- do.call(cbind, parts)
  order <- intersect(colnames(x), cells)
  membership <- rep(layers, vapply(parts, ncol, integer(1)))
  list(
    counts = counts[, order, drop = FALSE],
    membership = membership[match(order, cells)]
  )
}

choose_features <- function(counts, features, call) {
  if (is.null(features)) {
    return(counts)
  }
  if (!is.character(features) || anyNA(features)) {
    value <- describe(features)
    abort_scvae("{.arg features} must be gene names, not {value}.", "argument", call)
  }
  absent <- setdiff(features, rownames(counts))
  if (length(absent) > 0) {
    shown <- utils::head(absent, 3)
    abort_scvae(
      c(
        "{length(absent)} of {.arg features} {?is/are} not in the counts: {.val {shown}}.",
        i = "Take names from {.code rownames()} of the object."
      ),
      "argument",
      call
    )
  }
  # The order of the genes is that of the object, whatever the order of `features`.
  counts[rownames(counts) %in% features, , drop = FALSE]
}

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
#' column of this name, which then counts).
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
#' * the reduction `reduction.name`, with the embedding, and in expression space with loadings and
#'   standard deviations, as those of `RunPCA()`, for `VizDimLoadings()` and `ElbowPlot()`; its
#'   `misc` slot holds the model, which [scvaeModel()] returns and which survives `saveRDS()`;
#' * with the cells: the column `scvae_trained` (the reduction's name and `_trained`), FALSE for
#'   cells that the filter dropped; with `n_repeats` also `scvae_stability`, see [fitSCVAE()];
#' * with the genes: assays of version 5 get the columns `vf_scscore_counts_score`, `_variable`
#'   (a score of at least 0.6) and `_rank`, so that `VariableFeatures(object, method = "scscore")`
#'   works (for split layers there are such columns for each layer, with the same content); assays
#'   of version 3 and 4 get `scscore.score`, `scscore.variable` and `scscore.rank`;
#' * the command's log.
#'
#' @param object A Seurat object, an assay, or a matrix of counts (genes x cells).
#' @param batch The batch of each cell: the name of a column of the cells' meta data, or a vector
#'   with one value per cell. NULL: no batches.
#' @param assay The assay to use; NULL: the default assay. It must hold raw counts.
#' @param layer The layer with the raw counts (in assays of version 3 and 4 called slot).
#' @param features Genes to use. NULL, the default: all genes.
#' @param reduction.name,reduction.key Name and key of the new reduction.
#' @param seed.use The seed; NULL: drawn from R's random numbers.
#' @param verbose Show progress.
#' @param ... Further arguments of [fitSCVAE()].
#' @return The Seurat object with the results; for assays and matrices a `DimReduc`.
#' @seealso [scvaeModel()], [fitSCVAE()]
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
  run_dimreduc(
    object, batch, assay, features, reduction.key, seed.use, verbose, ...,
    call = rlang::current_env()
  )
}

#' @rdname RunSCVAE
#' @method RunSCVAE Assay
#' @export
RunSCVAE.Assay <- function(object, batch = NULL, assay = NULL, layer = "counts", features = NULL,
                           reduction.key = "SCVAE_", seed.use = 42, verbose = TRUE, ...) {
  counts <- as_counts(object, layer = layer, call = rlang::current_env())
  run_dimreduc(
    counts, batch, assay, features, reduction.key, seed.use, verbose, ...,
    call = rlang::current_env()
  )
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
                            verbose = TRUE, ...) {
  call <- rlang::current_env()
  check_string(reduction.name, "reduction.name", call = call)
  assay <- seurat_assay(object, assay, call)
  counts <- as_counts(object, assay = assay, layer = layer, call = call)
  if (is.null(batch) && "layers" %in% counts$hidden_columns && isTRUE(verbose)) {
    cli::cli_inform(c(
      i = "The layers are joined and not taken as batches; {.code batch = \"layers\"} would."
    ))
  }
  reduction <- run_dimreduc(
    counts, batch, assay, features, reduction.key, seed.use, verbose, ...,
    call = call
  )
  object[[reduction.name]] <- reduction
  model <- methods::slot(reduction, "misc")$model
  trained <- colnames(object) %in% model$cell_names[model$trained_cells]
  object[[trained_column(reduction.name)]] <- stats::setNames(trained, colnames(object))
  if (!is.null(model$stability)) {
    object[[stability_column(reduction.name)]] <- model$stability[colnames(object)]
  }
  object[[assay]] <- add_gene_scores(object[[assay]], scScore(model), layer)
  # The log keeps every argument, so a batch given as a vector is left out of it.
  if (length(batch) > 1) {
    batch <- NULL
  }
  SeuratObject::LogSeuratCommand(object)
}

run_dimreduc <- function(object, batch, assay, features, reduction.key, seed.use, verbose, ...,
                         embedding = "auto", filtered_cells = "embed", checkpoint = NULL,
                         checkpoint_every = 1, n_repeats = 1, call) {
  need_package("SeuratObject", "for a dimensional reduction", call)
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
  settings <- settings_from(list(...), call, also = option_names())
  options <- fit_options(
    embedding, filtered_cells, checkpoint, checkpoint_every, n_repeats, call
  )
  seed <- check_seed(seed.use, "seed.use", call)
  counts <- as_counts(object, call = call)
  if (!is.null(features)) {
    if (!inherits(counts$data, "dgCMatrix")) {
      abort_scvae(
        c("{.arg features} cannot be used with a file.", i = "Read the file's counts first."),
        "argument",
        call
      )
    }
    counts$data <- choose_features(named_data(counts), features, call)
    counts$gene_names <- rownames(counts$data)
    counts$n_genes <- length(counts$gene_names)
  }
  model <- fit_counts(counts, batch, settings, options, seed, verbose, call)
  embeddings <- model$embedding
  columns <- paste0(reduction.key, seq_len(ncol(embeddings)))
  colnames(embeddings) <- columns
  known <- list()
  if (!is.null(model$components)) {
    loadings <- model$components$loadings
    colnames(loadings) <- columns
    known <- list(loadings = loadings, stdev = unname(model$components$sd))
  }
  arguments <- list(
    embeddings = embeddings,
    assay = assay %||% "RNA",
    key = reduction.key,
    misc = list(model = model)
  )
  do.call(SeuratObject::CreateDimReducObject, c(arguments, known))
}

named_data <- function(counts) {
  data <- counts$data
  dimnames(data) <- list(counts$gene_names, counts$cell_names)
  data
}
