# fitSCVAE(): counts in, a fitted model out.

#' Fit a sparsely connected variational autoencoder
#'
#' Fits the model to raw counts of all genes. No normalisation and no gene selection come before
#' it: counts of 15,000 to 30,000 genes are the normal case.
#'
#' The counts are filtered first: genes found in fewer than `min_cells` cells are dropped, then
#' cells with fewer than `min_genes` found genes. The model is not trained on the dropped cells, and
#' a warning says how many there are; it embeds them like all others, unless `filtered_cells` says
#' otherwise, and `trained_cells` tells them apart. Dropped genes have the score NA.
#'
#' The same counts give the same result, bit for bit, as a matrix, in a Seurat or
#' SingleCellExperiment object and in a file, as long as genes and cells have the same order and
#' the seed is the same.
#'
#' The counts must be whole numbers, none negative. Counts after normalisation, or made by
#' pseudo-alignment without rounding, are refused.
#'
#' Ctrl-C stops the training at the next mini-batch. What was learned until then is returned, with
#' a warning of class `scvae_warning_interrupted`, and can be used as any other model. Before the
#' first epoch is over there is nothing to return, and Ctrl-C is an interrupt as any other: a loop
#' around the fit ends, too. A second Ctrl-C, while the cells are embedded, is one as well. With
#' `trainingControl(on_interrupt = "stop")` every Ctrl-C is, which a loop over many fits may need.
#'
#' @section Inputs and their arguments (`...`):
#' * a matrix, a matrix of the Matrix package, a DelayedMatrix or a BPCells matrix, genes in rows
#'   and cells in columns; `transposed = TRUE` if cells are in rows. A `dgCMatrix` is used in
#'   place, without a copy, all others are converted to one. Names that are missing are made:
#'   `gene1`, `cell1`.
#' * a Seurat object: `assay` (the default assay), `layer = "counts"`, `features` (all). Layers
#'   that are split are joined, see [RunSCVAE()].
#' * a SingleCellExperiment or SummarizedExperiment: `assay.type = "counts"`, `altexp`.
#' * the path of an `.h5ad`, `.loom` or 10x Genomics `.h5` file, or of a folder with `matrix.mtx`:
#'   `layer`, `feature_types`, as [readCounts()] takes them. By default the counts are found by
#'   their values.
#'
#' @section Seeds:
#' With `seed = NULL` the seed is drawn from R's random numbers, so that [set.seed()] makes the fit
#' repeatable. With a `seed`, R's random numbers are left untouched. Fits with the same seed on the
#' CPU are the same bit for bit, with any number of threads.
#'
#' @param x The counts, see below.
#' @param batch The batch (donor, sample, run) of each cell: NULL for none, a vector or factor with
#'   one value per cell (if its names are the cells', they are matched), or the name of a
#'   column of the cells' annotation (Seurat meta data, `colData`, `obs`). Several covariates:
#'   names of columns, such as `c("donor", "chemistry")`, a data frame or a list of vectors; the
#'   batches are then the combinations that occur. Batches need at least 3 cells; below 20 there is
#'   a warning.
#' @param ... Arguments that say where the counts are in `x`, see below.
#' @param min_cells,min_genes Keep genes found in at least `min_cells` cells, then cells with at
#'   least `min_genes` found genes.
#' @param n_hidden Number of hidden units.
#' @param n_latent Number of dimensions of the embedding.
#' @param likelihood `"zinb"` (zero-inflated negative binomial), `"nb"` (negative binomial) or
#'   `"poisson"`. Counts of unique molecules hardly have extra zeros (Svensson 2020, Nat Biotechnol
#'   38:147-150): there `"nb"` is as good without batches and joins batches of unlike protocols a
#'   little better, but there is no `px_dropout`. `"poisson"` has no dispersion `px_r` either: the
#'   variance of counts is taken to be their mean.
#' @param fc_layer Add a fully connected layer after the sparse layer of the encoder.
#' @param dropout_rate Fraction of hidden units dropped at random while training.
#' @param max_epochs Passes over the cells; NULL: chosen by the number of cells.
#' @param batch_size Cells in a mini-batch.
#' @param train_size Fraction of the cells to train with; the others are for validation.
#' @param early_stopping Stop when the validation has not become better for
#'   `early_stopping_patience` checks, and keep the best model.
#' @param early_stopping_patience See `early_stopping`. There is a check every
#'   `check_val_every_n_epoch` epochs, so 45 checks are 45 epochs by default.
#' @param check_val_every_n_epoch Epochs between validations.
#' @param lr Learning rate.
#' @param kl_weight Weight of the Kullback-Leibler term after its warm-up.
#' @param n_epochs_kl_warmup Epochs over which that weight rises from 0; NULL: chosen by
#'   `max_epochs`.
#' @param connections How the sparse connections change, see [connectionControl()].
#' @param training Details of the training, see [trainingControl()].
#' @param batches How batches are told from cells, see [batchControl()].
#' @param embedding Where the embedding's distances are measured: `"expression"`, principal
#'   components of what the decoder makes of the cells, see below; `"latent"`, the latent dimensions
#'   themselves; `"auto"`: expression without batches, latent with batches, which the latent space
#'   joins better.
#' @param filtered_cells What becomes of cells with fewer than `min_genes` found genes, which the
#'   model is not trained on: `"embed"`, they are embedded all the same, so that whatever comes
#'   after finds a place for every cell; `"NA"`, their rows of the embedding are NA.
#' @param checkpoint A folder in which the training is kept, so that [resumeSCVAE()] can go on with
#'   it after a sudden end; it is made if there is none. NULL: nothing is kept.
#' @param checkpoint_every Epochs after which the training is written there, over and over; also
#'   before the first epoch and after the last.
#' @param n_repeats Number of fits from different starts. After the first one the others are made
#'   side by side, as many at a time as there are `threads`. The model is the one with the best
#'   validation, and the genes' score is that of all; see [scScore()], which also gives p-values. In
#'   expression space the embedding is that of all fits together, see below; in latent space it is
#'   the model's. A `checkpoint` keeps all of them.
#' @param seed A whole number, or NULL, see below.
#' @param threads Number of threads; NULL: the option `scVAE.threads`, otherwise all cores that this
#'   process may use, by its affinity and its control group (containers), within the limits of the
#'   environment variables `SLURM_CPUS_PER_TASK` and `OMP_THREAD_LIMIT`.
#' @param device Where to train: `"cpu"`, `"cuda"` (the first NVIDIA graphics card, `"cuda:1"` the
#'   second) or `"auto"`: the first card if the package was built for them and one is there, else
#'   the processor. See [scvaeInfo()]. Both train the same model with the same random draws; the
#'   results agree but for rounding, which a training can amplify. The same card gives the same
#'   result at every run, and a model trained on one device is used on any. With
#'   `options(scVAE.tf32 = TRUE)` a card rounds the factors of dense products to ten bits (TF32),
#'   which is faster.
#' @param verbose Show progress. FALSE: nothing is printed, warnings apart.
#' @section Expression space:
#' The latent dimensions all have about unit spread, whatever they mean. With
#' `embedding = "expression"` two cells are as far apart as their expression is: the decoder turns
#' each cell's latent values into the expression of all genes, as if the cell was of no batch (no
#' batchified module, the mean of the offsets); the logarithm of one plus 10,000 times `px_scale`
#' is decomposed into principal components, over all cells that the model was trained with. There
#' are as many as hold 98 % of the variance, at most 50. New cells, and those of batches that are
#' mapped later, get their places by the same components.
#'
#' With `n_repeats` the fits' expression is decomposed side by side: the squared distance of two
#' cells is the mean of those by all fits. The model that is kept holds its own part of these
#' components. By it alone [predict.SCVAE()] places cells, new ones and those of the fit, near to
#' where all fits together place them.
#'
#' @return An object of class `SCVAE`, a list with
#'   * `embedding`: the embedding, cells x components or latent dimensions;
#'   * `latent`, `latent_sd`: mean and standard deviation of the latent values, cells x `n_latent`;
#'   * `components`: for an embedding in expression space a list of the `loadings`, kept genes x
#'     components, the standard deviations `sd` of the components over the cells, and the
#'     `total_variance` of all genes; otherwise NULL;
#'   * with `n_repeats`: `stability`, for each cell the share of its 15 nearest cells that two fits
#'     agree on, mean over pairs of fits (NULL without the package RANN); `repeats`, a data frame of
#'     the fits with their losses of validation and which one was `kept`;
#'   * `trained_cells`: for each cell, whether it passed the filter and took part in the training
#'     (as one that was learned from or as one of validation);
#'   * `genes`: a data frame with each gene's `gene`, `kept`, `n_connections` (mean over batches and
#'     repeats) and `scscore` (these numbers scaled to \[0, 1\]); [scScore()] of the model tells
#'     more;
#'   * `scores`: what the fits know of the genes, for [scScore()];
#'   * `connections`: number of connections, kept genes x batches;
#'   * `history`: a data frame with one row per epoch;
#'   * `batch_names`, `batch`, `batch_column`: the batches, each cell's batch, and the columns it
#'     came from; `covariates`: the levels of each covariate;
#'   * `n_parameters`: effective parameters, those of existing connections;
#'   * `epochs`, `best_epoch`, `seconds`, `settings`, `cell_names`, `call`, and `stopped`:
#'     `"completed"`, `"early_stopping"`, `"interrupted"` or `"diverged"`, when the loss was no
#'     number any more (the model is then that of the last epoch before, and there is a warning of
#'     class `scvae_warning_diverged`);
#'   * `model`: the model itself, as raw bytes. The object can therefore be saved with `saveRDS()`
#'     and used in another session; [saveSCVAE()] writes the bytes alone.
#' @seealso [predict.SCVAE()], [denoiseCounts()], [transferBatchStyle()], [scScore()],
#'   [plot.SCVAE()], [resumeSCVAE()], [RunSCVAE()], [runSCVAE()]
#' @examples
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' model <- fitSCVAE(sim$counts,
#'   batch = sim$batch, min_genes = 10, max_epochs = 2, n_hidden = 16,
#'   seed = 1, threads = 1, verbose = FALSE
#' )
#' model
#' head(predict(model))
#' @export
fitSCVAE <- function(x,
                     batch = NULL,
                     ...,
                     min_cells = 3,
                     min_genes = 200,
                     n_hidden = 128,
                     n_latent = 10,
                     likelihood = c("zinb", "nb", "poisson"),
                     fc_layer = TRUE,
                     dropout_rate = 0,
                     max_epochs = NULL,
                     batch_size = 128,
                     train_size = 0.9,
                     early_stopping = FALSE,
                     early_stopping_patience = 45,
                     check_val_every_n_epoch = 1,
                     lr = 1e-3,
                     kl_weight = 1,
                     n_epochs_kl_warmup = NULL,
                     connections = connectionControl(),
                     training = trainingControl(),
                     batches = batchControl(),
                     embedding = c("auto", "expression", "latent"),
                     filtered_cells = c("embed", "NA"),
                     checkpoint = NULL,
                     checkpoint_every = 1,
                     n_repeats = 1,
                     seed = NULL,
                     threads = NULL,
                     device = c("auto", "cpu", "cuda"),
                     verbose = TRUE) {
  call <- rlang::current_env()
  settings <- check_settings(mget(setting_names()), call)
  options <- fit_options(
    embedding, filtered_cells, checkpoint, checkpoint_every, n_repeats, call
  )
  counts <- as_counts(x, ..., call = call)
  model <- fit_counts(
    counts, batch, settings, options, check_seed(seed, call = call), verbose, call
  )
  model$call <- short_call(match.call(), "fitSCVAE")
  model
}

