# The curves of genes.md as a picture: Rscript plot.R OUT.png RESULTS.tsv...

given <- commandArgs(TRUE)
rows <- do.call(rbind, lapply(given[-1], utils::read.delim))
shown <- c(
  scScore_deviance = "scScore", scScore_mse = "scScore, criterion mse",
  scScore_deviance_ties_at_random = "scScore, ties at random", nbdrop = "NBDrop",
  pearson_residuals = "Pearson residuals", scran = "modelGeneVar", hvg_seurat_v3 = "Seurat v3",
  deviance = "binomial deviance", mean = "mean expression"
)
method <- sub("_seed[0-9]+$|(?<=^random)_[0-9]+$", "", rows$ranking, perl = TRUE)
kept <- method %in% names(shown)
curves <- data.frame(
  ranking = shown[method[kept]], n_genes = rows$size[kept],
  value = (rows$nmi_leiden[kept] + rows$nmi_kmeans[kept]) / 2, set = rows$set[kept]
)
plot <- scVAE::plotGeneSelection(curves, "NMI, mean of Leiden and k-means") +
  ggplot2::labs(title = "Cell types found with the first genes of a ranking", subtitle = paste(
    "Means over", length(given) - 1, "sets; scScore of one fit, 3 seeds"
  ))
ggplot2::ggsave(given[1], plot, width = 8, height = 5, dpi = 130)
