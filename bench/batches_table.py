#!/usr/bin/env python3
"""Writes results/batches.md from results/batches.jsonl: what the defaults for several batches rest on.

Rows have a `group` (masks, settings, tried), a `dataset`, a `method`, a `seed` and scib's scores
(peers/scib.py). Entries of the tables are means over the seeds, ± the standard error.

  python batches_table.py [--add ROWS.jsonl]     # --add: takes these rows, as score_embedding.py makes them
"""

import argparse
import collections
import json
import math
import pathlib
import statistics

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
COLUMNS = [
    ("**total**", "scib_total"),
    ("**bio**", "scib_bio"),
    ("**batch**", "scib_batch"),
    ("NMI", "leiden_best_nmi"),
    ("ARI", "leiden_best_ari"),
    ("ASW", "asw_scaled"),
    ("batch ASW", "batch_asw"),
    ("iLISI", "ilisi"),
    ("kBET", "kbet_knn"),
    ("graph conn.", "graph_connectivity"),
    ("PCR", "pcr"),
]
HEAD = """# What the defaults for several batches rest on

Written by `bench/batches_table.py` from `bench/results/batches.jsonl`; do not edit by hand. Scores as in
integration.md; mean ± standard error over the seeds.

"""
GROUPS = {
    "masks": """## Masks of several batches

The paper's masks M^b share nothing but their start: each is adjusted from its own batch's cells. Compared with that
("separate"), all else at today's defaults:

- shared: one mask, adjusted from all cells (the default);
- criteria pooled: masks of their own, but the genes that win or lose a connection are chosen by every batch's loss
  (each batch's shares of its loss, averaged; by half: half own, half pooled); which connection it is stays each mask's own;
- consensus every 10 epochs: separate adjustment, but every 10 epochs all masks restart from the connections that
  most of them have.

Pooling and consensus were taken out of the package after this; they are in the commit "Batches: differences measured
from matching cells", as the settings `mask_pooling` and `consensus_every`. On celllines_tian only what is listed
was run.

""",
    "settings": """## Settings

One changed at a time. "the paper's way" is all of separate masks, no measured differences, equal numbers of every
batch in a mini-batch and modules of weight 1. Made by `bench/ablation.sh DATA_DIR`.

""",
    "tried": """## What was tried on the way and is not in the package

From builds made during the work, so these rows cannot be made from a commit; they are kept because they say what
limits the correction. Unless it says otherwise: offsets per gene and batch that start from the means of all cells,
cells drawn in proportion to the batches.

""",
}


KEPT = ["kmeans_nmi", "isolated_asw", "clisi"]


def add(path):
    with open(path) as rows, open(RESULTS / "batches.jsonl", "a") as out:
        for row in map(json.loads, rows):
            new = {k: row[k] for k in ("group", "dataset", "method", "seed")}
            keys = [key for _, key in COLUMNS] + KEPT
            new["metrics"] = {key: row["metrics"].get(key) for key in keys}
            out.write(json.dumps(new) + "\n")


def cell(values):
    values = [v for v in values if v is not None]
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.3f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--add", metavar="ROWS.jsonl")
    given = parser.parse_args()
    if given.add:
        add(given.add)
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    with open(RESULTS / "batches.jsonl") as rows:
        for row in map(json.loads, rows):
            groups[row["group"], row["dataset"]][row["method"]].append(row)
    text = [HEAD]
    for group, head in GROUPS.items():
        text.append(head)
        for (of_group, dataset), methods in groups.items():
            if of_group != group:
                continue
            text.append(f"### {dataset}\n\n| | seeds | ")
            text.append(" | ".join(name for name, _ in COLUMNS) + " |\n")
            text.append("|---" * (len(COLUMNS) + 2) + "|\n")
            for method, rows in methods.items():
                scores = [cell([r["metrics"].get(key) for r in rows]) for _, key in COLUMNS]
                text.append(f"| {method} | {len(rows)} | " + " | ".join(scores) + " |\n")
            text.append("\n")
    (RESULTS / "batches.md").write_text("".join(text))


if __name__ == "__main__":
    main()
