#!/usr/bin/env python3
"""Writes results/speed.md and results/speed.png from the rows of speed.py and the times of bench/kernels."""

import collections
import json
import math
import os
import pathlib
import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results"
CRITERION = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target")) / "criterion"
HEAD = """# Speed and memory

Written by `bench/speed_table.py` from the rows that `make bench-speed` makes; do not edit by hand.
Our rows are of `criterion = "mse"`, the default then.

## Training on all genes, beside scVI

This package and scVI (scvi-tools 1.4.2, torch 2.9.1) in turn in one run on the same cores (x86-64 with AVX-512),
nothing else running; both with their default models, mini-batches of 128 and no validation. Medians over the rounds;
CPU seconds are those of all threads together.

"""


def median(rows, key):
    return statistics.median(row[key] for row in rows)


def pairs(rows):
    groups = collections.defaultdict(lambda: collections.defaultdict(dict))
    for row in rows:
        if row["kind"] == "pair":
            groups[row["data"], row["threads"]][row["tool"]][row["round"]] = row
    text = ["| counts | cells | genes | threads | tool | CPU s/epoch | wall s/epoch | cells/s | scVI / this: CPU | wall |",
            "|" + "---|" * 10]
    for (data, threads), tools in groups.items():
        rounds = sorted(set(tools["scvi"]) & set(tools["scvae"]))
        for tool in ("scvi", "scvae"):
            of_tool = [tools[tool][r] for r in rounds]
            ratios = ["", ""]
            if tool == "scvae":
                for i, key in enumerate(("cpu_s", "wall_s")):
                    each = [tools["scvi"][r][key] / tools["scvae"][r][key] for r in rounds]
                    ratios[i] = f"**{statistics.median(each):.1f}** ({min(each):.1f}-{max(each):.1f})"
            name = "this package" if tool == "scvae" else "scVI"
            trained = 0.9 * of_tool[0]["cells"]
            text.append(
                f"| {data} | {of_tool[0]['cells']:,} | {of_tool[0]['genes']:,} | {threads} | {name} "
                f"| {median(of_tool, 'cpu_s'):.2f} | {median(of_tool, 'wall_s'):.2f} "
                f"| {trained / median(of_tool, 'wall_s'):,.0f} | {' | '.join(ratios)} |"
            )
    return text


def memory(rows):
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    for row in rows:
        if row["kind"] == "memory":
            groups[row["data"]][row["tool"]].append(row["peak_mib"])
    text = ["| counts | scVI, MiB | this package, MiB | scVI / this |", "|---|---|---|---|"]
    for data, tools in groups.items():
        if "scvi" not in tools:
            continue
        theirs, mine = (statistics.median(tools[tool]) for tool in ("scvi", "scvae"))
        text.append(f"| {data} | {theirs:,.0f} | {mine:,.0f} | **{theirs / mine:.1f}** |")
    return text


def memory_over_cells(rows):
    """This package alone: one row a size."""
    paired = {r["data"] for r in rows if r["kind"] == "memory" and r["tool"] == "scvi"}
    sizes = [r for r in rows if r["kind"] == "memory" and r["data"] not in paired]
    if not sizes:
        return []
    text = ["### Memory over cells", "",
            "What training adds to the resident set at most, above the counts (one thread, 2,000 genes):", "",
            "| cells | counts, MiB | training, MiB |", "|---|---|---|"]
    text += [f"| {r['cells']:,} | {r['counts_mib']:,.0f} | {r['peak_mib']:,.0f} |" for r in sizes]
    small, large = sizes[-2], sizes[-1]
    growth = (large["peak_mib"] - small["peak_mib"]) / (large["counts_mib"] - small["counts_mib"])
    text += ["", f"Between the last two sizes training grows by {growth:.2f} MiB for each MiB of counts.", ""]
    return text


def slope(points):
    """Of log y over log x: 1 is in proportion."""
    xs, ys = zip(*((math.log(x), math.log(y)) for x, y in points))
    mx, my = statistics.fmean(xs), statistics.fmean(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)


# what varies -> its column, the axis' text
VARIES = {
    "genes": ("genes", "genes after the filter"),
    "cells": ("cells", "cells (2,000 genes)"),
    "hidden": ("hidden", "hidden units"),
    "threads": ("threads", "threads"),
}


