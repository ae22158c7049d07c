#!/usr/bin/env python3
"""The tables of the families of scores, from the rows that families.py wrote.

  python families_table.py FAMILIES.tsv [--reading TEXT.md] > genes_families.md

--reading: a file whose text goes to the head of the page.
"""

import argparse
import pathlib
from collections import defaultdict

import dataset  # (sets the thread limits, so it comes before numpy)
import numpy as np
from table import ALL, entry, method_of

SCORES = {
    "bio": "bio",
    "batch": "batch",
    "total": "total",
    "map_f1": "map F1",
    "map_acc": "map acc.",
    "unseen": "unseen",
    "minor_recall": "recall < 5 %",
    "all_recall": "recall all",
}
# what the mean place is over: one score for each family
FAMILIES = ["bio", "batch", "map_f1", "unseen", "minor_recall"]

HEAD = """# Genes by their ranking: integration, mapping, unseen populations, minority types

Written by `bench/genes/families_table.py`; do not edit by hand.

The families of scores of Zappia et al. 2025 (Nat Methods 22:834), with the first genes of each
ranking. What each is: head of `bench/genes/families.py`; the rankings: head of
`bench/genes/rankings.py`. In short, all in [0, 1] and higher is better:

- **bio, batch, total**: Harmony on 50 principal components, scored as scIB does. Batch in
  parentheses: the same with the batches shuffled within the types, what perfect mixing gives.
- **map F1, acc.**: each batch is mapped onto the others, types by the 15 nearest cells.
- **unseen**: AUROC of the distance to the reference for a type that the reference lacks.
- **recall**: markers (by Wilcoxon on all genes) among the first genes, of the types below 5 % of
  the cells and of all types.

`scScore_deviance` is one fit of the default criterion without batches, `_batch` with them, and
`_signal` the order by `signal` alone. Entries are means ± standard deviations over the seeds of a
ranking; without ± there is one. Best of a column in bold.
"""


def read(path):
    """{(set, size, cells): {method: {score: values over the seeds}}}; all genes under each size."""
    found = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    rows = dataset.read_rows(path)
    for r in rows:
        sizes = {r["size"]}
        if r["ranking"] == ALL:
            sizes = {q["size"] for q in rows if q["set"] == r["set"]} - sizes
        for size in sizes:
            methods = found[r["set"], int(size), int(r["cells"])]
            scores = methods[method_of(r["ranking"])]
            for score in [*SCORES, "shuffled"]:
                scores[score].append(float(r[score]))
    return dict(sorted(found.items()))


def means(methods, score):
    return {m: float(np.mean(s[score])) for m, s in methods.items()}


def places(methods):
    """{method: its place by each family}, equal scores sharing the mean of their places."""
    from scipy.stats import rankdata

    out = defaultdict(list)
    for score in FAMILIES:
        of = means(methods, score)
        if np.isnan(list(of.values())).any():
            continue
        for m, place in zip(of, rankdata([-v for v in of.values()])):
            out[m].append((score, place))
    return out


def overview(tables):
    """Mean places over all tables of the methods that are in every one of them."""
    shared = set.intersection(*(set(t) for t in tables.values())) - {ALL}
    per = defaultdict(lambda: defaultdict(list))
    for methods in tables.values():
        for m, found in places({k: methods[k] for k in methods if k in shared}).items():
            for score, place in found:
                per[m][score].append(place)
    scores = [s for s in FAMILIES if any(per[m][s] for m in per)]
    head = ["ranking", *(SCORES[s] for s in scores), "mean"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    total = {m: np.mean([np.mean(per[m][s]) for s in scores]) for m in per}
    for m in sorted(per, key=total.get):
        cells = [f"{np.mean(per[m][s]):.1f}" for s in scores]
        lines.append("| " + " | ".join([f"`{m}`", *cells, f"{total[m]:.1f}"]) + " |")
    return "\n".join(lines)


def markdown(methods):
    best = {s: max(means(methods, s).values()) for s in SCORES}
    head = ["ranking", "seeds", *SCORES.values()]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    mean = {m: np.mean([p for _, p in found]) for m, found in places(methods).items()}
    for m in sorted(methods, key=mean.get):
        cells = [f"`{m}`", str(len(methods[m]["bio"]))]
        for score in SCORES:
            text = entry(methods[m][score], best=best[score])
            if score == "batch":
                text += f" ({np.mean(methods[m]['shuffled']):.3f})"
            cells.append(text)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("rows")
    ap.add_argument("--reading")
    x = ap.parse_args()
    tables = read(x.rows)
    if not tables:
        raise SystemExit("no rows")
    print(HEAD)
    if x.reading:
        print(pathlib.Path(x.reading).read_text())
    print(
        "## Mean place\n\nPlaces among the rankings that all tables below have, by each family"
        " (1 is the best),\nmeans over the tables.\n"
    )
    print(overview(tables) + "\n")
    for (name, size, cells), methods in tables.items():
        print(f"## `{name}`, {size} genes ({cells} cells)\n\n{markdown(methods)}\n")


if __name__ == "__main__":
    main()
