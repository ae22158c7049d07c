# Several fits of the same cells: the best model, its embedding that of all of them together.

# `repeat_fit` makes the fit of a number from 2 on; NULL where it was interrupted.
with_repeats <- function(model, repeat_fit, n_repeats, on_interrupt, threads, verbose, call) {
  if (verbose) {
    cli::cli_inform(c(
      i = "{n_repeats - 1} more fit{?s}, about {duration_text(model$seconds)} each."
    ))
  }
  models <- list(model)
  numbers <- 1L
  interrupted <- FALSE
  for (number in seq(2L, n_repeats)) {
    # The fits that are done are worth having.
    made <- tryCatch(repeat_fit(number), interrupt = function(e) NULL)
    if (is.null(made)) {
      if (on_interrupt != "return") {
        rlang::interrupt()
      }
      interrupted <- TRUE
      break
    }
    if (made$stopped == "diverged") {
      warn_scvae(
        c(
          "Fit {number} of {n_repeats} diverged and is left out.",
          i = "Lower {.arg lr}, which is {model$settings$lr}."
        ),
        "diverged"
      )
      next
    }
    models <- c(models, list(made))
    numbers <- c(numbers, number)
  }
  joined <- join_models(models, numbers, threads, verbose, call)
  joined$scores$interrupted <- interrupted
  warn_repeats(joined$scores, n_repeats)
  joined
}

join_models <- function(models, numbers, threads, verbose, call) {
  best <- best_model(models)
  model <- models[[best]]
  model$scores <- join_fits(lapply(models, `[[`, "scores"))
  model$scores$numbers <- numbers
  model$genes <- gene_table(model$genes$gene, model$scores$genes, model$scores$values$connections)
  model$repeats <- data.frame(
    fit = numbers,
    elbo_validation = vapply(models, kept_elbo, numeric(1)),
    epochs = vapply(models, `[[`, numeric(1), "epochs"),
    seconds = vapply(models, `[[`, numeric(1), "seconds"),
    kept = seq_along(models) == best
  )
  if (length(models) == 1) {
    return(model)
  }
  model$stability <- stability(lapply(models, `[[`, "embedding"), verbose)
  if (!is.null(model$components)) {
    model <- with_consensus(model, models[c(best, setdiff(seq_along(models), best))], threads, call)
  }
  model
}

# Cells where all models together place them; the first model is the one that is kept.
with_consensus <- function(model, models, threads, call) {
  found <- rust_call(
    rs_consensus(
      lapply(models, `[[`, "model"), lapply(models, `[[`, "latent"), which(model$trained_cells),
      threads
    ),
    call
  )
  model$model <- found$model
  model$embedding <- embedding_rows(found$places, model$cell_names)
  model$components <- named_components(found$components, rownames(model$components$loadings))
  model
}

# By the loss of the validation; the first one without any.
best_model <- function(models) {
  best <- which.min(vapply(models, kept_elbo, numeric(1)))
  if (length(best) == 1) best else 1L
}

# The loss of the validation at the epoch that a model is of, NA without validation.
kept_elbo <- function(model) {
  checked <- model$history[is.finite(model$history$elbo_validation), ]
  # Without early stopping there is none that is better than the last.
  epoch <- if (isTRUE(model$best_epoch > 0)) model$best_epoch else max(checked$epoch, -Inf)
  checked$elbo_validation[match(epoch, checked$epoch)]
}

stability_neighbours <- 15L

# For each cell the share of its nearest cells that two fits agree on, mean over pairs of fits.
stability <- function(embeddings, verbose) {
  if (!rlang::is_installed("RANN")) {
    if (verbose) {
      cli::cli_inform(c(i = "The cells' stability needs the package {.pkg RANN}."))
    }
    return(NULL)
  }
  k <- min(stability_neighbours, nrow(embeddings[[1]]) - 1)
  nearest <- lapply(embeddings, function(x) RANN::nn2(x, k = k + 1)$nn.idx)
  pairs <- utils::combn(length(embeddings), 2, simplify = FALSE)
  shares <- vapply(pairs, function(pair) {
    agreed_neighbours(nearest[[pair[1]]], nearest[[pair[2]]])
  }, numeric(nrow(embeddings[[1]])))
  stats::setNames(rowMeans(shares), rownames(embeddings[[1]]))
}

# Share of the neighbours in both tables, cells x neighbours. A cell itself, which is in most rows,
# does not count.
agreed_neighbours <- function(first, second) {
  n <- nrow(first)
  own <- seq_len(n)
  cell <- rep(own, ncol(first))
  entries <- function(table) ifelse(table == own, NA, (table - 1) * n + cell)
  a <- entries(first)
  b <- entries(second)
  both <- matrix(a %in% b & !is.na(a), n)
  rowSums(both) / pmax(1, pmin(rowSums(first != own), rowSums(second != own)))
}
