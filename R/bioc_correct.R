# batchelor: batchCorrect(PARAM = SCVAEParam()).
#
# The parameter's class extends one of batchelor's and is made when batchelor is loaded, so that
# scVAE installs and loads without it. The package's own environment is locked by then.
late_definitions <- new.env()
assign(".packageName", "scVAE", late_definitions)

.onLoad <- function(libname, pkgname) {
  if (isNamespaceLoaded("batchelor")) {
    join_batchelor()
  } else {
    setHook(packageEvent("batchelor", "onLoad"), function(...) join_batchelor())
  }
}

join_batchelor <- function() {
  methods::setClass(
    "SCVAEParam",
    contains = structure("BatchelorParam", package = "batchelor"), where = late_definitions
  )
  setMethod(batchelor::batchCorrect, "SCVAEParam", correct_batches, where = late_definitions)
}

#' scVAE as a method of batchelor's batchCorrect()
#'
#' `batchelor::batchCorrect(..., PARAM = SCVAEParam())` fits a model to all cells and returns
#' corrected expression and the embedding, so that a script can exchange another method for scVAE,
#' and back, by this argument alone. It needs the package batchelor.
#'
#' As all of `batchCorrect()` it takes one or more matrices or SingleCellExperiment objects, genes
#' in rows and cells in columns: several objects of the same genes, one for each batch, or one
#' object with the argument `batch`, the batch of each cell. Unlike the other methods it wants raw
#' **counts** (`assay.type = "counts"` by default), not log-counts, and needs no choice of genes and
#' no `multiBatchNorm()` before.
#'
#' @section Arguments of batchCorrect():
#' * `...`: the objects, or lists of them. Their names, if they have some, are those of the batches.
#'   Settings of [fitSCVAE()] may stand here, too, and have precedence over those of `PARAM`.
#' * `batch`: for a single object a vector with one value per cell, or the name of a column of its
#'   `colData`; not used with several objects.
#' * `restrict`: a list with the cells of each object (names, numbers, a logical vector, or NULL for
#'   all) that the model is fitted to. The others are embedded and corrected by the fitted model.
#' * `subset.row`: the genes to fit the model to and to return, in this order.
#' * `correct.all = TRUE`: all genes are returned, in spite of `subset.row`. The model knows only
#'   genes that it was fitted to, so that it is fitted to all of them, and a message says that
#'   `subset.row` is not used.
#' * `assay.type`: the assay with raw counts. For `"logcounts"`, which `correctExperiments()` and
#'   `quickCorrect()` of batchelor ask for, the assay `"counts"` is taken if all objects have one,
#'   and a message says so.
#'
#' @section Corrected expression:
#' The first assay, `corrected`, holds what the decoder makes of the cells, without noise: the
#' natural logarithm of one plus 10,000 times the expected fraction of each gene, mean over the
#' styles of all batches (see [transferBatchStyle()] for that of one). It is a dense matrix of 8
#' bytes per value; choose `subset.row` where it is too large, or use [runSCVAE()], which gives the
#' embedding only. Clusters and plots should come from the embedding, tests of differences between
#' groups from the counts. Genes that the filter dropped (`min_cells`) are 0.
#'
#' @param ... Settings of the fit: the arguments of [fitSCVAE()] from `min_cells` on, and
#'   `BPPARAM`, see [runSCVAE()]. What belongs to the data (`batch`, `restrict`, `subset.row`,
#'   `correct.all`, `assay.type`) is an argument of `batchCorrect()`.
#' @return A `SCVAEParam`, which extends batchelor's `BatchelorParam` and is read and changed as a
#'   list: `param$n_latent <- 20`.
#'
#'   `batchCorrect()` returns a SingleCellExperiment with the cells in the order in which they were
#'   given, objects one after the other; the assay `corrected`; `batch` and `SCVAE_trained` in
#'   `colData` (FALSE for cells that the model was not trained on); `SCVAE_kept` in `rowData`
#'   (FALSE for genes that the filter dropped); the embedding as `reducedDim(x, "SCVAE")`; and the
#'   model, for [scvaeModel()].
#'
#'   Errors have the class `scvae_error_argument` where an argument is wrong and
#'   `scvae_error_counts` where genes, cells or counts are.
#' @seealso [runSCVAE()], [transferBatchStyle()]
#' @examplesIf requireNamespace("batchelor", quietly = TRUE)
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' batches <- lapply(split(seq_along(sim$batch), sim$batch), function(cells) sim$counts[, cells])
#' param <- SCVAEParam(
#'   min_genes = 10, max_epochs = 2, n_hidden = 16, seed = 1, threads = 1, verbose = FALSE
#' )
#' corrected <- batchelor::batchCorrect(batches, PARAM = param)
#' corrected
#' @aliases SCVAEParam-class batchCorrect,SCVAEParam-method
#' @export
SCVAEParam <- function(...) {
  call <- rlang::current_env()
  need_package("batchelor", "for SCVAEParam()", call)
  settings <- list(...)
  check_param(settings, call)
  methods::new("SCVAEParam", S4Vectors::SimpleList(settings))
}

