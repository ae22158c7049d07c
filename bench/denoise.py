#!/usr/bin/env python3
"""How well denoised counts foretell molecules that were held out.

  python denoise.py DATA_DIR OUT_DIR [--sets SET,...] [--seed 1] [--scvi] [--dca PYTHON]

SET:known is the set with counts drawn from known rates. What is measured is told in the page, below.

Rows go to results/denoise.tsv, where those that are there already are kept, and to results/denoise.md;
OUT_DIR holds the counts. PYTHON is one with DCA (peers/run_dca.py).
"""

import argparse
import csv
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))

import common  # noqa: E402  (sets the thread limits, so it comes before numpy)
import numpy as np  # noqa: E402
import scipy.sparse as sp  # noqa: E402
from lognorm import lognorm_pca  # noqa: E402

GIVEN = 0.9
KNOWN = ":known"
FIELDS = ["set", "method", "seed", "mse", "poisson", "to_rates", "seconds"]
SETS = ["pbmc_kang_ctrl", "mouse_bladder_han", "pbmc_facs_zheng"]


def split(h5ad, out, seed, known):
    """The given and the held-out counts, and the rates if `known`; the given ones are written to `out`, too."""
    a, _ = common.load(h5ad)
    x = sp.csr_matrix(a.X)
    rng = np.random.default_rng(seed)
    rates = None
    if known:
        rates = knn_average(a, x)
        given = sp.csr_matrix(rng.poisson(rates * GIVEN).astype(np.float32))
        held = rng.poisson(rates * (1 - GIVEN)).astype(np.float32)
    else:
        given = x.copy()
        given.data = rng.binomial(x.data.astype(np.int64), GIVEN).astype(np.float32)
        held = x - given
        given.eliminate_zeros()
    a.X = given
    if not out.exists():
        a.write_h5ad(out)
    return a, given, sp.csr_matrix(held), rates


def log_normalised(x):
    total = x.sum(axis=1, keepdims=True)
    return np.log1p(1e4 * x / np.maximum(total, 1e-12))


def errors(denoised, held, given_total):
    """mse and poisson of a dense result, cells x genes, against sparse held-out counts."""
    target = held.toarray().astype(np.float64)
    rate = denoised * (target.sum() / given_total)
    poisson = np.mean(rate - target * np.log(rate + 1e-6))
    return log_error(denoised, target), float(poisson)


def log_error(denoised, target):
    return float(np.mean((log_normalised(denoised) - log_normalised(target)) ** 2))


def knn_average(a, given, k=15):
    from sklearn.neighbors import NearestNeighbors

    emb, _ = lognorm_pca(a.copy(), n_pcs=50)
    near = NearestNeighbors(n_neighbors=k).fit(emb).kneighbors(emb)[1]
    library = np.asarray(given.sum(1)).ravel()
    shares = sp.diags(1 / np.maximum(library, 1)) @ given
    mean = sp.csr_matrix(
        (np.full(near.size, 1 / k), near.ravel(), np.arange(0, near.size + 1, k)),
        shape=(len(near), len(near)),
    )
    return np.asarray((mean @ shares).todense()) * library[:, None]


def magic(given, seed):
    import magic as m

    total = np.asarray(given.sum(1)).ravel()
    x = sp.csr_matrix(sp.diags(np.median(total) / np.maximum(total, 1)) @ given).sqrt()
    out = m.MAGIC(random_state=seed, verbose=False, n_jobs=1).fit_transform(
        x, genes="all_genes"
    )
    out = np.maximum(np.asarray(out), 0) ** 2
    return out * (total / np.median(total))[:, None]


def scvae(train, out, seed, genes):
    if not out.with_suffix(".bin").exists():
        subprocess.run(
            ["Rscript", HERE / "denoise.R", train, out.with_suffix(""), str(seed)],
            check=True,
        )
    names = out.with_suffix(".genes").read_text().split("\n")[:-1]
    values = np.fromfile(out.with_suffix(".bin")).reshape(-1, len(names))
    return values, genes.get_indexer(names)


def scvi(a, seed):
    import one_pass
    import scvi as s
    import torch

    torch.set_num_threads(1)
    one_pass.install()
    s.settings.seed = seed
    a = a.copy()
    s.model.SCVI.setup_anndata(a)
    model = s.model.SCVI(a)
    model.train(max_epochs=400, accelerator="cpu", enable_progress_bar=False)
    shares = model.get_normalized_expression(return_numpy=True)
    return shares * np.asarray(a.X.sum(1))


def dca(python, given, out, seed):
    counts, values = out.with_suffix(".npz"), out.with_suffix(".npy")
    sp.save_npz(counts, given)
    subprocess.run([python, HERE / "peers/run_dca.py", counts, values, str(seed)], check=True)
    return np.load(values).astype(np.float64)


