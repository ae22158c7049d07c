"""Metrics of one embedding.

asw_raw               silhouette of the cell types, Euclidean, in the embedding itself
                      (Rousseeuw 1987), in [-1, 1]
asw_scaled            (asw_raw + 1) / 2, in [0, 1]
asw_raw_per_type_mean mean over cell types of the type's mean silhouette, so that a
                      rare type weighs as much as a common one
leiden_best_*         Leiden (Traag et al. 2019) on the 15-neighbour graph; the best NMI
                      over the resolutions 0.1, 0.2 .. 2.0 and the ARI of that same
                      clustering. This looks at the labels: an upper bound
leiden_r1_*           Leiden at resolution 1, which does not look at the labels
kmeans_*              k-means, k = the number of cell types, best of 10 starts
graph_connectivity    share of a type's cells in the type's largest connected part of
                      the 15-neighbour graph, mean over types (Luecken et al. 2022)
batch_asw             mean over cell types of mean(1 - |silhouette of the batch within
                      the type|) (Luecken et al. 2022), in [0, 1]
ilisi, clisi          LISI of batches and of types (Korsunsky et al. 2019), 90
                      neighbours, scaled to [0, 1]; higher is better for both
cilisi                LISI of batches among the cells of one type, mean over types
isolated_f1           F1 score of the cluster that matches a type best, among the clusterings
                      of all resolutions; mean over the types in the fewest batches
nmi_batch, ari_batch  1 - NMI, 1 - max(0, ARI) of the best Leiden clustering with the batches
kbet_knn              acceptance rate of kBET within cell types (after Buettner et al.
                      2019), 50 neighbours; see kbet_knn() below

graph_connectivity, clisi and ilisi are scib-metrics' own functions. NMI is
normalised by the arithmetic mean. Cells without a label (NaN, empty, "nan") take
part in the graph and in the clustering, not in the scores.
"""

import common  # noqa: F401  (sets the thread limits, so it comes before numpy)
import random
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")

RESOLUTIONS = [round(0.1 * x, 1) for x in range(1, 21)]


def _has_label(labels):
    s = np.array(["" if x is None else str(x) for x in labels], dtype=object)
    return ~np.isin(s, ["", "nan", "NaN", "None", "<NA>"]), s.astype(str)


def knn(emb, k):
    """Distances and indices of the exact k nearest cells, the cell itself first."""
    from sklearn.neighbors import NearestNeighbors

    algorithm = "kd_tree" if emb.shape[1] <= 15 else "brute"
    search = NearestNeighbors(n_neighbors=k, algorithm=algorithm, n_jobs=2).fit(emb)
    d, i = search.kneighbors(emb)
    # cells at the same place come in any order: put the cell itself first
    for r in np.flatnonzero(i[:, 0] != np.arange(emb.shape[0])):
        where = np.flatnonzero(i[r] == r)
        j = where[0] if len(where) else k - 1
        i[r, 1 : j + 1] = i[r, :j].copy()
        d[r, 1 : j + 1] = d[r, :j].copy()
        i[r, 0], d[r, 0] = r, 0.0
    return d.astype(np.float64), i.astype(np.int64)


