#!/usr/bin/env Rscript
# The scran score of every gene, for rankings.py:
#
#   Rscript rankings.R COUNTS.mtx OUT.txt
#
# COUNTS.mtx is a MatrixMarket file of genes x cells. OUT.txt gets one number a line, in the order
# of the genes: the variance of the log counts less the trend of it (modelGeneVar at its defaults,
# size factors from the library sizes, as logNormCounts takes them).
suppressPackageStartupMessages({
  library(Matrix)
  library(scran)
  library(scuttle)
})
given <- commandArgs(trailingOnly = TRUE)
counts <- as(readMM(given[1]), "CsparseMatrix")
rownames(counts) <- seq_len(nrow(counts))
model <- modelGeneVar(normalizeCounts(counts, librarySizeFactors(counts)))
writeLines(format(model$bio, digits = 15), given[2])
