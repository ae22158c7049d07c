"""Linear baseline of scanpy (Wolf et al. 2018).

  python run_pca.py IN.h5ad --name SET --out DIR [--no-scale] [--seed 0]
         [--scib-total] [--results FILE.jsonl]

normalize_total(1e4), log1p, 2,000 variable genes (flavour seurat), scale (max 10),
PCA; the first 10 and the first 50 components are scored. --no-scale leaves the
scaling out.
"""

import common
import argparse
import os
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")


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


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("h5ad")
    ap.add_argument("--name", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--no-scale", action="store_true")
    ap.add_argument("--seed", type=int, default=0)
    common.add_score_arguments(ap)
    x = ap.parse_args()
    os.makedirs(x.out, exist_ok=True)

    a, info = common.load(x.h5ad)
    labels, batch = common.labels_of(a), common.batches_of(a)
    t = time.perf_counter()
    emb, n_genes = lognorm_pca(a, scale=not x.no_scale, seed=x.seed)
    wall = time.perf_counter() - t
    peak = common.peak_mib()
    for d in (10, 50):
        e = emb[:, :d]
        method = f"pca{d}" + ("_unscaled" if x.no_scale else "")
        np.save(os.path.join(x.out, f"{x.name}.{method}.npy"), e)
        rec = dict(
            dataset=x.name,
            method=method,
            seed=x.seed,
            genes_used=n_genes,
            data=info,
            wall_s=round(wall, 2),
            peak_rss_mib=peak,
            loadavg=common.loadavg(),
            metrics=common.score(x, e, labels, batch),
        )
        if x.results:
            common.append_jsonl(x.results, rec)
        print(rec, flush=True)


if __name__ == "__main__":
    main()