def curves(rows):
    text, drawn = [], {}
    for over, (column, label) in VARIES.items():
        of_curve = [r for r in rows if r["kind"] == "curve" and r["over"] == over]
        if not of_curve:
            continue
        text += [f"### Over {label}", "", "| cells | genes | hidden | threads | CPU ms per cell | wall s/epoch "
                 "| cells/s | parameters |", "|" + "---|" * 8]
        points = []
        for r in of_curve:
            trained = 0.9 * r["cells"]
            points.append((r[column], r["wall_s"]))
            text.append(
                f"| {r['cells']:,} | {r['genes']:,} | {r['hidden']} | {r['threads']} "
                f"| {r['cpu_s'] / trained * 1000:.3f} | {r['wall_s']:.2f} | {trained / r['wall_s']:,.0f} "
                f"| {r['parameters']:,} |"
            )
        text += ["", f"Fitted slope in logarithms: {slope(points):.2f}.", ""]
        drawn[label] = points
    if drawn:
        figure, axes = plt.subplots(1, len(drawn), figsize=(4 * len(drawn), 3.8))
        for axis, (label, points) in zip(axes, drawn.items()):
            axis.loglog([p[0] for p in points], [p[1] for p in points], "o-")
            axis.set_xticks([p[0] for p in points], [f"{p[0]:,}" for p in points], rotation=45)
            axis.minorticks_off()
            axis.yaxis.set_major_formatter("{x:g}")
            axis.set_yticks([round(p[1], 2) for p in points])
            axis.set_xlabel(label)
            axis.set_ylabel("seconds per epoch")
            axis.grid(alpha=0.3)
        figure.tight_layout()
        figure.savefig(RESULTS / "speed.png", dpi=110)
        text += ["![seconds per epoch](speed.png)", ""]
    return text


def kernel_ms(name, build=CRITERION):
    with open(build / name / "new" / "estimates.json") as estimates:
        return json.load(estimates)["median"]["point_estimate"] / 1e6


def roofline():
    """Flops and bytes of each pass of the mini-batch in bench/kernels/main.rs, against what the machine can do."""
    copied = 2 * (64 << 20) / kernel_ms("copy 64 MiB") / 1e6  # GB/s, read and written
    fma = 2 * (1 << 26) / kernel_ms("multiply-adds in registers") / 1e6  # GFLOP/s
    cells, genes, hidden, connections = 128, 20_000, 128, 25
    nnz, entries, slots = int(0.08 * cells * genes), cells * genes, genes * connections
    rows = 4 * entries  # bytes of one array of genes x cells
    passes = [
        # name, Mflop of products, MB that cannot stay in a cache of 2 MB
        ("gather a mini-batch", 0, nnz * (8 + 8 + 8 + 4) / 1e6),
        ("encode, forwards", 2 * nnz * hidden / 1e6, (nnz * 8 + slots * 6) / 1e6),
        ("encode, backwards", 2 * nnz * hidden / 1e6, (nnz * 8 + slots * 10) / 1e6),
        ("decode", 2 * slots * cells / 1e6, (rows + slots * 10) / 1e6),
        ("decode and loss", 4 * slots * cells / 1e6, (2 * rows + slots * 20) / 1e6),
        ("decode and loss, with gradients", 12 * slots * cells / 1e6, (6 * rows + slots * 40) / 1e6),
    ]
    text = [
        "## What a step is made of",
        "",
        "One mini-batch of 128 cells, 20,000 genes, 8 % non-zero, 128 hidden units, 25 connections per gene, one thread "
        "(`bench/kernels`). "
        f"The machine copies at most {copied:.0f} GB/s (read and written) and makes at most {fma:.0f} Gflop/s of fused "
        "multiply-adds in single precision on one core. *Products* are the multiply-adds of the sparse layers, *bytes* what "
        "must come from beyond the caches; the likelihood's elementary functions, some 150 operations an entry, are in "
        "neither and fill most of the rest of `decode and loss`.",
        "",
        "| pass | ms | products, Mflop | share of the peak | bytes, MB | share of the copying speed |",
        "|" + "---|" * 6,
    ]
    for name, mflop, mb in passes:
        ms = kernel_ms(name)
        text.append(
            f"| {name} | {ms:.1f} | {mflop:.0f} | {mflop / ms / fma:.0%} | {mb:.0f} | {mb / ms / copied:.0%} |"
        )
    text += ["", "The same passes in a build for this very processor (`-C target-cpu=native`), in ms: "]
    native = CRITERION.parent / "native" / "criterion"
    text[-1] += "; ".join(
        f"{name} {kernel_ms(name, native):.1f} ({kernel_ms(name) / kernel_ms(name, native):.2f} of its time here)"
        for name, _, _ in passes[1:]
    ) + "."
    return [*text, ""]


def main():
    with open(RESULTS / "speed.jsonl") as lines:
        rows = [json.loads(line) for line in lines]
    text = [*pairs(rows), "",
            "What training adds to the resident set at most (one thread, one epoch), above the counts, which are in memory "
            "already; medians of runs in processes of their own:", "", *memory(rows), "", "## This package over sizes", "",
            "Synthetic counts (`bench/make_synthetic.py`, about 8 % non-zero), one thread unless told otherwise.", ""]
    text += curves(rows)
    text += memory_over_cells(rows)
    text += roofline()
    text += ["## Commands", "", "```", "make bench-speed PYTHON=python   # with bench/peers/requirements.txt installed",
             "```", ""]
    (RESULTS / "speed.md").write_text(HEAD + "\n".join(text))


if __name__ == "__main__":
    main()
