"""How a peer run scores its embedding."""

import metrics


def add_score_arguments(ap):
    """What every peer run takes for its scores: score() reads the first."""
    ap.add_argument(
        "--scib-total", action="store_true", help="add the total of scib.py"
    )
    ap.add_argument("--results", help="JSONL file to append to")


def score(x, emb, labels, batch):
    """The metrics of the embedding of `x.h5ad`, with the integration scores if asked for."""
    if x.scib_total:
        import scib

        return scib.compute_for(emb, x.h5ad)
    return metrics.compute(emb, labels, batch, 0)
