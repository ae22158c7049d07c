#!/usr/bin/env python3
"""Rank the genes of one set by what others choose genes with.

  python rankings.py SET.h5ad OUT.tsv [--seeds 3] [--batch-key batch] [--only REGEX]
         [--rscript Rscript]

OUT.tsv gets one row per ranking and gene: `ranking`, `gene`, `rank` (1 is the best). Every
gene that passes the filter (in at least 3 cells; cells with at least 200 genes) has a rank in
every ranking, so that any number of genes can be taken. None of the methods looks at labels.

mean                 the mean raw count: what a method must beat that merely finds expression
random_1 .. random_3 the genes in random order
hvg_seurat_v3        scanpy, variance standardised by a loess of it on the mean, of raw counts
                     (Stuart et al. 2019, Cell 177:1888)
hvg_seurat           scanpy, dispersion standardised within 20 bins of the mean, of
                     log-normalised counts (Satija et al. 2015, Nat Biotechnol 33:495)
hvg_cell_ranger      scanpy, the same by median and MAD, bins of equal size (Zheng et al. 2017,
                     Nat Commun 8:14049)
hvg_seurat_v3_batch  where there are batches: per batch, then by the median rank among the
                     batches where the gene is in the first 2,000, as scanpy's seurat_v3 does
hvg_seurat_v3_paper_batch  the same, first by the number of such batches (seurat_v3_paper)
pearson_residuals    scanpy, variance of analytic Pearson residuals (Lause et al. 2021, Genome
                     Biol 22:258), theta 100
deviance             binomial deviance from equal expression (Townes et al. 2019, Genome Biol
                     20:295; devianceFeatureSelection of scry)
nbdrop               zeros beyond those of a negative binomial with the dispersion of its mean
                     (Andrews & Hemberg 2019, Bioinformatics 35:2865; M3Drop's NBDrop)
m3drop               zeros beyond those of a Michaelis-Menten curve on the mean, of normalised
                     counts (the same publication; M3Drop proper, meant for full-length reads)
scran                variance of log counts less its trend (Lun et al. 2016, F1000Research
                     5:2122; modelGeneVar), by rankings.R
mixhvg               the best of a gene's ranks by three methods, the default mixture of mixHVG
                     (Zhao et al. 2024, bioRxiv 2024.08.25.608519; its release 1.0.1): scran as
                     above, scran's excess over Poisson noise (modelGeneVarByPoisson, by
                     rankings.R), and Seurat's dispersion of log-normalised counts, log(variance /
                     mean), not standardised within bins (scanpy's column `dispersions`). Ours, by
                     the rule that its documentation and publication tell; equal best ranks go by
                     the second best
hotspot              autocorrelation over the 30 nearest cells (DeTomaso & Yosef 2021, Cell Syst
                     12:446), by the package hotspotsc at its defaults (depth-adjusted negative
                     binomial) among 50 principal components of the 2,000 genes that lognorm.py
                     takes. What is near is so known from the genes that it ranks

scran, mixhvg and hotspot are left out with a warning where R, scran or hotspotsc is missing.

The times that the methods took go to stderr.
"""

import argparse
import contextlib
import functools
import io
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import warnings

import dataset  # (sets the thread limits, so it comes before numpy)
import common
import numpy as np
from lognorm import lognorm_pca

warnings.filterwarnings("ignore")

USUAL = 2000  # the number of genes that most analyses take


def seurat_v3(a, n_top, batch_key=None, flavor="seurat_v3"):
    """scanpy's table of all genes. Spans are widened as in common.hvg_counts()."""
    import scanpy as sc

    last = None
    for span in (0.3, 0.5, 0.8, 1.0):
        try:
            table = sc.pp.highly_variable_genes(
                a,
                flavor=flavor,
                n_top_genes=n_top,
                batch_key=batch_key,
                span=span,
                inplace=False,
            )
        except ValueError as e:
            last = e
            continue
        if span != 0.3:
            print(f"seurat_v3, batch key {batch_key}: span {span}", file=sys.stderr)
        return table
    raise last


def hvg_seurat_v3(a, mean):
    return dataset.order_by(seurat_v3(a, a.n_vars).variances_norm, mean)


def hvg_seurat_v3_batch(a, batch_key, flavor):
    """scanpy's order at the usual number of genes; the rest by the median of all ranks.

    Which genes scanpy takes first depends on how many are asked for, since a batch counts
    for a gene only if the gene is among that many there. The usual number is kept for those
    that are in any batch; the others have no rank from it.
    """
    first = seurat_v3(a, min(USUAL, a.n_vars), batch_key, flavor)
    rest = seurat_v3(a, a.n_vars, batch_key).highly_variable_rank.to_numpy()
    rank = first.highly_variable_rank.to_numpy()
    batches = first.highly_variable_nbatches.to_numpy()
    rank = np.where(np.isnan(rank), np.inf, rank)
    keys = (-batches, rank) if flavor == "seurat_v3" else (rank, -batches)
    return np.lexsort((rest, *keys))


