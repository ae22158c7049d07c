"""Whether the results hold a scored row of a run already.

  python have_row.py [--scib-total] RESULTS.jsonl SET METHOD SEED [EPOCHS]

succeeds if so; with --scib-total the row must have the integration scores, too. It imports nothing large, because run_all.sh asks it for every run.
"""

import json
import os
import sys


def have_row(path, dataset, method, seed, epochs=None, score="n"):
    if not os.path.exists(path):
        return False
    with open(path) as f:
        rows = [json.loads(line) for line in f if line.strip()]
    return any(
        r.get("dataset") == dataset
        and r.get("method") == method
        and r.get("seed") == seed
        and (epochs is None or r.get("epochs") == epochs)
        and score in r.get("metrics", {})
        for r in rows
    )


if __name__ == "__main__":
    given = sys.argv[1:]
    score = "n"
    if given[0] == "--scib-total":
        score = "scib_total"
        given = given[1:]
    path, dataset, method, seed = given[:4]
    epochs = int(given[4]) if len(given) > 4 else None
    sys.exit(0 if have_row(path, dataset, method, int(seed), epochs, score) else 1)
