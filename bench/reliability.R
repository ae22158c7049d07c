#!/usr/bin/env Rscript
# What becomes of fits that are killed, of functions that are interrupted, and of odd inputs.
# Writes bench/results/reliability.md. It needs the packages callr and RANN.
#
#   Rscript bench/reliability.R DATA_DIR [N_KILLS]
#
# With N_KILLS = 0 the part on kills, which takes longest, stays as it is in the file.
# DATA_DIR has pbmc_kang_ctrl.h5ad and pbmc_kang_ctrl_12k_1287genes.h5ad.

library(scVAE)
given <- commandArgs(trailingOnly = TRUE)
if (length(given) < 1) {
  stop("usage: reliability.R DATA_DIR [N_KILLS]")
}
data <- normalizePath(given[1])
n_kills <- if (length(given) > 1) as.integer(given[2]) else 50L
own_file <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
bench <- dirname(normalizePath(own_file))
options(scVAE.threads = 1, cli.width = 200)
small <- file.path(data, "pbmc_kang_ctrl.h5ad")
large <- file.path(data, "pbmc_kang_ctrl_12k_1287genes.h5ad")

load_now <- function() {
  if (!file.exists("/proc/loadavg")) {
    return("unknown")
  }
  strsplit(readLines("/proc/loadavg"), " ")[[1]][1]
}

table_rows <- function(table) {
  cell <- function(x) gsub("|", "\\|", gsub("\n", " ", x, fixed = TRUE), fixed = TRUE)
  c(
    paste("|", paste(names(table), collapse = " | "), "|"),
    paste0("|", strrep("---|", ncol(table))),
    do.call(paste, c("", lapply(table, cell), "", sep = " | ")) |> trimws()
  )
}

seconds_since <- function(time) as.numeric(difftime(Sys.time(), time, units = "secs"))

wait_for <- function(path, process) {
  while (!file.exists(path) && process$is_alive()) Sys.sleep(0.005)
}

# Kills ------------------------------------------------------------------------------------------

kill_arguments <- list(batch = "batch", max_epochs = 8, n_hidden = 32, seed = 1, verbose = FALSE)

comparable <- function(model) {
  model$history$seconds <- NULL
  model[c("model", "latent", "latent_sd", "history", "genes", "stopped", "epochs")]
}

# One fit, killed `after` seconds from its call.
kill_once <- function(after, folder) {
  started <- tempfile()
  process <- callr::r_bg(
    function(small, arguments, folder, started) {
      options(scVAE.threads = 1)
      loadNamespace("scVAE")
      file.create(started)
      do.call(scVAE::fitSCVAE, c(list(small), arguments, checkpoint = folder))
      Sys.sleep(60)
    },
    list(small, kill_arguments, folder, started)
  )
  wait_for(started, process)
  Sys.sleep(after)
  process$kill()
  process$wait()
}

run_kills <- function(n) {
  started <- Sys.time()
  suppressWarnings(expected <- do.call(fitSCVAE, c(list(small), kill_arguments)))
  duration <- seconds_since(started)
  expected <- comparable(expected)
  rows <- lapply(seq_len(n), function(k) {
    after <- stats::runif(1, 0, duration)
    threads <- 1 + k %% 2
    folder <- tempfile("checkpoint")
    kill_once(after, folder)
    left <- if (dir.exists(folder)) list.files(folder) else character()
    has_checkpoint <- "checkpoint.safetensors" %in% left
    epochs <- if (has_checkpoint) scVAE:::rs_checkpoint_info(folder)$epochs else NA
    found <- suppressWarnings(if (has_checkpoint) {
      resumeSCVAE(folder, small, verbose = FALSE, threads = threads)
    } else {
      do.call(fitSCVAE, c(list(small), kill_arguments, checkpoint = folder))
    })
    unlink(folder, recursive = TRUE)
    same <- identical(comparable(found), expected)
    message(sprintf("kill %d of %d: %.2f s, %s epochs, %s", k, n, after, epochs, same))
    data.frame(
      kill = k,
      `seconds after the call` = sprintf("%.2f", after),
      `epochs done` = if (has_checkpoint) as.character(epochs) else "no checkpoint yet",
      `half-written file left` = if (any(grepl("^checkpoint\\..*new$", left))) "yes" else "no",
      then = if (!has_checkpoint) {
        "fitted anew"
      } else if (threads == 1) {
        "resumed, 1 thread"
      } else {
        "resumed, 2 threads"
      },
      `same bytes` = if (same) "yes" else "NO",
      check.names = FALSE
    )
  })
  list(table = do.call(rbind, rows), duration = duration)
}

