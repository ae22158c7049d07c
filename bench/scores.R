# What the scores of genes look like: peaks, ties, agreement of halves of the fits, correlation with
# expression, known markers. By the package's criterion and by the paper's.
#
#     Rscript bench/scores.R SET.h5ad FOLDER [N_REPEATS] [THREADS]
#
# Writes results/scores.md and results/scores.png. FOLDER keeps the fits that are done. The set must
# have gene symbols.

suppressPackageStartupMessages(library(scVAE))
given <- commandArgs(TRUE)
n_repeats <- if (length(given) > 2) as.integer(given[3]) else 20
threads <- if (length(given) > 3) as.integer(given[4]) else 1
markers <- c(
  "CD3D", "CD8A", "FOXP3", "GNLY", "NKG7", "MS4A1", "CD79A", "JCHAIN", "CD14", "LYZ", "FCGR3A", "PPBP",
  "CD34"
)
criteria <- c("deviance", "mse")
seconds <- numeric()
scores <- lapply(stats::setNames(nm = criteria), function(criterion) {
  started <- proc.time()[["elapsed"]]
  score <- scScore(
    given[1],
    n_repeats = n_repeats, null = criterion == criteria[1], seed = 1, threads = threads,
    connections = connectionControl(criterion = criterion),
    checkpoint = file.path(given[2], criterion), verbose = FALSE
  )
  seconds[[criterion]] <<- proc.time()[["elapsed"]] - started
  score
})

spearman <- function(x, y) stats::cor(x, y, method = "spearman", use = "complete.obs")

# Ranks by the connections of some of the fits; equal ones share theirs.
half_to_half <- function(score) {
  connections <- S4Vectors::metadata(score)$connections
  halves <- seq_len(ncol(connections)) %% 2 == 0
  spearman(rowMeans(connections[, halves]), rowMeans(connections[, !halves]))
}

describe <- function(score) {
  known <- score[!is.na(score$scscore), ]
  high <- known$mean > stats::median(known$mean)
  c(
    `peaks of the histogram` = paste(
      sprintf("%.2f", scVAE:::score_peaks(known$scscore)),
      collapse = " "
    ),
    `genes of score 1` = sum(known$scscore == 1),
    `genes of a score of at least 0.6` = sum(known$scscore >= 0.6),
    `rank correlation of the halves of the fits` = sprintf("%.3f", half_to_half(score)),
    `correlation with the log mean, all genes` =
      sprintf("%.2f", spearman(known$scscore, known$mean)),
    `... genes above the median mean` =
      sprintf("%.2f", spearman(known$scscore[high], known$mean[high])),
    `... of the signal with the log mean, these genes` =
      sprintf("%.2f", spearman(known$signal[high], known$mean[high])),
    `genes with an FDR of at most 0.05` =
      if (all(is.na(known$FDR))) "-" else sum(known$FDR <= 0.05)
  )
}

described <- vapply(scores, describe, character(8))
there <- intersect(markers, rownames(scores[[1]]))
of_markers <- function(score) {
  sprintf("%.2f (%d)", score[there, "scscore"], score[there, "rank"])
}
rows <- function(names, values) {
  paste0("| ", names, " | ", apply(values, 1, paste, collapse = " | "), " |")
}
head_row <- c(
  paste0("| | ", paste(criteria, collapse = " | "), " |"),
  paste0("|---", strrep("|---", length(criteria)), "|")
)
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
results <- file.path(here, "results")
writeLines(c(
  "# What the scores of genes look like",
  "",
  sprintf(
    "Written by `Rscript bench/scores.R %s FOLDER %d`; do not edit by hand. %d fits, seed 1.",
    basename(given[1]), n_repeats, n_repeats
  ),
  "Correlations are Spearman's. The paper's histogram (other data, 20 fits) has peaks at 0, 0.34, 0.70",
  "and 1, and about 1,100 genes of a score of at least 0.6. The number of genes by their FDR is of before",
  "copies were measured by their upper side (null.md).",
  "",
  head_row, rows(rownames(described), described),
  "",
  "Known markers, score (rank):",
  "",
  head_row, rows(there, vapply(scores, of_markers, character(length(there)))),
  "",
  "![histograms of the scores, and the score over the mean count](scores.png)"
), file.path(results, "scores.md"))
panels <- lapply(scores, function(score) {
  list(plotScScore(score), plotGeneScores(score, genes = there))
})
grDevices::png(file.path(results, "scores.png"), width = 2000, height = 1500, res = 170)
grid::grid.newpage()
grid::pushViewport(grid::viewport(layout = grid::grid.layout(2, 2)))
for (row in 1:2) {
  for (column in 1:2) {
    plot <- panels[[row]][[column]] + ggplot2::ggtitle(paste("criterion", criteria[row]))
    print(plot, vp = grid::viewport(layout.pos.row = row, layout.pos.col = column))
  }
}
invisible(grDevices::dev.off())
print(round(seconds))
