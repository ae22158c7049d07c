# The methods of a fitted model.

#' @method print SCVAE
#' @export
print.SCVAE <- function(x, ...) {
  cli::cat_line(format(x, ...))
  invisible(x)
}

#' @method format SCVAE
#' @export
format.SCVAE <- function(x, ...) {
  number <- function(n) format(n, big.mark = ",", scientific = FALSE, trim = TRUE)
  kept_genes <- sum(x$genes$kept)
  elbo <- final_elbo(x)
  cells <- if (is.null(x$latent)) {
    "not in the file"
  } else {
    trained <- trained_cells(x)
    n_all <- number(length(trained))
    if (all(trained)) n_all else sprintf("%s of %s trained", number(sum(trained)), n_all)
  }
  stopped <- switch(x$stopped,
    early_stopping = " (stopped early)",
    interrupted = " (interrupted)",
    diverged = " (diverged)",
    ""
  )
  time <- if (is.null(x$seconds)) "" else paste(" in", duration_text(x$seconds))
  rows <- c(
    Cells = cells,
    Genes = paste0(number(kept_genes), kept_note(nrow(x$genes), kept_genes, number)),
    Batches = if (is.null(x$batch_names)) {
      "none"
    } else {
      paste0(length(x$batch_names), ": ", shorten(x$batch_names))
    },
    Latent = sprintf("%s dimensions, %s hidden units", x$settings$n_latent, x$settings$n_hidden),
    Embedding = embedding_text(x$components),
    Likelihood = x$settings$likelihood,
    Repeats = if (!is.null(x$repeats)) {
      kept <- x$repeats$fit[x$repeats$kept]
      sprintf("%d fits, the model is that of fit %d", nrow(x$repeats), kept)
    },
    Epochs = paste0(x$epochs, stopped, time),
    ELBO = sprintf("%s (%s)", format(elbo$value, digits = 6), elbo$kind),
    Parameters = paste(number(round(x$n_parameters)), "effective")
  )
  c(
    "scVAE model (sparsely connected variational autoencoder)",
    paste0("  ", formatC(paste0(names(rows), ":"), width = -12), rows)
  )
}

embedding_text <- function(components) {
  if (is.null(components)) {
    return("latent")
  }
  share <- 100 * sum(components$sd^2) / components$total_variance
  sprintf("expression, %d components (%.0f %% of the variance)", length(components$sd), share)
}

kept_note <- function(all, kept, number) {
  if (all == kept) "" else sprintf(" of %s (%s filtered)", number(all), number(all - kept))
}

shorten <- function(names, n = 5) {
  text <- paste(utils::head(names, n), collapse = ", ")
  if (length(names) > n) paste0(text, ", ...") else text
}

#' Summarise a fitted model
#'
#' @param object A model from [fitSCVAE()].
#' @param n Number of top genes to list.
#' @param ... Not used.
#' @return A list of class `summary.SCVAE` with the `model`'s description, the numbers of cells per
#'   batch (`batches`), the `top_genes`, the quantiles of the number of `connections` per gene and
#'   the `last` row of the history.
#' @method summary SCVAE
#' @export
summary.SCVAE <- function(object, n = 10, ...) {
  n <- check_number(n, "n", min = 1, whole = TRUE)
  genes <- object$genes[object$genes$kept, ]
  genes <- genes[order(-genes$scscore, method = "radix"), ]
  structure(
    list(
      model = format(object),
      batches = if (!is.null(object$batch)) table(object$batch),
      top_genes = utils::head(genes[c("gene", "n_connections", "scscore")], n),
      connections = stats::quantile(genes$n_connections),
      last = utils::tail(object$history, 1)
    ),
    class = "summary.SCVAE"
  )
}

#' @method print summary.SCVAE
#' @export
print.summary.SCVAE <- function(x, ...) {
  cli::cat_line(x$model)
  if (!is.null(x$batches)) {
    cli::cat_line()
    cli::cat_line("Cells per batch: ", paste0(names(x$batches), " ", x$batches, collapse = ", "))
  }
  cli::cat_line()
  cli::cat_line("Connections per gene:")
  print(x$connections)
  cli::cat_line()
  cli::cat_line("Genes with the highest score in this fit:")
  print(x$top_genes, row.names = FALSE, digits = 3)
  invisible(x)
}