# Interrupts -------------------------------------------------------------------------------------

# Each takes many seconds when it is left alone. `many` are those of `few` 40 times.
verbs <- list(
  "fitSCVAE()" = function(s) fitSCVAE(s$many, batch = s$batch, verbose = FALSE),
  "fitSCVAE(), few cells" = function(s) {
    fitSCVAE(s$few, batch = s$few_batch, max_epochs = 1e5, verbose = FALSE)
  },
  "fitSCVAE(on_interrupt = \"stop\"), few cells" = function(s) {
    fitSCVAE(
      s$few, batch = s$few_batch, max_epochs = 1e5, verbose = FALSE,
      training = trainingControl(on_interrupt = "stop")
    )
  },
  "fitSCVAE(checkpoint =), few cells" = function(s) {
    fitSCVAE(
      s$few,
      batch = s$few_batch, max_epochs = 1e5, verbose = FALSE, checkpoint = tempfile()
    )
  },
  "scScore()" = function(s) scScore(s$many, batch = s$batch, verbose = FALSE),
  "scScore(), few cells" = function(s) {
    scScore(s$few, n_repeats = 1e4, max_epochs = 1, n_hidden = 16, verbose = FALSE)
  },
  "predict()" = function(s) predict(s$model, s$many, batch = s$batch),
  "predict(type = \"px_rate\")" = function(s) {
    predict(s$model, s$many, "px_rate", batch = s$batch, genes = 1:50)
  },
  "denoiseCounts()" = function(s) denoiseCounts(s$model, s$many, batch = s$batch, genes = 1:50),
  "denoiseCounts(), all genes" = function(s) {
    denoiseCounts(s$model, s$many[, 1:20000], batch = s$batch[1:20000])
  },
  "transferBatchStyle()" = function(s) {
    transferBatchStyle(s$model, s$many, "all", batch = s$batch, genes = 1:50)
  },
  "mapSCVAE()" = function(s) mapSCVAE(s$model, s$many, batch = "more", verbose = FALSE),
  "reading an .h5ad file" = function(s) {
    for (i in 1:100) tryCatch(fitSCVAE(s$large, min_cells = 1e6), scvae_error = identity)
  }
)

# In a session of its own: `verb` is interrupted again and again, and the session used after each.
interrupt_verb <- function(name, moments) {
  folder <- tempfile("signals")
  dir.create(folder)
  process <- callr::r_bg(
    function(verb, moments, small, large, folder) {
      library(scVAE)
      options(scVAE.threads = 1)
      environment(verb) <- globalenv()
      model <- suppressWarnings(fitSCVAE(
        small,
        batch = "batch", max_epochs = 1, n_hidden = 128, seed = 1, verbose = FALSE
      ))
      n_genes <- nrow(model$genes)
      sim <- simulateCounts(
        n_cells = 954, n_genes = n_genes, library_size = 1200, n_batches = 8, seed = 1
      )
      few <- sim$counts
      rownames(few) <- model$genes$gene
      few_batch <- rep_len(model$batch_names, ncol(few))
      cells <- rep(seq_len(ncol(few)), 40)
      many <- few[, cells]
      colnames(many) <- paste0("cell", seq_along(cells))
      setup <- list(
        model = model, few = few, few_batch = few_batch, many = many, batch = few_batch[cells],
        large = large
      )
      before <- predict(model, few[, 1:50], batch = few_batch[1:50])
      lapply(seq_along(moments), function(k) {
        file.create(file.path(folder, k))
        told <- over <- FALSE
        result <- tryCatch(
          withCallingHandlers(
            {
              value <- verb(setup)
              if (!told) {
                # The interrupt is still to come.
                over <- TRUE
                Sys.sleep(60)
              }
              if (inherits(value, "SCVAE")) {
                sprintf("model, stopped = \"%s\"", value$stopped)
              } else {
                sprintf("a result (%s)", class(value)[1])
              }
            },
            scvae_warning_interrupted = function(w) {
              told <<- TRUE
              invokeRestart("muffleWarning")
            },
            warning = function(w) invokeRestart("muffleWarning")
          ),
          interrupt = function(e) if (over) "over before it" else "interrupt",
          error = function(e) class(e)[1]
        )
        ended <- Sys.time()
        list(
          result = result, ended = ended,
          usable = identical(predict(model, few[, 1:50], batch = few_batch[1:50]), before)
        )
      })
    },
    list(verbs[[name]], moments, small, large, folder)
  )
  asked <- lapply(seq_along(moments), function(k) {
    wait_for(file.path(folder, k), process)
    Sys.sleep(moments[k])
    time <- Sys.time()
    process$interrupt()
    time
  })
  process$wait()
  found <- process$get_result()
  message(sprintf("interrupted: %s", name))
  data.frame(
    verb = paste0("`", name, "`"),
    `interrupted after, s` = format(moments),
    `ended after another, s` = vapply(seq_along(moments), function(k) {
      sprintf("%.2f", as.numeric(difftime(found[[k]]$ended, asked[[k]], units = "secs")))
    }, ""),
    result = vapply(found, `[[`, "", "result"),
    `session usable` = ifelse(vapply(found, `[[`, TRUE, "usable"), "yes", "NO"),
    check.names = FALSE
  )
}

