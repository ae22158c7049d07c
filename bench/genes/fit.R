# Ranks the genes of a set by scScore(), for evaluate.py.
#
#   Rscript fit.R SET.h5ad OUT.tsv NAME CRITERION SEED [N_REPEATS] [BATCH]
#
# BATCH is the obs column of the batches; without it there are none.
# Rankings: NAME_seedSEED, connections first and then the signal; NAME_signal_seedSEED, the signal
# alone; NAME_ties_at_random_seedSEED, the connections alone.

suppressMessages(library(scVAE))
given <- commandArgs(trailingOnly = TRUE)
if (length(given) < 5) {
  stop("usage: fit.R SET.h5ad OUT.tsv NAME CRITERION SEED [N_REPEATS] [BATCH]")
}
n_repeats <- if (length(given) > 5) as.integer(given[6]) else 1
batch <- if (length(given) > 6) given[7]
started <- proc.time()[["elapsed"]]
score <- scScore(
  given[1],
  batch = batch, n_repeats = n_repeats, null = FALSE, seed = as.integer(given[5]), threads = 1,
  connections = connectionControl(criterion = given[4]), verbose = FALSE
)
score <- score[!is.na(score$scscore), ]
set.seed(as.integer(given[5]))
ranked <- function(name, order) {
  data.frame(
    ranking = sprintf("%s_seed%s", name, given[5]), gene = rownames(score)[order],
    rank = seq_along(order)
  )
}
utils::write.table(
  rbind(
    ranked(given[3], order(score$rank)),
    ranked(paste0(given[3], "_signal"), order(-score$signal, method = "radix")),
    ranked(
      paste0(given[3], "_ties_at_random"),
      order(-score$n_connections, sample.int(nrow(score)), method = "radix")
    )
  ),
  given[2],
  sep = "\t", quote = FALSE, row.names = FALSE
)
message(basename(given[1]), " ", given[3], " seed ", given[5], ": ",
  round(proc.time()[["elapsed"]] - started), " s")