# The fit itself, for counts and settings that are checked.
fit_counts <- function(counts, batch, settings, options, seed, verbose, call) {
  check_flag(verbose, "verbose", call)
  batch <- resolve_batch(batch, counts, call)
  check_batch_size(batch, call = call)
  batch <- drop_single_batch(batch, verbose)
  check_masks(settings, batch, call)
  settings$seed <- seed
  if (verbose) {
    cli::cli_inform(
      "Fitting scVAE to {counts$n_cells} cells and {counts$n_genes} genes\\
       {if (!is.null(batch)) sprintf(' in %d batches', length(batch$names))}."
    )
  }
  say_notes(counts, verbose)
  folders <- repeat_folders(options)
  train <- function(keep_interrupted, progress) {
    rs_fit(
      counts$data, counts$gene_names, rust_batch(batch), without_interrupt(settings),
      options$checkpoint, options$checkpoint_every, in_expression_space(options, batch),
      keep_interrupted, progress
    )
  }
  model <- run_fit(train, counts, batch, settings, options, verbose, call)
  model <- add_repeats(model, folders, counts, batch, settings, options, verbose, call)
  model$source <- counts$source
  hide_filtered(model, options)
}

# What Ctrl-C does is no setting of the model.
without_interrupt <- function(settings) settings[names(settings) != "on_interrupt"]