run_interrupts <- function() {
  moments <- function(name) {
    if (grepl("reading", name)) {
      # It takes less than a second.
      c(0.1, 0.3, 0.7)
    } else if (grepl("few cells", name)) {
      # Before the first epoch is over and after it.
      c(1, 8, 12)
    } else {
      c(0.2, 1, 2.5)
    }
  }
  rows <- lapply(names(verbs), function(name) interrupt_verb(name, moments(name)))
  do.call(rbind, rows)
}

# Odd inputs -------------------------------------------------------------------------------------

run_odd_inputs <- function() {
  sim <- simulateCounts(n_cells = 150, n_genes = 300, n_batches = 2, seed = 1)
  counts <- sim$counts
  batch <- sim$batch
  fit <- function(x, ..., max_epochs = 1, min_genes = 10) {
    fitSCVAE(
      x, ...,
      max_epochs = max_epochs, n_hidden = 8, min_genes = min_genes, verbose = FALSE
    )
  }
  model <- fit(counts, batch = batch, seed = 1)
  nb <- fit(counts, likelihood = "nb", seed = 1)
  changed <- function(value) replace(as.matrix(counts), 1, value)
  here <- tempfile("odd")
  dir.create(here)
  folder <- file.path(here, "checkpoint")
  fit(counts, batch = batch, seed = 1, checkpoint = folder)
  scores <- file.path(here, "scores")
  scScore(
    counts,
    n_repeats = 1, max_epochs = 1, n_hidden = 8, min_genes = 10, seed = 1, verbose = FALSE,
    checkpoint = scores
  )
  text <- file.path(here, "text.h5ad")
  writeLines("no HDF5", text)
  cut <- file.path(here, "cut.h5ad")
  writeBin(readBin(small, "raw", 1e5), cut)
  file <- file.path(here, "model.safetensors")
  saveSCVAE(model, file)
  damaged <- file.path(here, "damaged.safetensors")
  bytes <- readBin(file, "raw", file.size(file))
  writeBin(replace(bytes, length(bytes) - 5, xor(bytes[length(bytes) - 5], as.raw(1))), damaged)
  embedding <- model$latent
  inputs <- source(file.path(bench, "odd_inputs.R"), local = TRUE)$value
  rows <- lapply(as.list(inputs), function(input) {
    condition <- tryCatch(
      {
        eval(input)
        NULL
      },
      scvae_warning = identity,
      error = identity
    )
    class <- grep("^scvae_", class(condition), value = TRUE)[1]
    if (is.na(class)) {
      class <- if (is.null(condition)) "none" else paste(class(condition)[1], "(not ours)")
    }
    said <- if (is.null(condition)) "" else cli::ansi_strip(conditionMessage(condition))
    said <- strsplit(said, "\n", fixed = TRUE)[[1]][1]
    # No paths of the machine.
    said <- gsub(here, "...", gsub(data, "...", said, fixed = TRUE), fixed = TRUE)
    data.frame(
      input = paste0("`", paste(trimws(deparse(input, 500)), collapse = " "), "`"),
      condition = class,
      `first line of the message` = if (is.na(said)) "" else said,
      check.names = FALSE
    )
  })
  do.call(rbind, rows)
}

