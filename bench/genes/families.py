#!/usr/bin/env python3
"""What the first genes of each ranking are good for beside clustering.

  python families.py SET.h5ad LABEL_COLUMN RANKS.tsv [RANKS2.tsv ...] OUT.tsv
         [--sizes 1000,2000] [--batch-key batch] [--only REGEX] [--cells N]

The families of scores are those that Zappia et al. 2025 (Nat Methods 22:834) compare ways to
choose genes by. Counts to 10,000 over all genes, log1p, scaled (at most 10), the first genes of
the ranking, 50 principal components; then, all in [0, 1] and higher is better:

bio, batch, total   integration: Harmony (harmonypy at its defaults, random state 0) on the
                    components, then scib_bio, scib_batch and scib_total of ../peers/scib.py
shuffled            scib_batch of the same embedding with the batches shuffled within the types:
                    what perfect mixing gives
map_f1, map_acc     mapping of a query: each batch in turn is the query, the others the
                    reference. Components of the reference alone, by whose means and deviations
                    the query is scaled, too; a cell gets the type that most of its 15 nearest
                    reference cells have. Macro F1 over the types that are in both, and
                    accuracy; means over the batches
unseen              unseen populations: one random half of the cells is the reference, the other
                    the query, and a type is taken out of the reference. AUROC by which the mean
                    distance to the 15 nearest reference cells tells the type's query cells from
                    the others; mean over the types with at least 20 cells
minor_recall        share of the markers of the types below 5 % of the cells that are among the
all_recall          first genes, and of all types. Markers: the at most 20 genes with the lowest
                    p-values (Wilcoxon, scanpy's rank_genes_groups, of log-normalised counts of
                    all cells and genes, the type against the rest) of those with a log fold
                    change above 1 and an adjusted p-value below 0.01; types without any are
                    left out. Mean over the types

`all_genes` is all of them, without a ranking.
--cells N: all but the markers with N random cells (seed 0), for large sets. Rows that OUT.tsv
holds are not computed again.
"""

import argparse
import re
import sys
import time
import warnings

import dataset  # (sets the thread limits, so it comes before numpy)
import common
import evaluate
import metrics
import numpy as np
import scib

warnings.filterwarnings("ignore")

SIZES = [1000, 2000]
NEAREST = 15
FEWEST = 20
MARKERS = 20
MINOR = 0.05


def integration(x, labels, batch, before):
    """Scores of Harmony on the components of the scaled genes `x`."""
    import harmonypy
    import pandas as pd

    emb = np.asarray(evaluate.principal_components(x), dtype=np.float64)
    h = harmonypy.run_harmony(
        emb, pd.DataFrame({"batch": batch}), "batch", random_state=0, verbose=False
    )
    z = np.asarray(h.Z_corr)
    z = z if len(z) == len(emb) else z.T
    s = scib.compute(z, labels, batch, before)
    return dict(
        bio=s["scib_bio"],
        batch=s["scib_batch"],
        shuffled=s["shuffled_batch"],
        total=s["scib_total"],
    )


def projected(reference, query, count=50, most=10):
    """Log-normalised cells in the components of the reference, by its means and deviations."""
    from scipy.sparse.linalg import svds

    mean, spread = reference.mean(axis=0), reference.std(axis=0, ddof=1)
    spread[spread == 0] = 1
    reference = np.minimum((reference - mean) / spread, most)
    query = np.minimum((query - mean) / spread, most)
    centre = reference.mean(axis=0)
    count = min(count, min(reference.shape) - 1)
    start = np.random.default_rng(0).standard_normal(min(reference.shape))
    axes = svds(reference - centre, k=count, v0=start)[2].T
    return (reference - centre) @ axes, (query - centre) @ axes