# `train`, from the start or from a checkpoint, becomes a model.
run_fit <- function(train, counts, batch, settings, options, verbose, call) {
  keep_interrupted <- settings$on_interrupt == "return"
  started <- Sys.time()
  progress <- new_progress(verbose, "Training ", fit_progress)
  on.exit(progress$done())
  made <- rust_call(train(keep_interrupted, progress$update), call)
  progress$done()
  seconds <- as.numeric(difftime(Sys.time(), started, units = "secs"))
  model <- new_scvae(made$fit, counts, batch, without_interrupt(settings), seconds)
  warn_after_fit(model, made$interrupted, options$filtered_cells, batch, call)
  if (verbose) {
    cli::cli_inform(c(
      v = "{model$epochs} epoch{?s} in {duration_text(model$seconds)}, final loss \\
           {format(final_elbo(model)$value, digits = 6)}."
    ))
  }
  model
}

# Without what is known of cells that the model was not trained on, where that was asked for.
hide_filtered <- function(model, options) {
  if (options$filtered_cells == "NA") {
    for (part in embedding_parts) {
      model[[part]][!model$trained_cells, ] <- NA_real_
    }
    if (!is.null(model$stability)) {
      model$stability[!model$trained_cells] <- NA_real_
    }
  }
  model
}

