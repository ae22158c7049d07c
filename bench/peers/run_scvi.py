"""SCVI of scvi-tools (Lopez et al. 2018, Gayoso et al. 2022) at its default settings.

  python run_scvi.py IN.h5ad --name SET --out DIR --genes full|hvg2000
         [--batch-key batch] [--max-epochs N] [--seed 0] [--threads 2]
         [--one-pass] [--scib-total] [--results FILE.jsonl]

Without --max-epochs it trains for the epochs that scvi-tools' own rule gives,
min(round(20000 / cells * 400), 400). hvg2000 takes the 2,000 most variable genes
(seurat_v3 on the raw counts, per batch where a batch key is given). --one-pass: the same in half
the time (one_pass.py).
"""

import common
import argparse
import logging
import os
import resource
import time
import warnings

import numpy as np

import scores

warnings.filterwarnings("ignore")
logging.getLogger("lightning").setLevel(logging.ERROR)


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("h5ad")
    ap.add_argument("--name", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--genes", choices=["full", "hvg2000"], default="full")
    ap.add_argument("--batch-key", default=None)
    ap.add_argument("--max-epochs", type=int, default=None)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--one-pass", action="store_true")
    scores.add_score_arguments(ap)
    x = ap.parse_args()
    os.makedirs(x.out, exist_ok=True)
    import torch

    torch.set_num_threads(x.threads)
    import lightning
    import scvi

    if x.one_pass:
        import one_pass

        one_pass.install()
    scvi.settings.seed = x.seed
    scvi.settings.verbosity = logging.ERROR
    scvi.settings.dl_num_workers = 0

    a, info = common.load(x.h5ad)
    labels, batch = common.labels_of(a), common.batches_of(a)
    key = x.batch_key
    if key and common.batches_of(a, key) is None:
        raise SystemExit("one batch only")
    hvg = None
    if x.genes == "hvg2000":
        a, hvg = common.hvg_counts(a, 2000, key)
        empty = int((np.asarray(a.X.sum(1)).ravel() == 0).sum())
        if empty:
            info["cells_without_hvg_counts"] = empty
    if key:
        a.obs[key] = a.obs[key].astype(str).astype("category")
    scvi.model.SCVI.setup_anndata(a, batch_key=key)
    model = scvi.model.SCVI(a)
    n_params = sum(p.numel() for p in model.module.parameters() if p.requires_grad)

    default_epochs = int(min(round(20000 / a.n_obs * 400), 400))
    epochs = x.max_epochs or default_epochs
    cpu0 = resource.getrusage(resource.RUSAGE_SELF)
    t = time.perf_counter()
    model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False)
    wall = time.perf_counter() - t
    cpu1 = resource.getrusage(resource.RUSAGE_SELF)
    peak = common.peak_mib()
    z = model.get_latent_representation().astype(np.float32)
    history = model.history

    method = f"scvi_{x.genes}" + ("_batch" if key else "")
    np.save(os.path.join(x.out, f"{x.name}.{method}.s{x.seed}.e{epochs}.npy"), z)
    rec = dict(
        dataset=x.name,
        method=method,
        seed=x.seed,
        genes_used=int(a.n_vars),
        data=info,
        n_params=int(n_params),
        n_latent=int(z.shape[1]),
        batch_key=bool(key),
        hvg=hvg,
        epochs=epochs,
        default_epochs=default_epochs,
        n_train=int(len(model.train_indices)),
        train_wall_s=round(wall, 1),
        cpu_s=round(cpu1.ru_utime + cpu1.ru_stime - cpu0.ru_utime - cpu0.ru_stime, 1),
        peak_rss_mib=peak,
        elbo_train_last=float(history["elbo_train"].iloc[-1, 0]),
        recon_train_last=float(history["reconstruction_loss_train"].iloc[-1, 0]),
        kl_train_last=float(history["kl_local_train"].iloc[-1, 0]),
        loadavg=common.loadavg(),
        threads=x.threads,
        one_pass=x.one_pass,
        versions=dict(
            torch=torch.__version__,
            scvi=scvi.__version__,
            lightning=lightning.__version__,
            numpy=np.__version__,
        ),
    )
    del model
    rec["metrics"] = scores.score(x, z, labels, batch)
    if x.results:
        common.append_jsonl(x.results, rec)
    print(rec, flush=True)


if __name__ == "__main__":
    main()
