#!/usr/bin/env python3
"""Time and memory of training, this package and scVI, and this package alone over sizes.

  python bench/speed.py pair COUNTS.h5ad... [--epochs 3] [--rounds 3] [--threads 1 2]
  python bench/speed.py memory COUNTS.h5ad... [--rounds 3] [--tools scvi scvae] [--min-genes 200]
  python bench/speed.py curve genes|cells|hidden|threads [--work DIR]

`pair` runs the two in turn in one run on the same cores, each time in a process of its own; `memory` does so for one
epoch. `curve` makes synthetic counts of growing size, DIR/synthetic_CELLS_GENES.h5ad. All append rows to bench/results/speed.jsonl; bench/speed_table.py turns them into a table and a
plot. Both tools train on 90 % of the cells with mini-batches of 128 at their default model, validation off.

CPU seconds are those of all threads. This package's seconds of an epoch are the difference between a training of
1 + epochs and one of 1 epoch, over the epochs; scVI's the median of the epochs after the first. Peak memory is the
highest resident set in training above that just before it, when the counts are already there: as a sparse matrix in R,
as AnnData in Python. The package is the one R finds (R_LIBS).
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile

import anndata
import h5py
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, "results", "speed.jsonl")

OURS = r"""
suppressMessages(library(scVAE))
a <- commandArgs(TRUE)
epochs <- as.integer(a[2])
status <- function(field) {
  line <- grep(paste0("^", field, ":"), readLines("/proc/self/status"), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}
# genes x cells, compressed by cell: what as_columns() wrote
part <- function(name, what) readBin(file.path(a[1], name), what, 2^31 - 1)
shape <- part("shape", "integer")
counts <- Matrix::sparseMatrix(
  i = part("genes", "integer"), p = part("offsets", "integer"), x = part("counts", "double"),
  dims = shape, index1 = FALSE,
  dimnames = list(paste0("g", seq_len(shape[1])), paste0("c", seq_len(shape[2])))
)
invisible(gc())
cat("5", file = "/proc/self/clear_refs")
before <- status("VmRSS")
fit <- function(n) {
  start <- proc.time()
  m <- suppressWarnings(fitSCVAE(
    counts, min_genes = as.integer(a[5]), max_epochs = n, threads = as.integer(a[3]), n_hidden = as.integer(a[4]), seed = 1L,
    check_val_every_n_epoch = 10000L, verbose = FALSE
  ))
  taken <- proc.time() - start
  list(cpu = sum(taken[c("user.self", "sys.self")]), wall = tail(m$history$seconds, 1), model = m)
}
one <- fit(1L)
peak <- status("VmHWM") - before
more <- if (epochs > 0) fit(1L + epochs) else one
cat(sprintf(
  '{"cpu_s": %.6f, "wall_s": %.6f, "peak_mib": %.1f, "cells": %d, "genes": %d, "parameters": %d}',
  (more$cpu - one$cpu) / max(epochs, 1), (more$wall - one$wall) / max(epochs, 1), peak,
  sum(one$model$trained_cells), sum(one$model$genes$kept), as.integer(one$model$n_parameters)
))
"""

THEIRS = r"""
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

def status(field):
    for line in open("/proc/self/status"):
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024

class Clock(pl.Callback):
    def __init__(self):
        self.wall, self.cpu = [], []

    def on_train_epoch_start(self, trainer, module):
        self.start = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, trainer, module):
        self.wall.append(time.perf_counter() - self.start[0])
        self.cpu.append(time.process_time() - self.start[1])

