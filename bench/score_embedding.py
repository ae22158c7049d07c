#!/usr/bin/env python3
"""Score one embedding against the published cell types of its data set.

  python score_embedding.py EMB.csv DATA.h5ad --dataset SET --method NAME [--seed 0]
         [--label-key cell_type] [--batch-key batch] [--metric-seed 0]
         [--extra '{"epochs": 100}'] [--scib-total] [--results quality.jsonl]

EMB.csv has a header, the cell name in the first column and one column per
latent dimension, as R's write.csv(embedding) gives it. A cell that the model
filtered out is a row of NA, or absent. Cells are matched by name, so the order
of the rows does not matter. One JSON line is printed and, with --results,
appended to that file in the form of the peers' rows, so that
quality_table.py reads both alike.

Scored are the cells that pass the filter which all methods share (genes in
fewer than 3 cells go first, then cells with fewer than 200 genes) and that have
finite coordinates. The line holds how many cells passed the filter
(`cells_expected`) and how many of them were scored (`metrics.n`); where the two
differ a warning goes to stderr, because the scores then do not compare with the
other methods'.

--batch-key only says which batches to score the mixing of ("none" for no batch
scores). Whether the model was given them is a property of the method: say so
with --model-batch.

--scib-total adds the scores of batch integration and their total (peers/scib.py);
integration_table.py reads such rows.

From Python:

  from score_embedding import load_truth, score
  truth = load_truth("pbmc_kang_ctrl.h5ad")
  metrics = score(emb, truth.labels, truth.batch)   # emb in truth.cells order
"""

import argparse
import json
import pathlib
import sys
from typing import NamedTuple, Optional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "peers"))

import common  # noqa: E402  (sets the thread limits, so it comes before numpy)
import numpy as np  # noqa: E402


class Truth(NamedTuple):
    """What is known of the cells that pass the shared filter."""

    cells: np.ndarray
    labels: np.ndarray
    batch: Optional[np.ndarray]
    info: dict
    before: Optional[np.ndarray] = None


def load_truth(
    h5ad, label_key="cell_type", batch_key="batch", no_filter=False, scib_total=False
):
    """Names, labels and batches of the cells of `h5ad` that pass the filter.

    `batch` is None where the key is None, absent or constant. With `scib_total`,
    `before` is what score() needs for the total of the integration scores.
    """
    a, info = common.load(h5ad, no_filter=no_filter)
    labels = common.labels_of(a, label_key)
    if labels is None:
        raise SystemExit(f"{h5ad}: no obs column {label_key!r}")
    batch = common.batches_of(a, batch_key) if batch_key else None
    before = None
    if scib_total:
        import scib

        if batch is None:
            raise SystemExit(f"{h5ad}: --scib-total needs at least two batches")
        before = scib.before_integration(a)
    return Truth(a.obs_names.to_numpy().astype(str), labels, batch, info, before)


def score(emb, labels, batch=None, seed=0, scib=True, before=None):
    """All metrics of one embedding (see peers/metrics.py for what they mean).

    Rows of `emb` with a coordinate that is not finite are left out together
    with their labels. `seed` is that of Leiden and k-means, not of the model.
    scib=False leaves out cLISI, iLISI and graph connectivity, whose library
    takes seconds to load. With `before` (load_truth(..., scib_total=True).before)
    the integration scores and their total are added (see peers/scib.py).
    """
    import metrics

    emb = np.asarray(emb, dtype=np.float64)
    if emb.ndim != 2:
        raise ValueError("emb must be a matrix, cells x dimensions")
    labels = np.asarray(labels, dtype=object)
    if len(labels) != len(emb):
        raise ValueError(f"{len(labels)} labels for {len(emb)} cells")
    keep = np.isfinite(emb).all(axis=1)
    if not keep.any():
        raise ValueError("no cell has finite coordinates")
    if batch is not None:
        batch = np.asarray(batch).astype(str)
        if len(batch) != len(emb):
            raise ValueError(f"{len(batch)} batches for {len(emb)} cells")
        batch = batch[keep]
    if before is not None:
        import scib

        return scib.compute(emb[keep], labels[keep], batch, before[keep], seed)
    return metrics.compute(emb[keep], labels[keep], batch, seed, scib=scib)


def read_embedding(path, cells):
    """The rows of the CSV in the order of `cells`; NA where a cell is absent."""
    import pandas as pd

    df = pd.read_csv(path, dtype={0: str}).rename(columns=str)
    names = df.iloc[:, 0].astype(str)
    if names.duplicated().any():
        raise SystemExit(f"{path}: cell names are not unique")
    values = df.iloc[:, 1:].apply(pd.to_numeric, errors="coerce")
    values.index = names
    if not values.index.isin(cells).any():
        raise SystemExit(f"{path}: no cell name of the data set is in column one")
    return values.reindex(cells).to_numpy(dtype=np.float64)


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("embedding")
    ap.add_argument("h5ad")
    ap.add_argument("--dataset", required=True)
    ap.add_argument("--method", required=True)
    ap.add_argument("--seed", type=int, default=0, help="of the model, recorded")
    ap.add_argument("--label-key", default="cell_type")
    ap.add_argument("--batch-key", default="batch")
    ap.add_argument(
        "--model-batch", action="store_true", help="the model was given the batches"
    )
    ap.add_argument("--metric-seed", type=int, default=0)
    ap.add_argument("--no-filter", action="store_true")
    ap.add_argument("--no-scib", action="store_true")
    ap.add_argument(
        "--scib-total", action="store_true", help="add the total of peers/scib.py"
    )
    ap.add_argument("--extra", default="{}", help="JSON object merged into the line")
    ap.add_argument("--results", help="JSONL file to append to")
    x = ap.parse_args()

    extra = json.loads(x.extra)
    if not isinstance(extra, dict):
        raise SystemExit("--extra must be a JSON object")
    batch_key = None if x.batch_key.lower() == "none" else x.batch_key
    if x.no_scib and x.scib_total:
        raise SystemExit("--no-scib and --scib-total exclude each other")
    truth = load_truth(x.h5ad, x.label_key, batch_key, x.no_filter, x.scib_total)
    emb = read_embedding(x.embedding, truth.cells)
    found = int(np.isfinite(emb).all(axis=1).sum())
    if found != len(emb):
        print(
            f"warning: {found} of the {len(emb)} cells that pass the filter have an"
            " embedding; the scores do not compare with those of all cells",
            file=sys.stderr,
        )
    rec = dict(
        dataset=x.dataset,
        method=x.method,
        seed=x.seed,
        batch_key=x.model_batch,
        n_latent=int(emb.shape[1]),
        cells_expected=len(emb),
        data=truth.info,
    )
    rec.update(extra)
    rec["metrics"] = score(
        emb, truth.labels, truth.batch, x.metric_seed, not x.no_scib, truth.before
    )
    if x.results:
        common.append_jsonl(x.results, rec)
    print(json.dumps(rec), flush=True)


if __name__ == "__main__":
    main()