#' Embed or reconstruct cells
#'
#' Uses a fitted model on cells, those it was trained with or new ones. Nothing is trained.
#'
#' Genes are matched by name. Genes that the model does not know are ignored; genes that the data
#' lack are taken as zero, with a warning, and it is an error if more than a fifth of the model's
#' genes is lacking. Cells are not filtered: every cell gets a result.
#'
#' @param object A model from [fitSCVAE()] or [loadSCVAE()].
#' @param newdata Counts, in any form that [fitSCVAE()] takes. If it is missing,
#'   `"embedding"`, `"latent"` and `"sd"` are those of the cells that the model was fitted to.
#' @param type What to compute:
#'   * `"embedding"`: the embedding, in expression or in latent space as it was chosen for the fit,
#'     cells x components or dimensions;
#'   * `"latent"`, `"sd"`: mean and standard deviation of the latent values, cells x dimensions;
#'   * `"px_rate"`: the expected count without zero inflation, `library * px_scale`, genes x cells;
#'   * `"px_scale"`: the expected fraction of each gene in the cell's counts, genes x cells;
#'   * `"px_dropout"`: the probability of an extra zero, genes x cells.
#' @param batch The batch of each cell, as in [fitSCVAE()], for models with batches. NULL: the
#'   column that the model was fitted with, if `newdata` has it.
#' @param genes,cells Genes of the model and cells of `newdata` to return, by name, number or as
#'   logical vectors; NULL: all.
#' @param library `"observed"`, each cell's own number of counts, or one number for all cells, for
#'   `"px_rate"`.
#' @param threads Number of threads, as in [fitSCVAE()].
#' @param ... Arguments that say where the counts are in `newdata`, as in [fitSCVAE()].
#' @return A matrix.
#' @examples
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' model <- fitSCVAE(sim$counts,
#'   min_genes = 10, max_epochs = 2, n_hidden = 16, seed = 1, threads = 1, verbose = FALSE
#' )
#' embedding <- predict(model, sim$counts[, 1:5], threads = 1)
#' rate <- predict(model, sim$counts, "px_rate", genes = sim$markers$gene[1:3], threads = 1)
#' @method predict SCVAE
#' @export
predict.SCVAE <- function(object, newdata,
                          type = c(
                            "embedding", "latent", "sd", "px_rate", "px_scale", "px_dropout"
                          ),
                          batch = NULL, genes = NULL, cells = NULL, library = "observed",
                          threads = NULL, ...) {
  call <- rlang::current_env()
  types <- c(names(stored_parts), "px_rate", "px_scale", "px_dropout")
  type <- check_choice(type, types, "type", call)
  threads <- check_threads(threads, call)
  embeds <- type %in% names(stored_parts)
  if (embeds) {
    refuse_genes(genes, type, call)
  }
  if (missing(newdata)) {
    check_known_arguments(dots_names(...), names(formals(predict.SCVAE)), call)
    return(stored_embedding(object, type, cells, call))
  }
  counts <- as_counts(newdata, ..., call = call)
  if (embeds) {
    return(embed_cells(open_model(object, call), counts, batch, type, cells, threads, call))
  }
  reconstruct_cells(
    open_model(object, call), counts, batch, genes, cells, library, type,
    style = NULL, threads = threads, call = call
  )
}

refuse_genes <- function(genes, type, call) {
  if (!is.null(genes)) {
    abort_scvae(
      c("{.arg genes} has no meaning for {.code type = \"{type}\"}.", i = "Leave it out."),
      "argument",
      call
    )
  }
}

# Where a model keeps what predict() gives for its own cells.
stored_parts <- c(embedding = "embedding", latent = "latent", sd = "latent_sd")

stored_embedding <- function(object, type, cells, call) {
  if (!type %in% names(stored_parts)) {
    abort_scvae(
      c(
        "{.code type = \"{type}\"} needs the counts.",
        i = "Give them as {.arg newdata}; the model does not hold them."
      ),
      "argument",
      call
    )
  }
  if (is.null(object$latent)) {
    abort_scvae(
      c(
        "This model was read from a file, which does not hold the embedding of its cells.",
        i = "Give their counts as {.arg newdata}."
      ),
      "argument",
      call
    )
  }
  out <- object[[stored_parts[[type]]]]
  rows <- choose_index(cells, rownames(out), "cells", call)
  out[rows, , drop = FALSE]
}

# A model ready for use: read from its bytes once, for all calls of Rust that a function makes. Its
# genes and batches are from these bytes, too, as the object's tables may have been edited.
open_model <- function(object, call) {
  handle <- rust_call(rs_load_model(object$model), call)
  structure(c(list(handle = handle), rust_call(rs_model_names(handle), call)), class = "scvae_open")
}