def nearest(reference, query):
    """Distances to and indices of the nearest reference cells."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=NEAREST, algorithm="brute").fit(reference)
    return search.kneighbors(query)


def mapping(logged, types, batch):
    """`types` are codes; every cell has one."""
    from sklearn.metrics import f1_score

    f1, accuracy = [], []
    for b in np.unique(batch):
        query = batch == b
        found = nearest(*projected(logged[~query], logged[query]))[1]
        votes = np.zeros((query.sum(), types.max() + 1))
        neighbour_types = types[~query][found]
        for k in range(NEAREST):
            votes[np.arange(len(votes)), neighbour_types[:, k]] += 1
        told, truth = votes.argmax(axis=1), types[query]
        shared = np.intersect1d(truth, types[~query])
        f1.append(f1_score(truth, told, labels=shared, average="macro"))
        accuracy.append(np.mean(told == truth))
    return dict(map_f1=float(np.mean(f1)), map_acc=float(np.mean(accuracy)))


def unseen(logged, types):
    from sklearn.metrics import roc_auc_score

    half = np.random.default_rng(0).permutation(len(types)) < len(types) // 2
    found = []
    for t in np.flatnonzero(np.bincount(types) >= FEWEST):
        of_type = types[~half] == t
        emb = projected(logged[half & (types != t)], logged[~half])
        found.append(roc_auc_score(of_type, nearest(*emb)[0].mean(axis=1)))
    return dict(unseen=float(np.mean(found)))


def markers(a, labels):
    """{type: indices of its markers, the best first}, and the types' shares of the cells."""
    import scanpy as sc

    b = dataset.log_normalised(a)
    b.obs["type"] = np.asarray(labels).astype(str)
    b.obs["type"] = b.obs["type"].astype("category")
    sc.tl.rank_genes_groups(b, "type", method="wilcoxon")
    index = {g: i for i, g in enumerate(a.var_names)}
    out = {}
    for t in b.obs["type"].cat.categories:
        table = sc.get.rank_genes_groups_df(b, t)
        table = table[(table.logfoldchanges > 1) & (table.pvals_adj < 0.01)]
        if len(table):
            out[t] = [index[g] for g in table.sort_values("pvals").names[:MARKERS]]
    return out, b.obs["type"].value_counts(normalize=True)


def recalls(chosen, of_type, share):
    found = {t: float(np.isin(genes, chosen).mean()) for t, genes in of_type.items()}
    minor = [v for t, v in found.items() if share[t] < MINOR]
    return dict(
        minor_recall=float(np.mean(minor)) if minor else float("nan"),
        all_recall=float(np.mean(list(found.values()))),
        minor_types=len(minor),
    )


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("h5ad")
    ap.add_argument("label", help="obs column of the cell types")
    ap.add_argument("ranks", nargs="+")
    ap.add_argument("out")
    ap.add_argument("--sizes", default=",".join(map(str, SIZES)))
    ap.add_argument("--batch-key", default="batch")
    ap.add_argument("--only", default="", help="the rankings to score, by default all")
    ap.add_argument("--cells", type=int)
    x = ap.parse_args()
    name = dataset.name_of(x.h5ad)
    a, _ = common.load(x.h5ad)
    labels, batch = common.labels_of(a, x.label), common.batches_of(a, x.batch_key)
    if labels is None or batch is None:
        raise SystemExit(f"{x.h5ad}: needs {x.label!r} and batches in {x.batch_key!r}")
    if not metrics._has_label(labels)[0].all():
        raise SystemExit(f"{x.h5ad}: cells without a label")
    of_type, share = markers(a, labels)
    if x.cells is not None and x.cells < a.n_obs:
        cells = np.sort(np.random.default_rng(0).permutation(a.n_obs)[: x.cells])
        a, labels, batch = a[cells].copy(), labels[cells], batch[cells]
    types = np.unique(np.asarray(labels).astype(str), return_inverse=True)[1]
    found = {"all_genes": np.arange(a.n_vars)}
    found.update(dataset.read_rankings(x.ranks, a.var_names))
    there = {(r["set"], r["ranking"], r["size"]) for r in dataset.read_rows(x.out)}
    before = scib.before_integration(a)
    scaled = evaluate.scaled_genes(a)
    logged = dataset.log_normalised(a).X.toarray(order="F")
    for ranking, order in found.items():
        if not re.search(x.only, ranking):
            continue
        sizes = [int(s) for s in x.sizes.split(",")]
        for size in [len(order)] if ranking == "all_genes" else sizes:
            if (name, ranking, str(size)) in there:
                continue
            if size > len(order):
                print(f"{ranking}: fewer than {size} genes", file=sys.stderr)
                continue
            t = time.perf_counter()
            chosen = order[:size]
            row = dict(set=name, ranking=ranking, size=size, cells=a.n_obs)
            row.update(integration(scaled[:, chosen], labels, batch, before))
            row.update(mapping(logged[:, chosen], types, batch))
            row.update(unseen(logged[:, chosen], types))
            row.update(recalls(chosen, of_type, share))
            dataset.append_row(x.out, row)
            took = time.perf_counter() - t
            print(
                f"{name} {ranking} {size}: total {row['total']:.3f}, F1 {row['map_f1']:.3f},"
                f" unseen {row['unseen']:.3f}, {took:.1f} s",
                file=sys.stderr,
                flush=True,
            )


if __name__ == "__main__":
    main()
