"""Harmony (Korsunsky et al. 2019), harmonypy at its defaults, on principal components.

  python run_harmony.py IN.h5ad --name SET --out DIR [--pcs 50] [--batch-key batch]
         [--seed 0] [--scib-total] [--subsample SHARE] [--results FILE.jsonl]

normalize_total(1e4), log1p, 2,000 variable genes (flavour seurat, per batch), PCA.
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
    ap.add_argument("--pcs", type=int, default=50)
    ap.add_argument("--batch-key", default="batch")
    ap.add_argument("--seed", type=int, default=0)
    scores.add_score_arguments(ap)
    x = ap.parse_args()
    os.makedirs(x.out, exist_ok=True)
    import harmonypy

    a, info = common.load(x.h5ad)
    cells, suffix = scores.subsampled(x, a)
    a = a[cells].copy()
    labels, batch = common.labels_of(a), common.batches_of(a, x.batch_key)
    if batch is None:
        raise SystemExit("one batch only")
    obs = a.obs.copy()
    obs[x.batch_key] = batch
    t = time.perf_counter()
    emb, n_genes = lognorm_pca(
        a, n_pcs=x.pcs, scale=False, batch_key=x.batch_key, seed=x.seed
    )
    t_pca = time.perf_counter() - t
    t = time.perf_counter()
    h = harmonypy.run_harmony(
        np.asarray(emb, dtype=np.float64), obs, x.batch_key, random_state=x.seed
    )
    z = np.asarray(h.Z_corr)
    if z.shape[0] != len(obs):
        z = z.T
    t_harmony = time.perf_counter() - t
    method = f"harmony{x.pcs}{suffix}"
    z = z.astype(np.float32)
    np.save(os.path.join(x.out, f"{x.name}.{method}.npy"), z)
    rec = dict(
        dataset=x.name,
        method=method,
        seed=x.seed,
        genes_used=n_genes,
        data=info,
        wall_s=round(t_pca + t_harmony, 2),
        harmony_s=round(t_harmony, 2),
        peak_rss_mib=common.peak_mib(),
        loadavg=common.loadavg(),
        metrics=scores.score(x, z, labels, batch, cells),
    )
    if x.results:
        common.append_jsonl(x.results, rec)
    print(rec, flush=True)


if __name__ == "__main__":
    main()
