#!/usr/bin/env python3
"""Writes results/matching.md: how many nearest cells the matching of batches should look at, and how
many cells a remembered group should have.

  python matching_error.py DATA_DIR

The matching of src/batches/matching.rs, written again in numpy, on the sets with batches: the batches'
differences of log1p(count) from mutual nearest cells, held against those that the cell types give
(least squares on type and batch). Then the same for a batch that is mapped: its difference from
groups of the other batches' cells, much as in src/mapping/cell_groups.rs, with groups from k-means in 10
principal components without the batches' differences in place of the latent space, and with each
group's own cells in place of those most alike it.
"""

import pathlib
import sys

import anndata as ad
import numpy as np
import scipy.sparse as sp
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

SETS = ("celllines_tian", "pbmc_kang_ctrl", "pbmc_kang_ctrl_12k_1287genes")
HEAD = """# Nearest cells of the matching

Written by `bench/matching_error.py DATA_DIR`; do not edit by hand. Root mean square error of the batches' measured
differences, over the size of the true ones, and behind the stroke the part of it that lies along differences of
types. "bounded": a quarter of the other batch's cells, 5 to 20, as in the package.

| set | 5 | 10 | 20 | 40 | bounded | means of all cells |
|---|--:|--:|--:|--:|--:|--:|
"""

GROUPS_HEAD = """
## Groups that new batches are set against

Error of a left-out batch's measured difference from the other batches, likewise; mean over the batches of at least 100
cells left out in turn. The columns are the cells of a group on average, with at most 32 groups; the package has 60: with 120
kinds of few cells have no group of their own (the 954 cells would have 7 groups for 8 types).
A group's mean is that of its own cells here; in the package it is that of the cells most alike it, without their own
part in its profile (`mapping.md` has what that brings).

| set | 10 | 30 | 60 | 120 | one group |
|---|--:|--:|--:|--:|--:|
"""
CELLS_OF_GROUP = (10, 30, 60, 120, None)
MOST_GROUPS = 32


def nearest(likeness, n, axis):
    found = np.zeros_like(likeness, bool)
    order = np.argsort(-likeness, axis)
    np.put_along_axis(found, order.take(range(min(n, likeness.shape[axis])), axis), True, axis)
    return found


def differences(profiles, logs, drawn, batch, bounds):
    n = len(drawn)
    pairs, sums = np.zeros((n, n)), np.zeros((n, logs.shape[1]))
    means = np.array([logs[batch == b].mean(0) for b in range(n)])
    centred = profiles - profiles[np.concatenate(drawn)].mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    for a in range(n):
        for b in range(a + 1, n):
            likeness = centred[drawn[a]] @ centred[drawn[b]].T
            of_a, of_b = (int(np.clip(k // 4, *bounds)) for k in likeness.shape[::-1])
            p, q = np.where(nearest(likeness, of_a, 1) & nearest(likeness, of_b, 0))
            pairs[a, b] = pairs[b, a] = len(p)
            sum_of = (logs[drawn[a][p]] - logs[drawn[b][q]]).sum(0)
            sums[a] += sum_of
            sums[b] -= sum_of
    system = np.diag(pairs.sum(1) + 1) - pairs
    found = np.linalg.solve(system, sums + means - means.mean(0))
    return found - found.mean(0), means - means.mean(0)


class Labelled:
    """A set's cells and the batches' true differences, as far as types and batches add up."""

    def __init__(self, data, name):
        a = ad.read_h5ad(data / f"{name}.h5ad")
        a = a[a.obs["cell_type"].notna()]
        x = sp.csr_matrix(a.X)
        codes = (np.unique(a.obs[k].astype(str), return_inverse=True)[1] for k in ("cell_type", "batch"))
        self.name, (self.types, self.batch) = name, codes
        self.logs = np.log1p(x.toarray())
        self.profiles = np.log1p(sp.diags(1e4 / np.asarray(x.sum(1)).ravel()) @ x).toarray()
        means = np.array([self.logs[self.types == t].mean(0) for t in np.unique(self.types)])
        self.along = np.linalg.svd(means - means.mean(0), full_matrices=False)[2][:-1]

    def differences(self, values):
        n = self.batch.max() + 1
        design = np.hstack([np.eye(self.types.max() + 1)[self.types], np.eye(n)[self.batch]])
        truth = np.linalg.lstsq(design, values, rcond=None)[0][-n:]
        return truth - truth.mean(0)

    def error(self, found, truth):
        """Root mean square, of all and of what lies along differences of types, over the truth's size."""
        wrong, size = found - truth, np.linalg.norm(truth)
        return np.linalg.norm(wrong) / size, np.linalg.norm(wrong @ self.along.T) / size


def line(name, errors):
    return f"| {name} | " + " | ".join("%.3f / %.3f" % tuple(e) for e in errors) + " |\n"


def row(cells):
    batch, n = cells.batch, cells.batch.max() + 1
    truth = cells.differences(cells.logs)
    rng = np.random.default_rng(0)
    drawn = [np.sort(rng.permutation(np.flatnonzero(batch == b))[:500]) for b in range(n)]
    errors = []
    for bounds in ((5, 5), (10, 10), (20, 20), (40, 40), (5, 20)):
        found, means = differences(cells.profiles, cells.logs, drawn, batch, bounds)
        errors.append(cells.error(found, truth))
    return line(cells.name, [*errors, cells.error(means, truth)])


def groups_row(cells):
    truth, of_profiles = cells.differences(cells.logs), cells.differences(cells.profiles)
    errors = {n: [] for n in CELLS_OF_GROUP}
    for left_out in np.flatnonzero(np.bincount(cells.batch) >= 100):
        new, own = cells.batch == left_out, cells.batch != left_out
        others = truth[np.arange(len(truth)) != left_out].mean(0)
        inputs = cells.logs[own] - (truth[cells.batch[own]] - others)
        flat = PCA(10, random_state=0).fit_transform(cells.profiles[own] - of_profiles[cells.batch[own]])
        for size in CELLS_OF_GROUP:
            n = min(MOST_GROUPS, max(1, own.sum() // size)) if size else 1
            group = KMeans(n, n_init=1, random_state=0).fit(flat).labels_
            mean = np.array([cells.profiles[own][group == k].mean(0) for k in range(n)])
            centre = mean.mean(0)
            length = np.maximum(np.linalg.norm(mean - centre, axis=1, keepdims=True), 1e-12)
            closest = ((cells.profiles[new] - centre) @ ((mean - centre) / length).T).argmax(1)
            of_groups = np.array([inputs[group == k].mean(0) for k in range(n)])
            found = (cells.logs[new] - of_groups[closest]).mean(0)
            errors[size].append(cells.error(found, truth[left_out] - others))
    return line(cells.name, [np.mean(errors[size], 0) for size in CELLS_OF_GROUP])


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: matching_error.py DATA_DIR")
    data = pathlib.Path(sys.argv[1])
    sets = [Labelled(data, name) for name in SETS]
    out = pathlib.Path(__file__).resolve().parent / "results" / "matching.md"
    text = [HEAD, *map(row, sets), GROUPS_HEAD, *map(groups_row, sets)]
    out.write_text("".join(text))


if __name__ == "__main__":
    main()