def kbet_knn(emb, types, batches, k=50, alpha=0.05):
    """kBET in its plain form.

    Within each cell type the batch counts among the k nearest cells are held
    against the type's batch shares by a chi-square test. Returned is the share of
    cells at which equality is not rejected, averaged over the types with at least
    2 batches and 30 cells.
    """
    from scipy.stats import chi2

    accepted = []
    for t in np.unique(types):
        m = np.flatnonzero(types == t)
        u, b = np.unique(batches[m], return_inverse=True)
        if len(u) < 2 or len(m) < 30:
            continue
        kt = min(k, len(m) // 3)
        _, idx = knn(emb[m], kt)
        exp = np.bincount(b) / len(m) * kt
        obs = np.stack([(b[idx] == j).sum(1) for j in range(len(u))], 1)
        p = chi2.sf(((obs - exp) ** 2 / exp).sum(1), len(u) - 1)
        accepted.append(float((p >= alpha).mean()))
    return float(np.mean(accepted)) if accepted else None


def cell_type_lisi(emb, types, batches, k=90, fewest=30):
    """LISI of the batches among the cells of one type, scaled, mean over the types.

    ciLISI: iLISI rewards that types are mixed as well. Types with several batches and at
    least `fewest` cells count.
    """
    import scib_metrics as sm

    found = []
    for t in np.unique(types):
        m = np.flatnonzero(types == t)
        _, b = np.unique(batches[m], return_inverse=True)
        if b.max() == 0 or len(m) < fewest:
            continue
        count = min(k, len(m))
        found.append(float(sm.ilisi_knn(nearest(*knn(emb[m], count), count), b)))
    return float(np.mean(found)) if found else None


def label_f1(clusters, labels):
    """For each label, numbered from 0, the F1 score of the cluster that matches it best."""
    counts = np.zeros((clusters.max() + 1, labels.max() + 1))
    np.add.at(counts, (clusters, labels), 1)
    return (2 * counts / (counts.sum(1, keepdims=True) + counts.sum(0))).max(axis=0)


def _neighbour_graph(d, i, k):
    """UMAP's weighted k-neighbour graph, as scanpy builds it, as an igraph Graph."""
    import igraph
    import scipy.sparse as sp
    from umap.umap_ import fuzzy_simplicial_set

    n = len(i)
    conn = fuzzy_simplicial_set(
        sp.coo_matrix((n, 1)),
        k,
        None,
        None,
        knn_indices=i[:, :k],
        knn_dists=d[:, :k].astype(np.float32),
        set_op_mix_ratio=1.0,
        local_connectivity=1.0,
    )[0].tocsr()
    up = sp.triu(conn, 1).tocoo()
    edges = np.column_stack([up.row, up.col]).tolist()
    return igraph.Graph(n=n, edges=edges, directed=False), up.data.tolist()


def _leiden(graph, weights, resolution, seed):
    import igraph

    random.seed(seed)
    igraph.set_random_number_generator(random)
    m = graph.community_leiden(
        objective_function="modularity",
        weights=weights,
        resolution=resolution,
        n_iterations=2,
    )
    return np.asarray(m.membership)


def nearest(d, i, count):
    """The `count` nearest of knn()'s cells, as scib-metrics takes them."""
    from scib_metrics.nearest_neighbors import NeighborsResults

    return NeighborsResults(indices=i[:, :count], distances=d[:, :count])


def mixing_within_types(emb, types, batch, pick):
    """Batch ASW over the cells `pick`, and kBET over all; types and batches are codes."""
    from sklearn.metrics import silhouette_samples

    b = batch[pick]
    per_type = []
    for t in np.unique(types[pick]):
        m = types[pick] == t
        n_here = len(np.unique(b[m]))
        if n_here < 2 or n_here == m.sum():
            continue
        within = silhouette_samples(emb[pick][m], b[m])
        per_type.append(float(np.mean(1 - np.abs(within))))
    return dict(
        batch_asw=float(np.mean(per_type)) if per_type else None,
        batch_asw_types=len(per_type),
        kbet_knn=kbet_knn(emb, types, batch),
    )


def compute(emb, labels, batch=None, seed=0, scib=True, max_sil=30000, k_graph=15):
    """All metrics of one embedding, cells x dimensions, as a dict.

    `seed` is that of Leiden, k-means and the silhouette's subsample (taken above
    `max_sil` cells). Batch mixing is scored where `batch` has at least two values.
    scib=False leaves out what scib-metrics computes.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import (
        adjusted_rand_score,
        normalized_mutual_info_score,
        silhouette_samples,
    )

    t0 = time.perf_counter()
    emb = np.ascontiguousarray(emb, dtype=np.float64)
    n, dim = emb.shape
    ok, lab = _has_label(labels)
    out = {
        "n": int(n),
        "dim": int(dim),
        "n_labelled": int(ok.sum()),
        "finite": bool(np.isfinite(emb).all()),
    }
    if not out["finite"]:
        return out
    types, li = np.unique(lab[ok], return_inverse=True)
    k = len(types)
    out["n_labels"] = int(k)
    rng = np.random.default_rng(seed)

    # silhouette
    labelled = emb[ok]
    if len(labelled) > max_sil:
        pick = rng.choice(len(labelled), max_sil, replace=False)
        out["silhouette_subsample"] = int(max_sil)
    else:
        pick = np.arange(len(labelled))
    s = silhouette_samples(labelled[pick], li[pick])
    out["asw_raw"] = float(s.mean())
    out["asw_scaled"] = float((s.mean() + 1) / 2)
    out["asw_raw_per_type_mean"] = float(
        np.mean([s[li[pick] == t].mean() for t in np.unique(li[pick])])
    )

    # clustering
    def agreement(membership):
        return (
            float(normalized_mutual_info_score(li, membership[ok])),
            float(adjusted_rand_score(li, membership[ok])),
        )

    d, i = knn(emb, min(91 if scib else k_graph, n))
    graph, weights = _neighbour_graph(d, i, k_graph)
    best = None
    f1 = np.zeros(k)
    for res in RESOLUTIONS:
        m = _leiden(graph, weights, res, seed)
        nmi, ari = agreement(m)
        f1 = np.maximum(f1, label_f1(m[ok], li))
        clusters = int(m.max() + 1)
        if res == 1.0:
            out.update(leiden_r1_nmi=nmi, leiden_r1_ari=ari, leiden_r1_k=clusters)
        if best is None or nmi > best[0]:
            best = (nmi, ari, res, clusters)
            best_clusters = m[ok]
    out.update(
        leiden_best_nmi=best[0],
        leiden_best_ari=best[1],
        leiden_best_res=best[2],
        leiden_best_k=best[3],
    )
    km = KMeans(n_clusters=k, n_init=10, random_state=seed).fit(emb)
    out["kmeans_nmi"], out["kmeans_ari"] = agreement(km.labels_)

    # mixing of the batches
    bi = None
    if batch is not None:
        names, bi = np.unique(np.asarray(batch).astype(str), return_inverse=True)
        if len(names) < 2:
            bi = None
    if bi is not None:
        out["n_batches"] = int(len(names))
        n_in = [len(np.unique(bi[ok][li == t])) for t in range(k)]
        out["isolated_f1"] = float(np.mean(f1[np.array(n_in) == min(n_in)]))
        out["nmi_batch"] = 1 - float(normalized_mutual_info_score(bi[ok], best_clusters))
        out["ari_batch"] = 1 - max(0.0, float(adjusted_rand_score(bi[ok], best_clusters)))
        out["cilisi"] = cell_type_lisi(labelled, li, bi[ok]) if scib else None
        out.update(mixing_within_types(labelled, li, bi[ok], pick))

    if scib:
        import scib_metrics as sm

        if not ok.all():  # neighbours among the labelled cells only
            d, i = knn(labelled, min(91, len(labelled)))
        out["graph_connectivity"] = float(
            sm.graph_connectivity(nearest(d, i, k_graph), li)
        )
        out["clisi"] = float(sm.clisi_knn(nearest(d, i, 90), li))
        if bi is not None:
            out["ilisi"] = float(sm.ilisi_knn(nearest(d, i, 90), bi[ok]))
    out["metrics_s"] = round(time.perf_counter() - t0, 1)
    return out