check_masks <- function(settings, batch, call) {
  if (settings$batch_masks == "separate" && length(batch$covariates) > 1) {
    abort_scvae(
      c(
        "{.code batchControl(masks = \"separate\")} needs a single covariate, not \
         {.val {names(batch$covariates)}}.",
        i = "Use shared masks, or join the covariates to one {.arg batch}."
      ),
      "argument",
      call
    )
  }
}

# One batch is no batch: there is nothing to correct. Of several covariates those are kept that
# have at least two levels.
drop_single_batch <- function(batch, verbose) {
  if (is.null(batch)) {
    return(NULL)
  }
  if (length(batch$names) == 1) {
    if (verbose) {
      cli::cli_inform(c(i = "All cells are of batch {.val {batch$names}}: fitted without batches."))
    }
    return(NULL)
  }
  constant <- names(batch$covariates)[lengths(batch$covariates) == 1]
  if (length(constant) == 0) {
    return(batch)
  }
  if (verbose) {
    cli::cli_inform(c(i = "{.val {constant}} {?is/are} the same for all cells and not used."))
  }
  levels <- matrix(batch$levels, length(batch$names))
  kept <- which(lengths(batch$covariates) > 1)
  values <- lapply(kept, function(i) batch$covariates[[i]][levels[batch$codes + 1, i] + 1])
  batch_levels(values, batch$column[kept])
}

