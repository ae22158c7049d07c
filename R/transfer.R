# Reconstruction: counts without noise, and all cells in the style of one batch.

#' Counts without noise
#'
#' The expected counts of chosen genes in chosen cells, with each cell's own batch (correction of
#' batch effects happens in the embedding; [transferBatchStyle()] takes them out of the counts).
#'
#' The result is a dense matrix of 8 bytes per value: choose genes and cells if there are many. It
#' is computed in pieces, so little more than its own size is needed.
#'
#' @section Objects in a pipe:
#' A Seurat or SingleCellExperiment object that holds a model can stand first, and the result is
#' that of its own cells, whose batches the model knows, put into the object:
#' `object |> denoiseCounts()`. With a model of another origin, such as one that was taken out
#' before a `merge()`: `object |> denoiseCounts(model)`.
#'
#' @param model A model from [fitSCVAE()] or [loadSCVAE()], or a Seurat or SingleCellExperiment
#'   object that holds one.
#' @param x Counts, in any form that [fitSCVAE()] takes. Not needed when `model` is an object, whose
#'   own cells are then meant.
#' @param output `"counts"`: expected counts (`px_rate`); `"lognormalised"`: `log1p` of 10,000 times
#'   the expected fractions, as Seurat's LogNormalize; `library` is then not used.
#' @param name For a Seurat or SingleCellExperiment object: the name of the new assay or alternative
#'   experiment for the result. NULL: `"denoised"` if the object stood first, else a matrix is
#'   returned; NA: a matrix. What an earlier call put under that name is replaced; it is an error if
#'   something else is there.
#' @inheritParams predict.SCVAE
#' @return A matrix, genes x cells, or the object with a new assay or alternative experiment (the
#'   model's genes may be fewer than the object's): `output = "counts"` is in its counts,
#'   `"lognormalised"` in its data or `logcounts`.
#' @seealso [predict.SCVAE()] for the other parameters.
#' @examples
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' model <- fitSCVAE(sim$counts,
#'   batch = sim$batch, min_genes = 10, max_epochs = 2, n_hidden = 16, seed = 1, threads = 1,
#'   verbose = FALSE
#' )
#' genes <- informativeGenes(model, n = 3)
#' denoiseCounts(model, sim$counts, batch = sim$batch, genes = genes, cells = 1:4, threads = 1)
#' @export
denoiseCounts <- function(model, x, ..., batch = NULL, genes = NULL, cells = NULL,
                          library = "observed", output = c("counts", "lognormalised"),
                          name = NULL, threads = NULL) {
  call <- rlang::current_env()
  given <- model_and_cells(model, if (!missing(x)) x, call)
  output <- check_choice(output, c("counts", "lognormalised"), "output", call)
  threads <- check_threads(threads, call)
  name <- name_of_result(name, if (given$first) "denoised", given$x, cells, call)
  if (!is.null(name)) {
    check_free_name(given$x, name, call)
  }
  counts <- counts_of_cells(given, ..., call = call)
  values <- reconstruct_output(open_model(given$model, call), counts,
    style = NULL, batch = batch_of_cells(given, batch, counts), genes = genes, cells = cells,
    library = library, output = output, threads = threads, call = call
  )
  if (is.null(name)) values else with_assay(given$x, values, name, assay_kind(output))
}

# Where Seurat keeps values of this kind.
assay_kind <- function(output) if (output == "counts") "counts" else "data"

