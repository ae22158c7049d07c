# Counts from Seurat objects and their assays, of version 3, 4 and 5.

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
  out$source <- list(assay = assay, layer = layer)
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
  layers_counts(x, assay5_layers(x, layer, call), layer, features, call)
}

# Several layers of one kind, such as "counts.a" and "counts.b", are joined. Which layer a cell is
# from can be asked for as the column "layers", which holds what comes after the kind: the values
# that the assay was split by.
layers_counts <- function(x, layers, kind, features, call) {
  if (length(layers) == 1) {
    counts <- choose_features(layer_data(x, layers), features, call)
    return(matrix_counts(counts, transposed = FALSE, call))
  }
  joined <- join_layers(x, layers, call)
  out <- matrix_counts(choose_features(joined$counts, features, call), transposed = FALSE, call)
  membership <- substring(joined$membership, nchar(kind) + 2)
  out$hidden_columns <- "layers"
  out$column <- function(name) if (name == "layers") membership
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

# Some of the genes of counts that are read already.
with_features <- function(counts, features, call) {
  if (is.null(features)) {
    return(counts)
  }
  if (!inherits(counts$data, "dgCMatrix")) {
    abort_scvae(
      c("{.arg features} cannot be used with a file.", i = "Read the file's counts first."),
      "argument",
      call
    )
  }
  data <- counts$data
  dimnames(data) <- list(counts$gene_names, counts$cell_names)
  counts$data <- choose_features(data, features, call)
  counts$gene_names <- rownames(counts$data)
  counts$n_genes <- length(counts$gene_names)
  counts
}
