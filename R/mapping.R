# mapSCVAE(): cells of new batches, set against a model that is trained already.

#' Map cells of a new batch to a trained model
#'
#' Adds one or more batches to a model and trains only what is theirs: the modules of the new
#' batches in the encoder and the decoder, and their offsets per gene. All else stays as it is, to
#' the last bit, so the embedding of the cells that the model was trained with does not change, and
#' new cells lie where the model's own cells of their kind do. It takes seconds; Ctrl-C leaves
#' nothing.
#'
#' The model remembers means over groups of like cells (no single cell). The new cells are compared
#' with these to measure what sets their batch apart, so the new batch may hold some of the kinds
#' of cells only. The encoder's module is then set so that the new cells that are like a group lie
#' where the model's own cells that are like it do, and as far apart: without it new cells lie
#' closer together, as their noise was not learned. Kinds of cells that the model has never seen
#' are drawn to the nearest kind that it knows: look at the labels' confidence.
#'
#' Genes are matched by name, as in [predict.SCVAE()]: those that are lacking are taken as zero,
#' with a warning that says how many, and it is an error if more than a fifth is. Cells are not
#' filtered.
#' For cells of batches that the model knows, [predict.SCVAE()] is enough and nothing is trained.
#'
#' @param model A model from [fitSCVAE()], with or without batches, or a Seurat or
#'   SingleCellExperiment object that holds one. Not with several covariates.
#' @param newdata Counts of the new cells, in any form that [fitSCVAE()] takes.
#' @param batch The new batch's name, or the new batch of each cell as in [fitSCVAE()]. A batch that
#'   the model knows cannot be among them.
#' @param ... Arguments that say where the counts are in `newdata`, as in [fitSCVAE()].
#' @param labels Labels of the model's cells (the rows of `model$latent`; of a mapped model these
#'   are the cells mapped last), one each, to be carried over to the new cells: of the `k` cells
#'   nearest by their latent values the most frequent label. For an object as `model` also the name
#'   of a column of its cells. Needs the package RANN.
#' @param k Nearest cells that vote.
#' @param max_epochs Passes over the new cells; NULL: as many as come to 100 mini-batches, at least
#'   20. It matters for transfer to the new batch, not for the embedding.
#' @param lr Learning rate.
#' @inheritParams fitSCVAE
#' @return A model of class `SCVAE` that knows the new batches beside its own. `embedding`,
#'   `latent`, `latent_sd` and `batch` are those of the new cells; `labels`, with `labels` given, a
#'   data frame of each new cell's `label` and `confidence`, the fraction of the votes. The genes'
#'   score is that of the one fit whose model it is.
#' @seealso [MapSCVAE()] for Seurat objects, [predict.SCVAE()], [transferBatchStyle()]
#' @references Lotfollahi et al. (2022), Nature Biotechnology 40:121-130, for mapping by training a
#'   few parameters of a trained model.
#' @examples
#' sim <- simulateCounts(n_cells = 150, n_genes = 300, n_batches = 3, seed = 1)
#' new <- sim$batch == "batch_3"
#' model <- fitSCVAE(sim$counts[, !new],
#'   batch = sim$batch[!new], min_genes = 10, max_epochs = 2, n_hidden = 16, seed = 1,
#'   threads = 1, verbose = FALSE
#' )
#' mapped <- mapSCVAE(model, sim$counts[, new],
#'   batch = "batch_3", max_epochs = 2, seed = 1, threads = 1, verbose = FALSE
#' )
#' head(mapped$latent[, 1:3])
#' @export
mapSCVAE <- function(model, newdata, batch = "new", ..., labels = NULL, k = 15,
                     max_epochs = NULL, lr = 1e-3, seed = NULL, threads = NULL, verbose = TRUE) {
  call <- rlang::current_env()
  if (is_object(model)) {
    labels <- reference_labels(labels, model, call)
    model <- model_in(model, NULL, call)
  }
  check_model(model, call)
  open <- open_model(model, call)
  if (length(open$covariates) > 1) {
    abort_scvae(
      c(
        "This model has {length(open$covariates)} covariates; batches can be mapped to a model \\
         with one.",
        i = "Fit a model with one {.arg batch}, or fit all cells together."
      ),
      "argument",
      call
    )
  }
  check_flag(verbose, "verbose", call)
  k <- check_number(k, "k", min = 1, whole = TRUE, call = call)
  labels <- check_reference_labels(labels, model, call)
  if (missing(newdata)) {
    abort_scvae(
      c("{.arg newdata} is missing.", i = "Give the counts of the new cells, after the model."),
      "argument",
      call
    )
  }
  counts <- as_counts(newdata, ..., call = call)
  batch <- new_batches(batch, open, counts, verbose, call)
  position <- align_genes(open, counts, call)
  settings <- list(
    max_epochs = check_number(
      max_epochs, "max_epochs",
      min = 1, whole = TRUE, null_ok = TRUE, call = call
    ) %||% mapping_epochs(counts$n_cells, model$settings$batch_size),
    lr = check_number(lr, "lr", 0, 1, open = "min", call = call),
    n_epochs_kl_warmup = 0,
    early_stopping = FALSE,
    train_size = 1,
    threads = check_threads(threads, call),
    seed = check_seed(seed, call = call)
  )
  if (verbose) {
    new <- batch$names
    cli::cli_inform("Mapping {counts$n_cells} cells of {length(new)} new batch{?es}: {.val {new}}.")
  }
  progress <- new_progress(verbose, "Mapping ", fit_progress)
  on.exit(progress$done())
  started <- Sys.time()
  mapped <- rust_call(
    rs_map(
      open$handle, counts$data, position, batch$codes, batch$names, settings, progress$update
    ),
    call
  )
  progress$done()
  seconds <- as.numeric(difftime(Sys.time(), started, units = "secs"))
  if (!isTRUE(model$settings$batch_offsets)) {
    warn_scvae(
      c(
        "The model was fitted without measured differences of the batches.",
        i = "Little sets the new cells against the model's own; fit with \\
             {.code batchControl(offsets = TRUE)} to have them measured."
      ),
      "mapping"
    )
  }
  result <- mapped_model(mapped, model, counts, batch, seconds)
  # The rate is this call's, not the model's.
  warn_diverged(result, settings$lr)
  result$call <- short_call(match.call(), "mapSCVAE")
  if (!is.null(labels)) {
    result$labels <- vote(model$latent, labels, result$latent, k)
  }
  result
}