#' Show all cells in the style of one batch
#'
#' Reconstructs every cell with the batch module and the gene offsets of one batch, so that all
#' cells carry that batch's style and can be compared gene by gene (the paper's mode 2). The
#' embedding is the same as without it. No cell types are needed.
#'
#' The result is dense. It is computed in pieces, so little more than its own size is needed: 8
#' bytes per value, 1.6 GB for 20,000 genes and 10,000 cells. Choose `genes` or `cells` if there
#' are many.
#'
#' @section Objects in a pipe:
#' A Seurat or SingleCellExperiment object that holds a model can stand first, for its own cells:
#' `object |> transferBatchStyle("donor_1")`, or `object |> transferBatchStyle(model, "donor_1")`
#' for a model of another origin.
#'
#' @inheritParams denoiseCounts
#' @param to The batch whose style the cells take; several, or `"all"`, for one result each. For a
#'   model with several covariates, a level of each covariate that changes, with its name, such as
#'   `c(chemistry = "v3")`; the other covariates stay each cell's own.
#' @param library For counts: `"observed"`, each cell keeps its own number of counts; `"target"`,
#'   all cells get the median number of counts of the batch `to`'s cells; or one number.
#' @param name For a Seurat or SingleCellExperiment object `x`: the name of the new assay or
#'   alternative experiment; NULL: `"style_"` and the batch. NA: a matrix is returned instead.
#' @return For counts in a matrix or file a matrix, genes x cells, or with several batches a list
#'   of them. For a Seurat object the object with a new assay, for a SingleCellExperiment the object
#'   with a new alternative experiment (the model's genes may be fewer than the object's), for each
#'   batch of `to`: `output = "counts"` is in its counts, `"lognormalised"` in its data or
#'   `logcounts`. Nothing of the object is overwritten but results of earlier calls.
#' @examples
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' model <- fitSCVAE(sim$counts,
#'   batch = sim$batch, min_genes = 10, max_epochs = 2, n_hidden = 16, seed = 1, threads = 1,
#'   verbose = FALSE
#' )
#' genes <- informativeGenes(model, n = 3)
#' transferBatchStyle(model, sim$counts,
#'   to = "batch_1", batch = sim$batch, genes = genes, cells = 1:4, threads = 1
#' )
#' @export
transferBatchStyle <- function(model, x, to, ..., batch = NULL, genes = NULL, cells = NULL,
                               library = "observed", output = c("counts", "lognormalised"),
                               name = NULL, threads = NULL) {
  call <- rlang::current_env()
  x <- if (!missing(x)) x
  to <- if (!missing(to)) to
  if (is_object(model) && is.null(to) && is.character(x)) {
    # What comes after the object in a pipe.
    to <- x
    x <- NULL
  }
  given <- model_and_cells(model, x, call)
  open <- open_model(given$model, call)
  styles <- transfer_styles(open, to, call)
  as_matrix <- !holds_results(given$x) || identical(name, NA)
  if (!as_matrix) {
    names <- valid_assay_names(given$x, style_names(name, names(styles), call))
    for (each in names) {
      check_free_name(given$x, each, call)
    }
    check_new_cells(cells, call)
  }
  output <- check_choice(output, c("counts", "lognormalised"), "output", call)
  threads <- check_threads(threads, call)
  counts <- counts_of_cells(given, ..., call = call)
  batch <- batch_of_cells(given, batch, counts)
  results <- lapply(styles, function(style) {
    reconstruct_output(open, counts,
      style = style, batch = batch, genes = genes, cells = cells, library = library,
      output = output, threads = threads, call = call
    )
  })
  if (as_matrix) {
    return(if (length(results) == 1) results[[1]] else results)
  }
  object <- given$x
  for (i in seq_along(results)) {
    object <- with_assay(object, results[[i]], names[i], assay_kind(output))
  }
  object
}

# Seurat makes names valid itself, and would put the results of batches "+" and "-" in one place.
valid_assay_names <- function(object, names) {
  if (!inherits(object, "Seurat")) {
    return(names)
  }
  valid <- make.unique(make.names(names))
  changed <- names != valid
  if (any(changed)) {
    cli::cli_inform(c(
      i = "Seurat cannot call assays {.val {names[changed]}}: they are {.val {valid[changed]}}."
    ))
  }
  valid
}

# What to decode with: for each result one code per covariate, from 0, NA for each cell's own.
transfer_styles <- function(open, to, call) {
  covariates <- open$covariates
  if (is.null(covariates)) {
    abort_scvae(
      c(
        "The model has no batches, so there is no style to transfer.",
        i = "Fit it with {.arg batch}."
      ),
      "argument",
      call
    )
  }
  known <- covariates[[1]]
  cure <- if (length(covariates) > 1) {
    "For example {.code to = c({names(covariates)[1]} = \"{known[1]}\")}."
  } else {
    "Name one of the batches {.val {known}}."
  }
  if (is.null(to)) {
    abort_scvae(c("{.arg to} is missing.", i = cure), "argument", call)
  }
  if (!is.character(to) && !is.factor(to) || length(to) == 0 || anyNA(to)) {
    value <- describe(to)
    abort_scvae(c("{.arg to} cannot be {value}.", i = cure), "argument", call)
  }
  to <- stats::setNames(as.character(to), names(to))
  if (length(covariates) > 1) {
    return(covariate_style(covariates, to, call))
  }
  if (identical(to, "all") && !"all" %in% known) {
    to <- known
  }
  to <- vapply(unname(to), check_choice, "", known, "to", call)
  stats::setNames(as.list(match(to, known) - 1L), to)
}

