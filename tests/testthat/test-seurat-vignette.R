# The introduction to integration of Seurat 5 on real counts, with the call of IntegrateLayers()
# replaced; on Seurat 4 the same without layers.
skip_if_not_installed("Seurat")
skip_on_cran()

has_layers <- utils::packageVersion("SeuratObject") >= "5.0.0"

object_of <- function(file) {
  data <- real_data(file)
  suppressWarnings(SeuratObject::CreateSeuratObject(data$counts, meta.data = data$cells))
}

# Few epochs, so that the whole takes seconds; the learning rate makes up for some of them.
few <- list(batch_size = 64, n_hidden = 32, lr = 5e-3, threads = 1)

# Of few cells and genes: Seurat tests the genes one by one.
markers_of <- function(object, identity, features) {
  Seurat::FindMarkers(
    object, identity,
    features = features, max.cells.per.ident = 50, verbose = FALSE
  )
}

integrated <- function(object, ...) {
  if (has_layers) {
    object[["RNA"]] <- split(object[["RNA"]], f = object$batch)
  }
  object <- Seurat::NormalizeData(object, verbose = FALSE)
  # Of so few cells of a donor it says that its curve is fitted badly.
  object <- suppressWarnings(Seurat::FindVariableFeatures(object, verbose = FALSE))
  object <- Seurat::ScaleData(object, verbose = FALSE)
  object <- Seurat::RunPCA(object, npcs = 20, verbose = FALSE)
  # By name: Seurat writes the call down, and all counts in it would take most of the test's time.
  if (has_layers) {
    do.call(Seurat::IntegrateLayers, c(
      list(
        quote(object),
        method = SCVAEIntegration, orig.reduction = "pca", new.reduction = "integrated.scvae",
        verbose = FALSE
      ), few, list(...)
    ))
  } else {
    do.call(RunSCVAE, c(
      list(quote(object), batch = "batch", reduction.name = "integrated.scvae"), few,
      list(verbose = FALSE, ...)
    ))
  }
}

analysed <- function(object) {
  object <- Seurat::FindNeighbors(
    object,
    reduction = "integrated.scvae", dims = 1:10, verbose = FALSE
  )
  object <- Seurat::FindClusters(object, resolution = 1, verbose = FALSE)
  object <- suppressWarnings(Seurat::RunUMAP(
    object,
    dims = 1:10, reduction = "integrated.scvae", n.epochs = 50, verbose = FALSE
  ))
  if (has_layers) {
    object[["RNA"]] <- SeuratObject::JoinLayers(object[["RNA"]])
  }
  object
}

# The share of cells that are of their cluster's most frequent type, and of the most frequent type
# of all, which clusters that know nothing would have.
purity <- function(object) {
  table <- table(object$seurat_clusters, object$cell_type)
  sum(apply(table, 1, max)) / sum(table)
}
largest_type <- function(object) max(table(object$cell_type)) / ncol(object)

test_that("donors of blood cells are integrated and their types have the known markers", {
  object <- analysed(integrated(object_of("pbmc_kang_ctrl.h5ad"), max_epochs = 12))
  expect_gt(purity(object), largest_type(object) + 0.2)
  SeuratObject::Idents(object) <- "cell_type"
  markers <- markers_of(object, "B cells", c("CD79A", "CD3D", "LYZ", "GNLY"))
  expect_true("CD79A" %in% rownames(markers)[markers$p_val_adj < 0.01 & markers$avg_log2FC > 1])
  model <- scvaeModel(object, "integrated.scvae")
  expect_setequal(model$batch_names, unique(object$batch))
  expect_identical(rownames(SeuratObject::Embeddings(object[["umap"]])), colnames(object))
  # Its command is called otherwise when Seurat is not attached, of which there is a warning.
  projected <- suppressWarnings(
    Seurat::ProjectDim(object, reduction = "integrated.scvae", verbose = FALSE)
  )
  plots <- list(
    Seurat::DimPlot(object, reduction = "umap", group.by = c("batch", "cell_type")),
    Seurat::DimPlot(object, reduction = "integrated.scvae"),
    Seurat::ElbowPlot(object, ndims = 10, reduction = "integrated.scvae"),
    Seurat::VizDimLoadings(
      projected, 1,
      reduction = "integrated.scvae", projected = TRUE, nfeatures = 5
    )
  )
  for (plot in plots) {
    expect_s3_class(plot, "ggplot")
  }
})

test_that("protocols of cell lines are integrated and clusters are the lines", {
  object <- analysed(integrated(object_of("celllines_tian.h5ad"), max_epochs = 5))
  expect_gt(purity(object), largest_type(object) + 0.4)
  first <- levels(object$seurat_clusters)[1]
  markers <- markers_of(object, first, utils::head(SeuratObject::VariableFeatures(object), 200))
  expect_gt(sum(markers$p_val_adj < 0.01), 10)
  # Most clusters hold cells of several protocols.
  mixed <- rowSums(table(object$seurat_clusters, object$batch) > 0) >= 2
  expect_gt(mean(mixed), 0.5)
})
