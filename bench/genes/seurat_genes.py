#!/usr/bin/env python3
"""How well Seurat's principal components do with the first genes of each ranking.

  python seurat_genes.py SET.h5ad LABEL_COLUMN RANKS.tsv SIZE OUT.tsv
         [--only REGEX] [--clusterings 3] [--rscript Rscript]

seurat_genes.R makes the components; the rows are evaluate.py's. Those that are there already are
not computed again.
"""

import argparse
import pathlib
import re
import subprocess
import tempfile

import dataset  # (sets the thread limits, so it comes before numpy)
import common
import evaluate


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("h5ad")
    ap.add_argument("label", help="obs column of the cell types")
    ap.add_argument("ranks")
    ap.add_argument("size", type=int)
    ap.add_argument("out")
    ap.add_argument("--only", default="", help="the rankings to take, by default all")
    ap.add_argument("--clusterings", type=int, default=3)
    ap.add_argument("--rscript", default="Rscript")
    x = ap.parse_args()
    import pandas as pd

    name = dataset.name_of(x.h5ad)
    a, _ = common.load(x.h5ad)
    labels = common.labels_of(a, x.label)
    if labels is None:
        raise SystemExit(f"{x.h5ad}: no obs column {x.label!r}")
    there = {(r["set"], r["ranking"], r["size"]) for r in dataset.read_rows(x.out)}
    named = pd.read_csv(x.ranks, sep="\t", usecols=["ranking"]).ranking.unique()
    wanted = [
        r
        for r in named
        if re.search(x.only, r) and (name, r, str(x.size)) not in there
    ]
    if not wanted:
        return
    only = "^(" + "|".join(map(re.escape, wanted)) + ")$"
    here = pathlib.Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as folder:
        made = f"{folder}/components.tsv"
        script = [x.rscript, here / "seurat_genes.R", x.h5ad, x.ranks]
        subprocess.run([*map(str, script), str(x.size), only, made], check=True)
        components = pd.read_csv(made, sep="\t", dtype={"cell": str})
    for ranking in wanted:
        rows = components[components.ranking == ranking].set_index("cell")
        emb = rows.loc[a.obs_names].drop(columns="ranking").to_numpy()
        row = dict(set=name, ranking=ranking, size=x.size)
        row.update(evaluate.scores_of(emb, labels, x.clusterings))
        dataset.append_row(x.out, row)


if __name__ == "__main__":
    main()
