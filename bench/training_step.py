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


THEIRS = """
import json, logging, sys, time, warnings
sys.path.insert(0, sys.argv[4])
import common
import numpy as np
import torch
warnings.filterwarnings("ignore")
torch.set_num_threads(int(sys.argv[3]))
import lightning.pytorch as pl
import scvi
scvi.settings.verbosity = logging.ERROR
counts, _ = common.load(sys.argv[1])
scvi.model.SCVI.setup_anndata(counts)
model = scvi.model.SCVI(counts)

class Clock(pl.Callback):
    def __init__(self):
        self.steps, self.seconds = 0, []

    def on_train_epoch_start(self, trainer, module):
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer, module):
        self.seconds.append(time.perf_counter() - self.start)
        self.steps = trainer.num_training_batches

clock = Clock()
model.train(max_epochs=int(sys.argv[2]), accelerator="cpu", callbacks=[clock], enable_progress_bar=False)
print(json.dumps([float(np.median(clock.seconds[1:])) / clock.steps * 1000, counts.n_vars]))
"""


def scvi(path, epochs, threads):
    out = subprocess.run(
        [sys.executable, "-c", THEIRS, path, str(epochs), str(threads), os.path.join(HERE, "peers")],
        check=True, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
    )
    return json.loads(out.stdout.splitlines()[-1])


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
