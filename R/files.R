# A model as a file.

#' Save and load a model
#'
#' The file holds the weights, the connections, the names of genes and batches, the settings and
#' the history without its times, in the safetensors format. Nothing in it is executed when it is
#' loaded. The embedding of the cells that the model was trained with is not in the file; to keep
#' it, use `saveRDS()`, or compute it again with [predict.SCVAE()].
#'
#' The file is written under another name and renamed when it is complete, so that an interrupted
#' `saveSCVAE()` leaves no damaged file.
#'
#' @param model A model from [fitSCVAE()].
#' @param file The path.
#' @param overwrite Replace a file that exists.
#' @return `saveSCVAE()` returns the path, invisibly. `loadSCVAE()` returns an object of class
#'   `SCVAE` without what is known of the cells (`embedding`, `latent`, `latent_sd`, `batch`,
#'   `trained_cells`, `stability`, `cell_names`), `repeats`, `seconds` and `call`; its `genes` are
#'   those that the model uses. Of several fits (`n_repeats`) the file holds the one that was kept,
#'   and the genes' score is of that fit alone: keep the score of all with `saveRDS()`.
#' @examples
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' model <- fitSCVAE(sim$counts,
#'   min_genes = 10, max_epochs = 2, n_hidden = 16, seed = 1, threads = 1, verbose = FALSE
#' )
#' file <- tempfile(fileext = ".safetensors")
#' saveSCVAE(model, file)
#' again <- loadSCVAE(file)
#' embedding <- predict(again, sim$counts, threads = 1)
#' @export
saveSCVAE <- function(model, file, overwrite = FALSE) {
  call <- rlang::current_env()
  check_model(model, call)
  check_flag(overwrite, "overwrite", call)
  path <- check_new_file(file, overwrite, call)
  write_whole(model$model, path, file, call)
  invisible(file)
}

# The path of a file that is to be written.
check_new_file <- function(file, overwrite, call) {
  check_string(file, "file", call = call)
  path <- path.expand(file)
  folder <- dirname(path)
  problem <- if (!dir.exists(folder)) {
    c("The folder {.file {folder}} does not exist.", i = "Create it first.")
  } else if (dir.exists(path)) {
    c("{.file {file}} is a folder.", i = "Give the name of a file in it.")
  } else if (file.exists(path) && !overwrite) {
    c(
      "{.file {file}} exists.",
      i = "Choose another name, or replace it with {.code overwrite = TRUE}."
    )
  }
  if (!is.null(problem)) {
    abort_scvae(problem, "file", call)
  }
  path
}

write_whole <- function(bytes, path, shown, call) {
  part <- tempfile(paste0(".", basename(path), "-"), tmpdir = dirname(path))
  on.exit(unlink(part))
  reason <- "the disk may be full or the folder read-only"
  done <- tryCatch(
    {
      suppressWarnings(writeBin(bytes, part))
      identical(as.double(file.size(part)), as.double(length(bytes))) &&
        suppressWarnings(file.rename(part, path))
    },
    error = function(e) {
      reason <<- conditionMessage(e)
      FALSE
    }
  )
  if (!done) {
    abort_scvae(
      c("{.file {shown}} could not be written: {reason}.", i = "Choose another folder."),
      "file",
      call
    )
  }
}

#' @rdname saveSCVAE
#' @export
loadSCVAE <- function(file) {
  call <- rlang::current_env()
  check_string(file, "file", call = call)
  path <- path.expand(file)
  if (!file.exists(path) || dir.exists(path)) {
    abort_scvae(
      c(
        "{.file {file}} {missing_file(path)}.",
        i = "The working directory is {.file {getwd()}}."
      ),
      "file",
      call
    )
  }
  bytes <- tryCatch(
    readBin(path, "raw", n = file.size(path)),
    error = function(e) {
      reason <- conditionMessage(e)
      abort_scvae("{.file {file}} could not be read: {reason}.", "file", call)
    }
  )
  scvae_from_bytes(bytes, rust_call(rs_model_info(bytes), call))
}

scvae_from_bytes <- function(bytes, info) {
  connections <- info$connections
  dimnames(connections) <- list(info$gene_names, info$batch_names %||% "all")
  scores <- fits_of_model(seq_along(info$gene_names), connections, info$evidence)
  structure(
    list(
      model = bytes,
      embedding = NULL,
      latent = NULL,
      latent_sd = NULL,
      components = named_components(info$components, info$gene_names),
      genes = gene_table(info$gene_names, scores$genes, scores$values$connections),
      scores = scores,
      connections = connections,
      history = history_table(info$history),
      batch_names = info$batch_names,
      covariates = info$covariates,
      batch = NULL,
      batch_column = info$batch_columns,
      settings = info$settings,
      n_parameters = info$n_parameters,
      stopped = info$stopped,
      epochs = info$epochs,
      best_epoch = info$best_epoch,
      seconds = NULL,
      cell_names = NULL,
      call = NULL
    ),
    class = "SCVAE"
  )
}

# Why a path is not that of a file.
missing_file <- function(path) if (dir.exists(path)) "is a folder" else "does not exist"