def rows_of(h5ad, name, out, seed, with_scvi, dca_python, there):
    train = out / f"{name}.{seed}.train.h5ad"
    a, given, held, rates = split(h5ad, train, seed, known=name.endswith(KNOWN))
    ours, genes = scvae(train, out / f"{name}.{seed}.scvae", seed, a.var_names)
    a, given, held = a[:, genes].copy(), given[:, genes], held[:, genes]
    library = np.asarray(given.sum(1)).ravel()
    makers = dict(
        none=lambda: given.toarray().astype(np.float64),
        mean=lambda: library[:, None] * (np.asarray(given.sum(0)) / given.sum()),
        knn=lambda: knn_average(a, given),
        magic=lambda: magic(given, seed),
        scvae=lambda: ours,
    )
    if rates is not None:
        rates = rates[:, genes]
        makers["rates"] = lambda: rates * GIVEN
    if with_scvi:
        makers["scvi"] = lambda: scvi(a, seed)
    if dca_python:
        makers["dca"] = lambda: dca(dca_python, given, out / f"{name}.{seed}.dca", seed)
    for method, make in makers.items():
        if (name, method, str(seed)) in there:
            continue
        t = time.perf_counter()
        denoised = make()
        mse, poisson = errors(denoised, held, given.sum())
        seconds = time.perf_counter() - t
        to_rates = "" if rates is None else log_error(denoised, rates)
        yield dict(
            set=name, method=method, seed=seed, mse=mse, poisson=poisson, to_rates=to_rates, seconds=seconds
        )


TEXT = """# Denoised counts

Written by `bench/denoise.py DATA_DIR OUT_DIR --scvi --dca PYTHON`; do not edit by hand.

Molecular cross-validation (Batson, Royer & Webber 2019), as the task "denoising" of Open Problems in
Single-Cell Analysis has it: nine tenths of each cell's molecules, drawn at random, are given to
the methods, the others are what their result is held against.

- **MSE** of the log-normalised values: both sides scaled to 10,000 a cell, ln(1 + x)
- **Poisson**: mean of rate - count ln(rate), the result scaled by the ratio of held-out to given molecules

Methods: `none`, the given counts; `mean`, each gene's share of all counts; `knn`, the mean over the 15
nearest cells of 50 principal components (log-normalised, 2,000 variable genes); `magic` (van Dijk
et al. 2018, magic-impute 3.0 at its defaults on square roots, as Open Problems runs it); `scvae`,
denoiseCounts(); `scvi` (scvi-tools 1.4.2 at its defaults, 400 epochs); `dca` (Eraslan et al. 2019,
dca 0.3.4 at its defaults, as Open Problems runs it). Genes are those that this package keeps, found in
at least 3 cells. All are one run each.

"""
KNOWN_TEXT = """
## Where the rates are known

The same sets with counts drawn from known rates: those that `knn` gives for all counts, nine tenths of them for the
counts given and a tenth for those held out, Poisson. `rates` is the result of a method that made no error.

- **MSE to the rates**: as MSE, but against the rates and not against the held-out counts

By the MSE MAGIC is ahead of the rates themselves, by far, and DCA is, too: the logarithm of so few counts is in the
mean far below that of their rate, so that drawing rates to zero is rewarded. It cannot tell which method is better. By
the Poisson loss the rates are first. By that, and by the distance to the rates, DCA comes first of the methods and this
package second.

"""


def text_of(rows):
    text = TEXT
    for known in False, True:
        columns = [("MSE", "mse", 4), ("Poisson", "poisson", 5)]
        if known:
            text += KNOWN_TEXT
            columns.append(("MSE to the rates", "to_rates", 4))
        text += "| set | method |" + "".join(f" {title} |" for title, _, _ in columns)
        text += "\n|---|---|" + "--:|" * len(columns) + "\n"
        chosen = [r for r in rows if r["set"].endswith(KNOWN) == known]
        for r in sorted(chosen, key=lambda r: (r["set"], float(r["mse"]))):
            text += f"| {r['set'].removesuffix(KNOWN)} | {r['method']} |"
            text += "".join(f" {float(r[key]):.{digits}f} |" for _, key, digits in columns) + "\n"
    return text


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("data", type=pathlib.Path)
    ap.add_argument("out", type=pathlib.Path)
    ap.add_argument("--sets", default=",".join(SETS + [s + KNOWN for s in SETS[:2]]))
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--scvi", action="store_true")
    ap.add_argument("--dca", default="")
    x = ap.parse_args()
    x.out.mkdir(parents=True, exist_ok=True)
    path = HERE / "results" / "denoise.tsv"
    rows = list(csv.DictReader(path.open(), delimiter="\t")) if path.exists() else []
    there = {(r["set"], r["method"], r["seed"]) for r in rows}
    for name in x.sets.split(","):
        h5ad = x.data / f"{name.removesuffix(KNOWN)}.h5ad"
        for row in rows_of(h5ad, name, x.out, x.seed, x.scvi, x.dca, there):
            print(row, flush=True)
            rows.append(row)
            with path.open("w", newline="") as f:
                w = csv.DictWriter(f, FIELDS, delimiter="\t", lineterminator="\n")
                w.writeheader()
                w.writerows(rows)
    (HERE / "results" / "denoise.md").write_text(text_of(rows))


if __name__ == "__main__":
    main()
