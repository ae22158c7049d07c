"""Shared by the peer runs: thread limits, loading, the cell and gene filter, records.

Import this before numpy: it sets how many threads the numeric libraries take
(two, unless the environment says otherwise) and keeps them on the CPU.
"""

import os

for _library in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import fcntl  # noqa: E402
import json  # noqa: E402

import numpy as np  # noqa: E402
import scipy.sparse as sp  # noqa: E402


def peak_mib():
    """The most memory this process has held so far (Linux), MiB."""
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024)
    return None


def loadavg():
    return [round(x, 2) for x in os.getloadavg()]


def load(path, no_filter=False, min_cells=3, min_genes=200):
    """h5ad -> AnnData of the raw counts of the cells and genes that pass the filter.

    Genes in fewer than `min_cells` cells are dropped first, then cells with
    fewer than `min_genes` genes. Also returns what the filter left.
    """
    import anndata as ad

    a = ad.read_h5ad(path)
    x = a.X if sp.issparse(a.X) else sp.csr_matrix(a.X)
    x = x.tocsr().astype(np.float32)
    obs, var = a.obs.copy(), a.var.copy()
    info = {
        "raw_cells": int(x.shape[0]),
        "raw_genes": int(x.shape[1]),
        "min_genes": 0 if no_filter else min_genes,
    }
    head = x.data[:200000]
    info["integer_counts"] = bool(
        np.all(head == np.round(head)) and (head.size == 0 or head.min() >= 0)
    )
    if not no_filter:
        genes = np.asarray((x > 0).sum(0)).ravel() >= min_cells
        x = x[:, genes].tocsr()
        var = var.iloc[np.flatnonzero(genes)]
        cells = np.asarray((x > 0).sum(1)).ravel() >= min_genes
        x = x[cells].tocsr()
        obs = obs.iloc[np.flatnonzero(cells)]
    a = ad.AnnData(X=x, obs=obs, var=var)
    a.obs_names_make_unique()
    a.var_names_make_unique()
    info.update(
        cells=int(a.n_obs),
        genes=int(a.n_vars),
        nnz=int(x.nnz),
        density=round(x.nnz / (x.shape[0] * x.shape[1]), 4),
    )
    return a, info


def labels_of(a, key="cell_type"):
    """The labels of the cells, or None where there is no such column."""
    return a.obs[key].astype(object).to_numpy() if key in a.obs else None


def batches_of(a, key="batch"):
    """The batches of the cells, or None where there are not at least two."""
    if key not in a.obs:
        return None
    b = a.obs[key].astype(str).to_numpy()
    return b if len(np.unique(b)) > 1 else None


def hvg_counts(a, n_top=2000, batch_key=None):
    """The raw counts of the most variable genes (seurat_v3), and how they were chosen.

    With a batch key the genes are ranked per batch. The loess of the variance
    is singular for small sparse batches at the default span, so wider spans are
    tried in turn and the one taken is recorded.
    """
    import scanpy as sc

    how = dict(flavor="seurat_v3", n_top_genes=n_top, batch_key=batch_key)
    n_top = min(n_top, a.n_vars)
    last = None
    for span in (0.3, 0.5, 0.8, 1.0):
        try:
            b = a.copy()
            sc.pp.highly_variable_genes(
                b,
                flavor="seurat_v3",
                n_top_genes=n_top,
                batch_key=batch_key,
                span=span,
            )
        except ValueError as e:
            last = e
            continue
        how["span"] = span
        return b[:, b.var.highly_variable.to_numpy()].copy(), how
    raise last


def append_jsonl(path, rec):
    """Appends one line, whole, though other processes append to the same file."""
    with open(path, "a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        f.write(json.dumps(rec) + "\n")
