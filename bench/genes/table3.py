#!/usr/bin/env python3
"""The paper's table 3, from the rows of scvi_genes.py and seurat_genes.py.

  python table3.py --scvi SCVI.tsv [...] --seurat SEURAT.tsv [...] > ../results/genes_table3.md

The same number of genes, by scScore and by variance (seurat_v3), as the input of scVI and of
Seurat. Entries are means ± standard deviations over the seeds.
"""

import argparse
import re
import statistics
import sys
from collections import defaultdict

import dataset

SCORES = [
    ("ASW", "asw"),
    ("NMI Leiden", "nmi_leiden"),
    ("ARI Leiden", "ari_leiden"),
    ("NMI k-means", "nmi_kmeans"),
    ("ARI k-means", "ari_kmeans"),
]
OURS, THEIRS = "scScore_deviance", "hvg_seurat_v3"
NAMES = {
    OURS: "scScore",
    "scScore_deviance_signal": "scScore, by its signal",
    THEIRS: "HVG (seurat_v3)",
    "mean": "mean expression",
    "random": "random genes",
}
HEAD = """# scScore's genes as the input of other methods

Written by `bench/genes/table3.py`; do not edit by hand. The layout is that of the paper's table 3: {size} genes, the first
by scScore (one fit) and by the variance that Seurat standardises, given to scVI (scvi-tools 1.4.2, its defaults,
400 epochs) and to Seurat (4.3.0: NormalizeData, ScaleData, RunPCA), each embedding of 10 dimensions scored as in
genes.md; ASW is the silhouette s as (s + 1) / 2. Mean ± standard deviation over `seeds`: of scVI, and of the fits that
ranked the genes. Cells in which scScore's genes are ahead of HVG are in bold.

"""


def method_of(ranking):
    return re.sub(r"_seed\d+$|(?<=^random)_\d+$", "", ranking)


def number(score, value):
    value = float(value)
    return (value + 1) / 2 if score == "asw" else value


def groups(paths):
    found = defaultdict(lambda: defaultdict(list))
    for path in paths:
        for row in dataset.read_rows(path):
            found[row["set"]][method_of(row["ranking"])].append(row)
    return found


def cell(values, bold):
    text = f"{statistics.fmean(values):.3f}"
    text = f"**{text}**" if bold else text
    return f"{text} ± {statistics.stdev(values):.3f}" if len(values) > 1 else text


def table(tool, of_set):
    means = {
        method: {s: statistics.fmean(number(s, r[s]) for r in rows) for _, s in SCORES}
        for method, rows in of_set.items()
    }
    ahead = {s: means[OURS][s] > means[THEIRS][s] for _, s in SCORES}
    lines = []
    for method in [m for m in NAMES if m in of_set]:
        rows = of_set[method]
        cells = [
            cell([number(s, r[s]) for r in rows], method == OURS and ahead[s])
            for _, s in SCORES
        ]
        lines.append(f"| {tool} | {NAMES[method]} | {len(rows)} | " + " | ".join(cells) + " |\n")
    return lines, sum(ahead.values())


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("--scvi", nargs="+", required=True)
    ap.add_argument("--seurat", nargs="+", required=True)
    x = ap.parse_args()
    tools = {"scVI": groups(x.scvi), "Seurat": groups(x.seurat)}
    sizes = {row["size"] for path in x.scvi + x.seurat for row in dataset.read_rows(path)}
    out, summary = [], []
    for name in tools["Seurat"]:
        out.append(f"## `{name}`\n\n| input of | genes by | seeds | ")
        out.append(" | ".join(title for title, _ in SCORES) + " |\n")
        out.append("|---|---|---:|" + "---:|" * len(SCORES) + "\n")
        won = cells = 0
        for tool, sets in tools.items():
            if name in sets and {OURS, THEIRS} <= sets[name].keys():
                lines, ahead = table(tool, sets[name])
                out += lines
                won, cells = won + ahead, cells + len(SCORES)
        out.append("\n")
        summary.append(f"- `{name}`: scScore's genes are ahead in {won} of {cells} cells.\n")
    sys.stdout.write(HEAD.format(size=" or ".join(sorted(sizes))) + "".join(summary) + "\n" + "".join(out))


if __name__ == "__main__":
    main()