clock = Clock()
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
model.train(
    max_epochs=1 + int(sys.argv[2]), accelerator="cpu", callbacks=[clock], enable_progress_bar=False
)
print(json.dumps({
    "cpu_s": float(np.median(clock.cpu[1:] or 0)), "wall_s": float(np.median(clock.wall[1:] or 0)),
    "peak_mib": status("VmHWM") - before, "cells": counts.n_obs, "genes": counts.n_vars,
    "parameters": sum(p.numel() for p in model.module.parameters()),
}))
"""


def child(command, threads):
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
    return json.loads(out.stdout.splitlines()[-1])


def as_columns(path, folder):
    """Counts as the vectors of a sparse matrix, for R to read at once."""
    counts = anndata.read_h5ad(path).X.tocsr()
    counts.sort_indices()
    for name, values, kind in (
        ("genes", counts.indices, np.int32), ("offsets", counts.indptr, np.int32),
        ("counts", counts.data, np.float64), ("shape", counts.shape[::-1], np.int32),
    ):
        np.asarray(values, dtype=kind).tofile(os.path.join(folder, name))


def ours(path, epochs, threads, hidden=128, min_genes=200):
    numbers = [str(n) for n in (epochs, threads, hidden, min_genes)]
    with tempfile.TemporaryDirectory() as folder:
        as_columns(path, folder)
        return child(["Rscript", "-e", OURS, folder, *numbers], threads)


def scvi(path, epochs, threads):
    peers = os.path.join(HERE, "peers")
    return child([sys.executable, "-c", THEIRS, path, str(epochs), str(threads), peers], threads)


def keep(row):
    row["date"] = datetime.date.today().isoformat()
    with open(RESULTS, "a") as out:
        out.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)


def pair(a):
    for path in a.counts:
        name = os.path.basename(path).removesuffix(".h5ad")
        for threads in a.threads:
            for i in range(a.rounds):
                for tool, run in (("scvi", scvi), ("scvae", ours)):
                    row = {"kind": "pair", "data": name, "tool": tool, "round": i, "threads": threads}
                    result = run(path, a.epochs, threads)
                    del result["peak_mib"]
                    keep({**row, "epochs": a.epochs, **result})


def memory(a):
    for path in a.counts:
        name = os.path.basename(path).removesuffix(".h5ad")
        for i in range(a.rounds):
            for tool in a.tools:
                result = scvi(path, 0, 1) if tool == "scvi" else ours(path, 0, 1, min_genes=a.min_genes)
                # R's sparse matrix: a double and an integer for each count
                with h5py.File(path) as file:
                    counts_mib = file["X/data"].shape[0] * 12 / 2**20
                row = {"kind": "memory", "data": name, "tool": tool, "round": i, "threads": 1, "counts_mib": counts_mib}
                keep({**row, **{k: result[k] for k in ("cells", "genes", "peak_mib")}})


CURVES = {
    # cells, genes, hidden units, threads, epochs
    "genes": [(4000, n, 128, 1, 4) for n in (2000, 5000, 10000, 20000, 40000)],
    "cells": [(n, 2000, 128, 1, max(1, 16000 // n)) for n in (1000, 4000, 16000, 64000, 256000, 1000000)],
    "hidden": [(4000, 20000, h, 1, 3) for h in (64, 128, 256)],
    "threads": [(4000, 20000, 128, t, 4) for t in (1, 2)],
}


def curve(a):
    work = a.work or tempfile.mkdtemp()
    for cells, genes, hidden, threads, epochs in CURVES[a.over]:
        path = os.path.join(work, f"synthetic_{cells}_{genes}.h5ad")
        if not os.path.exists(path):
            subprocess.run(
                [sys.executable, os.path.join(HERE, "make_synthetic.py"), path, str(cells), str(genes)], check=True
            )
        row = {"kind": "curve", "over": a.over, "tool": "scvae", "hidden": hidden, "threads": threads}
        result = ours(path, epochs, threads, hidden, min_genes=1)
        del result["peak_mib"]
        keep({**row, "epochs": epochs, **result})


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = ap.add_subparsers(required=True)
    p = commands.add_parser("pair")
    p.add_argument("counts", nargs="+")
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    p.set_defaults(run=pair)
    p = commands.add_parser("memory")
    p.add_argument("counts", nargs="+")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--tools", nargs="+", choices=("scvi", "scvae"), default=["scvi", "scvae"])
    p.add_argument("--min-genes", type=int, default=200)
    p.set_defaults(run=memory)
    p = commands.add_parser("curve")
    p.add_argument("over", choices=CURVES)
    p.add_argument("--work")
    p.set_defaults(run=curve)
    a = ap.parse_args()
    a.run(a)


if __name__ == "__main__":
    main()
