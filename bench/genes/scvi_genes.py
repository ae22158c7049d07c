#!/usr/bin/env python3
"""How well scVI does with the first genes of each ranking.

  python scvi_genes.py SET.h5ad LABEL_COLUMN RANKS.tsv SIZE SEED OUT.tsv
         [--epochs 400] [--only REGEX] [--threads 1] [--clusterings 1]

For every ranking of RANKS.tsv (or those that match --only): SCVI of scvi-tools at its defaults
(Lopez et al. 2018) on the raw counts of the first SIZE genes, without batches, scored in its 10
latent dimensions as evaluate.py scores principal components. The rows are evaluate.py's with the
`seed` of the model, its `epochs` and the seconds of its training (`train_s`); those that are there
already are not computed again.
"""

import argparse
import logging
import re
import sys
import time
import warnings

import dataset  # (sets the thread limits, so it comes before numpy)
import common
import evaluate
import numpy as np

warnings.filterwarnings("ignore")
logging.getLogger("lightning").setLevel(logging.ERROR)


def latent(a, seed, epochs):
    """The latent means of all cells of `a` (raw counts)."""
    import scvi

    scvi.settings.seed = seed
    scvi.settings.verbosity = logging.ERROR
    scvi.settings.dl_num_workers = 0
    scvi.model.SCVI.setup_anndata(a)
    model = scvi.model.SCVI(a)
    model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False)
    return model.get_latent_representation().astype(np.float32)


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("h5ad")
    ap.add_argument("label", help="obs column of the cell types")
    ap.add_argument("ranks")
    ap.add_argument("size", type=int)
    ap.add_argument("seed", type=int)
    ap.add_argument("out")
    ap.add_argument("--epochs", type=int, default=400)
    ap.add_argument("--only", default="", help="the rankings to take, by default all")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--clusterings", type=int, default=1)
    x = ap.parse_args()
    import torch

    torch.set_num_threads(x.threads)
    name = dataset.name_of(x.h5ad)
    a, _ = common.load(x.h5ad)
    labels = common.labels_of(a, x.label)
    if labels is None:
        raise SystemExit(f"{x.h5ad}: no obs column {x.label!r}")
    key = ("set", "ranking", "size", "seed", "epochs")
    there = {tuple(r[k] for k in key) for r in dataset.read_rows(x.out)}
    for ranking, order in dataset.read_rankings([x.ranks], a.var_names).items():
        given = (name, ranking, x.size, x.seed, x.epochs)
        if not re.search(x.only, ranking) or tuple(map(str, given)) in there:
            continue
        if x.size > len(order):
            print(f"{ranking}: fewer than {x.size} genes", file=sys.stderr)
            continue
        t = time.perf_counter()
        emb = latent(a[:, order[: x.size]].copy(), x.seed, x.epochs)
        row = dict(zip(key, given), train_s=time.perf_counter() - t)
        row.update(evaluate.scores_of(emb, labels, x.clusterings))
        dataset.append_row(x.out, row)
        print(row, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