def dispersion(logged, mean, flavor):
    import scanpy as sc

    table = sc.pp.highly_variable_genes(
        logged, flavor=flavor, n_top_genes=min(USUAL, logged.n_vars), inplace=False
    )
    return dataset.order_by(table.dispersions_norm, mean)


def pearson_residuals(a, mean):
    import scanpy as sc

    table = sc.experimental.pp.highly_variable_genes(
        a, flavor="pearson_residuals", n_top_genes=a.n_vars, inplace=False
    )
    return dataset.order_by(table.residual_variances, mean)


def deviance(a, mean):
    """Twice the log-likelihood that a gene gains by a share of its own in every cell."""
    x = a.X.tocsr().astype(np.float64)
    depth = np.asarray(x.sum(axis=1)).ravel()
    size = np.repeat(depth, np.diff(x.indptr))
    share = x.data / size
    with np.errstate(divide="ignore", invalid="ignore"):
        own = x.data * np.log(share) + (size - x.data) * np.log1p(-share)
    own[share == 1] = 0  # a cell of one gene: 0 log 0
    saturated = np.bincount(x.indices, weights=own, minlength=a.n_vars)
    counts = np.asarray(x.sum(axis=0)).ravel()
    total = depth.sum()
    p = counts / total
    with np.errstate(divide="ignore", invalid="ignore"):
        null = counts * np.log(p) + (total - counts) * np.log1p(-p)
    return dataset.order_by(np.where(counts > 0, 2 * (saturated - null), np.nan), mean)


def nbdrop(a, mean, block=500):
    """The z score of the share of zeros, against the share that the mean leads one to expect.

    The negative binomial has the mean t_j d_i (the gene's count times the cell's share of all
    counts). Its size is fitted per gene by moments, then replaced by what a log-log line on
    the means says: so only zeros that the mean does not explain count.
    """
    x = a.X.tocsc().astype(np.float64)
    n = a.n_obs
    depth = np.asarray(x.sum(axis=1)).ravel()
    share = depth / depth.sum()
    counts = np.asarray(x.sum(axis=0)).ravel()
    squares = np.asarray(x.multiply(x).sum(axis=0)).ravel()
    cross = np.asarray(x.T @ share).ravel()
    share2 = np.sum(share**2)
    # the residuals x - t d sum to zero, so their sum of squares is all there is to it
    spread = squares - 2 * counts * cross + counts**2 * share2
    with np.errstate(divide="ignore", invalid="ignore"):
        size = counts**2 * share2 / (spread - counts)
    fitted = (counts > 0) & np.isfinite(size) & (size > 0)
    log_mean = np.log(np.where(counts > 0, counts, 1) / n)
    slope, level = np.polyfit(log_mean[fitted], np.log(size[fitted]), 1)
    expected_size = np.exp(level + slope * log_mean)
    zeros = 1 - np.diff(x.indptr) / n
    z = np.full(a.n_vars, np.nan)
    for start in range(0, a.n_vars, block):
        g = slice(start, min(start + block, a.n_vars))
        mu = np.outer(share, counts[g])
        p = np.exp(-expected_size[g] * np.log1p(mu / expected_size[g]))
        expected = np.maximum(p.mean(axis=0), 1 / n)
        error = np.sqrt((p * (1 - p)).sum(axis=0)) / n
        with np.errstate(divide="ignore", invalid="ignore"):
            z[g] = (zeros[g] - expected) / error
    z[counts == 0] = np.nan
    return dataset.order_by(z, mean)


