#!/usr/bin/env python3
"""Synthetic counts for timings: 4,000 cells x 20,000 genes, 8 groups, negative binomial, about 8 % non-zero, seed 0.

  python bench/make_synthetic.py OUT.h5ad
"""

import sys

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

N_CELLS, N_GENES, N_GROUPS, MEDIAN_COUNTS, THETA = 4000, 20000, 8, 2900, 2.0


def main():
    rng = np.random.default_rng(0)
    base = np.exp(rng.normal(0, 2.0, N_GENES))
    group = rng.integers(0, N_GROUPS, N_CELLS)
    fold = np.ones((N_GROUPS, N_GENES))
    for k in range(N_GROUPS):
        up = rng.choice(N_GENES, 400, replace=False)
        fold[k, up] = np.exp(rng.normal(0.8, 0.5, 400))
    share = base * fold
    share /= share.sum(1, keepdims=True)
    library = np.exp(rng.normal(np.log(MEDIAN_COUNTS), 0.35, N_CELLS))
    blocks = []
    for start in range(0, N_CELLS, 500):
        rows = slice(start, start + 500)
        mean = library[rows, None] * share[group[rows]]
        blocks.append(sp.csr_matrix(rng.poisson(rng.gamma(THETA, mean / THETA)).astype(np.float32)))
    obs = pd.DataFrame(
        {"cell_type": [f"t{k}" for k in group], "batch": "b0"}, index=[f"c{i}" for i in range(N_CELLS)]
    )
    var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    ad.AnnData(X=sp.vstack(blocks).tocsr(), obs=obs, var=var).write_h5ad(sys.argv[1])


if __name__ == "__main__":
    main()