# Names and values, so that a mistake is told where it was made.
check_param <- function(settings, call) {
  given <- names(settings) %||% rep("", length(settings))
  of_call <- intersect(given, c("batch", "restrict", "subset.row", "correct.all", "assay.type"))
  if (length(of_call) > 0) {
    abort_scvae(
      c(
        "{.arg {of_call[1]}} is no setting of the fit.",
        i = "Give it to {.fn batchCorrect}, beside {.arg PARAM}."
      ),
      "argument",
      call
    )
  }
  check_known_arguments(given, param_names(), call)
  settings_from(settings[given %in% setting_names()], call)
  # The folder of checkpoints is a matter of the moment of the fit.
  options <- list(
    embedding = "auto", filtered_cells = "embed", checkpoint_every = 1, n_repeats = 1
  )
  chosen <- intersect(given, names(options))
  options[chosen] <- settings[chosen]
  do.call(fit_options, c(options, list(checkpoint = NULL, call = call)))
  if (!is.null(settings$seed)) {
    check_seed(settings$seed, call = call)
  }
}

param_names <- function() c(setting_names(), option_names(), "seed", "verbose", "BPPARAM")

# The method. Its arguments are those of batchelor's generic.
correct_batches <- function(..., batch = NULL, restrict = NULL, subset.row = NULL,
                            correct.all = FALSE, assay.type = "counts", PARAM) {
  call <- quote(batchCorrect())
  settings <- as.list(PARAM)
  given <- list(...)
  is_setting <- dots_names(...) %in% param_names()
  settings[names(given)[is_setting]] <- given[is_setting]
  check_param(settings, call)
  check_flag(correct.all, "correct.all", call)
  objects <- check_objects(flat_batches(given[!is_setting]), call)
  assay.type <- raw_assay(objects, assay.type, call)
  used <- restricted_cells(restrict, objects, call)
  counts <- joined_counts(objects, assay.type, call)
  batch <- batch_of_objects(objects, batch, counts, call)
  check_restricted(used, batch, call)

  genes <- counts$gene_names[choose_index(subset.row, counts$gene_names, "subset.row", call)]
  if (correct.all && !is.null(subset.row)) {
    cli::cli_inform(
      c(
        i = "With {.code correct.all = TRUE} the model is fitted to all genes: \\
             {.arg subset.row} is not used."
      ),
      class = "scvae_message"
    )
    genes <- counts$gene_names
  }
  if (!all(counts$gene_names %in% genes)) {
    # In the objects' order, whatever that of `subset.row`.
    counts <- part_of_counts(counts, genes = which(counts$gene_names %in% genes), call = call)
  }

  fitted_to <- if (all(used)) counts else part_of_counts(counts, cells = which(used), call = call)
  embedding <- do.call(
    calculate_scvae,
    c(list(fitted_to, as.character(batch)[used]), settings, list(call = call)),
    quote = TRUE
  )
  model <- attr(embedding, "model")
  open <- open_model(model, call)
  threads <- model$settings$threads
  if (!all(used)) {
    model <- model_of_all(model, open, counts, as.character(batch), used, threads, call)
  }
  corrected <- corrected_values(open, counts, as.character(batch), genes, threads, call)
  new_corrected(corrected, genes, genes %in% open$gene_names, objects, batch, model)
}

# The objects -------------------------------------------------------------------------------------

flat_batches <- function(objects) {
  do.call(c, lapply(seq_along(objects), function(i) {
    x <- objects[[i]]
    if (is.list(x) && !is.data.frame(x) || is(x, "SimpleList")) as.list(x) else objects[i]
  }))
}

