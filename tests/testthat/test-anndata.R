# Files of anndata's own, and what anndata and scanpy make of ours. SCVAE_PYTHON says which Python
# has them, otherwise that of the search path is asked.

python_with_anndata <- function() {
  python <- Sys.getenv("SCVAE_PYTHON", unname(Sys.which("python3")))
  code <- shQuote("import anndata, scanpy")
  if (!nzchar(python) || suppressWarnings(system2(python, c("-c", code), FALSE, FALSE)) != 0) {
    skip("no Python with anndata and scanpy: set SCVAE_PYTHON")
  }
  python
}

run_python <- function(python, lines, ...) {
  script <- withr::local_tempfile(fileext = ".py", lines = lines)
  said <- suppressWarnings(system2(python, shQuote(c(script, ...)), stdout = TRUE, stderr = TRUE))
  if (!is.null(attr(said, "status"))) {
    stop("Python failed:\n", paste(said, collapse = "\n"))
  }
  said
}

write_script <- '
import sys
import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

rng = np.random.default_rng(1)
counts = rng.poisson(1.5, size=(50, 60))
names = [f"cell {i}" for i in range(50)]
obs = pd.DataFrame(index=pd.Index(names, name="barcode"))
obs["type"] = pd.Categorical(["B", "T"] * 23 + [None] + ["NK"] * 3, categories=["T", "NK", "B"])
obs["grade"] = pd.Categorical([2, 1] * 25, categories=[1, 2, 3], ordered=True)
obs["doublet"] = [True, False] * 25
obs["maybe"] = pd.array([True, None] * 25, dtype="boolean")
obs["age"] = pd.array([61, None] * 25, dtype="Int64")
obs["plate"] = [f"plate \u00e4{i}" for i in range(50)]
obs["single"] = np.linspace(0, 1, 50, dtype="float32")
obs["double"] = np.linspace(0, 1, 50)
obs["missing"] = [np.nan, 1.0] * 25
obs["big"] = np.arange(50) + 2**40
var = pd.DataFrame({"mean": counts.mean(axis=0)}, index=[f"g{i}" for i in range(60)])
adata = ad.AnnData(sp.csr_matrix(np.log1p(counts)), obs=obs, var=var)
adata.layers["counts"] = sp.csc_matrix(counts)
adata.obsm["X_pca"] = np.zeros((50, 2))
adata.uns["theirs"] = {"a": 1}
adata.write_h5ad(sys.argv[1])
np.savetxt(sys.argv[2], counts.T, fmt="%d")
'

check_script <- '
import sys
import warnings
warnings.simplefilter("error")
import anndata as ad
warnings.simplefilter("default")
import scanpy as sc
warnings.simplefilter("error")
import numpy as np

adata = ad.read_h5ad(sys.argv[1])
assert adata.obsm["X_scvae"].shape[0] == 50 and adata.obsm["X_pca"].shape == (50, 2)
assert list(adata.var.columns)[:2] == ["mean", "scscore"], adata.var.columns
uns = adata.uns["scvae"]
assert uns["settings"]["n_hidden"] == 16 and uns["settings"]["fc_layer"] == True
assert isinstance(uns["settings"]["likelihood"], str) and uns["settings"]["likelihood"] == "zinb"
assert list(uns["batch_names"]) == ["B", "NK", "T"], uns["batch_names"]
assert len(uns["history"]["elbo_train"]) == uns["epochs"]
assert adata.uns["theirs"]["a"] == 1
assert adata.obs["grade"].cat.ordered
np.savetxt(sys.argv[2], adata.obsm["X_scvae"], fmt="%.17g")
np.savetxt(sys.argv[3], adata.var["scscore"], fmt="%.17g")
adata.write_h5ad(sys.argv[4])
warnings.simplefilter("ignore")
kept = adata[~np.isnan(adata.obsm["X_scvae"]).any(axis=1)].copy()
sc.pp.neighbors(kept, use_rep="X_scvae", n_neighbors=5)
assert kept.obsp["connectivities"].shape == (kept.n_obs, kept.n_obs)
'

test_that("files of anndata are read, and what is added to them is read by anndata and scanpy", {
  skip_on_cran()
  skip_if_not_installed("SingleCellExperiment")
  python <- python_with_anndata()
  path <- withr::local_tempfile(fileext = ".h5ad")
  table <- withr::local_tempfile()
  run_python(python, write_script, path, table)
  counts <- as.matrix(utils::read.table(table))

  sce <- readCounts(path, verbose = FALSE)
  read <- SummarizedExperiment::assay(sce, "counts")
  expect_equal(unname(as.matrix(read)), unname(counts))
  expect_identical(colnames(sce)[1:2], c("cell 0", "cell 1"))
  obs <- SummarizedExperiment::colData(sce)
  type <- c(rep(c("B", "T"), 23), NA, rep("NK", 3))
  expect_identical(obs$type, factor(type, c("T", "NK", "B")))
  expect_identical(obs$grade, factor(rep(2:1, 25), 1:3, ordered = TRUE))
  expect_identical(obs$doublet, rep(c(TRUE, FALSE), 25))
  expect_identical(obs$maybe, rep(c(TRUE, NA), 25))
  expect_identical(obs$age, rep(c(61L, NA), 25))
  expect_identical(obs$plate, sprintf("plate \u00e4%d", 0:49))
  expect_equal(obs$single, (0:49) / 49, tolerance = 1e-6)
  expect_equal(obs$double, (0:49) / 49, tolerance = 1e-15)
  expect_identical(obs$missing, rep(c(NA, 1), 25))
  expect_identical(obs$big, 0:49 + 2^40)
  expect_equal(SummarizedExperiment::rowData(sce)$mean, unname(rowMeans(counts)))

  known <- !is.na(type)
  model <- suppressWarnings(quick_fit(
    sce[, known],
    batch = "type", min_genes = 5, min_cells = 1, seed = 1
  ))
  writeResults(model, path, verbose = FALSE)
  out <- file.path(withr::local_tempdir(), c("embedding", "scores", "again.h5ad"))
  run_python(python, check_script, path, out[1], out[2], out[3])
  embedding <- as.matrix(utils::read.table(out[1], na.strings = "nan"))
  expect_equal(unname(embedding[known, ]), unname(model$embedding), tolerance = 1e-15)
  expect_true(all(is.na(embedding[!known, ])))
  expect_equal(scan(out[2], quiet = TRUE), scScore(model)$scscore, tolerance = 1e-15)
  # What anndata writes of it again is read here.
  again <- readCounts(out[3], verbose = FALSE)
  expect_equal(SummarizedExperiment::rowData(again)$scscore, scScore(model)$scscore)
})