# The page ---------------------------------------------------------------------------------------

set.seed(1)
begun <- load_now()
odd <- run_odd_inputs()
interrupts <- run_interrupts()
page_file <- file.path(bench, "results", "reliability.md")
kills_title <- "## Fits that are killed"
interrupts_title <- "## Interrupts"

# The part of the page from one title to before the next, as it stands in the file.
kept_part <- function(from, to) {
  lines <- readLines(page_file)
  lines[seq(match(from, lines), match(to, lines) - 1)]
}

kills_part <- function() {
  if (n_kills == 0) {
    return(kept_part(kills_title, interrupts_title))
  }
  kills <- run_kills(n_kills)
  resumed <- kills$table[["epochs done"]] != "no checkpoint yet"
  same <- kills$table[["same bytes"]] == "yes"
  c(
    kills_title,
    "",
    sprintf(
      paste(
        "`fitSCVAE(checkpoint =)` on `pbmc_kang_ctrl.h5ad` with its 8 batches (8 epochs, 32 hidden",
        "units; %.1f s to read, train and embed) is killed with signal 9 at a random",
        "moment, and gone on with by `resumeSCVAE()`, with one thread and two by turns. **Same",
        "bytes**: the model's bytes, the embedding, the history (but for its times) and the genes'",
        "table are those of the fit that was never killed. Where no checkpoint was written yet,",
        "while the counts were read and the batches compared, the fit is started again."
      ),
      kills$duration
    ),
    "",
    sprintf(
      "%d kills: %d of %d resumed to the same bytes, %d of %d fitted anew to the same bytes.",
      nrow(kills$table), sum(same & resumed), sum(resumed), sum(same & !resumed), sum(!resumed)
    ),
    "",
    table_rows(kills$table),
    ""
  )
}

ended <- as.numeric(interrupts[["ended after another, s"]])
page <- c(
  "# Reliability",
  "",
  "Written by `bench/reliability.R`; do not edit by hand.",
  "",
  "```",
  "Rscript bench/reliability.R DATA_DIR",
  "```",
  "",
  sprintf(
    paste(
      "%s, scVAE %s. The machine has %d cores and other work: its load was %s at the begin and %s",
      "at the end. Fits have 1 thread."
    ),
    R.version.string, utils::packageVersion("scVAE"), parallel::detectCores(), begun, load_now()
  ),
  "",
  kills_part(),
  interrupts_title,
  "",
  paste(
    "Ctrl-C (SIGINT) at several moments of every function that takes long, in a session of its",
    "own. The cells are 38,160 with 9,015 genes (simulated, with the depth of",
    "`pbmc_kang_ctrl.h5ad`), or 954 (*few cells*), so that the first epoch is over at the later",
    "moments; reading is that of `pbmc_kang_ctrl_12k_1287genes.h5ad`, over and over. **session",
    "usable**: a model embeds cells as before, in the same session."
  ),
  "",
  sprintf(
    "%d interrupts: the longest wait was %.2f s, the median %.2f s; sessions usable: %d.",
    nrow(interrupts), max(ended), stats::median(ended),
    sum(interrupts[["session usable"]] == "yes")
  ),
  "",
  table_rows(interrupts),
  "",
  "## Odd inputs",
  "",
  paste(
    "Every input is given as it is written here. `counts` are 300 genes x 150 cells in a",
    "`dgCMatrix`, `model` was fitted to them with two batches, `nb` without; `fit()` is",
    "`fitSCVAE()` with one epoch. The classes are those of R's conditions, by which a program can",
    "tell them apart; messages go on with the cure."
  ),
  "",
  sprintf(
    "%d inputs, %d of them with a condition of scVAE's own.",
    nrow(odd), sum(grepl("^scvae_", odd$condition))
  ),
  "",
  table_rows(odd)
)
writeLines(page, page_file)