def m3drop(logged, mean):
    """The z score of log K, K being where a gene of that mean has half of its cells at zero.

    The curve is P = 1 - S / (S + K) with one K for all genes, by least squares on P. A gene's own
    K is S P / (1 - P); its error and that of the common K are propagated to the logarithm.
    """
    from scipy.optimize import minimize_scalar

    x = logged.X.tocsc(copy=True)
    x.data = np.expm1(x.data.astype(np.float64))
    n = x.shape[0]
    s = np.asarray(x.mean(axis=0)).ravel()
    zeros = 1 - np.diff(x.indptr) / n
    var = np.asarray(x.multiply(x).mean(axis=0)).ravel() - s**2

    def residuals(log_k):
        return zeros[s > 0] - np.exp(log_k) / (s[s > 0] + np.exp(log_k))

    log_k = minimize_scalar(
        lambda k: np.sum(residuals(k) ** 2),
        bounds=(np.log(s[s > 0].min()), np.log(s.max())),
        method="bounded",
    ).x
    curve = np.exp(log_k) / (s[s > 0] + np.exp(log_k))
    slope = curve * (1 - curve)
    common_var = np.mean(residuals(log_k) ** 2) / np.sum(slope**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.log(s * zeros / (1 - zeros))
        own_var = var / n / s**2 + 1 / (n * zeros * (1 - zeros))
        z = (own - log_k) / np.sqrt(own_var + common_var)
    # without zeros there is no K: the least likely to have too many of them
    return dataset.order_by(np.where((zeros > 0) & (s > 0), z, np.nan), mean)


def scran_scores(a, rscript):
    """modelGeneVar's and modelGeneVarByPoisson's biological components; None without scran."""
    from scipy.io import mmwrite

    script = pathlib.Path(__file__).resolve().parent / "rankings.R"
    with tempfile.TemporaryDirectory() as folder:
        counts = pathlib.Path(folder) / "counts.mtx"
        out = pathlib.Path(folder) / "scores.txt"
        mmwrite(counts, a.X.T.tocoo().astype(np.int64))
        try:
            subprocess.run([rscript, str(script), str(counts), str(out)], check=True)
        except (OSError, subprocess.CalledProcessError) as e:
            print(f"warning: scran is left out: {e}", file=sys.stderr)
            return None
        return np.genfromtxt(out).T


def best_rank(scores, mean):
    """Order by the best rank that any of the scores gives, then by the second best, and so on."""
    ranks = np.empty((len(scores), len(mean)))
    for row, score in zip(ranks, scores):
        row[dataset.order_by(score, mean)] = np.arange(len(mean))
    return np.lexsort(np.sort(ranks, axis=0)[::-1])


def mixhvg(logged, scran, mean):
    import scanpy as sc

    if scran is None:
        return None
    dispersion = sc.pp.highly_variable_genes(
        logged, flavor="seurat", n_top_genes=min(USUAL, logged.n_vars), inplace=False
    ).dispersions
    return best_rank([*scran, dispersion], mean)


def hotspot(a, mean):
    """The z score of the autocorrelation, or None where hotspotsc is missing."""
    try:
        from hotspot import Hotspot
    except ImportError as e:
        print(f"warning: hotspot is left out: {e}", file=sys.stderr)
        return None
    b = a.copy()
    b.obsm["pca"] = lognorm_pca(a.copy())[0]
    # it refuses genes that are the same in all cells
    varies = b.X.max(axis=0).toarray().ravel() != b.X.min(axis=0).toarray().ravel()
    b = b[:, varies].copy()
    b.X = b.X.tocsc()  # it takes one gene after the other
    h = Hotspot(b, model="danb", latent_obsm_key="pca")
    h.create_knn_graph(approx_neighbors=False)
    z = np.full(a.n_vars, np.nan)
    with contextlib.redirect_stderr(io.StringIO()):  # a bar of its progress
        scores = h.compute_autocorrelations()
    z[varies] = scores.Z.reindex(b.var_names).to_numpy()
    return dataset.order_by(z, mean)


def methods(a, seeds, batch_key, rscript):
    """{name: function that gives the order, or None where it cannot}."""
    mean = dataset.mean_counts(a)
    logged = dataset.log_normalised(a)

    @functools.cache
    def scran():
        return scran_scores(a, rscript)

    def random(seed):
        return lambda: np.random.default_rng(seed).permutation(a.n_vars)

    def per_batch(flavor):
        return lambda: hvg_seurat_v3_batch(a, batch_key, flavor)

    out = {"mean": lambda: dataset.order_by(mean, mean)}
    out.update({f"random_{seed}": random(seed) for seed in range(1, seeds + 1)})
    out["hvg_seurat_v3"] = lambda: hvg_seurat_v3(a, mean)
    out["hvg_seurat"] = lambda: dispersion(logged, mean, "seurat")
    out["hvg_cell_ranger"] = lambda: dispersion(logged, mean, "cell_ranger")
    if common.batches_of(a, batch_key) is not None:
        for flavor in ("seurat_v3", "seurat_v3_paper"):
            out[f"hvg_{flavor}_batch"] = per_batch(flavor)
    out["pearson_residuals"] = lambda: pearson_residuals(a, mean)
    out["deviance"] = lambda: deviance(a, mean)
    out["nbdrop"] = lambda: nbdrop(a, mean)
    out["m3drop"] = lambda: m3drop(logged, mean)
    out["scran"] = lambda: (
        None if scran() is None else dataset.order_by(scran()[0], mean)
    )
    out["mixhvg"] = lambda: mixhvg(logged, scran(), mean)
    out["hotspot"] = lambda: hotspot(a, mean)
    return out


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("h5ad")
    ap.add_argument("out")
    ap.add_argument("--seeds", type=int, default=3, help="random rankings")
    ap.add_argument("--batch-key", default="batch")
    ap.add_argument("--only", default="", help="the rankings to make, by default all")
    ap.add_argument("--rscript", default="Rscript")
    x = ap.parse_args()
    a, _ = common.load(x.h5ad)
    genes = a.var_names.to_numpy()
    with open(x.out, "w") as f:
        f.write("ranking\tgene\trank\n")
        for name, method in methods(a, x.seeds, x.batch_key, x.rscript).items():
            if not re.search(x.only, name):
                continue
            t = time.perf_counter()
            order = method()
            if order is None:
                continue
            if sorted(order) != list(range(a.n_vars)):
                raise AssertionError(f"{name} does not rank every gene once")
            f.writelines(f"{name}\t{genes[g]}\t{r}\n" for r, g in enumerate(order, 1))
            took = time.perf_counter() - t
            print(f"{dataset.name_of(x.h5ad)} {name} {took:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
