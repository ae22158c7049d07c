#!/usr/bin/env python3
"""The Python half of transfer.sh: does the transfer of a batch's style do what it says?

  python transfer.py score EXPORT_DIR DATA.h5ad --dataset SET --seed SEED --results FILE
         [--umap OUT.npz]
  python transfer.py figures --rows FILE --umap A.npz [B.npz ..] --out PREFIX
  python transfer.py table --rows FILE --out FILE

EXPORT_DIR is what `transfer.R export` wrote. What is scored stands in the head of the
table (HEAD below).
"""

import argparse
import json
import pathlib
import sys
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))

import common  # noqa: E402  (sets the thread limits, so it comes before numpy)
import numpy as np  # noqa: E402

warnings.filterwarnings("ignore")

N_PCS = 50
FOLDS = 5
PERMUTATIONS = 3
MIN_CELLS = 20
CLASSIFIERS = ("logistic", "logistic_whitened", "knn15")
# Whose profile is held against the real cells of the target batch.
SOURCES = ("originals", "denoised", "transferred", "denoised_own")

HEAD = """# Transfer of a batch's style

Written by `bench/transfer.py`; do not edit by hand.

`transferBatchStyle(to = b)` shows all cells in the style of batch b. Two things are asked
of it: that the cells' own batches can no longer be told (while their types can), and that
cells of other batches then look like the real cells of b of their type. Default settings,
`batch = "batch"`, {seeds}. Controls: the **originals** (log1p of 10,000 x the fractions of
the counts) and the **denoised** counts (`denoiseCounts()`: each cell in its own style).

```
bench/transfer.sh DATA_DIR
```

## Can the batches be told?

Share of cells whose batch (or type) a classifier names, in 5-fold stratified
cross-validation, in 50 principal components of all genes (centred, not scaled).

- **logistic**: logistic regression on the components as they are; **whitened**: on
  components of unit variance each, which sees the faintest trace (in data without noise
  the last components are next to nothing, so this is far stricter than what a user sees);
  **15-NN**: the 15 nearest cells.
- **batch (chance)**: accuracy, and in brackets that of the same classifier when the batch
  labels are shuffled within the cell types (mean of 3 shuffles). That is the chance: a
  batch is told better than 1 in n because batches hold different shares of types.
  **balanced**: the mean over batches of the share of their cells, likewise.
- **type**: accuracy for the cell types.
- **embedding**: the same classifiers in the model's 10 dimensions. The transferred values
  are a function of the embedding and of b alone, so they cannot hide what shows there.

Goal: batch (logistic and 15-NN) within 0.05 of chance, type within 0.02 of the originals. The types' is met;
the batches' only by logistic regression on `pbmc_kang_ctrl`.
"""

PROFILES = """
## Do transferred cells look like the target's?

For each target batch b and each type with at least 20 real cells in b and 20 in other
batches: the cells of the other batches, averaged, against the real cells of b of that type,
over all genes. Means over types, then over targets and seeds.

- **r**, **RMSE**: correlation and root mean square difference of the mean log-normalised
  expression. The mean of logs of values without noise is larger than that of noisy ones
  (log is concave), so this RMSE is not fair to denoised and transferred values, hence:
- **pooled r**, **pooled RMSE**: the same of log1p of 10,000 x the mean fractions.
- **zeros r**, **zeros RMSE**: the same of the share of zeros. For denoised and transferred
  values this is the expected share, from the zero-inflated negative binomial with each
  cell's own number of counts (the exported functions give the probability of an extra zero
  in a cell's own style only, so an internal function is called for it); **zeros RMSE, b's
  depth**: with the median number of counts of b's cells, since the share of zeros depends
  on it.
- **b's own, denoised**: denoised real cells of b, which sets the level that a perfect
  transfer could reach with this model.
"""


def originals(x, gene_order):
    x = x[:, gene_order]
    total = np.asarray(x.sum(1)).ravel()
    dense = x.toarray()
    return np.log1p(dense * (1e4 / total)[:, None]), dense, total


