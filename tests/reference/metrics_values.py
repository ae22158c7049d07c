"""Values that tests/testthat/test-metrics.R holds evaluateEmbedding() against.

Writes tests/testthat/fixtures/metrics_values.csv (case, score, value) with the scores of three
embeddings that both languages make from the same formula, and NMI and ARI of fixed clusterings:
- ASW, batch ASW, BRAS, isolated labels, cLISI, iLISI, graph connectivity and PCR are scib-metrics' own
  functions, in double precision;
- kBET, ciLISI (on scib-metrics' LISI) and the clusterings' NMI and ARI are those of bench/peers/metrics.py, as are the number of
  edges and the sum of the weights of the graph that Leiden runs on (umap-learn's);
- the agreement of fixed clusterings is scikit-learn's.

Run: python metrics_values.py (needs bench/peers/requirements.txt; made with scib-metrics 0.5.10,
scikit-learn 1.9.1, igraph 1.0.0 and umap-learn 0.5.12).
"""

import csv
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "bench" / "peers"))

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)

import metrics  # noqa: E402
import numpy as np  # noqa: E402
import scib_metrics as sm  # noqa: E402
from scib_metrics.nearest_neighbors import NeighborsResults  # noqa: E402
from sklearn.metrics import (  # noqa: E402
    adjusted_rand_score,
    normalized_mutual_info_score,
)

# name: cells, dimensions, distance between types, between batches. "small" has fewer cells than
# LISI's 90 neighbours, a type of one cell and one that only one batch has.
CASES = {
    "large": (300, 5, 3.0, 0.8),
    "mixed": (300, 5, 0.4, 0.0),
    "small": (80, 3, 1.0, 1.2),
}


def case(name):
    """Embedding, types, batches and what was there before integration. Numbers from sines."""
    n, dim, apart, shift = CASES[name]
    i = np.arange(1, n + 1)[:, None]
    j = np.arange(1, dim + 1)[None, :]
    if name == "small":
        types = np.where(i[:, 0] == n, 2, np.where(i[:, 0] % 5 < 3, 0, 1))
        batch = np.where(types == 0, i[:, 0] % 2, 0)
    else:
        types = np.searchsorted([0.45, 0.75, 0.95], np.abs(np.sin(1.7 * i[:, 0])))
        batch = np.where(types == 3, i[:, 0] % 2, i[:, 0] % 3)
    noise = np.sin(12.9898 * i + 78.233 * j) + np.sin(0.7 * i * j + 0.1 * i)
    centre = apart * np.sin(2.1 * (types[:, None] + 1) * j)
    effect = np.cos(1.3 * (batch[:, None] + 1) * j)
    emb = noise + centre + shift * effect
    before = noise + centre + 2 * effect
    return emb, types, batch, before


def scores(name):
    emb, types, batch, before = case(name)
    d, i = metrics.knn(emb, min(90, len(emb)))

    def neighbours(k):
        return NeighborsResults(indices=i[:, :k], distances=d[:, :k])

    yield "asw", sm.silhouette_label(emb, types)
    yield "isolated_labels", sm.isolated_labels(emb, types, batch)
    yield "clisi", sm.clisi_knn(neighbours(90), types)
    yield "batch_asw", sm.silhouette_batch(emb, types, batch)
    yield "ilisi", sm.ilisi_knn(neighbours(90), batch)
    yield "bras", sm.bras(emb, types, batch)
    yield "cilisi", metrics.cell_type_lisi(emb, types, batch)
    yield "kbet", metrics.kbet_knn(emb, types, batch)
    yield "graph_connectivity", sm.graph_connectivity(neighbours(15), types)
    yield "pcr_comparison", sm.pcr_comparison(before, emb, batch, categorical=True)
    graph, weights = metrics._neighbour_graph(d, i, 15)
    yield "graph_edges", graph.ecount()
    yield "graph_weight", np.sum(weights)
    m = metrics.compute(emb, types, batch, scib=False)
    for score in ("isolated_f1", "nmi_batch", "ari_batch"):
        yield score, m[score]
    for ours, theirs in (("leiden", "leiden_best"), ("kmeans", "kmeans")):
        for score in ("nmi", "ari"):
            yield f"{score}_{ours}", m[f"{theirs}_{score}"]


def agreement():
    """NMI and ARI of clusterings of 60 cells, by formula."""
    i = np.arange(1, 61)
    labels = i % 4
    clusterings = {
        "good": np.where(i % 7 == 0, 0, i % 4),
        "coarse": i % 2,
        "unrelated": np.searchsorted([-0.5, 0.5], np.sin(1.7 * i)),
        "one": i * 0,
        "single": i,
        "equal": 3 - i % 4,
    }
    for name, clusters in clusterings.items():
        yield f"nmi_{name}", normalized_mutual_info_score(labels, clusters)
        yield f"ari_{name}", adjusted_rand_score(labels, clusters)


def main():
    path = HERE.parent / "testthat" / "fixtures" / "metrics_values.csv"
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(["case", "score", "value"])
        for name in CASES:
            emb = case(name)[0]
            # The formulas are the same in both languages.
            out.writerow([name, "checksum", repr(float(np.abs(emb).sum()))])
            for score, value in scores(name):
                value = "NA" if value is None else repr(float(value))
                out.writerow([name, score, value])
        for score, value in agreement():
            out.writerow(["agreement", score, repr(float(value))])


if __name__ == "__main__":
    main()
