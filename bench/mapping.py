#!/usr/bin/env python3
"""The Python half of mapping.sh: batches left out of a model and mapped to it afterwards.

  python mapping.py batches DATA.h5ad [--largest N]
  python mapping.py split DATA.h5ad BATCH OUT_PREFIX
  python mapping.py score EMB.csv DATA.h5ad --dataset SET --batch BATCH --mode MODE
         [--seed 0] [--extra JSON] --results FILE
  python mapping.py table --rows FILE --out FILE

split writes PREFIX.reference.h5ad and PREFIX.new.h5ad, genes in their order, and
PREFIX.labels.csv, the cell types of the reference's cells. score scores the joined
embedding of all cells with peers/scib.py.
"""

import argparse
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))

import common  # noqa: E402  (sets the thread limits, so it comes before numpy)
import numpy as np  # noqa: E402

HEAD = """# Mapping of a batch that the model was not trained with

Written by `bench/mapping.py`; do not edit by hand.

One batch is left out, a model of the others is fitted at default settings (seed 0), and
the cells of the batch that was left out are mapped to it with `mapSCVAE()`. The model's
own embedding with that of the mapped cells under it is scored like any embedding of all
cells (`bench/peers/scib.py`; the columns are explained in `integration.md`) and held
against the **joint** model, which was trained with all batches from the same seed.
**1 epoch** is `mapSCVAE()` with `max_epochs = 1`: what is measured before any training,
with next to no training after it.

- **bio**, **batch**, **total**: as in `integration.md`; *minus joint*: the difference.
- **labels**: share of the mapped cells whose carried-over label (15 nearest cells) is
  their cell type. For the joint model the same vote is taken in its embedding, from
  cells of the other batches only.
- **mixing**: the share of the 30 nearest cells of a mapped cell, of the cells of its
  own type, that come from other batches, over the share expected if they were well
  mixed; mean over the cells. 1: well mixed, 0: apart. All else dilutes a small batch.
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
    metrics = scib.compute_for(emb, x.h5ad)
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
        if carried.exists():
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
        m = metrics
        print(
            x.dataset,
            name,
            x.mode,
            "bio %.3f batch %.3f total %.3f"
            % (m["scib_bio"], m["scib_batch"], m["scib_total"]),
            "labels %.3f mixed %.3f" % (row["label_accuracy"], row["mixed"]),
            x.extra,
            flush=True,
        )


def table(x):
    rows = [json.loads(line) for line in open(x.rows)]
    rows = {(r["dataset"], r["left_out"], r["mode"]): r for r in rows}
    out = [HEAD]
    for dataset in sorted({k[0] for k in rows}):
        out.append(
            f"\n## {dataset}\n\n"
            "| left out | cells | model | bio | batch | total | bio minus joint | "
            "batch minus joint | labels | mixing | seconds |\n"
            "|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        )
        lines = []
        for name in [k[1] for k in rows if k[0] == dataset and k[2] == "joint"]:
            joint = rows[dataset, name, "joint"]["metrics"]
            for mode in ("joint", "mapped", "1 epoch"):
                r = rows.get((dataset, name, mode))
                if r is None:
                    continue
                m = r["metrics"]
                gap = ["", ""]
                if mode != "joint":
                    gap = [
                        f"{m[k] - joint[k]:+.3f}" for k in ("scib_bio", "scib_batch")
                    ]
                seconds = f"{r['map_s']:.1f}" if "map_s" in r else ""
                lines.append((mode, gap, m, r))
                out.append(
                    f"| {name} | {r['cells']} | {mode} | {m['scib_bio']:.3f} | "
                    f"{m['scib_batch']:.3f} | {m['scib_total']:.3f} | {gap[0]} | {gap[1]} | "
                    f"{r['label_accuracy']:.3f} | {r['mixed']:.3f} | {seconds} |\n"
                )
        # Means over the batches that have all three, so that they compare.
        seen = [v[3]["left_out"] for v in lines]
        for mode in ("joint", "mapped", "1 epoch"):
            of = [
                v for v in lines if v[0] == mode and seen.count(v[3]["left_out"]) == 3
            ]
            if not of:
                continue
            mean = {
                k: np.mean([v[2][k] for v in of])
                for k in ("scib_bio", "scib_batch", "scib_total")
            }
            gap = ["", ""]
            if mode != "joint":
                gap = [f"{np.mean([float(v[1][i]) for v in of]):+.3f}" for i in (0, 1)]
            seconds = ""
            if mode != "joint":
                seconds = f"{np.mean([v[3]['map_s'] for v in of]):.1f}"
            out.append(
                f"| **mean of {len(of)}** | | {mode} | {mean['scib_bio']:.3f} | {mean['scib_batch']:.3f} | "
                f"{mean['scib_total']:.3f} | {gap[0]} | {gap[1]} | "
                f"{np.mean([v[3]['label_accuracy'] for v in of]):.3f} | "
                f"{np.mean([v[3]['mixed'] for v in of]):.3f} | {seconds} |\n"
            )
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
    p.add_argument("--batch", nargs="+", required=True)
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
