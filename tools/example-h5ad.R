# Writes inst/extdata/example.h5ad, the file of the examples: simulated counts as a layer,
# log-normalised values in X. Rscript tools/example-h5ad.R PYTHON, a Python with anndata; scVAE is
# installed.
python <- commandArgs(trailingOnly = TRUE)[1]
folder <- tempfile()
dir.create(folder)
at <- function(name) file.path(folder, name)
sim <- scVAE::simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
invisible(Matrix::writeMM(sim$counts, at("counts.mtx")))
writeLines(rownames(sim$counts), at("genes"))
cells <- data.frame(cell_type = sim$cell_type, donor = sim$batch, row.names = colnames(sim$counts))
write.csv(cells, at("cells"))
script <- "
import sys
import anndata as ad
import numpy as np
import pandas as pd
import scipy.io as io
import scipy.sparse as sp

folder, path = sys.argv[1:]
counts = sp.csr_matrix(io.mmread(folder + '/counts.mtx').T)
x = sp.diags(1e4 / np.asarray(counts.sum(axis=1))[:, 0]) @ counts
cells = pd.read_csv(folder + '/cells', index_col=0).astype('category')
genes = pd.DataFrame(index=open(folder + '/genes').read().split())
adata = ad.AnnData(sp.csr_matrix(x.log1p(), dtype='float32'), obs=cells, var=genes)
adata.layers['counts'] = counts.astype('int32')
adata.write_h5ad(path, compression='gzip')
"
writeLines(script, at("write.py"))
dir.create("inst/extdata", showWarnings = FALSE)
status <- system2(python, c(at("write.py"), folder, "inst/extdata/example.h5ad"))
stopifnot(status == 0)
