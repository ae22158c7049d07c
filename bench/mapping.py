#!/usr/bin/env python3
"""The Python half of mapping.sh: batches left out of a model and mapped to it afterwards.

  python mapping.py batches DATA.h5ad [--largest N]
  python mapping.py split DATA.h5ad BATCH OUT_PREFIX
  python mapping.py score EMB.csv DATA.h5ad --dataset SET --mode MODE
         (--batch BATCH.. [--by-types] | --new NEW.h5ad) [--seed 0] [--extra JSON] --results FILE
  python mapping.py table --rows FILE --out FILE

split writes PREFIX.reference.h5ad and PREFIX.new.h5ad, genes in their order, and
PREFIX.labels.csv, the cell types of the reference's cells; without a BATCH ("-") a fifth
of all cells, drawn at random, is new. score scores the joined embedding of all cells with
peers/scib.py; the cells to look at are those of the batches, or of NEW.h5ad. --by-types first
moves and stretches the batch's cells of each type to the mean and spread of the others'.
"""

import argparse
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))

import common  # noqa: E402  (sets the thread limits, so it comes before numpy)
import numpy as np  # noqa: E402

UNSEEN = "a random fifth"
VARIANTS_HEAD = """
## How the encoder's module of the new batch is set

New cells that are like a remembered group come to the mean of the model's own cells that are like it, and spread as
much (`src/mapping/alignment.rs`). Which own cells are like a group is found as for new cells, without the cell's own
part in the group's profile (`src/mapping/similarity.rs`). Before that the mean and spread were those of the group's own
cells, which are narrower, and the means went half of the way (**the groups' own cells**). Means over the batches that
were left out:

```
bench/mapping_variants.sh DATA_DIR
```

"""
HEAD = """# Mapping of a batch that the model was not trained with

Written by `bench/mapping.py`; do not edit by hand.

The rows are of the default settings of then: `criterion = "mse"`, and no prior of the heads' weights. The command makes
rows that are missing with the settings of now.

One batch is left out, a model of the others is fitted, and the cells of the batch that was left out are mapped to it with `mapSCVAE()`. The model's own
embedding with that of the mapped cells under it is scored like any embedding of all cells
(`bench/peers/scib.py`; the columns are explained in `integration.md`) and held against the
**joint** model, which was trained with all batches from the same seed. Entries are means
over the seeds; differences of more than one seed have their standard error over the seeds.
**by types** is the mapped embedding after the mapped cells of each type were moved and
stretched to the mean and the standard deviations of the model's own cells of that type: what
a perfect mapping to this model would score. What is missing there to the joint model is how
well the model without the batch joins the batches that it has.

- **bio**, **batch**, **total**: as in `integration.md`; *minus joint*: the difference.
- **labels**: share of the mapped cells whose carried-over label (15 nearest cells) is
  their cell type. For the joint model the same vote is taken in its embedding, from
  cells of the other batches only.
- **mixing**: the share of the 30 nearest cells of a mapped cell, of the cells of its
  own type, that come from other batches, over the share expected if they were well
  mixed; mean over the cells. 1: well mixed, 0: apart. All else dilutes a small batch.
- **unseen**: no batch is left out but a random fifth of all cells, which `predict()` then
  embeds. They are of batches that the model knows, so **mixing**, here with the cells that
  the model was trained with, is below 1 only because these cells are new: the encoder
  learned the others' noise, which lays them further apart. Mapping makes up for that.
- **seconds**: the mapping call alone, 1 thread, on a machine with other work.

```
bench/mapping.sh DATA_DIR
```
"""


def batches(x):
    import anndata as ad

    found = ad.read_h5ad(x.h5ad, backed="r").obs["batch"].astype(str).value_counts()
    names = list(found.index[: x.largest]) if x.largest else sorted(found.index)
    print("\n".join(names))


