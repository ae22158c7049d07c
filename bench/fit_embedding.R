#!/usr/bin/env Rscript
# Fits one model and writes its embedding as CSV: what score_embedding.py reads. If it is in
# expression space the latent values go beside it, to OUT.latent.csv.
#
#   Rscript bench/fit_embedding.R COUNTS.h5ad OUT BATCH SEED [THREADS] [ARGUMENTS]
#
# BATCH is a column of obs, or "-" for none. ARGUMENTS is R text handed to fitSCVAE(), such as
# "max_epochs = 50, connections = connectionControl(adjust_every = 0)". One JSON object with the
# number of epochs, the losses, the parameters and the seconds goes to standard output.

suppressMessages(library(scVAE))
given <- commandArgs(trailingOnly = TRUE)
if (length(given) < 4) stop("usage: fit_embedding.R COUNTS.h5ad OUT BATCH SEED [THREADS] [ARGUMENTS]")
threads <- if (length(given) > 4) as.integer(given[5]) else 1L
extra <- if (length(given) > 5) given[6] else ""
arguments <- c(
  list(
    given[1],
    batch = if (given[3] != "-") given[3],
    seed = as.integer(given[4]),
    threads = threads,
    verbose = FALSE
  ),
  eval(parse(text = sprintf("list(%s)", extra)))
)
model <- do.call(fitSCVAE, arguments)
write_rows <- function(values, file) {
  utils::write.csv(data.frame(cell = rownames(values), values), file, row.names = FALSE)
}
write_rows(model$embedding, paste0(given[2], ".csv"))
if (!is.null(model$components)) {
  write_rows(model$latent, paste0(given[2], ".latent.csv"))
}
last <- model$history[nrow(model$history), ]
number <- function(x) if (is.na(x)) "null" else format(x, digits = 8)
cat(sprintf(
  '{"epochs": %s, "n_params": %s, "train_wall_s": %s, "threads": %d, "reconstruction": %s, "kl": %s, "elbo_validation": %s, "arguments": "%s"}\n',
  number(nrow(model$history)), number(model$n_parameters), number(last$seconds), threads,
  number(last$reconstruction_loss_train), number(last$kl_local_train), number(last$elbo_validation),
  gsub('"', "'", extra)
))
