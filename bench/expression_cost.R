# What the embedding in expression space costs, in time and memory.
#
#   Rscript bench/expression_cost.R [CELLS] [GENES] [THREADS]
#
# Random counts, a twentieth of them not zero. One epoch is trained with either embedding, each in a
# process of its own; the cost is set against the epochs that such a fit has by default. Writes
# results/expression_cost.md. Linux only.

given <- commandArgs(trailingOnly = TRUE)
here <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))

one <- function(embedding, n_cells, n_genes, threads) {
  suppressMessages(library(scVAE))
  set.seed(1)
  per_cell <- as.integer(0.05 * n_genes)
  genes <- vapply(seq_len(n_cells), function(i) sort(sample.int(n_genes, per_cell)), integer(per_cell))
  counts <- methods::new("dgCMatrix",
    i = as.vector(genes) - 1L, p = as.integer(seq(0, n_cells) * per_cell),
    x = 1 + stats::rpois(length(genes), 0.3), Dim = c(n_genes, n_cells)
  )
  rm(genes)
  invisible(gc())
  status <- function(field) {
    line <- grep(field, readLines("/proc/self/status"), value = TRUE)
    as.numeric(gsub("[^0-9]", "", line)) / 1024
  }
  writeLines("5", "/proc/self/clear_refs") # the peak starts anew
  before <- status("VmRSS")
  time <- system.time(model <- fitSCVAE(
    counts,
    max_epochs = 1, embedding = embedding, seed = 1, threads = threads, verbose = FALSE
  ))
  cat(time[["elapsed"]], model$history$seconds[1], status("VmHWM") - before, ncol(model$embedding))
}

if (length(given) > 3) {
  one(given[4], as.integer(given[1]), as.integer(given[2]), as.integer(given[3]))
  quit("no")
}
setting <- function(i, default) if (length(given) >= i) as.integer(given[i]) else default
size <- c(setting(1, 20000L), setting(2, 20000L), setting(3, 2L))
measured <- sapply(c("latent", "expression"), function(embedding) {
  out <- system2(file.path(R.home("bin"), "Rscript"), c(here, size, embedding), stdout = TRUE)
  as.numeric(strsplit(out[length(out)], " ")[[1]])
})
# The epochs of the defaults, as ?fitSCVAE has them.
epochs <- max(40, round(150 * min(1, sqrt(2000 / (0.9 * size[1])))))
cost <- measured[1, "expression"] - measured[1, "latent"]
fit <- measured[1, "latent"] + (epochs - 1) * measured[2, "latent"]
writeLines(c(
  "# What the embedding in expression space costs",
  "",
  sprintf(
    "Written by `Rscript bench/expression_cost.R %s`; do not edit by hand.",
    paste(size, collapse = " ")
  ),
  "",
  sprintf("Random counts of %d cells and %d genes, %d threads.", size[1], size[2], size[3]),
  "",
  "| | latent | expression |", "|---|--:|--:|",
  sprintf("| seconds with one epoch | %.1f | %.1f |", measured[1, 1], measured[1, 2]),
  sprintf("| memory above the counts, MiB | %.0f | %.0f |", measured[3, 1], measured[3, 2]),
  sprintf("| dimensions | %.0f | %.0f |", measured[4, 1], measured[4, 2]),
  "",
  sprintf(
    "An epoch takes %.1f s and a fit has %d by default: of its %.0f s the components add %.0f %%.",
    measured[2, 1], epochs, fit, 100 * cost / fit
  )
), file.path(dirname(here), "results", "expression_cost.md"))
