#!/usr/bin/env python3
"""Training speed of scVI (scvi-tools) on a GPU, over numbers of genes and mini-batch sizes.

  python bench/gpu/scvi_speed.py [--genes 2000,20000,40000] [--cells 20000] [--batch-size 128]
         [--epochs 5] [--seconds 10] [--device gpu] [--sparse]

Trains scVI at its default model and training plan, in float32, on all cells of synthetic counts,
validation off, and prints one JSON line for each number of genes and each mini-batch size.
cells_per_second is the cells over the median time from one epoch's end to the next, so it holds
the loading of the mini-batches; the first epoch is not timed. Training ends after 1 + epochs, or
before an epoch that would bring the timed ones over --seconds; one is always timed. --sparse moves
the mini-batches to the GPU as sparse matrices (scVI's load_sparse_tensor, off by default).
"""

import argparse
import json
import logging
import time
import warnings

import anndata
import numpy as np
import scipy.sparse
import scvi
import torch
from lightning.pytorch.callbacks import Callback

NON_ZERO = 0.07
# cells x genes at most: 28 million non-zero counts, 0.2 GB
MAX_ENTRIES = 400_000_000


def synthetic(cells, genes, seed=0):
    """Counts as cells x genes, NON_ZERO of the entries above 0.

    Geometric steps through the entries row by row reach each with the same probability, already
    in the order of CSR. Negative binomial counts of size 1 are geometric where they are not 0.
    """
    rng = np.random.default_rng(seed)
    entries = cells * genes
    # five standard deviations more steps than needed on average
    steps = int(entries * NON_ZERO + 5 * (entries * NON_ZERO) ** 0.5) + 1
    at = np.cumsum(rng.geometric(NON_ZERO, steps)) - 1
    at = at[: np.searchsorted(at, entries)]
    offsets = np.searchsorted(at, np.arange(cells + 1) * genes).astype(np.int32)
    counts = rng.geometric(0.5, at.size).astype(np.float32)
    columns = (at % genes).astype(np.int32)
    return scipy.sparse.csr_matrix((counts, columns, offsets), shape=(cells, genes))


class Clock(Callback):
    """When each epoch ended, and an end to training once `seconds` are used up."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.ends = []

    def on_train_epoch_end(self, trainer, module):
        # the GPU may still be at steps that Python has long left
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        if len(self.ends) > 1:
            timed = self.ends[-1] - self.ends[0]
            if timed + self.ends[-1] - self.ends[-2] > self.seconds:
                trainer.should_stop = True


def measure(adata, batch_size, a):
    scvi.settings.seed = 0
    model = scvi.model.SCVI(adata)
    clock = Clock(a.seconds)
    model.train(
        max_epochs=1 + a.epochs, accelerator=a.device, devices=1, train_size=1.0,
        batch_size=batch_size, load_sparse_tensor=a.sparse, callbacks=[clock],
        enable_progress_bar=False, enable_model_summary=False,
    )
    times = np.diff(clock.ends)
    return {
        "peer": "scvi-tools", "version": scvi.__version__, "torch": torch.__version__,
        "genes": adata.n_vars, "cells": adata.n_obs, "batch_size": batch_size,
        "sparse": a.sparse, "epochs": len(times),
        "cells_per_second": round(adata.n_obs / float(np.median(times)), 1),
        "card": torch.cuda.get_device_name() if a.device == "gpu" else "cpu",
    }


def numbers(text):
    return [int(part) for part in text.split(",")]


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--genes", type=numbers, default=[2000, 20000, 40000])
    p.add_argument("--cells", type=int, default=20000, help="fewer where genes are many")
    p.add_argument("--batch-size", type=numbers, default=[128], help="one or more, as 128,1024")
    p.add_argument("--epochs", type=int, default=5, help="timed ones, at most")
    p.add_argument("--seconds", type=float, default=10, help="of the timed epochs, at most")
    p.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    p.add_argument("--sparse", action="store_true")
    a = p.parse_args()
    warnings.filterwarnings("ignore")
    scvi.settings.verbosity = logging.ERROR
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for genes in a.genes:
        adata = anndata.AnnData(synthetic(min(a.cells, MAX_ENTRIES // genes), genes))
        scvi.model.SCVI.setup_anndata(adata)
        for batch_size in a.batch_size:
            print(json.dumps(measure(adata, batch_size, a)), flush=True)


if __name__ == "__main__":
    main()
