#!/usr/bin/env python3
"""What methods of integration do to cells that have no batches.

  python false_batches.py DATA_DIR OUT_DIR [--sets SET,...] [--seeds 1,2,3]

The cells of one real batch are dealt at random into three false batches (Antonsson & Melsted
2025, Genome Res 35:1832, do so). A method that finds no batch effect where there is none leaves the
embedding as it is without batches. Compared are the embeddings with and without the false
batches:

kept      share of a cell's 15 nearest cells that stay, mean over cells
ari       adjusted Rand index of the Leiden clusterings at resolution 1

A model that is trained from other random numbers gives another embedding anyway: the rows `seeds`
compare two fits without batches from different seeds, and there the rows with batches are to be held
against. Harmony corrects the same principal components, and so has no such noise.

nmi, nmi_without: NMI of the clustering with the published cell types, with and without the false
batches: what it costs.

Rows go to OUT_DIR/false_batches.tsv and, as means over sets and seeds, to results/false_batches.md.
Embeddings that are in OUT_DIR are not computed again.
"""

import argparse
import csv
import itertools
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))

import common  # noqa: E402  (sets the thread limits, so it comes before numpy)
import metrics  # noqa: E402
import numpy as np  # noqa: E402
from lognorm import lognorm_pca  # noqa: E402
from score_embedding import load_truth, read_embedding  # noqa: E402

N_BATCHES = 3
K = 15


def false_batches(n, seed):
    rng = np.random.default_rng(seed)
    return rng.permutation(np.arange(n) % N_BATCHES)


def fits(h5ad, cells, batch, out, seed):
    """The package's embeddings, by row, as false_batches.R writes them."""
    rows = [
        f"scvae_{space}_{w}"
        for space in ("latent", "expression")
        for w in ("without", "with")
    ]
    files = {row: out.parent / f"{out.name}.{row}.csv" for row in rows}
    if not all(f.exists() for f in files.values()):
        listed = out.parent / f"{out.name}.cells.csv"
        with open(listed, "w", newline="") as f:
            w = csv.writer(f, lineterminator="\n")
            w.writerow(["cell", "batch"])
            w.writerows(zip(cells, (f"false_{b}" for b in batch)))
        script = HERE / "false_batches.R"
        subprocess.run(
            ["Rscript", script, h5ad, listed, out, str(seed)], check=True
        )
    return {row: read_embedding(f, cells) for row, f in files.items()}


def harmony(h5ad, batch, seed):
    import harmonypy
    import pandas as pd

    pca, _ = lognorm_pca(common.load(h5ad)[0], n_pcs=50, scale=False, seed=seed)
    pca = pca.astype(np.float64)
    obs = pd.DataFrame({"batch": pd.Categorical(batch.astype(str))})
    z = np.asarray(harmonypy.run_harmony(pca, obs, "batch", random_state=seed).Z_corr)
    return pca, (z.T if z.shape[0] != len(pca) else z)


class Cells:
    """Neighbours and clusters of an embedding."""

    def __init__(self, emb):
        d, i = metrics.knn(np.ascontiguousarray(emb, dtype=np.float64), K + 1)
        self.near = i[:, 1:]
        self.clusters = metrics._leiden(*metrics._neighbour_graph(d, i, K), 1.0, 0)


def compared(a, b, labels):
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    kept = [len(np.intersect1d(x, y)) / K for x, y in zip(a.near, b.near)]
    ok, names = metrics._has_label(labels)
    return dict(
        kept=float(np.mean(kept)),
        ari=float(adjusted_rand_score(a.clusters, b.clusters)),
        nmi_without=float(normalized_mutual_info_score(names[ok], a.clusters[ok])),
        nmi=float(normalized_mutual_info_score(names[ok], b.clusters[ok])),
    )


def rows_of(h5ad, name, out, seeds):
    truth = load_truth(h5ad)
    found = {}
    for seed in seeds:
        batch = false_batches(len(truth.cells), seed)
        rows = fits(h5ad, truth.cells, batch, out / f"{name}.{seed}", seed)
        for row, emb in rows.items():
            found[row, seed] = Cells(emb)
        pca, corrected = harmony(h5ad, batch, seed)
        yield dict(set=name, method="harmony50", seed=seed) | compared(
            Cells(pca), Cells(corrected), truth.labels
        )
        for space in ("latent", "expression"):
            yield dict(set=name, method=f"scvae_{space}", seed=seed) | compared(
                found[f"scvae_{space}_without", seed],
                found[f"scvae_{space}_with", seed],
                truth.labels,
            )
    for space in ("latent", "expression"):
        for a, b in itertools.combinations(seeds, 2):
            row = f"scvae_{space}_without"
            yield dict(set=name, method=f"scvae_{space}: seeds", seed=b) | compared(
                found[row, a], found[row, b], truth.labels
            )


def table(rows):
    columns = ["kept", "ari", "nmi_without", "nmi"]
    lines = [
        "| set | method | runs | neighbours kept | ARI | NMI without | NMI with |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    keys = sorted({(r["set"], r["method"]) for r in rows})
    for set_, method in keys:
        runs = [r for r in rows if (r["set"], r["method"]) == (set_, method)]
        cells = []
        for c in columns:
            v = [float(r[c]) for r in runs]
            sd = f" ± {np.std(v, ddof=1):.3f}" if len(v) > 1 else ""
            cells.append(f"{np.mean(v):.3f}{sd}")
        lines.append(f"| {set_} | {method} | {len(runs)} | " + " | ".join(cells) + " |")
    return lines


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("data", type=pathlib.Path)
    ap.add_argument("out", type=pathlib.Path)
    ap.add_argument("--sets", default="pbmc_kang_ctrl,mouse_bladder_han")
    ap.add_argument("--seeds", default="1,2,3")
    x = ap.parse_args()
    x.out.mkdir(parents=True, exist_ok=True)
    seeds = [int(s) for s in x.seeds.split(",")]
    rows = []
    for name in x.sets.split(","):
        for row in rows_of(x.data / f"{name}.h5ad", name, x.out, seeds):
            print(row, flush=True)
            rows.append(row)
    with open(x.out / "false_batches.tsv", "w", newline="") as f:
        w = csv.DictWriter(f, list(rows[0]), delimiter="\t", lineterminator="\n")
        w.writeheader()
        w.writerows(rows)
    head = [line for line in __doc__.split("\n\n")[2:-1]]
    text = "# Batches where there are none\n\nWritten by `bench/false_batches.py"
    text += f" DATA_DIR OUT_DIR --sets {x.sets} --seeds {x.seeds}`; do not edit by hand.\n\n" + "\n\n".join(head)
    text = text.replace("kept      share", "- **neighbours kept**: share")
    text = text.replace("\nari       adjusted", "\n- **ARI**: adjusted")
    text = text.replace("nmi, nmi_without: NMI", "**NMI**: NMI")
    result = HERE / "results" / "false_batches.md"
    result.write_text(text + "\n\n" + "\n".join(table(rows)) + "\n")


if __name__ == "__main__":
    main()
