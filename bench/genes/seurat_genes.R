# Seurat's linear embedding of the first genes of each ranking: NormalizeData, ScaleData and RunPCA
# of these genes, every other argument at its default.
#
#   Rscript seurat_genes.R SET.h5ad RANKS.tsv SIZE ONLY OUT.tsv
#
# ONLY is a regular expression for the rankings' names. OUT.tsv gets a row per ranking and cell:
# `ranking`, `cell` and 10 components, as many as scVI has latent dimensions. seurat_genes.py scores them.

suppressPackageStartupMessages({
  library(Matrix)
  library(Seurat)
})
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "..", "peers", "seurat_counts.R"))

args <- commandArgs(trailingOnly = TRUE)
if (length(args) != 5L) {
  stop("usage: Rscript seurat_genes.R SET.h5ad RANKS.tsv SIZE ONLY OUT.tsv")
}
counts <- shared_filter(read_counts(args[1]))
ranks <- utils::read.delim(args[2], quote = "")
size <- as.integer(args[3])
# Seurat has no underscores in names of genes, so they are known by their place.
places <- stats::setNames(sprintf("g%d", seq_len(nrow(counts))), rownames(counts))
rownames(counts) <- places
obj <- NormalizeData(CreateSeuratObject(counts), verbose = FALSE)

components <- lapply(grep(args[4], unique(ranks$ranking), value = TRUE), function(name) {
  order <- ranks[ranks$ranking == name, ]
  order <- order[order(order$rank), "gene"]
  genes <- unname(places[intersect(order, names(places))[seq_len(size)]])
  scaled <- ScaleData(obj, features = genes, verbose = FALSE)
  pca <- RunPCA(scaled, features = genes, npcs = 10, verbose = FALSE)
  data.frame(ranking = name, cell = colnames(obj), unname(Embeddings(pca, "pca")))
})
utils::write.table(do.call(rbind, components), args[5], sep = "\t", quote = FALSE, row.names = FALSE)
