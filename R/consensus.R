# Several fits of the same cells: the best model, its embedding that of all of them together.

# The other fits of `n_repeats`, made side by side once the first one is there.
add_repeats <- function(model, folders, counts, batch, settings, options, verbose, call) {
  n_repeats <- options$n_repeats
  if (n_repeats == 1 || model$stopped %in% c("interrupted", "diverged")) {
    return(model)
  }
  numbers <- seq(2L, n_repeats)
  if (verbose) {
    at_once <- min(settings$threads, length(numbers))
    rounds <- ceiling(length(numbers) / at_once)
    seconds <- model$seconds * settings$threads * rounds / at_once
    cli::cli_inform(c(
      i = "{length(numbers)} more fit{?s}, {at_once} at a time: at most {duration_text(seconds)}."
    ))
  }
  progress <- new_progress(verbose, "Repeats ", score_progress)
  on.exit(progress$done())
  made <- rust_call(
    rs_fit_repeats(
      counts$data, counts$gene_names, rust_batch(batch), without_interrupt(settings), numbers,
      folders, options$checkpoint_every, in_expression_space(options, batch), progress$update
    ),
    call
  )
  progress$done()
  # The fits that are done are worth having.
  if (made$interrupted && settings$on_interrupt != "return") {
    rlang::interrupt()
  }
  models <- lapply(made$fits, function(fit) {
    seconds <- fit$history$seconds[length(fit$history$seconds)]
    new_scvae(fit, counts, batch, without_interrupt(settings), seconds)
  })
  diverged <- vapply(models, `[[`, "", "stopped") == "diverged"
  if (any(diverged)) {
    warn_scvae(
      c(
        "Of {n_repeats} fits {fits_text(made$numbers[diverged])} left out: diverged.",
        i = "Lower {.arg lr}, which is {settings$lr}."
      ),
      "diverged"
    )
  }
  joined <- join_models(
    c(list(model), models[!diverged]), c(1L, made$numbers[!diverged]), settings, verbose, call
  )
  joined$scores$interrupted <- made$interrupted
  warn_repeats(joined$scores, n_repeats)
  joined
}

# A checkpoint's folder for each further fit, in that of the first.
repeat_folders <- function(options) {
  if (is.null(options$checkpoint) || options$n_repeats == 1) {
    return(NULL)
  }
  folders <- file.path(options$checkpoint, paste0("fit-", seq(2L, options$n_repeats)))
  vapply(folders, dir.create, logical(1), showWarnings = FALSE)
  folders
}

join_models <- function(models, numbers, settings, verbose, call) {
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
  if (is.null(model$components)) {
    return(model)
  }
  best_first <- models[c(best, setdiff(seq_along(models), best))]
  tryCatch(
    with_consensus(model, best_first, settings$threads, call),
    interrupt = function(e) {
      if (settings$on_interrupt != "return") {
        rlang::interrupt()
      }
      warn_scvae(
        c(
          "Interrupted before the fits were joined.",
          i = "The embedding is that of the best of them, fit {numbers[best]}."
        ),
        "interrupted"
      )
      model
    }
  )
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
