# Seconds of a training epoch of two builds of the package, in turn on the same cores, and of epochs
# with 2, 20 and 200 batches. Writes results/steps.md.
#
#   Rscript bench/steps.R LIBRARY_BEFORE LIBRARY_AFTER DATA_DIR [ROUNDS]
#
# With --threads: of one build with one thread and with more. Writes results/threads.md.
#
#   Rscript bench/steps.R --threads LIBRARY DATA_DIR [ROUNDS]
#
# The libraries hold the package as R CMD INSTALL --library= leaves it. The machine should be idle; its
# load goes into the page.
# A run is a process of its own; its epochs' times come from the history, the first left out.

arguments <- commandArgs(TRUE)

# One run, in a process that this script starts.
if (identical(arguments[1], "run")) {
  library(scVAE, lib.loc = arguments[2])
  threads <- as.integer(arguments[4])
  n_batches <- suppressWarnings(as.integer(arguments[3]))
  arguments_of_fit <- if (is.na(n_batches)) {
    list(arguments[3], max_epochs = 6)
  } else {
    sim <- simulateCounts(n_cells = 4000, n_genes = 10000, n_batches = n_batches, seed = 1)
    list(sim$counts,
      batch = sim$batch, max_epochs = 6, min_genes = 10,
      batches = batchControl(means = "all")
    )
  }
  fit <- do.call(fitSCVAE, c(arguments_of_fit,
    list(train_size = 1, seed = 1, threads = threads, verbose = FALSE)
  ))
  cat(stats::median(diff(fit$history$seconds)))
  quit("no")
}

here <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
by_threads <- identical(arguments[1], "--threads")
if (by_threads) {
  arguments <- c(arguments[2], arguments[-1])
}
libraries <- stats::setNames(normalizePath(arguments[1:2]), c("before", "after"))
data <- normalizePath(arguments[3])
rounds <- if (is.na(arguments[4])) 5 else as.integer(arguments[4])

seconds <- function(library, counts, threads) {
  out <- system2(file.path(R.home("bin"), "Rscript"),
    c(shQuote(here), "run", shQuote(library), shQuote(counts), threads),
    stdout = TRUE, stderr = FALSE
  )
  as.numeric(utils::tail(out, 1))
}

pairs <- function(counts, threads) {
  rows <- lapply(seq_len(rounds), function(i) {
    # Each goes first in every other round.
    order <- if (i %% 2) names(libraries) else rev(names(libraries))
    found <- vapply(order, function(which) seconds(libraries[[which]], counts, threads), 0)
    found[names(libraries)]
  })
  do.call(rbind, rows)
}

row <- function(label, threads, found) {
  ratio <- found[, "after"] / found[, "before"]
  sprintf(
    "| %s | %d | %.3f | %.3f | **%.2f** (%.2f-%.2f) |", label, threads,
    stats::median(found[, "before"]), stats::median(found[, "after"]),
    stats::median(ratio), min(ratio), max(ratio)
  )
}

table <- function(rows) {
  c(
    "| counts | threads | before, s | after, s | after / before |",
    "|---|---|---|---|---|",
    rows
  )
}

thread_row <- function(set) {
  numbers <- seq_len(parallel::detectCores())
  found <- vapply(numbers, function(n) {
    of_rounds <- vapply(seq_len(rounds), function(i) {
      seconds(libraries[["after"]], file.path(data, paste0(set, ".h5ad")), n)
    }, 0)
    stats::median(of_rounds)
  }, 0)
  sprintf("| %s | %d | %.3f | %.2f |", set, numbers, found, found[1] / found)
}

load_now <- function() strsplit(readLines("/proc/loadavg"), " ")[[1]][1]
begun <- load_now()
sets <- c("pbmc_facs_zheng", "pbmc_kang_ctrl")
if (by_threads) {
  rows <- unlist(lapply(sets, thread_row))
  writeLines(
    c(
      "# A training epoch by number of threads",
      "",
      "Written by `bench/steps.R --threads`; do not edit by hand. All genes, no batches; medians of",
      sprintf(
        "%d rounds. Load of the machine (%d cores) at the begin %s, at the end %s.",
        rounds, parallel::detectCores(), begun, load_now()
      ),
      "",
      "| counts | threads | seconds | times as fast as with one |",
      "|---|---|---|---|",
      rows
    ),
    file.path(dirname(here), "results", "threads.md")
  )
  quit("no")
}
of_sets <- unlist(lapply(sets, function(set) {
  row(set, 1, pairs(file.path(data, paste0(set, ".h5ad")), 1))
}))
of_batches <- vapply(c(2, 20, 200), function(n) {
  row(sprintf("%d batches", n), 1, pairs(n, 1))
}, "")
writeLines(
  c(
    "# A training epoch before and after the seam for devices",
    "",
    "Written by `bench/steps.R`; do not edit by hand. Two builds of the package in turn on the same",
    sprintf("cores, one thread; medians of %d rounds (smallest and largest ratio).", rounds),
    sprintf("Load of the machine (two cores) at the begin %s, at the end %s.", begun, load_now()),
    "",
    "## Real counts, all genes, without batches",
    "",
    table(of_sets),
    "",
    "## Simulated counts, 4,000 cells x 10,000 genes, by number of batches",
    "",
    "Mini-batches of 128 cells hold some of 200 batches; a step works for those only.",
    "",
    table(of_batches)
  ),
  file.path(dirname(here), "results", "steps.md")
)