def split(x):
    import anndata as ad
    import pandas as pd

    a = ad.read_h5ad(x.h5ad)
    if x.batch == "-":
        drawn = np.random.default_rng(0).choice(a.n_obs, a.n_obs // 5, replace=False)
        new = np.isin(np.arange(a.n_obs), drawn)
    else:
        new = (a.obs["batch"].astype(str) == x.batch).to_numpy()
    a[~new].copy().write_h5ad(f"{x.prefix}.reference.h5ad")
    a[new].copy().write_h5ad(f"{x.prefix}.new.h5ad")
    known = a.obs["cell_type"][~new].astype(str)
    pd.DataFrame(dict(cell=known.index, label=known.to_numpy())).to_csv(
        f"{x.prefix}.labels.csv", index=False
    )


def mixed(emb, labels, batch, name, k=30):
    """Neighbours from other batches, over what mixing within the type would give."""
    from sklearn.neighbors import NearestNeighbors

    shares = []
    for t in np.unique(labels):
        own = np.flatnonzero(labels == t)
        new = own[batch[own] == name]
        others = len(own) - len(new)
        if len(new) < 3 or others < 3:
            continue
        kt = min(k, len(own) - 1)
        near = NearestNeighbors(n_neighbors=kt + 1).fit(emb[own])
        for i in new:
            found = own[near.kneighbors(emb[i : i + 1], return_distance=False)[0]]
            found = found[found != i][:kt]
            expected = others / (len(own) - 1)
            shares.append(np.mean(batch[found] != name) / expected)
    return float(np.mean(shares)) if shares else None


def vote_accuracy(emb, labels, batch, name, k=15):
    from sklearn.neighbors import KNeighborsClassifier

    new = batch == name
    vote = KNeighborsClassifier(k).fit(emb[~new], labels[~new])
    return float(np.mean(vote.predict(emb[new]) == labels[new]))


def moved_by_types(emb, labels, new):
    """New cells of each type with the mean and standard deviations of the other cells of it."""
    moved = emb.copy()
    for t in np.unique(labels):
        own, others = new & (labels == t), ~new & (labels == t)
        if min(own.sum(), others.sum()) < 3:
            continue
        stretch = emb[others].std(0) / emb[own].std(0)
        moved[own] = (emb[own] - emb[own].mean(0)) * stretch + emb[others].mean(0)
    return moved


def score(x):
    import pandas as pd

    import scib
    from score_embedding import read_embedding

    a, _ = common.load(x.h5ad)
    labels = common.labels_of(a).astype(str)
    batch = common.batches_of(a)
    cells = a.obs_names.to_numpy().astype(str)
    emb = read_embedding(x.embedding, cells)
    if not np.isfinite(emb).all():
        raise SystemExit(f"{x.embedding}: cells without an embedding")
    if x.by_types:
        emb = moved_by_types(emb, labels, batch == x.batch[0])
    metrics = None if x.new else scib.compute_for(emb, x.h5ad)
    if x.new:
        import anndata as ad

        unseen = ad.read_h5ad(x.new, backed="r").obs_names.to_numpy().astype(str)
        batch = np.where(np.isin(cells, unseen), UNSEEN, "seen")
        x.batch = [UNSEEN]
    carried = pathlib.Path(x.embedding + ".labels")
    for name in x.batch:
        row = dict(
            dataset=x.dataset,
            mode=x.mode,
            seed=x.seed,
            left_out=name,
            cells=int(np.sum(batch == name)),
            **json.loads(x.extra),
        )
        if carried.exists() and not x.by_types:
            given = pd.read_csv(carried, dtype=str).set_index("cell")["label"]
            new = batch == name
            hits = given.reindex(cells[new]).to_numpy() == labels[new]
            row["label_accuracy"] = float(np.mean(hits))
            truth = labels[new]
            row["labels_wrong"] = {
                t: f"{int(np.sum(~hits[truth == t]))}/{int(np.sum(truth == t))}"
                for t in np.unique(truth)
            }
        else:
            row["label_accuracy"] = vote_accuracy(emb, labels, batch, name)
        row["mixed"] = mixed(emb, labels, batch, name)
        row["metrics"] = metrics
        common.append_jsonl(x.results, row)


SCIB = ("scib_bio", "scib_batch", "scib_total")
MODES = ("joint", "mapped", "by types")
VARIANTS = ("mapped", "the groups' own cells", "no alignment")
COLUMNS = (
    "seeds | model | bio | batch | total | bio minus joint | batch minus joint | labels | mixing | seconds |\n"
)


def joint_of(rows):
    """Scores of the joint models by the seed."""
    return {r["seed"]: r["metrics"] for r in rows if r["mode"] == "joint"}


def above_joint(rows, key, joint):
    """What rows lie above the joint model of their seed: mean over the seeds and standard error."""
    seeds = sorted({r["seed"] for r in rows})
    above = [
        np.mean([r["metrics"][key] - joint[seed][key] for r in rows if r["seed"] == seed])
        for seed in seeds
    ]
    if len(seeds) == 1:
        return f"{above[0]:+.3f}"
    return f"{np.mean(above):+.3f} ± {np.std(above, ddof=1) / len(seeds) ** 0.5:.3f}"


def line(first, mode, rows, joint):
    """A line of the table, which begins with the columns `first`."""
    out = [*first, str(len({r["seed"] for r in rows})), mode]
    scored = all(r["metrics"] for r in rows)
    for key in SCIB:
        out.append(f"{np.mean([r['metrics'][key] for r in rows]):.3f}" if scored else "")
    for key in SCIB[:2]:
        out.append(above_joint(rows, key, joint) if scored and mode != "joint" else "")
    out += [f"{np.mean([r[key] for r in rows]):.3f}" for key in ("label_accuracy", "mixed")]
    out.append(f"{np.mean([r['map_s'] for r in rows]):.1f}" if "map_s" in rows[0] else "")
    return "| " + " | ".join(out) + " |\n"


def table(x):
    rows = [json.loads(text) for text in open(x.rows)]
    out = [HEAD]
    for dataset in sorted({r["dataset"] for r in rows}):
        out.append(f"\n## {dataset}\n\n| left out | cells | {COLUMNS}" + "|---|--:" * 2 + "|--:" * 8 + "|\n")
        of_set = [r for r in rows if r["dataset"] == dataset]
        joint = joint_of(of_set)
        names = list(dict.fromkeys(r["left_out"] for r in of_set if r["mode"] == "joint"))
        for name in names:
            for mode in MODES:
                found = [r for r in of_set if (r["left_out"], r["mode"]) == (name, mode)]
                out.append(line([name, str(found[0]["cells"])], mode, found, joint))
        for mode in MODES:
            found = [r for r in of_set if r["mode"] == mode]
            out.append(line([f"**mean of {len(names)}**", ""], mode, found, joint))
        found = [r for r in of_set if r["mode"] == "unseen"]
        out.append(line([UNSEEN, str(found[0]["cells"])], "unseen", found, joint))
    out.append(f"{VARIANTS_HEAD}| set | left out | {COLUMNS}" + "|---|--:" * 2 + "|--:" * 8 + "|\n")
    for dataset in sorted({r["dataset"] for r in rows if r["mode"] in VARIANTS[1:]}):
        of_set = [r for r in rows if r["dataset"] == dataset]
        joint = joint_of(of_set)
        for mode in VARIANTS:
            found = [r for r in of_set if r["mode"] == mode]
            if found:
                names = {r["left_out"] for r in found}
                out.append(line([dataset, str(len(names))], mode, found, joint))
    pathlib.Path(x.out).write_text("".join(out))


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = ap.add_subparsers(dest="step", required=True)
    p = steps.add_parser("batches")
    p.add_argument("h5ad")
    p.add_argument("--largest", type=int)
    p = steps.add_parser("split")
    p.add_argument("h5ad")
    p.add_argument("batch")
    p.add_argument("prefix")
    p = steps.add_parser("score")
    p.add_argument("embedding")
    p.add_argument("h5ad")
    p.add_argument("--dataset", required=True)
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument("--batch", nargs="+")
    which.add_argument("--new")
    p.add_argument("--by-types", action="store_true")
    p.add_argument("--mode", required=True)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--extra", default="{}")
    p.add_argument("--results", required=True)
    p = steps.add_parser("table")
    p.add_argument("--rows", default=str(HERE / "results/mapping.jsonl"))
    p.add_argument("--out", default=str(HERE / "results/mapping.md"))
    x = ap.parse_args()
    sys.path.insert(0, str(HERE))
    dict(batches=batches, split=split, score=score, table=table)[x.step](x)


if __name__ == "__main__":
    main()
