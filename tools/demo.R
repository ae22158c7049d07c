# The main job from counts to pictures; `make demo` calls it.
# Usage: Rscript tools/demo.R [FILE.h5ad [LABEL_COLUMN [BATCH_COLUMN]]]
# Without a file it simulates counts whose cell types and batches are known.
library(scVAE)
options(rlang_backtrace_on_error = "none")

arguments <- c(commandArgs(trailingOnly = TRUE), "", "", "")
given <- function(i) if (nzchar(arguments[i])) arguments[i]
path <- given(1)
label_column <- given(2)
batch_column <- given(3)
out <- "demo-output"
dir.create(out, showWarnings = FALSE)

# Adjusted Rand index and normalised mutual information of two labellings.
agreement <- function(a, b) {
  n <- table(a, b)
  pairs <- function(x) sum(x * (x - 1) / 2)
  expected <- pairs(rowSums(n)) * pairs(colSums(n)) / pairs(sum(n))
  most <- (pairs(rowSums(n)) + pairs(colSums(n))) / 2
  p <- n / sum(n)
  entropy <- function(x) -sum(x[x > 0] * log(x[x > 0]))
  h <- c(entropy(rowSums(p)), entropy(colSums(p)))
  c(NMI = 2 * (sum(h) - entropy(p)) / sum(h), ARI = (pairs(n) - expected) / (most - expected))
}

# Mean silhouette width scaled to [0, 1], of at most 5,000 cells: it needs all their distances.
silhouette_score <- function(latent, label) {
  cells <- seq_along(label)
  if (length(cells) > 5000) cells <- sample(cells, 5000)
  width <- cluster::silhouette(as.integer(factor(label[cells])), stats::dist(latent[cells, ]))
  (mean(width[, "sil_width"]) + 1) / 2
}

leiden <- function(latent, k = 15) {
  near <- RANN::nn2(latent, k = k + 1)$nn.idx[, -1]
  edges <- cbind(rep(seq_len(nrow(near)), k), as.vector(near))
  graph <- igraph::simplify(igraph::graph_from_edgelist(edges, directed = FALSE))
  igraph::membership(igraph::cluster_leiden(graph, "modularity", n_iterations = 10))
}

scores <- function(latent, label) {
  known <- !is.na(label)
  latent <- latent[known, ]
  label <- label[known]
  k_means <- stats::kmeans(latent, length(unique(label)), nstart = 25, iter.max = 100)$cluster
  rbind(`k-means` = agreement(k_means, label), Leiden = agreement(leiden(latent), label))
}

picture <- function(name, plot, width = 7, height = 5) {
  file <- file.path(out, name)
  ggplot2::ggsave(file, plot, width = width, height = height, dpi = 120, bg = "white")
}

if (is.null(path)) {
  cat("Simulating counts: 1,200 cells of 5 types in 2 batches, 4,000 genes\n")
  simulated <- simulateCounts(
    n_cells = 1200, n_genes = 4000, n_types = 5, n_batches = 2, n_markers = 60,
    library_size = 1200, seed = 1
  )
  label <- simulated$cell_type
  model <- fitSCVAE(simulated$counts, batch = simulated$batch, max_epochs = 100, seed = 1)
} else {
  label <- if (!is.null(label_column)) scVAE:::rust_call(scVAE:::rs_read_obs(path, label_column))
  model <- fitSCVAE(path, batch = batch_column, seed = 1)
}
print(model)

embedding <- model$embedding
write.csv(
  data.frame(cell = rownames(embedding), embedding),
  file.path(out, "embedding.csv"),
  row.names = FALSE
)
kept <- model$trained_cells
embedding <- embedding[kept, ]
label <- if (is.null(label)) rep(NA, nrow(embedding)) else as.character(label)[kept]
batch <- if (is.null(model$batch)) rep(NA, nrow(embedding)) else as.character(model$batch)[kept]

set.seed(1)
if (any(!is.na(label))) {
  cat("\nHow well the embedding keeps the cell types apart (1 is best):\n")
  known <- !is.na(label)
  cat(sprintf("  ASW      %.3f\n", silhouette_score(embedding[known, ], label[known])))
  agreed <- scores(embedding, label)
  lines <- sprintf("  %-8s NMI %.3f  ARI %.3f", rownames(agreed), agreed[, "NMI"], agreed[, "ARI"])
  writeLines(lines)
}
if (length(unique(batch)) > 1) {
  cat(sprintf("  ASW of the batches %.3f (0.5: mixed)\n", silhouette_score(embedding, batch)))
}

genes <- scScore(model)
genes <- genes[order(genes$rank), ]
most <- sum(genes$scscore == max(genes$scscore, na.rm = TRUE), na.rm = TRUE)
cat(sprintf("\n%d genes have the highest scScore; the first are:\n", most))
cat(" ", paste(utils::head(rownames(genes), 12), collapse = ", "), "\n")
if (is.null(path)) {
  top <- utils::head(rownames(genes), nrow(simulated$markers))
  cat(sprintf(
    "  %d of the first %d are markers of the simulation\n",
    sum(top %in% simulated$markers$gene), length(top)
  ))
}

several <- function(x) if (length(unique(x)) > 1) x
picture(
  "umap.png", plotEmbedding(embedding, labels = several(label), batch = several(batch)),
  width = 10
)
picture("scscore.png", plot(model, "scscore"))
picture("history.png", plot(model), width = 10, height = 3.5)
cat("\nWritten to ", out, ": ", paste(sort(dir(out)), collapse = ", "), "\n", sep = "")
