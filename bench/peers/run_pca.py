"""Linear baseline of scanpy (Wolf et al. 2018).

  python run_pca.py IN.h5ad --name SET --out DIR [--no-scale] [--seed 0]
         [--scib-total] [--subsample SHARE] [--results FILE.jsonl]

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

import scores
from lognorm import lognorm_pca

warnings.filterwarnings("ignore")


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("h5ad")
    ap.add_argument("--name", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--no-scale", action="store_true")
    ap.add_argument("--seed", type=int, default=0)
    scores.add_score_arguments(ap)
    x = ap.parse_args()
    os.makedirs(x.out, exist_ok=True)

    a, info = common.load(x.h5ad)
    cells, suffix = scores.subsampled(x, a)
    a = a[cells].copy()
    labels, batch = common.labels_of(a), common.batches_of(a)
    t = time.perf_counter()
    emb, n_genes = lognorm_pca(a, scale=not x.no_scale, seed=x.seed)
    wall = time.perf_counter() - t
    peak = common.peak_mib()
    for d in (10, 50):
        e = emb[:, :d]
        method = f"pca{d}" + ("_unscaled" if x.no_scale else "") + suffix
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
            metrics=scores.score(x, e, labels, batch, cells),
        )
        if x.results:
            common.append_jsonl(x.results, rec)
        print(rec, flush=True)


if __name__ == "__main__":
    main()
