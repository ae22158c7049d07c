"""The integration scores of Luecken et al. 2022 (Nat Methods 19:41-50) for one embedding.

Biology kept, all in [0, 1], higher is better:

leiden_best_nmi       } of the Leiden clustering, among the resolutions 0.1, 0.2 .. 2.0,
leiden_best_ari       } that has the best NMI with the cell types (metrics.py)
asw_scaled            silhouette s of the cell types, as (s + 1) / 2 (metrics.py)
isolated_asw          the same over the cells of the isolated types only: those that occur
                      in the fewest batches (mean over these types; where all types occur
                      in equally many batches, all of them). scib_metrics.isolated_labels
clisi                 LISI of the cell types, scaled (scib_metrics.clisi_knn, metrics.py)

Batches joined, all in [0, 1], higher is better:

batch_asw             1 - |silhouette of the batches| within a type, mean over its cells,
                      then over types (metrics.py)
ilisi                 LISI of the batches, scaled (scib_metrics.ilisi_knn, metrics.py)
kbet_knn              kBET's acceptance rate within types, fixed neighbours (metrics.py;
                      scib-metrics' own takes minutes for an embedding)
graph_connectivity    scib_metrics.graph_connectivity (metrics.py)
pcr                   principal component regression: the share of the variance that the
                      batches explain, (before - after) / before, 0 where it grew
                      (scib_metrics.pcr_comparison). Before: 50 principal components of
                      the log-normalised 2,000 variable genes (total to 10,000, log1p,
                      scanpy's flavour seurat over all cells, not scaled). After: the
                      embedding

bras                  batch removal adapted silhouette (Rautenstrauch & Ohler 2025), in no mean:
                      cosine distances, the cells of other batches as one (scib_metrics.bras)

scib_bio and scib_batch are the plain means of their five, scib_total is
0.4 scib_batch + 0.6 scib_bio. The paper first stretches each score to [0, 1] over the
methods it compares; that is not done here, so that a row does not depend on which other
rows are there.

The silhouettes of metrics.py are scikit-learn's, in double precision, with the
definitions of scib_metrics.silhouette_label and silhouette_batch. Cells without a label
are left out of every score but the clustering's graph and PCR.

shuffled_batch        scib_batch of the same embedding with the batches shuffled among the
                      cells of each type: what perfect mixing gives. More than that is
                      reached only by hiding what the batches differ by in composition

From Python, with cells in the order of common.load(h5ad):

  import scib
  scores = scib.compute_for(emb, "counts.h5ad")
"""

import common  # noqa: F401  (sets the thread limits, so it comes before numpy)
import functools

import numpy as np

import metrics
from lognorm import lognorm_pca

BIO = ["leiden_best_nmi", "leiden_best_ari", "asw_scaled", "isolated_asw", "clisi"]
BATCH = ["batch_asw", "ilisi", "kbet_knn", "graph_connectivity", "pcr"]
BIO_WEIGHT = 0.6


def before_integration(a, n_pcs=50):
    """The principal components that PCR compares with. `a` (raw counts) is kept."""
    return lognorm_pca(a.copy(), n_pcs=n_pcs, scale=False)[0]


def total(m):
    """Means of the two groups of scores and their weighted sum; None where one is missing."""

    def mean(keys):
        v = [m.get(k) for k in keys]
        return None if None in v else float(np.mean(v))

    bio, batch = mean(BIO), mean(BATCH)
    both = None
    if bio is not None and batch is not None:
        both = BIO_WEIGHT * bio + (1 - BIO_WEIGHT) * batch
    return dict(scib_bio=bio, scib_batch=batch, scib_total=both)


def compute(emb, labels, batch, before, seed=0):
    """metrics.compute() and what the total needs besides, as one dict.

    All four have one row per cell in the same order; `before` is what
    before_integration() gives. `seed` is that of Leiden and k-means.
    """
    import scib_metrics as sm

    if batch is None or len(np.unique(batch)) < 2:
        raise ValueError("integration scores need at least two batches")
    emb = np.ascontiguousarray(emb, dtype=np.float64)
    out = metrics.compute(emb, labels, batch, seed)
    if not out["finite"]:
        return out
    ok, lab = metrics._has_label(labels)
    _, types = np.unique(lab[ok], return_inverse=True)
    _, codes = np.unique(np.asarray(batch).astype(str), return_inverse=True)
    out["bras"] = float(sm.bras(emb[ok], types, codes[ok]))
    out["isolated_asw"] = float(sm.isolated_labels(emb[ok], types, codes[ok]))
    out["pcr"] = float(sm.pcr_comparison(before, emb, codes, categorical=True))
    out.update(total(out))
    out["shuffled_batch"] = shuffled_batch(emb[ok], types, codes[ok], before[ok], out)
    return out


def shuffled_within(batch, types, rng):
    """The batches in another order among the cells of each type."""
    out = batch.copy()
    for t in np.unique(types):
        cells = np.flatnonzero(types == t)
        out[cells] = batch[rng.permutation(cells)]
    return out


def shuffled_batch(emb, types, batch, before, scores, seed=0):
    """scib_batch after the batches were shuffled within the types.

    Types and batches are codes; `scores` are those of the embedding, of which the graph's
    connectivity does not depend on the batches.
    """
    import scib_metrics as sm

    rng = np.random.default_rng(seed)
    batch = shuffled_within(batch, types, rng)
    mixed = dict(scores)
    mixed.update(metrics.mixing_within_types(emb, types, batch, np.arange(len(emb))))
    near = metrics.nearest(*metrics.knn(emb, min(91, len(emb))), 90)
    mixed["ilisi"] = float(sm.ilisi_knn(near, batch))
    mixed["pcr"] = float(sm.pcr_comparison(before, emb, batch, categorical=True))
    return total(mixed)["scib_batch"]


@functools.lru_cache(maxsize=1)
def _reference(h5ad, batch_key):
    a, _ = common.load(h5ad)
    return common.labels_of(a), common.batches_of(a, batch_key), before_integration(a)


def compute_for(emb, h5ad, batch_key="batch", seed=0, cells=slice(None)):
    """compute() for the cells of `h5ad` that pass the shared filter, in their order; or some of them."""
    labels, batch, before = _reference(h5ad, batch_key)
    return compute(
        emb, np.asarray(labels)[cells], np.asarray(batch)[cells], before[cells], seed
    )
