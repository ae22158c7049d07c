"""DCA (Eraslan et al. 2019) at its defaults, as Open Problems runs it, for denoise.py.

  python run_dca.py COUNTS.npz OUT.npy SEED

COUNTS.npz holds a sparse matrix, cells x genes, without empty genes. OUT.npy gets the expected
counts. DCA needs a TensorFlow that is older than what the other peers need, so a Python of its own:
3.8 with `pip install dca==0.3.4 'pyyaml<6'`.
"""

import sys

import anndata
import numpy as np
import scipy.sparse as sp
from dca.api import dca

counts, out, seed = sys.argv[1:]
a = anndata.AnnData(sp.load_npz(counts).toarray().astype(np.float32))
dca(a, random_state=int(seed), threads=1)
np.save(out, a.X)
