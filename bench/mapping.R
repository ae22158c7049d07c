#!/usr/bin/env Rscript
# The R half of mapping.sh: maps the cells of NEW.h5ad to a model and writes its own embedding with
# that of the mapped cells under it.
#
#   Rscript mapping.R MODEL.rds NEW.h5ad BATCH LABELS.csv OUT.csv [SEED] [THREADS]
#   Rscript mapping.R MODEL.rds NEW.h5ad - - OUT.csv    cells of batches that the model knows
#   Rscript mapping.R MODEL.rds - - - OUT.csv           the embedding of the model's cells only
#
# LABELS.csv: cell, label of the model's cells. For a new batch one JSON object with the seconds is
# printed, and the labels carried over become OUT.csv.labels.

suppressMessages(library(scVAE))
given <- commandArgs(trailingOnly = TRUE)
if (length(given) < 5) {
  stop("usage: mapping.R MODEL.rds NEW.h5ad BATCH LABELS.csv OUT.csv [SEED] [THREADS]")
}
model <- readRDS(given[1])
latent <- model$latent
if (given[2] != "-" && given[3] == "-") {
  latent <- rbind(latent, predict(model, given[2], batch = "batch"))
} else if (given[2] != "-") {
  known <- utils::read.csv(given[4], colClasses = "character")
  mapped <- suppressWarnings(mapSCVAE(
    model, given[2],
    batch = given[3], labels = stats::setNames(known$label, known$cell),
    seed = if (length(given) > 5) as.integer(given[6]) else 0L,
    threads = if (length(given) > 6) as.integer(given[7]) else 1L, verbose = FALSE
  ))
  latent <- rbind(latent, mapped$latent)
  utils::write.csv(
    data.frame(cell = rownames(mapped$latent), mapped$labels),
    paste0(given[5], ".labels"),
    row.names = FALSE
  )
  cat(sprintf(
    '{"map_s": %.3f, "map_epochs": %d, "fit_s": %.1f, "fit_epochs": %d}\n',
    mapped$seconds, as.integer(mapped$epochs), model$seconds, as.integer(model$epochs)
  ))
}
utils::write.csv(data.frame(cell = rownames(latent), latent), given[5], row.names = FALSE)