check_objects <- function(objects, call) {
  holds <- vapply(objects, is, TRUE, "SummarizedExperiment")
  is_matrix <- vapply(objects, function(x) length(dim(x)) == 2 && !is.data.frame(x), TRUE)
  wrong <- which(!holds & !is_matrix)
  if (length(wrong) > 0) {
    name <- names(objects)[wrong[1]]
    if (isTRUE(nzchar(name))) {
      check_known_arguments(name, param_names(), call)
    }
    kind <- class(objects[[wrong[1]]])[1]
    refuse_objects("number {wrong[1]} of them is of class {.cls {kind}}", call)
  }
  if (length(objects) == 0) {
    refuse_objects("none is given", call)
  }
  if (any(holds) && !all(holds)) {
    refuse_objects("both kinds are given", call)
  }
  genes <- lapply(objects, rownames)
  same <- vapply(objects, nrow, 1L) == nrow(objects[[1]]) &
    vapply(genes, identical, TRUE, genes[[1]])
  if (!all(same)) {
    other <- which(!same)[1]
    abort_scvae(
      c(
        "The objects must have the same genes in the same order, but those of number {other} are \\
         not those of the first.",
        i = "Cut all to the genes they share: {.code shared <- Reduce(intersect, \\
             lapply(objects, rownames))}, then {.code x[shared, ]} for each."
      ),
      "counts",
      call
    )
  }
  objects
}

refuse_objects <- function(reason, call, .envir = parent.frame()) {
  abort_scvae(
    c(
      paste0(
        "The batches must be matrices of counts or {.cls SingleCellExperiment} objects, all of ",
        "one kind, but ", reason, "."
      ),
      i = "Give one object for each batch, or one and {.arg batch}."
    ),
    "argument",
    call,
    .envir = .envir
  )
}

# batchelor's correctExperiments() asks for log-counts, of which its user need not know.
raw_assay <- function(objects, assay.type, call) {
  assay.type <- assay.type %||% "counts"
  if (!is(objects[[1]], "SummarizedExperiment") || !identical(assay.type, "logcounts")) {
    return(assay.type)
  }
  have_counts <- vapply(objects, function(x) {
    "counts" %in% SummarizedExperiment::assayNames(x)
  }, TRUE)
  if (!all(have_counts)) {
    abort_scvae(
      c(
        "{.arg assay.type} is \"logcounts\", but scVAE needs raw counts.",
        i = "Name the assay that holds them, as in {.code assay.type = \"counts\"}."
      ),
      "argument",
      call
    )
  }
  cli::cli_inform(
    c(i = "scVAE needs raw counts: the assay {.val counts} is used, not {.val logcounts}."),
    class = "scvae_message"
  )
  "counts"
}

# One handle on the counts of all objects. Cells of unlike batches may have the same name.
joined_counts <- function(objects, assay.type, call) {
  handles <- lapply(objects, function(x) {
    if (anyDuplicated(colnames(x))) {
      colnames(x) <- make.unique(colnames(x))
    }
    if (is(x, "SummarizedExperiment")) {
      as_counts(x, assay.type = assay.type, call = call)
    } else {
      as_counts(x, call = call)
    }
  })
  if (length(handles) == 1) {
    return(handles[[1]])
  }
  new_counts(
    do.call(cbind, lapply(handles, `[[`, "data")),
    handles[[1]]$gene_names,
    make.unique(unlist(lapply(handles, `[[`, "cell_names"), use.names = FALSE)),
    call = call
  )
}

part_of_counts <- function(counts, genes = seq_len(counts$n_genes),
                           cells = seq_len(counts$n_cells), call) {
  new_counts(
    counts$data[genes, cells, drop = FALSE], counts$gene_names[genes], counts$cell_names[cells],
    call = call
  )
}

# The batch of each cell: text, or the number of its object where these have no names.
batch_of_objects <- function(objects, batch, counts, call) {
  if (length(objects) > 1) {
    labels <- names(objects)
    if (all(labels == "")) {
      labels <- seq_along(objects)
    } else if (any(labels == "") || anyDuplicated(labels)) {
      abort_scvae(
        c(
          "The names of the batches must differ: they are {.val {labels}}.",
          i = "Give every object a name of its own, or none a name."
        ),
        "argument",
        call
      )
    }
    return(rep(labels, vapply(objects, ncol, 1L)))
  }
  values <- as.character(resolve_batch(batch, counts, call)$values)
  if (length(unique(values)) < 2) {
    abort_scvae(
      c(
        if (is.null(batch)) {
          "{.arg batch} is needed where there is one object."
        } else {
          "{.arg batch} is {.val {values[1]}} for all cells: there is nothing to correct."
        },
        i = "Give one value per cell or the name of a column, or one object for each batch."
      ),
      "argument",
      call
    )
  }
  values
}

