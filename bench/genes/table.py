#!/usr/bin/env python3
"""The gene-ranking table, from the rows that evaluate.py wrote.

  python table.py RESULTS.tsv [RESULTS2.tsv ...] [--sizes 100,200,...] > genes.md

RESULTS.means.tsv beside each file gives the correlations with the mean. The area under the
curve is the trapezoid of a score over log2(size), divided by the width, so that it is a mean
score over the sizes; a ranking that lacks one of the sizes has none. Rankings that differ by
their seed only (NAME_seed1, random_1) make one line. --sizes: those of the area; by default
all that the results of the set hold.
"""

import argparse
import pathlib
import re
from collections import defaultdict

import dataset  # (sets the thread limits, so it comes before numpy)
import numpy as np

SHOWN = [500, 1000, 2000]
SCORES = [("Leiden", "nmi_leiden"), ("k-means", "nmi_kmeans")]
CONTROL = ":matched"
ALL = "all_genes"

HEAD = """# Genes by their ranking

Written by `bench/genes/table.py`; do not edit by hand.

How well the published cell types are found with the first genes of a ranking: scaled
log-counts, 50 principal components, then Leiden on the 15-neighbour graph (the best of eight
resolutions, for all rankings alike) and k-means, scored by NMI (`bench/genes/evaluate.py`; the
other rankings are described at the head of `bench/genes/rankings.py`).

- **AUC**: mean NMI over the numbers of genes: the area under the curve over log2 of the number,
  divided by its width.
- **control**: the AUC of random genes of the same mean counts (the same of 100 bins): what the
  ranking owes to the means of its genes alone.
- **500, 1000, ...**: NMI with that many genes. Below each table: that of all genes, unranked.
- **rho mean**: Spearman's correlation of the ranking with the mean count among the genes above
  the median mean; 1 for a ranking by expression, 0 for one that does not heed it.

Entries are means ± standard deviations over the seeds of a ranking (`seeds`); without ± there is
one. The highest AUC of a table is in bold. The rankings are sorted by the sum of the two AUC.

`scScore_CRITERION` is the rank of one fit with that criterion of the connections (`deviance` is the
default, `mse` the paper's): more connections first, then the signal. `_ties_at_random` is the number
of connections alone, of which several hundred genes have the most a gene can have. `_signal` is the
signal alone. `_next` is the paper's rule read otherwise: a gene that has as many connections as it
can have passes its turn to the next (not in the package). `_10fits` and `_20fits`: the same ranks from
so many fits of `scScore(n_repeats = )` with null copies beside the genes; made once, not by genes.sh.
`_batch` is told the batches. {large}

![curves over the number of genes](genes.png)
"""


def method_of(ranking):
    """The name without its seed; a control goes by the name of its ranking."""
    name = ranking.removesuffix(CONTROL)
    return re.sub(r"_seed\d+$|(?<=^random)_\d+$", "", name)


def area(by_size, sizes):
    """The mean over log2(size), or NaN where a size is missing."""
    if any(s not in by_size for s in sizes):
        return float("nan")
    values = [by_size[s] for s in sizes]
    if len(sizes) == 1:
        return values[0]
    x = np.log2(sizes)
    return float(np.trapezoid(values, x) / (x[-1] - x[0]))


def numbers_of(curves, spearman, sizes):
    """{column: number} of one ranking of one set; `curves` is {score: {size: value}}."""
    out = {}
    for title, score in SCORES:
        out[f"AUC {title}"] = area(curves[score], sizes)
        for s in SHOWN:
            out[f"{title} {s}"] = curves[score].get(s, float("nan"))
    out["rho mean"] = spearman
    return out


def read(paths):
    """{set: {ranking: {score: {size: value}}}} and {(set, ranking): correlation}."""
    curves = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    spearman = {}
    for path in paths:
        for r in dataset.read_rows(path):
            for _, score in SCORES:
                curves[r["set"]][r["ranking"]][score][int(r["size"])] = float(r[score])
        means = str(pathlib.Path(path).with_suffix("")) + ".means.tsv"
        for r in dataset.read_rows(means):
            spearman[r["set"], r["ranking"]] = float(r["spearman_mean"])
    return curves, spearman


def entry(values, digits=3, best=None):
    """Mean ± standard deviation; a dash where there is nothing to give."""
    values = np.asarray(values, dtype=float)
    if not len(values) or np.isnan(values).any():
        return "–"
    text = f"{values.mean():.{digits}f}"
    if best is not None and text == f"{best:.{digits}f}":
        text = f"**{text}**"
    if len(values) > 1:
        text += f" ± {values.std(ddof=1):.{digits}f}"
    return text