embed_cells <- function(open, counts, batch, type, cells, threads, call) {
  rows <- choose_index(cells, counts$cell_names, "cells", call)
  position <- align_genes(open, counts, call)
  codes <- model_batch_codes(open, batch, counts, call)
  out <- rust_call(rs_embed(open$handle, counts$data, position, codes, threads), call)
  out <- if (type == "embedding") out$places %||% out$latent else out[[stored_parts[[type]]]]
  dimnames(out) <- list(counts$cell_names, latent_names(ncol(out)))
  out[rows, , drop = FALSE]
}

# For every gene of the counts its number in the model, or NA.
align_genes <- function(open, counts, call) {
  known <- open$gene_names
  position <- match(counts$gene_names, known)
  found <- sum(!is.na(position))
  n_model <- length(known)
  if (found < 0.8 * n_model) {
    percent <- round(100 * found / n_model)
    lacking <- utils::head(setdiff(known, counts$gene_names), 3)
    first_model <- known[1]
    first_data <- counts$gene_names[1]
    abort_scvae(
      c(
        "Only {found} of the model's {n_model} genes ({percent} %) are in the data; 80 % are \\
         needed.",
        i = if (found > 0) {
          "Lacking are for example {.val {lacking}}. Give the counts of all genes, not of chosen \\
           ones."
        } else {
          "Are the names of the same kind? The model has names such as {.val {first_model}}, \\
           the data {.val {first_data}}."
        }
      ),
      "model",
      call
    )
  }
  if (found < n_model) {
    lacking <- n_model - found
    warn_scvae(
      "{lacking} of the model's {n_model} genes {cli::qty(lacking)}{?is/are} not in the data and \\
       {?is/are} taken as zero.",
      "genes"
    )
  }
  position
}

# Codes, from 0, in the model's batches, or NULL for a model without batches.
model_batch_codes <- function(open, batch, counts, call) {
  known <- open$batch_names
  if (is.null(known)) {
    if (!is.null(batch)) {
      warn_scvae("The model has no batches; {.arg batch} is not used.", "batch")
    }
    return(NULL)
  }
  column <- open$batch_columns
  present <- column %in% c(counts$columns, counts$hidden_columns)
  if (is.null(batch) && !is.null(column) && all(present)) {
    batch <- column
  }
  if (is.null(batch)) {
    abort_scvae(
      c(
        "{.arg batch} is needed: the model has batches.",
        i = "Give the batch of each cell, one of {.val {known}}."
      ),
      "argument",
      call
    )
  }
  if (rlang::is_string(batch) && batch %in% known &&
        !batch %in% counts$columns) {
    batch <- rep(batch, counts$n_cells)
  }
  known_covariates <- names(open$covariates)
  values <- resolve_batch(batch, counts, call, known_covariates)$values
  unknown <- setdiff(levels(values), known)
  if (length(unknown) > 0) {
    abort_scvae(
      c(
        "The model does not know the batch{?es} {.val {unknown}}.",
        i = "It was fitted with {.val {known}}."
      ),
      "argument",
      call
    )
  }
  match(as.character(values), known) - 1L
}

# Names, numbers or a logical vector, as numbers.
choose_index <- function(index, names, what, call) {
  if (is.null(index)) {
    return(seq_along(names))
  }
  if (is.factor(index)) {
    index <- as.character(index)
  }
  if (is.character(index)) {
    absent <- setdiff(index, names)
    if (length(absent) > 0) {
      shown <- utils::head(absent, 3)
      nearest <- if (length(names) < 1e5) nearest_name(absent[1], names)
      abort_scvae(
        c(
          "{length(absent)} of {.arg {what}} {cli::qty(length(absent))}{?is/are} unknown: \\
           {.val {shown}}.",
          i = if (what == "genes") "Genes that the filter dropped are not in the model.",
          i = if (!is.null(nearest)) "Did you mean {.val {nearest}}?"
        ),
        "argument",
        call
      )
    }
    return(match(index, names))
  }
  if (is.logical(index) && length(index) == length(names) && !anyNA(index)) {
    return(which(index))
  }
  if (is.numeric(index) && !anyNA(index) && all(index == round(index)) &&
        all(index >= 1 & index <= length(names))) {
    return(as.integer(index))
  }
  value <- describe(index)
  abort_scvae(
    c(
      "{.arg {what}} must be names, numbers from 1 to {length(names)} or a logical vector of that \\
       length, not {value}.",
      i = "Leave it out for all {what}."
    ),
    "argument",
    call
  )
}
