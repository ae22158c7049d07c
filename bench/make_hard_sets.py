#!/usr/bin/env python3
"""Two sets whose labels come from no clustering, where linear methods are hard to beat: for ablation.sh.

  python make_hard_sets.py DATA_DIR OUT_DIR

`zheng_t_cells`: the six sorted T-cell populations of pbmc_facs_zheng, 1,484 cells. Neighbours that
overlap, labelled by their surface before sequencing.

`tian_mixtures`: 640 wells made of the cells of celllines_tian, as the RNA mixtures of Tian et al. 2019
were made of RNA: three cell lines in seven ratios and four amounts, by two protocols (`batch`). A well is
the sum of one cell of each line, its molecules thinned to the line's share and the well's amount.
"""

import pathlib
import sys

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

LINES = ["H1975", "H2228", "HCC827"]
RATIOS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.68, 0.16, 0.16), (0.16, 0.68, 0.16), (0.16, 0.16, 0.68)]
RATIOS += [(1 / 3, 1 / 3, 1 / 3)]
PROTOCOLS = ["CELseq2_3cl", "Dropseq_3cl"]
AMOUNTS = [1, 0.5, 0.25, 0.125]
WELLS_OF_PROTOCOL = 320


def t_cells(data):
    a = anndata.read_h5ad(data / "pbmc_facs_zheng.h5ad")
    return a[a.obs["cell_type"].str.match("^CD[48]\\+")].copy()


def mixtures(data):
    a = anndata.read_h5ad(data / "celllines_tian.h5ad")
    counts = a.X.toarray().astype(np.int64)
    rng = np.random.default_rng(1)
    wells, obs = [], []
    for protocol in PROTOCOLS:
        of_line = [np.flatnonzero((a.obs["batch"] == protocol) & (a.obs["cell_type"] == line)) for line in LINES]
        for well in range(WELLS_OF_PROTOCOL):
            ratio = RATIOS[well % len(RATIOS)]
            amount = AMOUNTS[well // len(RATIOS) % len(AMOUNTS)]
            shares = zip(of_line, ratio)
            wells.append(sum(rng.binomial(counts[rng.choice(cells)], amount * share) for cells, share in shares))
            name = "/".join(f"{share:.2f}" for share in ratio)
            obs.append((name, protocol, amount))
    obs = pd.DataFrame(obs, columns=["cell_type", "batch", "amount"])
    obs.index = [f"well_{i:03d}" for i in range(len(obs))]
    x = sp.csr_matrix(np.array(wells, dtype=np.float32))
    return anndata.AnnData(x, obs=obs, var=a.var[[]])


def main():
    data, out = map(pathlib.Path, sys.argv[1:3])
    out.mkdir(parents=True, exist_ok=True)
    t_cells(data).write_h5ad(out / "zheng_t_cells.h5ad", compression="gzip")
    mixtures(data).write_h5ad(out / "tian_mixtures.h5ad", compression="gzip")


if __name__ == "__main__":
    main()
