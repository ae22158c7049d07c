#!/usr/bin/env python3
"""Writes results/ablation.md from the rows of ablation.sh: mean and standard error over seeds."""

import collections
import json
import math
import pathlib
import statistics

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
COLUMNS = [
    ("ASW", "asw_scaled"),
    ("NMI Leiden best", "leiden_best_nmi"),
    ("ARI Leiden best", "leiden_best_ari"),
    ("NMI Leiden r=1", "leiden_r1_nmi"),
    ("NMI k-means", "kmeans_nmi"),
    ("ARI k-means", "kmeans_ari"),
    ("batch ASW", "batch_asw"),
]
HEAD = """# What the defaults rest on

Written by `bench/ablation_table.py` from the rows that `bench/ablation.sh DATA_DIR` makes; do not edit by hand.
One setting is changed at a time; scores as in quality.md, mean ± standard error over the seeds.

"""


def cell(values):
    values = [v for v in values if v is not None]
    if not values:
        return "-"
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.3f}"
    return f"{mean:.3f} ± {statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def main():
    groups = collections.defaultdict(list)
    with open(RESULTS / "ablation.jsonl") as rows:
        for row in map(json.loads, rows):
            groups[row["dataset"], row["method"]].append(row)
    with open(RESULTS / "quality.jsonl") as rows:
        for row in map(json.loads, rows):
            groups[row["dataset"], f"**default** ({row['method']}, quality.md)"].append(row)
    text = [HEAD]
    for dataset in dict.fromkeys(key[0] for key in groups):
        text.append(f"## {dataset}\n\n")
        text.append("| setting | seeds | " + " | ".join(name for name, _ in COLUMNS) + " |\n")
        text.append("|---" * (len(COLUMNS) + 2) + "|\n")
        for (of_set, method), rows in groups.items():
            if of_set == dataset:
                scores = [cell([r["metrics"].get(key) for r in rows]) for _, key in COLUMNS]
                text.append(f"| {method} | {len(rows)} | " + " | ".join(scores) + " |\n")
        text.append("\n")
    (RESULTS / "ablation.md").write_text("".join(text))


if __name__ == "__main__":
    main()
