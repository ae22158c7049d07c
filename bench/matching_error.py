#!/usr/bin/env python3
"""Writes results/matching.md: how many nearest cells the matching of batches should look at.

  python matching_error.py DATA_DIR

The matching of src/model/matching.rs, written again in numpy, on the sets with batches: the batches'
differences of log1p(count) from mutual nearest cells, held against those that the cell types give
(least squares on type and batch).
"""

import pathlib
import sys

import anndata as ad
import numpy as np
import scipy.sparse as sp

SETS = ("celllines_tian", "pbmc_kang_ctrl", "pbmc_kang_ctrl_12k_1287genes")
HEAD = """# Nearest cells of the matching

Written by `bench/matching_error.py DATA_DIR`; do not edit by hand. Root mean square error of the batches' measured
differences, over the size of the true ones, and behind the stroke the part of it that lies along differences of
types. "bounded": a quarter of the other batch's cells, 5 to 20, as in the package.

| set | 5 | 10 | 20 | 40 | bounded | means of all cells |
|---|--:|--:|--:|--:|--:|--:|
"""


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


def row(data, name):
    a = ad.read_h5ad(data / f"{name}.h5ad")
    a = a[a.obs["cell_type"].notna()]
    x = sp.csr_matrix(a.X)
    types, batch = (np.unique(a.obs[k].astype(str), return_inverse=True)[1] for k in ("cell_type", "batch"))
    n = batch.max() + 1
    logs = np.log1p(x.toarray())
    profiles = np.log1p(sp.diags(1e4 / np.asarray(x.sum(1)).ravel()) @ x).toarray()
    design = np.hstack([np.eye(types.max() + 1)[types], np.eye(n)[batch]])
    truth = np.linalg.lstsq(design, logs, rcond=None)[0][-n:]
    truth -= truth.mean(0)
    of_types = np.array([logs[types == t].mean(0) for t in np.unique(types)])
    along = np.linalg.svd(of_types - of_types.mean(0), full_matrices=False)[2][:-1]
    rng = np.random.default_rng(0)
    drawn = [np.sort(rng.permutation(np.flatnonzero(batch == b))[:500]) for b in range(n)]
    cells = []
    for bounds in ((5, 5), (10, 10), (20, 20), (40, 40), (5, 20)):
        found, means = differences(profiles, logs, drawn, batch, bounds)
        cells.append(found - truth)
    cells.append(means - truth)
    size = np.linalg.norm(truth)
    text = [f"{np.linalg.norm(e) / size:.3f} / {np.linalg.norm(e @ along.T) / size:.3f}" for e in cells]
    return f"| {name} | " + " | ".join(text) + " |\n"


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: matching_error.py DATA_DIR")
    data = pathlib.Path(sys.argv[1])
    out = pathlib.Path(__file__).resolve().parent / "results" / "matching.md"
    out.write_text(HEAD + "".join(row(data, name) for name in SETS))


if __name__ == "__main__":
    main()
