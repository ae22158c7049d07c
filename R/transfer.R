# Reconstruction: counts without noise, and all cells in the style of one batch.

#' Counts without noise
#'
#' The expected counts of chosen genes in chosen cells, with each cell's own batch (correction of
#' batch effects happens in the embedding; [transferBatchStyle()] takes them out of the counts).
#'
#' The result is a dense matrix of 8 bytes per value: choose genes and cells if there are many. It
#' is computed in pieces, so little more than its own size is needed.
#'
#' @param model A model from [fitSCVAE()] or [loadSCVAE()].
#' @param x Counts, in any form that [fitSCVAE()] takes.
#' @param output `"counts"`: expected counts (`px_rate`); `"lognormalised"`: `log1p` of 10,000 times
#'   the expected fractions, as Seurat's LogNormalize; `library` is then not used.
#' @inheritParams predict.SCVAE
#' @return A matrix, genes x cells.
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
                          threads = NULL) {
  call <- rlang::current_env()
  check_model(model, call)
  reconstruct_output(model, x, ...,
    to = NULL, batch = batch, genes = genes, cells = cells, library = library, output = output,
    threads = threads, call = call
  )
}

#' Show all cells in the style of one batch
#'
#' Reconstructs every cell with the batch module of one batch, so that all cells carry that batch's
#' style and can be compared gene by gene. The embedding is the same as without it. No cell types
#' are needed.
#'
#' @inheritParams denoiseCounts
#' @param to The name of the batch whose style the cells take.
#' @return A matrix, genes x cells. In a Seurat or SingleCellExperiment object it belongs in a new
#'   assay; do not overwrite the counts.
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
                               threads = NULL) {
  call <- rlang::current_env()
  check_model(model, call)
  known <- model$batch_names
  if (is.null(known)) {
    abort_scvae(
      c(
        "The model has no batches, so there is no style to transfer.",
        i = "Fit it with {.arg batch}."
      ),
      "argument",
      call
    )
  }
  if (missing(to)) {
    abort_scvae(
      c("{.arg to} is missing.", i = "Name one of the batches {.val {known}}."),
      "argument",
      call
    )
  }
  check_batch_name(to, known, call)
  reconstruct_output(model, x, ...,
    to = to, batch = batch, genes = genes, cells = cells, library = library, output = output,
    threads = threads, call = call
  )
}

# Not check_choice(): a `to` of all batches must not stand for the first.
check_batch_name <- function(to, known, call) {
  check_string(to, "to", call = call)
  check_choice(to, known, "to", call)
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

reconstruct_output <- function(model, x, ..., to, batch, genes, cells, library, output, threads,
                               call) {
  output <- check_choice(output, c("counts", "lognormalised"), "output", call)
  threads <- check_threads(threads, call)
  counts <- as_counts(x, ..., call = call)
  what <- if (output == "counts") "px_rate" else "px_scale"
  values <- reconstruct_cells(
    model, counts, batch, genes, cells, library, what,
    to = to, threads = threads, call = call
  )
  if (output == "lognormalised") log1p(values * 1e4) else values
}

# Values per call of Rust: 40 MB.
reconstruct_chunk <- 5e6

reconstruct_cells <- function(model, counts, batch, genes, cells, library, what, to, threads,
                              call, chunk = reconstruct_chunk) {
  library <- check_library(library, call)
  gene_index <- choose_index(genes, model_genes(model), "genes", call)
  cell_index <- choose_index(cells, counts$cell_names, "cells", call)
  position <- align_genes(model, counts, call)
  codes <- model_batch_codes(model, batch, counts, call)
  decode <- if (!is.null(to)) match(to, model$batch_names) - 1L
  out <- matrix(
    0, length(gene_index), length(cell_index),
    dimnames = list(model_genes(model)[gene_index], counts$cell_names[cell_index])
  )
  per_chunk <- max(1, floor(chunk / max(1, length(gene_index))))
  chunks <- split(seq_along(cell_index), (seq_along(cell_index) - 1) %/% per_chunk)
  for (columns in chunks) {
    out[, columns] <- rust_call(
      rs_reconstruct(
        model$model, counts$data, position, cell_index[columns], gene_index, codes, decode,
        library, what, threads
      ),
      call
    )
  }
  out
}

check_library <- function(library, call) {
  if (identical(library, "observed")) {
    return(NULL)
  }
  if (is.character(library)) {
    value <- describe(library)
    abort_scvae(
      "{.arg library} must be {.val observed} or one number above 0, not {value}.",
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