covariate_style <- function(covariates, to, call) {
  given <- names(to)
  if (is.null(given) || anyDuplicated(given) || !all(given %in% names(covariates))) {
    known <- names(covariates)
    abort_scvae(
      c(
        "{.arg to} must say which level of which covariate is meant: {.val {known}}.",
        i = "For example {.code to = c({known[1]} = \"{covariates[[1]][1]}\")}."
      ),
      "argument",
      call
    )
  }
  style <- rep(NA_integer_, length(covariates))
  for (covariate in given) {
    level <- check_choice(to[[covariate]], covariates[[covariate]], "to", call)
    style[match(covariate, names(covariates))] <- match(level, covariates[[covariate]]) - 1L
  }
  stats::setNames(list(style), paste(to, collapse = "_"))
}

style_names <- function(name, styles, call) {
  if (is.null(name)) {
    return(paste0("style_", styles))
  }
  check_string(name, "name", call = call)
  if (length(styles) == 1) name else paste(name, styles, sep = "_")
}

check_model <- function(model, call) {
  if (!inherits(model, "SCVAE")) {
    value <- describe(model)
    abort_scvae(
      c(
        "{.arg model} must be a model from {.fn fitSCVAE}, not {value}.",
        i = "{.fn scvaeModel} takes it out of a Seurat or SingleCellExperiment object."
      ),
      "argument",
      call
    )
  }
}

reconstruct_output <- function(open, counts, style, batch, genes, cells, library, output, threads,
                               call) {
  what <- if (output == "counts") "px_rate" else "px_scale"
  values <- reconstruct_cells(
    open, counts, batch, genes, cells, library, what,
    style = style, threads = threads, call = call
  )
  if (output == "lognormalised") log1p(values * 1e4) else values
}

# Values per call of Rust: 40 MB.
reconstruct_chunk <- 5e6

reconstruct_cells <- function(open, counts, batch, genes, cells, library, what, style, threads,
                              call, chunk = reconstruct_chunk) {
  library <- check_library(library, open, style, call)
  gene_index <- choose_index(genes, open$gene_names, "genes", call)
  cell_index <- choose_index(cells, counts$cell_names, "cells", call)
  position <- align_genes(open, counts, call)
  codes <- model_batch_codes(open, batch, counts, call)
  style <- style %||% rep(NA_integer_, length(open$covariates))
  out <- matrix(
    0, length(gene_index), length(cell_index),
    dimnames = list(open$gene_names[gene_index], counts$cell_names[cell_index])
  )
  per_chunk <- max(1, floor(chunk / max(1, length(gene_index))))
  chunks <- split(seq_along(cell_index), (seq_along(cell_index) - 1) %/% per_chunk)
  for (columns in chunks) {
    out[, columns] <- rust_call(
      rs_reconstruct(
        open$handle, counts$data, position, cell_index[columns], gene_index, codes,
        as.integer(style), library, what, threads
      ),
      call
    )
  }
  out
}

# NULL: each cell's own number of counts.
check_library <- function(library, open, style, call) {
  if (identical(library, "observed")) {
    return(NULL)
  }
  if (identical(library, "target")) {
    return(target_library(open, style, call))
  }
  if (is.character(library)) {
    value <- describe(library)
    abort_scvae(
      "{.arg library} must be {.val observed}, {.val target} or one number above 0, not {value}.",
      "argument",
      call
    )
  }
  check_number(
    library, "library",
    min = 0, open = "min", call = call,
    cure = "Or choose `library = \"observed\"`."
  )
}

# The median number of counts in the batch whose style the cells take.
target_library <- function(open, style, call) {
  if (is.null(style) || length(style) > 1) {
    abort_scvae(
      c(
        "{.code library = \"target\"} needs one batch that all cells take the style of.",
        i = "Use {.code library = \"observed\"} or a number."
      ),
      "argument",
      call
    )
  }
  library <- open$library[style + 1]
  if (library == 0) {
    target <- open$covariates[[1]][style + 1]
    abort_scvae(
      c(
        "The model does not know how many counts the cells of {.val {target}} have.",
        x = "Early versions of scVAE did not save it.",
        i = "Use {.code library = \"observed\"} or a number, or fit the model again."
      ),
      "argument",
      call
    )
  }
  library
}
