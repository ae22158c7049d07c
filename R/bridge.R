# The door to Rust: errors come back as classed conditions, progress is shown by cli.

# Rust sends errors as "<class>\u001f<text>".
rust_call <- function(expr, call = rlang::caller_env()) {
  tryCatch(expr, error = function(e) rust_error(conditionMessage(e), call))
}

rust_error <- function(message, call) {
  known <- c("counts", "argument", "file", "model", "numerical", "interrupted", "internal")
  parts <- strsplit(message, "\u001f", fixed = TRUE)[[1]]
  class <- sub("^.*scvae_error_", "", parts[1])
  if (length(parts) < 2 || !class %in% known) {
    # Not one of ours (a panic, or a wrong type at the border).
    class <- "internal"
    text <- message
  } else {
    text <- paste(parts[-1], collapse = "\u001f")
  }
  if (class == "interrupted") {
    # As if Ctrl-C had been pressed in R itself: a loop around the call ends, too.
    rlang::interrupt()
  }
  lines <- escape_cli(strsplit(trimws(text), "\n", fixed = TRUE)[[1]])
  if (length(lines) == 0) {
    lines <- "An error without a message."
  }
  names(lines) <- c("", rep("i", length(lines) - 1))
  if (class == "internal") {
    lines <- c(lines, i = "This is a fault of scVAE; please report it with {.code scvaeInfo()}.")
  }
  abort_scvae(lines, class, call)
}

# A progress bar and the function that Rust calls about once per epoch. That function must not
# throw: an R error inside a callback would be printed and lost.
new_progress <- function(verbose, label, read) {
  if (!verbose) {
    return(list(update = NULL, done = function() invisible()))
  }
  env <- new.env()
  id <- NULL
  update <- function(info) {
    tryCatch(
      {
        at <- read(info)
        if (is.null(id)) {
          id <<- cli::cli_progress_bar(
            name = label,
            format = paste(
              "{cli::pb_name}{cli::pb_bar} epoch {cli::pb_current}/{cli::pb_total}",
              "{cli::pb_status}"
            ),
            total = at$total,
            clear = TRUE,
            .auto_close = FALSE,
            .envir = env
          )
        }
        cli::cli_progress_update(
          set = at$current, total = at$total, status = at$status, id = id, .envir = env
        )
      },
      error = function(e) NULL
    )
    invisible(NULL)
  }
  done <- function() {
    if (!is.null(id)) {
      tryCatch(cli::cli_progress_done(id = id, .envir = env), error = function(e) NULL)
    }
    invisible()
  }
  list(update = update, done = done)
}

# What one progress report of a fit says.
fit_progress <- function(info) {
  validation <- info$validation
  status <- c(
    sprintf("loss %.1f", info$loss),
    eta_text(info$eta_seconds),
    # Last, as a narrow terminal cuts the line.
    if (isTRUE(is.finite(validation))) sprintf("validation %.1f", validation)
  )
  list(
    current = info$done,
    total = info$all,
    status = paste0("| ", paste(status, collapse = " | "))
  )
}

score_progress <- function(info) {
  at <- fit_progress(info)
  at$status <- paste0("| fits done ", info$fits_done, "/", info$n_fits, " ", at$status)
  at
}

eta_text <- function(seconds) {
  if (!isTRUE(is.finite(seconds))) {
    return(NULL)
  }
  paste("ETA", duration_text(seconds))
}

duration_text <- function(seconds) {
  if (!isTRUE(is.finite(seconds))) {
    return("?")
  }
  seconds <- round(seconds)
  if (seconds < 60) {
    sprintf("%ds", seconds)
  } else if (seconds < 3600) {
    sprintf("%dm %02ds", seconds %/% 60, seconds %% 60)
  } else {
    sprintf("%dh %02dm", seconds %/% 3600, (seconds %% 3600) %/% 60)
  }
}

#' What this installation of scVAE can do
#'
#' @return A list with the `version` of the compiled code and its `features` (`"cuda"`: built for
#'   NVIDIA graphics cards); the version of the `hdf5` library; the versions of CUDA,
#'   `cuda_toolkit`, which it was built with, and `cuda_driver`, the newest that the driver knows,
#'   NULL without; the `devices` that can be used, described and named as the argument `device` of
#'   [fitSCVAE()] names them; the `threads` that a fit uses; and `cuda_missing`: why there is no
#'   graphics card among the devices, NULL if there is one.
#' @examples
#' scvaeInfo()
#' @export
scvaeInfo <- function() {
  info <- rust_call(rs_version())
  devices <- rust_call(rs_devices())
  c(
    info,
    list(
      devices = stats::setNames(devices$descriptions, devices$names),
      threads = check_threads(NULL),
      cuda_missing = devices$cuda_missing
    )
  )
}
