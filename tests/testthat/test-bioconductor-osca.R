# A script in the form of the chapter on integration of the book "Orchestrating Single-Cell Analysis
# with Bioconductor": batches in objects of their own, cut to the genes that they share, corrected,
# clustered, plotted. Only the call of the correction is another. Without batchelor there is no
# multiBatchNorm(), which scVAE does not need, and batchCorrect() is a stand-in's, see
# helper-batchelor.R.

# A SingleCellExperiment for each of these batches of a file; each lacks five genes of its own.
batches_of <- function(file, batches) {
  path <- test_data(file)
  names <- as_counts(path)
  read <- function(part) as.vector(rhdf5::h5read(path, paste0("X/", part)))
  # Stored by cells, as a dgCMatrix is by columns.
  counts <- methods::new(
    "dgCMatrix",
    i = as.integer(read("indices")), p = as.integer(read("indptr")), x = as.double(read("data")),
    Dim = c(names$n_genes, names$n_cells), Dimnames = names[c("gene_names", "cell_names")]
  )
  names(slot(counts, "Dimnames")) <- NULL
  batch <- rs_read_obs(path, "batch")
  label <- rs_read_obs(path, "cell_type")
  lapply(stats::setNames(seq_along(batches), batches), function(i) {
    chosen <- which(batch == batches[i])
    SingleCellExperiment::SingleCellExperiment(
      list(counts = counts[-(10 * i + 1:5), chosen]),
      colData = S4Vectors::DataFrame(label = label[chosen])
    )
  })
}

# The share of each cell's `k` nearest cells that are of another batch, over the share that random
# ones would have; and the share that is of the same label.
neighbours <- function(embedding, batch, label, k = 15) {
  near <- RANN::nn2(embedding, k = k + 1)$nn.idx[, -1]
  c(
    mixed = mean(batch[near] != batch) / (1 - sum(prop.table(table(batch))^2)),
    same_label = mean(label[near] == label)
  )
}

run_script <- function(file, batches, max_epochs) {
  load_batchelor()
  skip_if_not_installed("rhdf5")
  for (package in c("scater", "scuttle", "bluster", "igraph", "RANN", "ggplot2")) {
    skip_if_not_installed(package)
  }
  all <- batches_of(file, batches)
  universe <- Reduce(intersect, lapply(all, rownames))
  all <- lapply(all, function(x) x[universe, ])

  uncorrected <- do.call(SummarizedExperiment::cbind, unname(all))
  uncorrected$batch <- rep(names(all), vapply(all, ncol, 1L))
  uncorrected <- scuttle::logNormCounts(uncorrected)
  set.seed(0010101010)
  uncorrected <- scater::runPCA(uncorrected, ncomponents = 20)

  set.seed(1000101001)
  corrected <- do.call(batchelor::batchCorrect, c(
    all, PARAM = SCVAEParam(max_epochs = max_epochs, threads = 1, verbose = FALSE)
  ))
  corrected <- scater::runUMAP(corrected, dimred = "SCVAE")
  clusters <- bluster::clusterRows(
    SingleCellExperiment::reducedDim(corrected, "SCVAE"), bluster::NNGraphParam()
  )
  SingleCellExperiment::colLabels(corrected) <- clusters
  list(
    uncorrected = uncorrected, corrected = corrected, clusters = clusters,
    plot = scater::plotReducedDim(corrected, "UMAP", colour_by = "batch"),
    table = table(Cluster = clusters, Batch = corrected$batch)
  )
}

# What holds for both sets of data.
expect_corrected <- function(result, n_cells) {
  expect_identical(dim(result$corrected), dim(result$uncorrected))
  expect_identical(dimnames(result$corrected), dimnames(result$uncorrected))
  expect_identical(ncol(result$corrected), n_cells)
  expect_identical(result$corrected$batch, result$uncorrected$batch)
  umap <- SingleCellExperiment::reducedDim(result$corrected, "UMAP")
  expect_true(all(is.finite(umap)))
  # The corrected expression itself joins the batches, too.
  expression <- SummarizedExperiment::assay(result$corrected, "corrected")
  values <- list(
    before = SingleCellExperiment::reducedDim(result$uncorrected, "PCA"),
    after = SingleCellExperiment::reducedDim(result$corrected, "SCVAE"),
    expression = scater::calculatePCA(expression, ncomponents = 10)
  )
  picture <- withr::local_tempfile(fileext = ".png")
  suppressMessages(ggplot2::ggsave(picture, result$plot, width = 4, height = 4))
  expect_gt(file.size(picture), 1000)
  vapply(
    values, neighbours, c(mixed = 0, same_label = 0),
    batch = result$uncorrected$batch, label = result$uncorrected$label
  )
}

test_that("two protocols are integrated by the script of the book", {
  result <- run_script("celllines_tian.h5ad", c("CELseq2_3cl", "Dropseq_3cl"), max_epochs = 25)
  seen <- expect_corrected(result, 450L)
  # Nothing is mixed before. Few epochs mix half of what is possible, and lines stay apart.
  expect_lt(seen["mixed", "before"], 0.05)
  expect_true(all(seen["mixed", -1] > 0.3))
  expect_true(all(seen["same_label", -1] > 0.75))
  expect_gt(nrow(result$table), 2)
})

test_that("donors are integrated by the script of the book", {
  result <- run_script("pbmc_kang_ctrl.h5ad", c("donor_1015", "donor_1488"), max_epochs = 20)
  seen <- expect_corrected(result, 391L)
  expect_true(all(seen["mixed", -1] > seen["mixed", "before"] + 0.1))
  # There are eight labels, and two of them are hard to tell apart.
  expect_true(all(seen["same_label", -1] > 0.55))
  expect_true(all(result$table > 0))
})
