#!/usr/bin/env python3
"""How well the published cell types are found with the first genes of each ranking.

  python evaluate.py SET.h5ad LABEL_COLUMN RANKS.tsv [RANKS2.tsv ...] OUT.tsv
         [--sizes 100,200,500,1000,2000,3000,5000] [--matched REGEX] [--only REGEX]
         [--clusterings 1] [--cells N]

For every ranking and size: counts to 10,000 over all genes, log1p, scaled (at most 10), the
first genes of the ranking, 50 principal components, then

nmi_leiden, ari_leiden  Leiden on the 15-neighbour graph (metrics.py), at the one of eight
                        resolutions from 0.2 to 2 with the best NMI. This looks at the labels,
                        for every ranking alike
nmi_kmeans, ari_kmeans  k-means, k = the number of labels, best of 10 starts
asw                     silhouette of the labels among the principal components

With --clusterings N both clusterings are made with the seeds 0 .. N - 1 and their scores
averaged. The mean is of the same quantity with less noise (the NMI of one k-means is easily
0.03 off), so a ranking that was computed once is best scored with several, one that was fitted
with several seeds needs one for each.

`all_genes` is all genes, without a ranking, in one row. --cells N: N random cells (seed 0) of a
large set. The rankings are those of all cells.

A row is written as soon as it is there, and rows that OUT.tsv holds already are not computed
again: an interrupted run can be started anew, but a ranking that changed under its old name
needs its rows deleted. Sizes of which a ranking has not enough genes are left out.

Every ranking whose name matches --matched (by default those ending in _seedN, our fits) gets a
control NAME:matched: in place of each gene another one of the same bin of the mean count (100
bins of equally many genes, one draw without repeats). It may be one that the ranking chose as
well, so the control is a random set of genes of the same means, not the set's leftovers. What
a ranking has over its control it does not owe to choosing expressed genes.

OUT.means.tsv gets a row per ranking: Spearman's correlation with the log mean count among the
genes whose mean is above the median (positive: expressed genes first), over how many genes, and,
for a control, the share of its first 1,000 genes that the ranking has there, too.
"""

import argparse
import pathlib
import re
import sys
import time
import warnings
import zlib

import dataset  # (sets the thread limits, so it comes before numpy)
import common
import metrics
import numpy as np

warnings.filterwarnings("ignore")

SIZES = [100, 200, 500, 1000, 2000, 3000, 5000]
RESOLUTIONS = [0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0]
BINS = 100


def scaled_genes(a, most=10):
    """All genes, log-normalised and scaled: a gene's column does not depend on the others."""
    x = dataset.log_normalised(a).X.toarray(order="F")
    x -= x.mean(axis=0, dtype=np.float64)
    spread = np.sqrt((x**2).sum(axis=0, dtype=np.float64) / (len(x) - 1))
    spread[spread == 0] = 1
    x /= spread
    return np.minimum(x, most, out=x)


def principal_components(x, count=50):
    """The scores on the first components: exact, from the smaller of the two cross products."""
    from scipy.sparse.linalg import eigsh

    x = x - x.mean(axis=0)  # cutting at the most has shifted the means
    n, genes = x.shape
    count = min(count, n - 1, genes - 1)
    product = (x.T @ x if genes <= n else x @ x.T).astype(np.float64)
    start = np.random.default_rng(0).standard_normal(len(product))
    values, vectors = eigsh(product, k=count, v0=start)
    values, vectors = values[::-1], vectors[:, ::-1]
    if genes <= n:
        return x @ vectors
    return vectors * np.sqrt(np.maximum(values, 0))


def scores_of(emb, labels, clusterings=1):
    """The five scores; cells without a label take part in the clustering only."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import (
        adjusted_rand_score,
        normalized_mutual_info_score,
        silhouette_score,
    )

    emb = np.ascontiguousarray(emb, dtype=np.float64)
    ok, names = metrics._has_label(labels)
    types, truth = np.unique(names[ok], return_inverse=True)

    def agreement(membership):
        return (
            float(normalized_mutual_info_score(truth, membership[ok])),
            float(adjusted_rand_score(truth, membership[ok])),
        )

    graph, weights = metrics._neighbour_graph(*metrics.knn(emb, 15), 15)
    leiden, kmeans = [], []
    for seed in range(clusterings):
        leiden.append(
            max(
                agreement(metrics._leiden(graph, weights, r, seed)) for r in RESOLUTIONS
            )
        )
        fit = KMeans(n_clusters=len(types), n_init=10, random_state=seed).fit(emb)
        kmeans.append(agreement(fit.labels_))
    leiden, kmeans = np.mean(leiden, axis=0), np.mean(kmeans, axis=0)
    return dict(
        nmi_leiden=float(leiden[0]),
        ari_leiden=float(leiden[1]),
        nmi_kmeans=float(kmeans[0]),
        ari_kmeans=float(kmeans[1]),
        asw=float(silhouette_score(emb[ok], truth)),
        clusterings=clusterings,
    )


def mean_matched(name, order, mean):
    """For each gene of `order` another gene of its bin of the mean, none twice.

    Each bin's genes are put on a circle at random and every gene gives way to the next one.
    So the control of the first N genes is the first N of the control, and no gene is its own.
    The draw depends on the name alone.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    partner = np.arange(len(mean))
    for bin_ in np.array_split(np.argsort(mean, kind="stable"), BINS):
        circle = rng.permutation(bin_)
        partner[circle] = np.roll(circle, -1)
    return partner[order]


