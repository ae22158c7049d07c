#!/usr/bin/env python3
"""Time of a training step on all genes, this package against scVI, in turn in one run.

  python bench/training_step.py COUNTS.h5ad [--epochs 6] [--rounds 3] [--threads 1 2]

Both train on 90 % of the cells with mini-batches of 128 on the same cores, at their default model (scVI: 128 hidden
units, zinb, gene dispersion). A figure is the median time of the epochs after the first, divided by the steps of an
epoch; validation is off for both. The package is the one R finds (R_LIBS). The table goes to standard output.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

OURS = """
suppressMessages(library(scVAE))
a <- commandArgs(TRUE)
m <- fitSCVAE(a[1], max_epochs = as.integer(a[2]), threads = as.integer(a[3]), seed = 1L,
              check_val_every_n_epoch = 10000L, verbose = FALSE)
kept <- sum(!is.na(m$latent[, 1]))
cat(median(diff(m$history$seconds)) / ceiling(ceiling(0.9 * kept) / 128) * 1000)
"""


def ours(path, epochs, threads):
    out = subprocess.run(
        ["Rscript", "-e", OURS, path, str(epochs), str(threads)],
        check=True, capture_output=True, text=True,
    )
    return float(out.stdout)


def scvi(path, epochs, threads):
    with tempfile.TemporaryDirectory() as folder:
        results = os.path.join(folder, "rows.jsonl")
        subprocess.run(
            [sys.executable, os.path.join(HERE, "peers", "run_scvi.py"), path, "--name", "timing",
             "--out", folder, "--genes", "full", "--max-epochs", str(epochs), "--threads", str(threads),
             "--no-metrics", "--results", results],
            check=True, capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
        )
        with open(results) as rows:
            row = json.loads(rows.readline())
    return row["ms_per_step_epoch"], row["genes_used"]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("counts")
    ap.add_argument("--epochs", type=int, default=6)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    a = ap.parse_args()
    name = os.path.basename(a.counts)
    print("| counts | genes | threads | scVI ms/step | this package ms/step | scVI / this, per round |")
    print("|---|---|---|---|---|---|")
    for threads in a.threads:
        theirs, mine, ratios = [], [], []
        for _ in range(a.rounds):
            ms, genes = scvi(a.counts, a.epochs, threads)
            theirs.append(ms)
            mine.append(ours(a.counts, a.epochs, threads))
            ratios.append(theirs[-1] / mine[-1])
        shown = ", ".join(f"{r:.2f}" for r in ratios)
        print(f"| {name} | {genes:,} | {threads} | {statistics.median(theirs):.0f} "
              f"| {statistics.median(mine):.0f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
