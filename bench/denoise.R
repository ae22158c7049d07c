# Denoised counts of all cells and kept genes of a set, for denoise.py.
#
#   Rscript denoise.R TRAIN.h5ad OUT SEED [N_REPEATS]
#
# OUT.bin holds the expected counts as doubles, cell after cell; OUT.genes the genes' names, a line each.

suppressMessages(library(scVAE))
given <- commandArgs(trailingOnly = TRUE)
if (length(given) < 3) stop("usage: denoise.R TRAIN.h5ad OUT SEED")
model <- fitSCVAE(
  given[1],
  min_genes = 1, seed = as.integer(given[3]), threads = 1, verbose = FALSE
)
values <- denoiseCounts(model, given[1], threads = 1)
writeBin(as.vector(values), paste0(given[2], ".bin"))
writeLines(rownames(values), paste0(given[2], ".genes"))
