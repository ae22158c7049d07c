# Seurat 5's integration by anchors: one layer per batch, NormalizeData, FindVariableFeatures
# (vst, 2,000 genes that the layers agree on), ScaleData, RunPCA, then IntegrateLayers with
# CCAIntegration or RPCAIntegration.
#
#   Rscript run_seurat_integration.R IN.h5ad OUT_PREFIX cca|rpca [BATCH] [DIMS]
#
# writes OUT_PREFIX.csv (first column the cell name, one row per cell of the file, NA for a
# cell that the filter drops) for score_embedding.py, and OUT_PREFIX.json with what was used.
# BATCH is a column of obs, default "batch".
#
# Seurat's defaults are 30 dimensions, k.score = 30 and k.weight = 100. A batch of n cells
# allows n - 1 dimensions and a k.score of n - 1. k.weight must stay below the anchors of the
# smallest batch: it is lowered step by step until Seurat takes it.
#
# Needs Seurat 5, Matrix and hdf5r.

suppressPackageStartupMessages({
  library(Matrix)
  library(Seurat)
})
if (packageVersion("Seurat") < "5") stop("needs Seurat 5, this is ", packageVersion("Seurat"))
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "seurat_counts.R"))

args <- commandArgs(trailingOnly = TRUE)
if (length(args) < 3L || !args[3] %in% c("cca", "rpca")) {
  stop("usage: Rscript run_seurat_integration.R IN.h5ad OUT_PREFIX cca|rpca [BATCH]")
}
integration <- list(cca = CCAIntegration, rpca = RPCAIntegration)[[args[3]]]
options(future.globals.maxSize = Inf)

counts <- read_counts(args[1])
all_cells <- colnames(counts)
counts <- shared_filter(counts)
batch <- read_category(args[1], if (length(args) > 3L) args[4] else "batch")[colnames(counts)]
smallest <- min(table(batch))
dims <- min(if (length(args) > 4L) as.integer(args[5]) else 30L, smallest - 1L)
k_score <- min(30L, smallest - 1L)

started <- proc.time()[["elapsed"]]
obj <- CreateSeuratObject(counts)
obj[["RNA"]] <- split(obj[["RNA"]], f = unname(batch))
obj <- NormalizeData(obj, verbose = FALSE)
obj <- FindVariableFeatures(obj, nfeatures = 2000, verbose = FALSE)
obj <- ScaleData(obj, verbose = FALSE)
obj <- RunPCA(obj, npcs = dims, verbose = FALSE)

done <- NULL
candidates <- c(100L, 75L, 50L, 40L, 30L, 25L, 20L, 15L, 10L, 5L)
for (k_weight in candidates[candidates <= smallest]) {
  set.seed(0)
  done <- tryCatch(
    IntegrateLayers(
      obj,
      method = integration, orig.reduction = "pca", new.reduction = "integrated",
      dims = seq_len(dims), k.score = k_score, k.weight = k_weight, verbose = FALSE
    ),
    error = function(e) {
      message("k.weight ", k_weight, ": ", conditionMessage(e))
      if (!grepl("k.weight", conditionMessage(e), fixed = TRUE)) stop(e)
    }
  )
  if (!is.null(done)) break
}
if (is.null(done)) stop("no k.weight down to 5 is small enough")
seconds <- proc.time()[["elapsed"]] - started

write_embedding(Embeddings(done, "integrated"), all_cells, paste0(args[2], ".csv"))
cat(
  sprintf(
    paste0(
      '{"genes_used": %d, "dims": %d, "k_score": %d, "k_weight": %d, "smallest_batch": %d, ',
      '"wall_s": %.2f, "versions": {"R": "%s", "Seurat": "%s"}}\n'
    ),
    length(VariableFeatures(obj)), dims, k_score, k_weight, smallest, seconds, getRversion(),
    packageVersion("Seurat")
  ),
  file = paste0(args[2], ".json")
)
