# Seurat's own linear embedding: NormalizeData, FindVariableFeatures (vst, 2,000
# genes), ScaleData, RunPCA, every other argument at its default.
#
#   Rscript run_seurat_pca.R IN.h5ad OUT_PREFIX [CELLS]
#
# writes OUT_PREFIX.pca10.csv and OUT_PREFIX.pca50.csv (first column the cell
# name, one row per cell of the file, NA for a cell that the filter drops) for
# score_embedding.py, and OUT_PREFIX.json with the time taken. CELLS is a file with
# the names of the cells to take of those that pass the filter, one a line.
#
# Needs Seurat, Matrix and hdf5r.

suppressPackageStartupMessages({
  library(Matrix)
  library(Seurat)
})
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "seurat_counts.R"))

args <- commandArgs(trailingOnly = TRUE)
if (!length(args) %in% 2:3) {
  stop("usage: Rscript run_seurat_pca.R IN.h5ad OUT_PREFIX [CELLS]")
}
counts <- read_counts(args[1])
all_cells <- colnames(counts)
counts <- shared_filter(counts)
if (length(args) == 3L) {
  counts <- counts[, readLines(args[3])]
}

started <- proc.time()[["elapsed"]]
obj <- CreateSeuratObject(counts)
obj <- NormalizeData(obj, verbose = FALSE)
obj <- FindVariableFeatures(obj, nfeatures = 2000, verbose = FALSE)
obj <- ScaleData(obj, verbose = FALSE)
obj <- RunPCA(obj, npcs = 50, verbose = FALSE)
seconds <- proc.time()[["elapsed"]] - started

pca <- Embeddings(obj, "pca")
for (d in c(10L, 50L)) {
  write_embedding(pca[, seq_len(d)], all_cells, sprintf("%s.pca%d.csv", args[2], d))
}
cat(
  sprintf(
    '{"genes_used": %d, "wall_s": %.2f, "versions": {"R": "%s", "Seurat": "%s"}}\n',
    length(VariableFeatures(obj)), seconds, getRversion(),
    packageVersion("Seurat")
  ),
  file = paste0(args[2], ".json")
)