def agreement_with_mean(order, mean):
    """Spearman's correlation with the mean among the ranked genes above the median mean."""
    from scipy.stats import spearmanr

    well = mean[order] > np.median(mean)
    if well.sum() < 3:
        return float("nan"), int(well.sum())
    place = -np.arange(len(order))
    return float(spearmanr(place[well], mean[order][well])[0]), int(well.sum())


def with_controls(found, mean, matched):
    """The rankings with their controls behind them, and what each control stands in for."""
    out, control_of = {}, {}
    for name, order in found.items():
        out[name] = order
        if matched and re.search(matched, name):
            control = f"{name}:matched"
            out[control] = mean_matched(name, order, mean)
            control_of[control] = name
    return out, control_of


def write_means(path, dataset_name, found, control_of, mean, top=1000):
    there = {(r["set"], r["ranking"]) for r in dataset.read_rows(path)}
    for name, order in found.items():
        if (dataset_name, name) in there:
            continue
        r, genes = agreement_with_mean(order, mean)
        shared = float("nan")
        if name in control_of:
            of = found[control_of[name]]
            shared = len(np.intersect1d(order[:top], of[:top])) / len(order[:top])
        row = dict(set=dataset_name, ranking=name, spearman_mean=r, genes=genes)
        dataset.append_row(path, dict(row, shared_with_ranking=shared))


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("h5ad")
    ap.add_argument("label", help="obs column of the cell types")
    ap.add_argument("ranks", nargs="+")
    ap.add_argument("out")
    ap.add_argument("--sizes", default=",".join(map(str, SIZES)))
    ap.add_argument(
        "--matched",
        default=r"_seed[0-9]+$",
        help="rankings that get a mean-matched control ('' for none)",
    )
    ap.add_argument("--only", default="", help="the rankings to score, by default all")
    ap.add_argument("--clusterings", type=int, default=1)
    ap.add_argument("--cells", type=int)
    x = ap.parse_args()
    sizes = [int(s) for s in x.sizes.split(",")]

    name = dataset.name_of(x.h5ad)
    a, _ = common.load(x.h5ad)
    labels = common.labels_of(a, x.label)
    if labels is None:
        raise SystemExit(f"{x.h5ad}: no obs column {x.label!r}")
    mean = dataset.mean_counts(a)
    found = dataset.read_rankings(x.ranks, a.var_names)
    found = {k: v for k, v in found.items() if re.search(x.only, k)}
    found, control_of = with_controls(found, mean, x.matched)
    means = str(pathlib.Path(x.out).with_suffix("")) + ".means.tsv"
    write_means(means, name, found, control_of, mean)
    if re.search(x.only, "all_genes"):
        found["all_genes"] = np.arange(a.n_vars)
    if x.cells is not None and x.cells < a.n_obs:
        cells = np.sort(np.random.default_rng(0).permutation(a.n_obs)[: x.cells])
        a, labels = a[cells].copy(), np.asarray(labels)[cells]

    there = {(r["set"], r["ranking"], r["size"]) for r in dataset.read_rows(x.out)}
    genes = scaled_genes(a)
    for ranking, order in found.items():
        for size in [a.n_vars] if ranking == "all_genes" else sizes:
            if (name, ranking, str(size)) in there:
                continue
            if size > len(order):
                print(f"{ranking}: fewer than {size} genes", file=sys.stderr)
                continue
            t = time.perf_counter()
            emb = principal_components(genes[:, order[:size]])
            row = dict(set=name, ranking=ranking, size=size)
            row.update(scores_of(emb, labels, x.clusterings))
            dataset.append_row(x.out, row)
            took = time.perf_counter() - t
            print(
                f"{name} {ranking} {size}: NMI {row['nmi_leiden']:.3f}"
                f" {row['nmi_kmeans']:.3f}, {took:.1f} s",
                file=sys.stderr,
                flush=True,
            )


if __name__ == "__main__":
    main()
