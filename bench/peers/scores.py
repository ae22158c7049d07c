"""How a peer run scores its embedding, and of which cells.

  python scores.py IN.h5ad --seed SEED --subsample SHARE

prints the names of the cells that a run with these arguments takes, for runs that are not in Python.
"""

import common  # sets the thread limits, so it comes before numpy
import argparse

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


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("h5ad")
    ap.add_argument("--seed", type=int, required=True)
    ap.add_argument("--subsample", type=float, required=True)
    x = ap.parse_args()
    a, _ = common.load(x.h5ad)
    print("\n".join(a.obs_names[subsampled(x, a)[0]]))


if __name__ == "__main__":
    main()
