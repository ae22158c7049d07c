# scScore() with its fits in this process and in others, which must all give the same scores: run by
# `make test-slurm` with a cluster of one node.
#
#   Rscript tools/workers.R [COUNTS.h5ad]

suppressPackageStartupMessages({
  library(scVAE)
  library(BiocParallel)
})

file <- commandArgs(TRUE)[1]
x <- if (is.na(file)) simulateCounts(n_cells = 400, n_genes = 1000, seed = 1)$counts else file
epochs <- if (is.na(file)) 30 else 5

slurm <- function() {
  # Polled for jobs that are over; five seconds by default, and once more at the end.
  options(BIOCPARALLEL_BATCHTOOLS_REMOVE_REGISTRY_WAIT = 0)
  BatchtoolsParam(
    workers = 2, cluster = "slurm",
    template = system.file("templates", "slurm-simple.tmpl", package = "batchtools"),
    resources = list(ncpus = 1L, walltime = 600L, memory = 1000L)
  )
}
ways <- list(
  `this process` = function() NULL,
  SerialParam = function() SerialParam(),
  MulticoreParam = function() MulticoreParam(2),
  SnowParam = function() SnowParam(2),
  `BatchtoolsParam(cluster = "slurm")` = slurm
)
score <- function(way) {
  started <- Sys.time()
  score <- scScore(
    x,
    n_repeats = 4, max_epochs = epochs, min_genes = 20, seed = 1, verbose = FALSE, BPPARAM = way()
  )
  list(score = score, seconds = as.numeric(difftime(Sys.time(), started, units = "secs")))
}
results <- lapply(ways, score)
same <- vapply(results, function(r) identical(r$score, results[[1]]$score), logical(1))
print(data.frame(
  identical = same, seconds = round(vapply(results, `[[`, numeric(1), "seconds"), 1)
))

# A job that is killed takes its fits with it; these are made again.
original <- scVAE:::fit_task
marker <- tempfile(tmpdir = getwd())
killed_once <- function(number, task) {
  if (number == 2 && !file.exists(marker)) {
    file.create(marker)
    tools::pskill(Sys.getpid(), tools::SIGKILL)
  }
  original(number, task)
}
environment(killed_once) <- list2env(list(original = original, marker = marker), parent = baseenv())
namespace <- asNamespace("scVAE")
get("unlockBinding", baseenv())("fit_task", namespace)
assign("fit_task", killed_once, namespace)
after <- withCallingHandlers(score(slurm), scvae_warning_worker = function(w) {
  cat("warned:", cli::ansi_strip(conditionMessage(w)), "\n")
  invokeRestart("muffleWarning")
})
unlink(marker)
again <- identical(after$score, results[[1]]$score)
cat("after a job was killed, identical:", again, "\n")
if (!all(same) || !again) quit(status = 1)
