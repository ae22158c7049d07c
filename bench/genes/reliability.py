#!/usr/bin/env python3
"""How well a ranking of the genes of some cells agrees with that of other cells.

  python reliability.py HALVES_DIR [--fits SET.1.ranks.tsv,SET.2.ranks.tsv,... ...]
         [--reading TEXT.md] > reliability.md

HALVES_DIR holds what halves.py wrote and, beside each SET.SPLIT.HALF.h5ad, the tables
SET.SPLIT.HALF.*ranks.tsv of rankings.py and fit.R. Two halves are compared over the genes that both
rank, in Spearman's correlation of the places and the share of the first 1,000 that they have in
common (by chance: 1,000 over the number of genes). --fits: rankings of one set by fits that
differ in their seed; every pair is compared. --reading: a file whose text goes to the head.
"""

import argparse
import itertools
import pathlib
import re
from collections import defaultdict

import dataset  # (sets the thread limits, so it comes before numpy)
import numpy as np
from table import method_of

TOP = 1000

HEAD = """# Genes by their ranking: how well rankings of other cells agree

Written by `bench/genes/reliability.py`, called by `bench/genes.sh`; do not edit by hand.

```
python genes/halves.py SET.h5ad HALVES
python genes/rankings.py HALF.h5ad HALF.ranks.tsv --only '^(mean|hvg_seurat_v3|pearson_residuals|nbdrop)$'
Rscript genes/fit.R HALF.h5ad HALF.scscore.ranks.tsv scScore deviance SEED
python genes/reliability.py HALVES --fits SET.deviance.1.ranks.tsv,SET.deviance.2.ranks.tsv,...
```

A set is halved and the genes of each half are ranked on their own: by one fit of `scScore()` without
batches (halves a with seed 1, b with seed 2; `scScore` the rank, `scScore_signal` the order by
`signal`), and by others' methods, described at the head of `bench/genes/rankings.py`. **cells**: two
random halves of the cells; **batches**: two groups of whole donors; **seeds**: one and the same set,
fits of all cells that differ in their seed alone. **rho**: Spearman's correlation over the genes that
pass the filter in both halves. **first 1,000**: share of them that the halves have in common; by
chance it would be that in the last column. A ranking by expression alone (`mean`) agrees with itself
nearly perfectly: agreement is no merit of its own, but without it there is none.
"""


def orders(paths):
    """{method: genes, best first}; names without their seeds."""
    import pandas as pd

    out = {}
    for path in paths:
        table = pd.read_csv(path, sep="\t", dtype={"gene": str}, keep_default_na=False)
        for name, rows in table.groupby("ranking", sort=False):
            out[method_of(name)] = rows.sort_values("rank").gene.to_numpy()
    return out


def agreement(first, second):
    """Spearman's rho and the share of the first TOP in common, over the genes of both."""
    from scipy.stats import spearmanr

    shared = set(first) & set(second)
    a = [g for g in first if g in shared]
    place = {g: i for i, g in enumerate(g for g in second if g in shared)}
    rho = spearmanr(np.arange(len(a)), [place[g] for g in a])[0]
    top = len(set(a[:TOP]) & {g for g, i in place.items() if i < TOP}) / TOP
    return rho, top, len(shared)


def halves(folder):
    """{(set, kind): {method: agreements, one per split}}."""
    found = defaultdict(lambda: defaultdict(list))
    for first in sorted(folder.glob("*.a.h5ad")):
        stem = first.name.removesuffix(".a.h5ad")
        name, split = stem.rsplit(".", 1)
        a = orders(sorted(folder.glob(f"{stem}.a.*ranks.tsv")))
        b = orders(sorted(folder.glob(f"{stem}.b.*ranks.tsv")))
        for method in sorted(set(a) & set(b)):
            kind = re.sub(r"\d+$", "", split)
            found[name, kind][method].append(agreement(a[method], b[method]))
    return found


def seeds(paths):
    """{method: agreements of all pairs of the fits}."""
    found = defaultdict(list)
    for first, second in itertools.combinations([orders([p]) for p in paths], 2):
        for method in sorted(set(first) & set(second)):
            found[method].append(agreement(first[method], second[method]))
    return found


def table(found):
    lines = [
        "| set | halves | ranking | pairs | rho | first 1,000 | by chance |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for (name, kind), methods in sorted(found.items()):
        order = sorted(methods, key=lambda m: -np.mean([v[0] for v in methods[m]]))
        for m in order:
            rho, top, genes = np.mean(methods[m], axis=0)
            cells = [f"`{name}`", kind, f"`{m}`", str(len(methods[m]))]
            cells += [f"{rho:.3f}", f"{top:.3f}", f"{TOP / genes:.3f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("halves", type=pathlib.Path)
    ap.add_argument("--fits", nargs="*", default=[])
    ap.add_argument("--reading", type=pathlib.Path)
    x = ap.parse_args()
    found = {
        key: {m: v for m, v in methods.items() if "ties_at_random" not in m}
        for key, methods in halves(x.halves).items()
    }
    for group in x.fits:
        paths = group.split(",")
        name = pathlib.Path(paths[0]).name.split(".")[0]
        methods = seeds(paths)
        found[name, "seeds"] = {
            m: v for m, v in methods.items() if "ties_at_random" not in m
        }
    if not found:
        raise SystemExit(f"no halves in {x.halves}")
    print(HEAD)
    if x.reading:
        print(x.reading.read_text())
    print(table(found))


if __name__ == "__main__":
    main()
