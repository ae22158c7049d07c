"""Principal components of log-normalised counts: a baseline, what Harmony corrects, and what PCR compares with."""

import numpy as np


def lognorm_pca(a, n_pcs=50, n_top=2000, scale=True, batch_key=None, seed=0):
    """The principal components of the log-normalised counts and the genes used."""
    import scanpy as sc

    sc.pp.normalize_total(a, target_sum=1e4)
    sc.pp.log1p(a)
    sc.pp.highly_variable_genes(
        a, n_top_genes=min(n_top, a.n_vars), batch_key=batch_key
    )
    a = a[:, a.var.highly_variable.to_numpy()].copy()
    if scale:
        sc.pp.scale(a, max_value=10)
    sc.pp.pca(a, n_comps=n_pcs, random_state=seed, svd_solver="arpack")
    return np.asarray(a.obsm["X_pca"], dtype=np.float32), int(a.n_vars)