def columns(shown):
    out = []
    for title, _ in SCORES:
        out += [f"AUC {title}", f"control {title}"]
    for title, _ in SCORES:
        out += [f"{title} {s}" for s in shown]
    return out + ["rho mean"]


def markdown(numbers, shown):
    """One table from {ranking: {column: number}}, controls among the rankings."""
    groups = defaultdict(lambda: defaultdict(list))
    seeds = defaultdict(int)
    for ranking in sorted(numbers):
        control = ranking.endswith(CONTROL)
        method = method_of(ranking)
        seeds[method] += not control
        for column, value in numbers[ranking].items():
            if not control:
                groups[method][column].append(value)
            elif column.startswith("AUC "):
                groups[method][column.replace("AUC", "control")].append(value)
    # a control whose ranking is in none of the files has no line of its own
    groups = {m: g for m, g in groups.items() if seeds[m]}

    def mean(method, column):
        values = groups[method].get(column, [])
        return float(np.mean(values)) if values else float("nan")

    def both(method):
        total = sum(mean(method, f"AUC {title}") for title, _ in SCORES)
        return -np.inf if np.isnan(total) else total

    best = {}
    for title, _ in SCORES:
        values = [mean(m, f"AUC {title}") for m in groups]
        values = [v for v in values if not np.isnan(v)]
        best[f"AUC {title}"] = max(values) if values else None
    head = ["ranking", "seeds"] + columns(shown)
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for method in sorted(groups, key=both, reverse=True):
        cells = [f"`{method}`", str(seeds[method])]
        for column in columns(shown):
            digits = 2 if column == "rho mean" else 3
            values = groups[method].get(column, [])
            cells.append(entry(values, digits, best.get(column)))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mean_over_sets(per_set):
    """Per ranking the mean of each column over the sets; only of rankings in all sets.

    The mean is taken within a ranking (one seed), so that the ± is over the seeds.
    """
    sets = list(per_set)
    shared = set.intersection(*(set(per_set[s]) for s in sets))
    return {
        ranking: {
            column: float(np.mean([per_set[s][ranking][column] for s in sets]))
            for column in per_set[sets[0]][ranking]
        }
        for ranking in shared
    }


def of_all_genes(per_size):
    """The line below a table from [{score: {size: value}}] of all genes, one per set."""
    if not per_size or None in per_size:
        return ""
    sizes = [str(*c[SCORES[0][1]]) for c in per_size]
    scores = [
        f"{title} {np.mean([v for c in per_size for v in c[score].values()]):.3f}"
        for title, score in SCORES
    ]
    return f"\nAll genes ({', '.join(sizes)}): {', '.join(scores)}.\n"


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("results", nargs="+")
    ap.add_argument("--sizes")
    ap.add_argument("--note", default="", help="a sentence for the head of the page")
    x = ap.parse_args()
    curves, spearman = read(x.results)
    if not curves:
        raise SystemExit("no rows")
    all_genes = {name: rankings.pop(ALL, None) for name, rankings in curves.items()}
    per_set, same_sizes = {}, defaultdict(list)
    for name, rankings in curves.items():
        if x.sizes:
            sizes = sorted(int(s) for s in x.sizes.split(","))
        else:
            sizes = sorted({s for r in rankings.values() for s in r[SCORES[0][1]]})
        same_sizes[tuple(sizes)].append(name)
        per_set[name] = {
            ranking: numbers_of(c, spearman.get((name, ranking), float("nan")), sizes)
            for ranking, c in rankings.items()
        }
    print(HEAD.format(large=x.note))
    for sizes, names in same_sizes.items():
        shown = [s for s in SHOWN if s in sizes]
        genes = f"Numbers of genes: {', '.join(map(str, sizes))}.\n"
        if len(names) > 1:
            title = ", ".join(f"`{s}`" for s in names)
            mean = mean_over_sets({s: per_set[s] for s in names})
            print(f"## Mean over the sets {title}\n\n{genes}\n{markdown(mean, shown)}")
            print(of_all_genes([all_genes[s] for s in names]))
        for name in names:
            print(f"## `{name}`\n\n{genes}\n{markdown(per_set[name], shown)}")
            print(of_all_genes([all_genes[name]]))


if __name__ == "__main__":
    main()
