#!/usr/bin/env Rscript
# The R half of transfer.sh; mapping.sh takes its fits.
#
#   Rscript transfer.R fit COUNTS.h5ad MODEL.rds SEED [THREADS]
#   Rscript transfer.R export COUNTS.h5ad MODEL.rds OUT_DIR [THREADS]
#
# fit: default settings with batch = "batch"; nothing is done where MODEL.rds exists.
# export: writes for transfer.py into OUT_DIR, as 32-bit floats, gene by gene for one cell after
# the other: NAME.scale (log1p of 10,000 x the expected fractions) and NAME.dropout (the
# probabilities of an extra zero), NAME being "denoised" (each cell in its own style) or the
# number of the target batch; latent.scale (the embedding); and model.json.

suppressMessages(library(scVAE))

fit <- function(counts, path, seed, threads) {
  if (file.exists(path)) {
    return(invisible())
  }
  model <- fitSCVAE(
    counts,
    batch = "batch", seed = as.integer(seed), threads = threads, verbose = FALSE
  )
  saveRDS(model, path)
}

write_floats <- function(values, dir, name, what) {
  file <- file(file.path(dir, paste0(name, ".", what)), "wb")
  on.exit(close(file))
  writeBin(as.vector(values), file, size = 4)
}

# The exported functions give px_dropout in each cell's own style only, hence the internal one.
dropout <- function(model, path, style, threads) {
  call <- environment()
  reconstruct_cells(
    open_model(model, call), as_counts(path), "batch", NULL, NULL, "observed", "px_dropout",
    style = style, threads = threads, call = call
  )
}
environment(dropout) <- asNamespace("scVAE")

export <- function(counts, path, dir, threads) {
  model <- readRDS(path)
  values <- denoiseCounts(
    model, counts,
    batch = "batch", output = "lognormalised", threads = threads
  )
  write_floats(values, dir, "denoised", "scale")
  write_floats(dropout(model, counts, NULL, threads), dir, "denoised", "dropout")
  latent <- predict(model, counts, batch = "batch", threads = threads)
  write_floats(t(latent), dir, "latent", "scale")
  seconds <- numeric()
  for (i in seq_along(model$batch_names)) {
    started <- Sys.time()
    styled <- transferBatchStyle(
      model, counts,
      to = model$batch_names[i], batch = "batch", output = "lognormalised", threads = threads
    )
    seconds[i] <- as.numeric(difftime(Sys.time(), started, units = "secs"))
    write_floats(styled, dir, i, "scale")
    write_floats(dropout(model, counts, i - 1L, threads), dir, i, "dropout")
  }
  info <- scVAE:::rs_model_info(model$model)
  jsonlite::write_json(
    list(
      cells = colnames(values), genes = rownames(values), batches = model$batch_names,
      library = info$library, px_r = info$px_r, likelihood = model$settings$likelihood,
      epochs = model$epochs, fit_s = model$seconds, transfer_s = seconds
    ),
    file.path(dir, "model.json"),
    auto_unbox = TRUE, digits = NA
  )
}

given <- commandArgs(trailingOnly = TRUE)
if (length(given) < 4) {
  stop("usage: transfer.R fit|export COUNTS.h5ad MODEL.rds SEED|OUT_DIR [THREADS]")
}
threads <- if (length(given) > 4) as.integer(given[5]) else 1L
step <- switch(given[1], fit = fit, export = export, stop("unknown step ", given[1]))
step(given[2], given[3], given[4], threads)
