# Checkpoints: the folder that a fit writes them into, and going on from one.

#' Go on with a fit that was cut off
#'
#' `fitSCVAE(checkpoint = "folder")` keeps the training in a folder. When it comes to a sudden end,
#' by a power cut or because a queue's time is over, `resumeSCVAE()` goes on after the last
#' checkpoint. The result is the same, bit for bit, as that of a fit that was never cut off, also
#' with another number of `threads`; only times differ.
#'
#' The counts and batches must be those of the fit, in the same order. Others are refused. All
#' settings and the seed are those of the fit and cannot be changed. A checkpoint of a fit that had
#' come to its end gives the finished model. Going on writes further checkpoints into the same
#' folder. `embedding` and `filtered_cells` are not kept there: give them again as for the fit.
#'
#' The folder holds one file, `checkpoint.safetensors`, which is replaced as a whole: a fit that is
#' killed while it writes leaves the checkpoint before. With `n_repeats` there is a folder in it for
#' each further fit (`fit-2`, `fit-3`, ...), and all go on. Like a saved model it holds no counts,
#' and nothing in it is executed. It is not needed any more once there is a model. Another version
#' of scVAE than that which began the fit may give other last bits.
#'
#' After Ctrl-C, [fitSCVAE()] returns what was learned. The checkpoint then still is that of the
#' last whole epoch, and `resumeSCVAE()` can go on to the end.
#'
#' @param checkpoint The folder that was given to [fitSCVAE()].
#' @param x The counts that the fit was started with, in any form that [fitSCVAE()] takes.
#' @param batch The batch of each cell, as in [fitSCVAE()]. NULL: the columns that the fit was
#'   started with, if it was with columns and `x` has them.
#' @param ... Arguments that say where the counts are in `x`, as in [fitSCVAE()].
#' @param on_interrupt See [trainingControl()].
#' @inheritParams fitSCVAE
#' @return A model, as from [fitSCVAE()]. Its `seconds`, and those in its `history`, are counted
#'   from the call of `resumeSCVAE()`; epochs that were over by then have none (NA).
#' @seealso [fitSCVAE()], [scScore()], which has a `checkpoint`, too.
#' @examples
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' folder <- tempfile("checkpoint")
#' model <- fitSCVAE(sim$counts,
#'   min_genes = 10, max_epochs = 2, n_hidden = 16, seed = 1, threads = 1, verbose = FALSE,
#'   checkpoint = folder
#' )
#' # The same again, had the fit been cut off:
#' again <- resumeSCVAE(folder, sim$counts, threads = 1, verbose = FALSE)
#' identical(again$model, model$model)
#' unlink(folder, recursive = TRUE)
#' @export
resumeSCVAE <- function(checkpoint,
                        x,
                        batch = NULL,
                        ...,
                        checkpoint_every = 1,
                        on_interrupt = c("return", "stop"),
                        embedding = c("auto", "expression", "latent"),
                        filtered_cells = c("embed", "NA"),
                        threads = NULL,
                        verbose = TRUE) {
  call <- rlang::current_env()
  check_string(checkpoint, "checkpoint", call = call)
  refuse_settings(dots_names(...), call)
  options <- fit_options(embedding, filtered_cells, NULL, checkpoint_every, 1, call)
  options$checkpoint <- existing_folder(checkpoint, call)
  options$n_repeats <- 1L + length(list.files(options$checkpoint, "^fit-[0-9]+$"))
  folders <- repeat_folders(options)
  check_flag(verbose, "verbose", call)
  info <- rust_call(rs_checkpoint_info(options$checkpoint), call)
  settings <- settings_of_checkpoint(info$settings, on_interrupt, threads, call)
  counts <- as_counts(x, ..., call = call)
  batch <- batch_of_checkpoint(batch, info, counts, verbose, call)
  if (verbose) {
    cli::cli_inform(
      "Going on after {info$epochs} epoch{?s}, with {counts$n_cells} cells and {counts$n_genes} \\
       genes."
    )
  }
  every <- options$checkpoint_every
  train <- function(keep_interrupted, progress) {
    rs_resume(
      counts$data, counts$gene_names, rust_batch(batch), options$checkpoint, every,
      in_expression_space(options, batch), settings$threads, keep_interrupted, progress
    )
  }
  model <- run_fit(train, counts, batch, settings, options, verbose, call)
  model <- add_repeats(model, folders, counts, batch, settings, options, verbose, call)
  model$source <- counts$source
  model$call <- short_call(match.call(), "resumeSCVAE")
  hide_filtered(model, options)
}

# Settings are those of the checkpoint, so a new one would be passed over in silence.
refuse_settings <- function(given, call) {
  known <- c(setting_names(), "seed")
  changed <- intersect(given, setdiff(known, "threads"))
  if (length(changed) > 0) {
    abort_scvae(
      c(
        "{.arg {changed[1]}} cannot be given here: the settings are those of the checkpoint.",
        i = "Leave it out, or start another fit with {.fn fitSCVAE}."
      ),
      "argument",
      call
    )
  }
}

