#!/usr/bin/env python3
"""Synthetic counts for timings: 4,000 cells x 20,000 genes unless told otherwise, 8 groups, negative binomial, about
8 % non-zero whatever the number of genes, seed 0.

  python bench/make_synthetic.py OUT.h5ad [CELLS GENES]
"""

import sys

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

N_GROUPS, COUNTS_OF_GENE, THETA = 8, 0.145, 2.0


def main():
    n_cells, n_genes = (int(n) for n in sys.argv[2:4]) if len(sys.argv) > 2 else (4000, 20000)
    rng = np.random.default_rng(0)
    base = np.exp(rng.normal(0, 2.0, n_genes))
    group = rng.integers(0, N_GROUPS, n_cells)
    fold = np.ones((N_GROUPS, n_genes))
    for k in range(N_GROUPS):
        up = rng.choice(n_genes, n_genes // 50, replace=False)
        fold[k, up] = np.exp(rng.normal(0.8, 0.5, len(up)))
    share = base * fold
    share /= share.sum(1, keepdims=True)
    library = np.exp(rng.normal(np.log(COUNTS_OF_GENE * n_genes), 0.35, n_cells))
    blocks = []
    for start in range(0, n_cells, 500):
        rows = slice(start, start + 500)
        mean = library[rows, None] * share[group[rows]]
        blocks.append(sp.csr_matrix(rng.poisson(rng.gamma(THETA, mean / THETA)).astype(np.float32)))
    obs = pd.DataFrame(
        {"cell_type": [f"t{k}" for k in group], "batch": "b0"}, index=[f"c{i}" for i in range(n_cells)]
    )
    var = pd.DataFrame(index=[f"g{i}" for i in range(n_genes)])
    ad.AnnData(X=sp.vstack(blocks).tocsr(), obs=obs, var=var).write_h5ad(sys.argv[1])


if __name__ == "__main__":
    main()
