# Embeddings of cells of one real batch, with and without false batches.
#
#   Rscript false_batches.R SET.h5ad CELLS.csv OUT SEED
#
# CELLS.csv names the cells (`cell`) and their false batches (`batch`). Writes OUT.ROW.csv for the rows
# "scvae_latent" and "scvae_expression" of the same fits, each as `_with` and `_without` batches.

suppressMessages(library(scVAE))
given <- commandArgs(trailingOnly = TRUE)
if (length(given) < 4) stop("usage: false_batches.R SET.h5ad CELLS.csv OUT SEED")
cells <- utils::read.csv(given[2], colClasses = "character")
embedded <- function(batch) {
  model <- fitSCVAE(
    given[1],
    batch = batch, embedding = "expression", seed = as.integer(given[4]), threads = 1, verbose = FALSE
  )
  list(scvae_latent = model$latent, scvae_expression = model$embedding)
}
write_all <- function(rows, suffix) {
  for (name in names(rows)) {
    utils::write.csv(
      data.frame(cell = rownames(rows[[name]]), rows[[name]]),
      sprintf("%s.%s_%s.csv", given[3], name, suffix),
      row.names = FALSE
    )
  }
}
write_all(embedded(NULL), "without")
write_all(embedded(stats::setNames(cells$batch, cells$cell)), "with")