# Restriction to some of the cells ----------------------------------------------------------------

# For each cell of all objects, whether the model is fitted to it.
restricted_cells <- function(restrict, objects, call) {
  if (is.null(restrict)) {
    return(rep(TRUE, sum(vapply(objects, ncol, 1L))))
  }
  restrict <- if (is(restrict, "SimpleList")) as.list(restrict) else restrict
  n <- length(objects)
  if (!is.list(restrict) || length(restrict) != n || !is.null(names(restrict)) &&
        !identical(names(restrict), names(objects))) {
    value <- describe(restrict)
    abort_scvae(
      c(
        "{.arg restrict} must be a list with the cells of each of the {n} object{?s}, with their \\
         names or none, not {value}.",
        i = "NULL in it stands for all cells of an object."
      ),
      "argument",
      call
    )
  }
  unlist(Map(function(cells, x) {
    names <- default_names(dim(x), list(NULL, colnames(x)))$cells
    seq_along(names) %in% choose_index(cells, names, "restrict", call)
  }, restrict, objects), use.names = FALSE)
}

check_restricted <- function(used, batch, call) {
  lost <- setdiff(batch, batch[used])
  if (length(lost) > 0) {
    abort_scvae(
      c(
        "{.arg restrict} leaves no cell of batch{?es} {.val {lost}} to fit the model to.",
        i = "Leave some cells of every batch."
      ),
      "argument",
      call
    )
  }
}

# A model of some of the cells as one that tells of all of them.
model_of_all <- function(model, open, counts, batch, used, threads, call) {
  for (part in names(stored_parts)) {
    model[[stored_parts[[part]]]] <-
      embed_cells(open, counts, batch, part, NULL, threads, call)
  }
  trained <- used
  trained[used] <- trained_cells(model)
  model$trained_cells <- trained
  if (!is.null(model$stability)) {
    stability <- stats::setNames(rep(NA_real_, counts$n_cells), counts$cell_names)
    stability[used] <- model$stability
    model$stability <- stability
  }
  model$batch <- factor(batch, levels = model$batch_names)
  model$cell_names <- counts$cell_names
  model
}

# The result --------------------------------------------------------------------------------------

# Genes x cells, the mean over the styles of all batches; 0 for genes that the model lacks.
corrected_values <- function(open, counts, batch, genes, threads, call) {
  rows <- match(genes, open$gene_names)
  kept <- which(!is.na(rows))
  styles <- seq_along(open$batch_names) - 1L
  out <- matrix(0, length(genes), counts$n_cells)
  per_chunk <- max(1, floor(reconstruct_chunk / length(genes)))
  for (cells in split(seq_len(ncol(out)), (seq_len(ncol(out)) - 1) %/% per_chunk)) {
    for (style in styles) {
      values <- reconstruct_output(
        open, counts, style, batch, NULL, cells, "observed", "lognormalised", threads, call
      )
      out[kept, cells] <- out[kept, cells] + values[rows[kept], ] / length(styles)
    }
  }
  out
}

new_corrected <- function(corrected, genes, kept, objects, batch, model) {
  cell_names <- lapply(objects, colnames)
  has_cell_names <- !any(vapply(cell_names, is.null, TRUE))
  out <- SingleCellExperiment::SingleCellExperiment(
    assays = list(corrected = corrected),
    colData = S4Vectors::DataFrame(batch = batch, SCVAE_trained = model$trained_cells),
    rowData = S4Vectors::DataFrame(SCVAE_kept = kept),
    reducedDims = list(SCVAE = unname_rows(model$embedding)),
    metadata = with_model(list(), "SCVAE", model)
  )
  if (has_cell_names) {
    colnames(out) <- unlist(cell_names, use.names = FALSE)
  }
  if (!is.null(rownames(objects[[1]]))) {
    rownames(out) <- genes
  }
  out
}

unname_rows <- function(x) {
  rownames(x) <- NULL
  x
}
