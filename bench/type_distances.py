#!/usr/bin/env python3
"""Whether cell types lie to each other as they do within each batch: scGraph.

  python type_distances.py DATA_DIR OUT_DIR [--sets SET,...] [--seeds 1,2,3]

The score of Wang, Leskovec & Regev 2025 (Nat Biotechnol, "Limitations of cell embedding metrics assessed
using drifting islands"), by their program scgraph-eval 0.1.2 at its defaults: distances between the
types' centroids in the embedding against those in principal components of each batch by itself
(batches of at least 100 cells, types of at least 10). An embedding that sets types apart as islands, in
whatever order, has good silhouettes and a low score here. Between -1 and 1, higher is better.

rank, corr, weighted   mean over the types of Spearman's, Pearson's and distance-weighted Pearson's
                       correlation

`scvae_latent` is this package's default with batches, whose axes are all of unit spread and so say little of
distances between types: whoever asks for these does better with expression space; `scvae_expression` the same fits with
embedding = "expression"; `pca50` and `harmony50` as in peers/. As the reference is made of principal
components, PCA is favoured where batches differ little.

Embeddings are kept in OUT_DIR; the table goes to results/type_distances.md.
"""

import argparse
import contextlib
import io
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))

import common  # noqa: E402  (sets the thread limits, so it comes before numpy)
import numpy as np  # noqa: E402
from lognorm import lognorm_pca  # noqa: E402
from score_embedding import read_embedding  # noqa: E402


def ours(h5ad, out, seed, cells):
    if not out.with_name(out.name + ".latent.csv").exists():
        script, arguments = HERE / "fit_embedding.R", 'embedding = "expression"'
        command = ["Rscript", script, h5ad, out, "batch", str(seed), "1", arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {
        "scvae_expression": read_embedding(out.with_name(out.name + ".csv"), cells),
        "scvae_latent": read_embedding(out.with_name(out.name + ".latent.csv"), cells),
    }


def scores(a, work):
    from scgraph import scGraph

    a.write_h5ad(work)
    with contextlib.redirect_stdout(io.StringIO()):
        found = scGraph(
            str(work), batch_key="batch", label_key="cell_type", only_umap=False
        ).main(list(a.obsm))
    work.unlink()
    return {row: list(map(float, values)) for row, values in zip(found.index, found.values)}


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("data", type=pathlib.Path)
    ap.add_argument("out", type=pathlib.Path)
    ap.add_argument("--sets", default="pbmc_kang_ctrl,celllines_tian")
    ap.add_argument("--seeds", default="1,2,3")
    x = ap.parse_args()
    x.out.mkdir(parents=True, exist_ok=True)
    import harmonypy
    import scanpy as sc

    head = "\n\n".join(__doc__.split("\n\n")[2:-1])
    lines = ["# Cell types as they lie within batches", ""]
    command = f"bench/type_distances.py DATA_DIR OUT_DIR --sets {x.sets} --seeds {x.seeds}"
    lines += [f"Written by `{command}`; do not edit by hand.", ""]
    lines += [head.replace("rank, corr, weighted  ", "**rank, corr, weighted**:"), ""]
    lines += ["| set | method | seeds | rank | corr | weighted |", "|---|---|--:|--:|--:|--:|"]
    for name in x.sets.split(","):
        h5ad = x.data / f"{name}.h5ad"
        a, _ = common.load(h5ad)
        pca, _ = lognorm_pca(a.copy(), n_pcs=50, scale=False)
        obs = a.obs.copy()
        z = np.asarray(harmonypy.run_harmony(pca.astype(np.float64), obs, "batch").Z_corr)
        embeddings = {"pca50": [pca], "harmony50": [z.T if len(z) != len(pca) else z]}
        for seed in map(int, x.seeds.split(",")):
            cells = a.obs_names.to_numpy()
            for row, emb in ours(h5ad, x.out / f"{name}.{seed}", seed, cells).items():
                embeddings.setdefault(row, []).append(emb)
        a.obsm.clear()
        for row, runs in embeddings.items():
            for i, emb in enumerate(runs):
                a.obsm[f"{row}.{i}"] = emb
        sc.pp.normalize_total(a, target_sum=1e4)
        sc.pp.log1p(a)
        found = scores(a, x.out / f"{name}.tmp.h5ad")
        for row, runs in embeddings.items():
            values = np.array([found[f"{row}.{i}"] for i in range(len(runs))])
            cells = [
                f"{v.mean():.3f}" + (f" ± {v.std(ddof=1):.3f}" if len(v) > 1 else "")
                for v in values.T
            ]
            lines.append(f"| {name} | {row} | {len(runs)} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    (HERE / "results" / "type_distances.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