# The settings of the fit as it had them, from the flat list that Rust keeps.
settings_of_checkpoint <- function(known, on_interrupt, threads, call) {
  control <- function(constructor, names) {
    arguments <- stats::setNames(known[names], names(formals(constructor)))
    do.call(constructor, arguments[!vapply(arguments, is.null, logical(1))])
  }
  arguments <- known[intersect(names(known), setting_names())]
  arguments$connections <- control(connectionControl, names(formals(connectionControl)))
  training <- names(formals(trainingControl))
  known$on_interrupt <- check_choice(on_interrupt, c("return", "stop"), "on_interrupt", call)
  arguments$training <- control(trainingControl, training)
  arguments$batches <- control(batchControl, names(batch_settings(batchControl())))
  arguments["threads"] <- list(threads)
  settings <- check_settings(arguments, call)
  settings$seed <- as.integer(known$seed)
  settings
}

# The batches of the cells, which must be those of the fit.
batch_of_checkpoint <- function(batch, info, counts, verbose, call) {
  known <- info$batch_names
  if (is.null(batch) && !is.null(known)) {
    batch <- info$batch_columns
    if (is.null(batch) || !all(batch %in% c(counts$columns, counts$hidden_columns))) {
      abort_scvae(
        c(
          "{.arg batch} is needed: the fit was started with the batches {.val {known}}.",
          i = "Give the batch of each cell, as for the fit."
        ),
        "argument",
        call
      )
    }
  }
  batch <- drop_single_batch(resolve_batch(batch, counts, call), verbose)
  if (!identical(batch$names, known)) {
    given <- batch$names
    abort_scvae(
      c(
        if (is.null(known)) {
          "The fit was started without batches, not with {.val {given}}."
        } else if (is.null(given)) {
          "The fit was started with the batches {.val {known}}, but all cells are of one batch now."
        } else {
          "The fit was started with the batches {.val {known}}, not {.val {given}}."
        },
        i = if (is.null(known)) {
          "Leave {.arg batch} out."
        } else {
          "Give {.arg batch} as for the fit."
        }
      ),
      "argument",
      call
    )
  }
  if (!is.null(batch) && length(batch$covariates) == length(info$covariates)) {
    # The same values by another name, or from elsewhere, are the same batches.
    batch["column"] <- list(info$batch_columns)
    names(batch$covariates) <- info$covariates
  }
  batch
}

# Folders ----------------------------------------------------------------------------------------

existing_folder <- function(folder, call) {
  path <- path.expand(folder)
  if (!dir.exists(path)) {
    abort_scvae(
      c(
        "The folder {.file {folder}} does not exist.",
        i = "{.arg checkpoint} must be the folder that was given to {.fn fitSCVAE}; the working \\
             directory is {.file {getwd()}}."
      ),
      "file",
      call
    )
  }
  normalizePath(path)
}

# The folder, made if need be, as a full path; NULL: no checkpoints.
checkpoint_folder <- function(folder, call) {
  check_string(folder, "checkpoint", null_ok = TRUE, call = call)
  if (is.null(folder)) {
    return(NULL)
  }
  path <- path.expand(folder)
  parent <- dirname(path)
  if (file.exists(path) && !dir.exists(path)) {
    abort_scvae(
      c("{.arg checkpoint} is {.file {folder}}, a file.", i = "Give it the name of a folder."),
      "file",
      call
    )
  }
  if (!dir.exists(parent)) {
    abort_scvae(
      c(
        "{.arg checkpoint} is {.file {folder}}, but the folder {.file {parent}} does not exist.",
        i = "Create it first."
      ),
      "file",
      call
    )
  }
  if (!dir.exists(path)) {
    dir.create(path, showWarnings = FALSE)
  }
  # To try is the only way to know: rights say little of file systems that are mounted or full.
  trial <- tempfile(".writable-", tmpdir = path)
  writable <- suppressWarnings(file.create(trial))
  unlink(trial)
  if (!writable) {
    abort_scvae(
      c(
        "Nothing can be written into {.file {folder}}, which is {.arg checkpoint}.",
        i = "Choose another folder."
      ),
      "file",
      call
    )
  }
  normalizePath(path)
}

# What a fit does besides fitting, checked: what becomes of filtered cells, where checkpoints go.
fit_options <- function(embedding, filtered_cells, checkpoint, checkpoint_every, n_repeats, call) {
  options <- list(
    embedding = check_choice(embedding, c("auto", "expression", "latent"), "embedding", call),
    filtered_cells = check_choice(filtered_cells, c("embed", "NA"), "filtered_cells", call),
    checkpoint_every = check_number(
      checkpoint_every, "checkpoint_every",
      min = 1, whole = TRUE, call = call
    ),
    n_repeats = check_repeats(n_repeats, call)
  )
  # There also when it is NULL, or `$` would take the entry of the longer name.
  options["checkpoint"] <- list(checkpoint_folder(checkpoint, call))
  if (!is.null(options$checkpoint) && rs_has_checkpoint(options$checkpoint)) {
    abort_scvae(
      c(
        "The folder {.file {checkpoint}} holds the checkpoint of a fit.",
        i = "Go on with that one by {.code resumeSCVAE(\"{checkpoint}\", x)}, or give \\
             {.arg checkpoint} another folder."
      ),
      "file",
      call
    )
  }
  options
}
