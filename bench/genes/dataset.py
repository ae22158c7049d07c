"""What the gene-ranking comparison reads: the counts, the rankings, and the rows written so far.

A ranking is a table of `ranking` (its name), `gene` and `rank` (1 is the best gene); one file
may hold several. The cells and genes are those of common.load(), as in every other comparison.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "peers"))

import common  # noqa: E402,F401  (sets the thread limits, so it comes before numpy)
import fcntl  # noqa: E402
import os  # noqa: E402

import numpy as np  # noqa: E402


def name_of(path):
    """The name of a set is that of its file."""
    return pathlib.Path(path).stem


def order_by(score, mean):
    """Gene indices from the best (highest) score to the worst.

    A score that is not a number comes last; equal scores go by the mean count, since the
    order of the genes in the file may itself say something.
    """
    score = np.asarray(score, dtype=np.float64)
    score = np.where(np.isnan(score), -np.inf, score)
    return np.lexsort((-np.asarray(mean), -score))


def log_normalised(a):
    """normalize_total(1e4) over all genes and log1p, in a copy."""
    import scanpy as sc

    b = a.copy()
    sc.pp.normalize_total(b, target_sum=1e4)
    sc.pp.log1p(b)
    return b


def mean_counts(a):
    return np.asarray(a.X.mean(axis=0), dtype=np.float64).ravel()


def read_rankings(paths, genes):
    """{name: indices into `genes`, best first}, of all files together.

    Genes that the filter dropped are passed over with a warning, so that a model that kept
    more genes than the filter can still be scored; names that are nowhere are a mistake.
    """
    import pandas as pd

    index = {g: i for i, g in enumerate(genes)}
    found = {}
    for path in paths:
        table = pd.read_csv(
            path, sep="\t", dtype={"ranking": str, "gene": str}, keep_default_na=False
        )
        for name, rows in table.groupby("ranking", sort=False):
            if name in found:
                raise SystemExit(f"{path}: a second ranking {name!r}")
            rows = rows.assign(rank=rows["rank"].astype(float)).sort_values(
                "rank", kind="stable"
            )
            if rows.gene.duplicated().any():
                raise SystemExit(f"{path}: {name!r} has a gene twice")
            known = [index[g] for g in rows.gene if g in index]
            if not known:
                raise SystemExit(f"{path}: no gene of {name!r} is in the data set")
            if len(known) < len(rows):
                print(
                    f"warning: {path}: {len(rows) - len(known)} of the {len(rows)} genes"
                    f" of {name!r} are not among those that pass the filter",
                    file=sys.stderr,
                )
            found[name] = np.array(known)
    return found


def read_rows(path):
    """The rows of a results file as dicts of strings; none where there is no file."""
    if not os.path.exists(path):
        return []
    with open(path) as f:
        lines = [line.rstrip("\n").split("\t") for line in f if line.strip()]
    if not lines:
        return []
    head = lines[0]
    # a line cut short by an interruption counts as not written
    return [dict(zip(head, x)) for x in lines[1:] if len(x) == len(head)]


def append_row(path, row):
    """Appends one row, whole, though other processes append to the same file."""
    text = [format(v, ".5f") if isinstance(v, float) else str(v) for v in row.values()]
    with open(path, "a+") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        f.seek(0, os.SEEK_END)
        if f.tell() == 0:
            f.write("\t".join(row) + "\n")
        else:
            f.seek(f.tell() - 1)
            if f.read(1) != "\n":
                f.write("\n")
        f.write("\t".join(text) + "\n")
