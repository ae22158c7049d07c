"""Values that tests/likelihood/ is held against.

Writes two tables beside this script:
- likelihood_exact.csv: log-probabilities and their derivatives at 60 digits (mpmath);
- likelihood_scvi.csv: log_zinb_positive and log_nb_positive of scvi-tools 1.4.2, in float64 with eps = 1e-300 (its
  default of 1e-8 shifts the value by up to 1e-6 or so).

Run: python likelihood_values.py (needs mpmath, torch and scvi-tools 1.4.2).
"""

import csv
import itertools
from pathlib import Path

import mpmath as mp
import torch
from scvi.distributions._negative_binomial import log_nb_positive, log_zinb_positive

HERE = Path(__file__).parent
mp.mp.dps = 60


def log_nb(x, a, t):
    mu, theta = mp.exp(a), mp.exp(t)
    return (
        mp.loggamma(x + theta) - mp.loggamma(theta) - mp.loggamma(x + 1)
        + theta * mp.log(theta / (theta + mu)) + x * mp.log(mu / (theta + mu))
    )


def nb_row(x, a, t):
    """Value, derivative by log mean, derivative by log dispersion."""
    mu, theta = mp.exp(a), mp.exp(t)
    d_a = theta * (x - mu) / (theta + mu)
    d_t = theta * (
        mp.digamma(x + theta) - mp.digamma(theta) + mp.log(theta / (theta + mu)) + (mu - x) / (theta + mu)
    )
    return log_nb(x, a, t), d_a, d_t


def zinb_row(x, a, p, t):
    """Value, derivatives by log mean, dropout logit, log dispersion."""
    value, d_a, d_t = nb_row(x, a, t)
    pi = 1 / (1 + mp.exp(-p))
    if x > 0:
        return mp.log(1 - pi) + value, d_a, -pi, d_t
    p0 = mp.exp(value)
    whole = pi + (1 - pi) * p0
    own = (1 - pi) * p0 / whole
    return mp.log(whole), own * d_a, pi * (1 - pi) * (1 - p0) / whole, own * d_t


def points():
    means = ["1e-8", "1e-3", "0.7", "12", "1e3", "1e5"]
    thetas = ["1e-4", "0.3", "8", "1e4"]
    counts = [0, 1, 2, 7, 23, 24, 150, 100000]
    dropouts = [-30.0, -2.5, 0.0, 1.5, 20.0]
    everything = list(itertools.product(counts, means, thetas))
    # Every point once, dropout logits in turn; zeros with every dropout logit.
    for i, (x, mean, theta) in enumerate(everything):
        chosen = dropouts if x == 0 else [dropouts[i % len(dropouts)]]
        for p in chosen:
            # The arguments are rounded to double first, so that both sides start from the same numbers.
            yield x, float(mp.log(mp.mpf(mean))), p, float(mp.log(mp.mpf(theta)))


with open(HERE / "likelihood_exact.csv", "w", newline="") as file:
    out = csv.writer(file, lineterminator="\n")
    out.writerow(["count", "log_mu", "dropout", "log_theta", "nb", "nb_d_log_mu", "nb_d_log_theta",
                  "zinb", "zinb_d_log_mu", "zinb_d_dropout", "zinb_d_log_theta"])
    for x, a, p, t in points():
        exact = nb_row(mp.mpf(x), mp.mpf(a), mp.mpf(t)) + zinb_row(mp.mpf(x), mp.mpf(a), mp.mpf(p), mp.mpf(t))
        out.writerow([x, repr(a), repr(p), repr(t)] + [mp.nstr(v, 17) for v in exact])

with open(HERE / "likelihood_scvi.csv", "w", newline="") as file:
    out = csv.writer(file, lineterminator="\n")
    out.writerow(["count", "log_mu", "dropout", "log_theta", "nb", "zinb"])
    moderate = itertools.product([0, 1, 4, 60], [0.02, 1.5, 80.0], [0.2, 3.0], [-1.0, 2.0])
    for x, mu, theta, p in moderate:
        count, mean, dispersion, logit = (torch.tensor([[v]], dtype=torch.float64) for v in (x, mu, theta, p))
        nb = log_nb_positive(count, mean, dispersion, eps=1e-300).item()
        zinb = log_zinb_positive(count, mean, dispersion, logit, eps=1e-300).item()
        row = [x, torch.log(mean).item(), p, torch.log(dispersion).item(), nb, zinb]
        out.writerow([repr(v) for v in row])