# 100 mini-batches, but never fewer than 20 passes.
mapping_epochs <- function(n_cells, batch_size) {
  max(20, ceiling(100 * (batch_size %||% 128) / n_cells))
}

new_batches <- function(batch, open, counts, verbose, call) {
  columns <- c(counts$columns, counts$hidden_columns)
  # That of layers is no name: where there are none resolve_batch() says so.
  if (rlang::is_string(batch) && !batch %in% c(columns, "layers")) {
    meant <- columns[nchar(batch) > 3 & utils::adist(batch, columns, ignore.case = TRUE) <= 1]
    if (verbose && length(meant) > 0) {
      cli::cli_inform(c(
        i = "{.val {batch}} is taken as the name of one new batch, not as the column \\
             {.val {meant}}."
      ))
    }
    batch <- rep(batch, counts$n_cells)
  }
  batch <- resolve_batch(batch, counts, call)
  if (is.null(batch) || length(batch$covariates) > 1) {
    abort_scvae(
      c("{.arg batch} must name the new batch of each cell.", i = "For example {.val new}."),
      "argument",
      call
    )
  }
  known <- intersect(batch$names, open$batch_names %||% "reference")
  if (length(known) > 0) {
    abort_scvae(
      c(
        "{cli::qty(length(known))}Batch{?es} {.val {known}} {?is/are} known to the model already.",
        i = "{.fn predict} embeds cells of batches that the model knows; give new ones other names."
      ),
      "argument",
      call
    )
  }
  check_batch_size(batch, call = call)
  batch
}

mapped_model <- function(mapped, model, counts, batch, seconds) {
  result <- scvae_from_bytes(mapped$model, rust_call(rs_model_info(mapped$model)))
  result$embedding <- embedding_rows(mapped$places %||% mapped$latent, counts$cell_names)
  result$latent <- embedding_rows(mapped$latent, counts$cell_names)
  result$latent_sd <- embedding_rows(mapped$latent_sd, counts$cell_names)
  result$batch <- factor(as.character(batch$values), levels = result$batch_names)
  result$cell_names <- counts$cell_names
  result$seconds <- seconds
  result$source <- counts$source
  result
}

# A column of an object's cells, by their names.
reference_labels <- function(labels, object, call) {
  if (!is.character(labels) || length(labels) != 1) {
    return(labels)
  }
  annotation <- if (inherits(object, "Seurat")) {
    object[[]]
  } else {
    SummarizedExperiment::colData(object)
  }
  cells <- list(columns = colnames(annotation), column = function(name) annotation[[name]])
  stats::setNames(as.character(cell_column(labels, cells, "labels", call)), colnames(object))
}

check_reference_labels <- function(labels, model, call) {
  if (is.null(labels)) {
    return(NULL)
  }
  need_package("RANN", "to carry labels over", call)
  if (is.null(model$latent)) {
    abort_scvae(
      c(
        "{.arg labels} needs the embedding of the model's own cells, which a model read from a \\
         file does not hold.",
        i = "Map without labels, or keep the model with {.fn saveRDS}."
      ),
      "argument",
      call
    )
  }
  n <- nrow(model$latent)
  if (!(is.atomic(labels) || is.factor(labels)) || length(labels) != n) {
    value <- describe(labels)
    abort_scvae(
      c(
        "{.arg labels} must have one label for each of the model's {n} cells, not {value}.",
        i = "They are the rows of {.code model$latent}."
      ),
      "argument",
      call
    )
  }
  if (names_all_cells(names(labels), model$cell_names, "labels", call)) {
    labels <- labels[match(model$cell_names, names(labels))]
  }
  # Cells that the filter dropped do not vote.
  labels[!trained_cells(model)] <- NA
  if (all(is.na(labels) | is.na(model$latent[, 1]))) {
    abort_scvae(
      c(
        "{.arg labels} has no label for any cell of the embedding.",
        i = "Give NA to those cells only whose label is not known."
      ),
      "argument",
      call
    )
  }
  as.character(labels)
}

# The most frequent label among the nearest cells, and its fraction; ties go to the label that comes
# first as text in the C locale.
vote <- function(reference, labels, query, k) {
  usable <- !is.na(reference[, 1]) & !is.na(labels)
  found <- RANN::nn2(
    reference[usable, , drop = FALSE], query,
    k = min(k, sum(usable))
  )$nn.idx
  levels <- sort(unique(labels[usable]), method = "radix")
  votes <- vapply(levels, function(level) {
    rowSums(matrix(labels[usable][found] == level, nrow(found)))
  }, numeric(nrow(found)))
  votes <- matrix(votes, nrow(found))
  best <- max.col(votes, ties.method = "first")
  data.frame(
    label = levels[best],
    confidence = votes[cbind(seq_len(nrow(votes)), best)] / ncol(found),
    row.names = rownames(query)
  )
}
