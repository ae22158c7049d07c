#!/usr/bin/env python3
"""Writes the halves of a set whose rankings reliability.py compares.

  python halves.py SET.h5ad OUT_DIR [--splits 2] [--batch-key batch]

OUT_DIR/SET.cells1.a.h5ad and .b.h5ad are two random halves of the cells that pass the shared
filter (their seed is the split's number), cells2 the same again; SET.batches.a.h5ad and .b.h5ad,
where there are batches, the cells of some batches and those of the others, so that both have
about as many cells (the largest batches first, each to the smaller half).
"""

import argparse
import pathlib

import dataset  # (sets the thread limits, so it comes before numpy)
import common
import numpy as np


def batches_in_half(batch):
    """Which cells are in the first of two groups of whole batches."""
    names, sizes = np.unique(batch, return_counts=True)
    groups = ([], [])
    cells = [0, 0]
    for i in np.argsort(-sizes, kind="stable"):
        smaller = int(cells[1] < cells[0])
        groups[smaller].append(names[i])
        cells[smaller] += sizes[i]
    return np.isin(batch, groups[0])


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("h5ad")
    ap.add_argument("out")
    ap.add_argument("--splits", type=int, default=2)
    ap.add_argument("--batch-key", default="batch")
    x = ap.parse_args()
    a, _ = common.load(x.h5ad)
    halves = {}
    for split in range(1, x.splits + 1):
        first = np.zeros(a.n_obs, dtype=bool)
        cells = np.random.default_rng(split).permutation(a.n_obs)[: a.n_obs // 2]
        first[cells] = True
        halves[f"cells{split}"] = first
    batch = common.batches_of(a, x.batch_key)
    if batch is not None:
        halves["batches"] = batches_in_half(batch)
    out = pathlib.Path(x.out)
    out.mkdir(parents=True, exist_ok=True)
    for name, first in halves.items():
        for half, cells in (("a", first), ("b", ~first)):
            stem = f"{dataset.name_of(x.h5ad)}.{name}.{half}"
            a[cells].copy().write_h5ad(out / f"{stem}.h5ad", compression="gzip")


if __name__ == "__main__":
    main()
