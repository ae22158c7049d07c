#!/usr/bin/env Rscript
# The scran scores of every gene, for rankings.py:
#
#   Rscript rankings.R COUNTS.mtx OUT.txt
#
# COUNTS.mtx is a MatrixMarket file of genes x cells. OUT.txt gets two numbers a line, in the order
# of the genes: the variance of the log counts less the trend of it (modelGeneVar at its defaults,
# size factors from the library sizes, as logNormCounts takes them), and the same less what Poisson
# noise has (modelGeneVarByPoisson, which draws that noise: its seed is 1).
suppressPackageStartupMessages({
  library(Matrix)
  library(scran)
  library(scuttle)
})
given <- commandArgs(trailingOnly = TRUE)
counts <- as(readMM(given[1]), "CsparseMatrix")
rownames(counts) <- seq_len(nrow(counts))
size_factors <- librarySizeFactors(counts)
model <- modelGeneVar(normalizeCounts(counts, size_factors))
set.seed(1)
poisson <- modelGeneVarByPoisson(counts, size.factors = size_factors)
writeLines(paste(format(model$bio, digits = 15), format(poisson$bio, digits = 15)), given[2])
