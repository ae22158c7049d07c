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

several <- function(x) if (length(unique(x[!is.na(x)])) > 1) x

if (!is.null(several(label)) || !is.null(several(batch))) {
  cat("\nHow well the embedding keeps the cell types apart, and mixes the batches (1 is best):\n")
  print(evaluateEmbedding(embedding, several(label), several(batch), verbose = FALSE))
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

picture(
  "umap.png", plotEmbedding(embedding, labels = several(label), batch = several(batch)),
  width = 10
)
picture("scscore.png", plot(model, "scscore"))
picture("history.png", plot(model), width = 10, height = 3.5)
cat("\nWritten to ", out, ": ", paste(sort(dir(out)), collapse = ", "), "\n", sep = "")