def pca(values):
    from sklearn.decomposition import PCA

    n = min(N_PCS, *values.shape)
    return PCA(n, svd_solver="randomized", random_state=0).fit_transform(values)


def classifier(name):
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if name == "knn15":
        return KNeighborsClassifier(15)
    logistic = LogisticRegression(max_iter=300)
    if name == "logistic":
        return logistic
    return make_pipeline(StandardScaler(), logistic)


def told(points, truth, name):
    """Accuracy and balanced accuracy in cross-validation."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    # One scale for all dimensions keeps the distances and makes the penalty comparable.
    points = points / points.std(0).max()
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    found = cross_val_predict(classifier(name), points, truth, cv=folds)
    return float(np.mean(found == truth)), float(balanced_accuracy_score(truth, found))


def classify(points, batch, types):
    from scib import shuffled_within

    rng = np.random.default_rng(0)
    shuffles = [shuffled_within(batch, types, rng) for _ in range(PERMUTATIONS)]
    out = {}
    for name in CLASSIFIERS:
        acc, balanced = told(points, batch, name)
        chance = np.mean([told(points, s, name) for s in shuffles], axis=0)
        type_acc, type_balanced = told(points, types, name)
        out[name] = dict(
            batch=acc,
            batch_chance=float(chance[0]),
            balanced=balanced,
            balanced_chance=float(chance[1]),
            type=type_acc,
            type_balanced=type_balanced,
        )
    return out


def zero_share(scale, library, dropout, r):
    """Expected share of zeros per gene, mean over the cells."""
    mu = np.expm1(scale) * 1e-4 * np.reshape(library, (-1, 1))
    nb = np.exp(-r * np.log1p(mu / r))
    return (dropout + (1 - dropout) * nb).mean(0)


def fits(a, b):
    return dict(
        r=float(np.corrcoef(a, b)[0, 1]), rmse=float(np.sqrt(np.mean((a - b) ** 2)))
    )


def profile(scale):
    return scale.mean(0), np.log1p(np.expm1(scale).mean(0))


def score(x):
    d = pathlib.Path(x.export)
    model = json.loads((d / "model.json").read_text())
    a, _ = common.load(x.h5ad)
    types = common.labels_of(a).astype(str)
    batch = common.batches_of(a)
    cell_at = {c: i for i, c in enumerate(model["cells"])}
    keep = np.array([cell_at[c] for c in a.obs_names])
    gene_at = {g: i for i, g in enumerate(a.var_names)}
    genes = [gene_at[g] for g in model["genes"]]
    real, counts, total = originals(a.X, genes)
    r = np.asarray(model["px_r"], dtype=np.float32)

    def read(name, what):
        v = np.fromfile(d / f"{name}.{what}", dtype="<f4")
        return v.reshape(len(model["cells"]), -1)[keep]

    base = dict(dataset=x.dataset, seed=x.seed)
    rows, coordinates = [], {}

    def classified(source, points, target=None):
        row = dict(kind="classifiers", **base, source=source, target=target)
        row["n_batches"] = len(np.unique(batch))
        row["scores"] = classify(points, batch, types)
        rows.append(row)
        s = row["scores"]
        print(
            x.dataset,
            f"seed {x.seed}",
            source,
            target or "",
            " | ".join(
                "%s batch %.3f (%.3f) bal %.3f (%.3f) type %.3f"
                % (
                    k,
                    v["batch"],
                    v["batch_chance"],
                    v["balanced"],
                    v["balanced_chance"],
                    v["type"],
                )
                for k, v in s.items()
            ),
            flush=True,
        )

    points = pca(real)
    coordinates["originals"] = points
    classified("originals", points)
    own = read("denoised", "scale")
    own_dropout = read("denoised", "dropout")
    points = pca(own)
    coordinates["denoised"] = points
    classified("denoised", points)
    classified("embedding", read("latent", "scale"))
    target_shown = model["batches"][int(np.argmax(model["library"]))]
    for i, b in enumerate(model["batches"]):
        scale, dropout = read(i + 1, "scale"), read(i + 1, "dropout")
        points = pca(scale)
        if b == target_shown:
            coordinates["transferred"] = points
        classified("transferred", points, b)
        for t in np.unique(types):
            here = np.flatnonzero((types == t) & (batch == b))
            there = np.flatnonzero((types == t) & (batch != b))
            if len(here) < MIN_CELLS or len(there) < MIN_CELLS:
                continue
            logs, pooled = profile(real[here])
            zeros = np.mean(counts[here] == 0, axis=0)
            deep = model["library"][i]
            found = {}
            for source in SOURCES:
                m = here if source == "denoised_own" else there
                values = dict(originals=real, transferred=scale).get(source, own)
                extra = dropout if source == "transferred" else own_dropout
                of_logs, of_pooled = profile(values[m])
                one = dict(logs=fits(of_logs, logs), pooled=fits(of_pooled, pooled))
                if source == "originals":
                    one["zeros"] = fits(np.mean(counts[m] == 0, axis=0), zeros)
                else:
                    v = (values[m], total[m], extra[m], r)
                    one["zeros"] = fits(zero_share(*v), zeros)
                    one["zeros_depth"] = fits(zero_share(v[0], deep, *v[2:]), zeros)
                found[source] = one
            rows.append(
                dict(
                    kind="profile",
                    **base,
                    target=b,
                    type=t,
                    cells=len(here),
                    others=len(there),
                    scores=found,
                )
            )
    rows.append(
        dict(
            kind="run",
            **base,
            epochs=model["epochs"],
            fit_s=model["fit_s"],
            transfer_s=model["transfer_s"],
            likelihood=model["likelihood"],
        )
    )
    for row in rows:
        common.append_jsonl(x.results, row)
    means = {
        s: {
            k: {
                m: round(
                    float(
                        np.mean(
                            [
                                q["scores"][s][k][m]
                                for q in rows
                                if q["kind"] == "profile"
                            ]
                        )
                    ),
                    4,
                )
                for m in ("r", "rmse")
            }
            for k in ("logs", "pooled", "zeros", "zeros_depth")
            if not (s == "originals" and k == "zeros_depth")
        }
        for s in SOURCES
    }
    for s, m in means.items():
        print(x.dataset, f"seed {x.seed}", "profile", s, json.dumps(m), flush=True)
    if x.umap:
        import umap

        flat = {
            k: umap.UMAP(
                random_state=0, n_neighbors=15, min_dist=0.3, n_jobs=1
            ).fit_transform(v)
            for k, v in coordinates.items()
        }
        np.savez(
            x.umap,
            dataset=x.dataset,
            target=target_shown,
            batch=batch.astype(str),
            types=types.astype(str),
            **flat,
        )


def read_rows(path):
    """The rows; where one was scored again, the last."""
    rows = [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]
    keys = ("kind", "dataset", "seed", "source", "target", "type")
    return list({tuple(r.get(k) for k in keys): r for r in rows}.values())


def mean_of(rows, *path):
    """Mean over the rows of a nested entry of their scores; None where none has it."""
    found = []
    for r in rows:
        v = r["scores"]
        for k in path:
            v = v.get(k) if v is not None else None
        if v is not None:
            found.append(v)
    return float(np.mean(found)) if found else None


def text(value, digits=3):
    return "" if value is None else f"{value:.{digits}f}"


def classifier_table(rows):
    out = [
        "| values | target | "
        + " | ".join(
            f"{c}: batch (chance) | balanced (chance) | type"
            for c in ("logistic", "whitened", "15-NN")
        )
        + " |\n|---|---|"
        + "--:|" * 9
        + "\n"
    ]

    def line(name, target, of):
        cells = []
        for c in CLASSIFIERS:
            v = {
                k: mean_of(of, c, k)
                for k in (
                    "batch",
                    "batch_chance",
                    "balanced",
                    "balanced_chance",
                    "type",
                )
            }
            cells += [
                f"{v['batch']:.3f} ({v['batch_chance']:.3f})",
                f"{v['balanced']:.3f} ({v['balanced_chance']:.3f})",
                f"{v['type']:.3f}",
            ]
        out.append(f"| {name} | {target} | " + " | ".join(cells) + " |\n")

    for source in ("originals", "denoised", "embedding"):
        line(source, "", [r for r in rows if r["source"] == source])
    moved = [r for r in rows if r["source"] == "transferred"]
    line("**transferred**", "mean", moved)
    for b in sorted({r["target"] for r in moved}):
        line("transferred", b, [r for r in moved if r["target"] == b])
    return "".join(out)


NAMES = {
    "originals": "other batches, originals",
    "denoised": "other batches, denoised",
    "transferred": "**other batches, transferred**",
    "denoised_own": "b's own, denoised",
}
ENTRIES = [
    ("logs", "r"),
    ("logs", "rmse"),
    ("pooled", "r"),
    ("pooled", "rmse"),
    ("zeros", "r"),
    ("zeros", "rmse"),
    ("zeros_depth", "rmse"),
]


def profile_table(rows):
    head = "r | RMSE | pooled r | pooled RMSE | zeros r | zeros RMSE | zeros RMSE, b's depth"
    out = [f"| cells | target | {head} |\n|---|---|" + "--:|" * len(ENTRIES) + "\n"]
    targets = sorted({r["target"] for r in rows})
    by_target = {b: [r for r in rows if r["target"] == b] for b in targets}

    def line(source, target, groups):
        values = []
        for entry in ENTRIES:
            of = [mean_of(g, source, *entry) for g in groups]
            values.append(text(None if None in of else float(np.mean(of))))
        out.append(f"| {NAMES[source]} | {target} | " + " | ".join(values) + " |\n")

    for source in SOURCES:
        line(source, "mean", list(by_target.values()))
    for b in targets:
        for source in ("originals", "transferred"):
            line(source, b, [by_target[b]])
    return "".join(out)


def worst(rows, n=3):
    """The types in which the transfer helps least, by pooled RMSE."""
    pairs = {}
    for r in rows:
        pairs.setdefault((r["target"], r["type"]), []).append(r)
    listed = []
    for (b, t), of in pairs.items():
        before, after, own = (
            mean_of(of, s, "pooled", "rmse")
            for s in ("originals", "transferred", "denoised_own")
        )
        listed.append((after - before, b, t, of[0]["cells"], before, after, own))
    listed.sort(reverse=True)
    better = sum(v[0] < 0 for v in listed)
    lines = "".join(
        f"- {t} to {b} ({n} real cells): pooled RMSE {before:.3f} before, {after:.3f} after, "
        f"{own:.3f} for b's own\n"
        for _, b, t, n, before, after, own in listed[:n]
    )
    return (
        f"Pooled RMSE is smaller after the transfer for {better} of {len(listed)} pairs of target"
        f" and type. Where it gains least:\n\n{lines}"
    )


def table(x):
    rows = read_rows(x.rows)
    seeds = sorted({r["seed"] for r in rows})
    said = "seed " + str(seeds[0]) if len(seeds) == 1 else f"means of the seeds {seeds}"
    out = [HEAD.replace("{seeds}", said)]
    datasets = sorted({r["dataset"] for r in rows})
    for d in datasets:
        of = [r for r in rows if r["dataset"] == d and r["kind"] == "classifiers"]
        n = of[0]["n_batches"]
        out += [
            f"\n### {d}\n\n{n} batches, 1/n = {1 / n:.3f}.\n\n",
            classifier_table(of),
        ]
    out.append(PROFILES)
    for d in datasets:
        of = [r for r in rows if r["dataset"] == d and r["kind"] == "profile"]
        out += [f"\n### {d}\n\n", profile_table(of), "\n", worst(of)]
    out.append("\n## Figures\n")
    for name in ("umap", "profiles"):
        out.append(f"\n![{name}](transfer.{name}.png)\n")
    pathlib.Path(x.out).write_text("".join(out))


def figures(x):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10})
    stored = [np.load(p) for p in x.umap]
    if stored:
        fig, axes = plt.subplots(
            2 * len(stored), 3, figsize=(10.5, 5.4 * len(stored)), squeeze=False
        )
        for i, s in enumerate(stored):
            titles = ["originals", "denoised", f"transferred to {s['target']}"]
            for j, key in enumerate(("batch", "types")):
                values = s[key]
                names = np.unique(values)
                for k, source in enumerate(("originals", "denoised", "transferred")):
                    ax = axes[2 * i + j, k]
                    order = np.random.default_rng(0).permutation(len(values))
                    colours = plt.cm.tab10(np.searchsorted(names, values))
                    p = s[source]
                    ax.scatter(
                        p[order, 0], p[order, 1], c=colours[order], s=4, linewidths=0
                    )
                    ax.set(xticks=[], yticks=[])
                    if j == 0:
                        ax.set_title(titles[k])
                    if k == 0:
                        what = "batch" if j == 0 else "cell type"
                        ax.set_ylabel(f"{s['dataset']}\ncoloured by {what}")
                handles = [
                    plt.Line2D(
                        [], [], marker="o", ls="", ms=5, color=plt.cm.tab10(m), label=n
                    )
                    for m, n in enumerate(names)
                ]
                axes[2 * i + j, 2].legend(
                    handles=handles,
                    loc="center left",
                    bbox_to_anchor=(1, 0.5),
                    frameon=False,
                )
        fig.tight_layout()
        fig.savefig(f"{x.out}.umap.png", dpi=80)
        plt.close(fig)

    rows = [r for r in read_rows(x.rows) if r["kind"] == "profile"]
    datasets = sorted({r["dataset"] for r in rows})
    panels = [
        ("pooled", "r", "correlation of mean expression"),
        ("pooled", "rmse", "RMSE of mean expression"),
        ("zeros", "rmse", "RMSE of the share of zeros"),
    ]
    fig, axes = plt.subplots(
        len(datasets), 3, figsize=(10.5, 3.5 * len(datasets)), squeeze=False
    )
    for i, d in enumerate(datasets):
        of = [r for r in rows if r["dataset"] == d]
        types = sorted({r["type"] for r in of})
        for j, (kind, what, title) in enumerate(panels):
            ax = axes[i, j]
            for m, t in enumerate(types):
                mine = [r["scores"] for r in of if r["type"] == t]
                before = [v["originals"][kind][what] for v in mine]
                after = [v["transferred"][kind][what] for v in mine]
                ax.scatter(
                    before, after, s=16, color=plt.cm.tab10(m), label=t, alpha=0.8
                )
            ends = [*ax.get_xlim(), *ax.get_ylim()]
            margin = 0.03 * (max(ends) - min(ends))
            ends = [min(ends) - margin, max(ends) + margin]
            ax.plot(ends, ends, color="0.6", lw=0.8, zorder=0)
            ax.set(xlim=ends, ylim=ends, aspect="equal", xlabel="originals")
            ax.xaxis.set_major_locator(plt.MaxNLocator(5))
            ax.yaxis.set_major_locator(plt.MaxNLocator(5))
            ax.set(xlim=ends, ylim=ends)
            better = (
                "above the line: better" if what == "r" else "below the line: better"
            )
            ax.set_title(f"{title}\n({better})")
            ax.set_ylabel((f"{d}\n" if j == 0 else "") + "transferred")
        axes[i, 2].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    fig.tight_layout()
    fig.savefig(f"{x.out}.profiles.png", dpi=80)


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = ap.add_subparsers(dest="step", required=True)
    p = steps.add_parser("score")
    p.add_argument("export")
    p.add_argument("h5ad")
    p.add_argument("--dataset", required=True)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--umap")
    p.add_argument("--results", required=True)
    p = steps.add_parser("figures")
    p.add_argument("--rows", default=str(HERE / "results/transfer.jsonl"))
    p.add_argument("--umap", nargs="*", default=[])
    p.add_argument("--out", default=str(HERE / "results/transfer"))
    p = steps.add_parser("table")
    p.add_argument("--rows", default=str(HERE / "results/transfer.jsonl"))
    p.add_argument("--out", default=str(HERE / "results/transfer.md"))
    x = ap.parse_args()
    dict(score=score, figures=figures, table=table)[x.step](x)


if __name__ == "__main__":
    main()
