"""How a peer run scores its embedding."""

import metrics
import numpy as np


def add_score_arguments(ap):
    """What every peer run takes for its scores: score() reads the first."""
    ap.add_argument(
        "--scib-total", action="store_true", help="add the total of scib.py"
    )
    ap.add_argument("--results", help="JSONL file to append to")
    ap.add_argument(
        "--subsample",
        type=float,
        help="take this share of the cells, drawn by the seed: tells how far one run can be trusted",
    )


def subsampled(x, a):
    """The numbers of the cells to take, all of them without --subsample; and the rows' suffix."""
    if x.subsample is None:
        return np.arange(a.n_obs), ""
    rng = np.random.default_rng(x.seed)
    cells = rng.choice(a.n_obs, round(x.subsample * a.n_obs), replace=False)
    return np.sort(cells), f"_sub{round(100 * x.subsample)}"


def score(x, emb, labels, batch, cells=slice(None)):
    """The metrics of the embedding of the cells of `x.h5ad`, with the integration scores if asked for.

    `labels` and `batch` are those of these cells.
    """
    if x.scib_total:
        import scib

        return scib.compute_for(emb, x.h5ad, cells=cells)
    return metrics.compute(emb, labels, batch, 0)