# What Rust needs to know of the batches.
rust_batch <- function(batch) {
  out <- as.list(batch[c("codes", "names", "covariates", "levels")])
  out$columns <- batch$column
  out
}

new_scvae <- function(fit, counts, batch, settings, seconds) {
  batch_labels <- batch$names %||% "all"
  connections <- fit$connections
  dimnames(connections) <- list(counts$gene_names[fit$genes], batch_labels)
  scores <- fits_of_model(fit$genes, connections, fit$evidence)
  structure(
    list(
      model = fit$model,
      embedding = embedding_rows(fit$places %||% fit$latent, counts$cell_names),
      latent = embedding_rows(fit$latent, counts$cell_names),
      latent_sd = embedding_rows(fit$latent_sd, counts$cell_names),
      components = named_components(fit$components, counts$gene_names[fit$genes]),
      trained_cells = seq_len(counts$n_cells) %in% fit$cells,
      genes = gene_table(counts$gene_names, fit$genes, scores$values$connections),
      scores = scores,
      connections = connections,
      history = history_table(fit$history),
      batch_names = batch$names,
      covariates = batch$covariates,
      batch = batch$values,
      batch_column = batch$column,
      settings = settings,
      n_parameters = fit$n_parameters,
      stopped = fit$stopped,
      epochs = fit$epochs,
      best_epoch = fit$best_epoch,
      seconds = seconds,
      cell_names = counts$cell_names,
      call = NULL
    ),
    class = "SCVAE"
  )
}

# Which cells took part in the training: all of a mapped model's, which filters none.
trained_cells <- function(model) model$trained_cells %||% !is.na(model$latent[, 1])

# Whether the embedding is measured in expression space. The latent space joins batches better.
in_expression_space <- function(options, batch) {
  switch(options$embedding,
    auto = is.null(batch),
    expression = TRUE,
    latent = FALSE
  )
}

# What a model knows of its cells one by one, matrices with a row for each.
embedding_parts <- c("embedding", "latent", "latent_sd")

named_components <- function(components, gene_names) {
  if (!is.null(components)) {
    names <- latent_names(ncol(components$loadings))
    dimnames(components$loadings) <- list(gene_names, names)
    names(components$sd) <- names
  }
  components
}

embedding_rows <- function(values, cell_names) {
  dimnames(values) <- list(cell_names, latent_names(ncol(values)))
  values
}

latent_names <- function(n) paste0("SCVAE_", seq_len(n))

# `connections`: those of the kept genes, genes x fits.
gene_table <- function(gene_names, kept, connections) {
  n <- length(gene_names)
  n_connections <- rep(NA_real_, n)
  n_connections[kept] <- rowMeans(connections)
  data.frame(
    gene = gene_names,
    kept = seq_len(n) %in% kept,
    n_connections = n_connections,
    scscore = scale01(n_connections)
  )
}

# To [0, 1]; all 0 where there is no difference.
scale01 <- function(x) {
  range <- range(x, na.rm = TRUE)
  if (range[1] == range[2]) x * 0 else (x - range[1]) / (range[2] - range[1])
}

history_table <- function(history) {
  as.data.frame(lapply(history, as.numeric), optional = TRUE)
}

# The last ELBO: that of the validation if there is one.
final_elbo <- function(model) {
  history <- model$history
  for (kind in c("validation", "train")) {
    values <- history[[paste0("elbo_", kind)]]
    values <- values[is.finite(values)]
    if (length(values) > 0) {
      return(list(value = values[length(values)], kind = kind))
    }
  }
  list(value = NA_real_, kind = "train")
}

# The call without data that do.call() put into it.
short_call <- function(call, name) {
  if (!is.language(call[[1]])) {
    call[[1]] <- as.name(name)
  }
  for (i in seq_along(call)[-1]) {
    argument <- call[[i]]
    if (!is.language(argument) && utils::object.size(argument) > 1000) {
      call[[i]] <- as.name(paste0("<", class(argument)[1], ">"))
    }
  }
  call
}
