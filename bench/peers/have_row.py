"""Whether the results hold a scored row of a run already.

  python have_row.py RESULTS.jsonl SET METHOD SEED [EPOCHS]

succeeds if so. It imports nothing large, because run_all.sh asks it for every run.
"""

import json
import os
import sys


def have_row(path, dataset, method, seed, epochs=None):
    if not os.path.exists(path):
        return False
    with open(path) as f:
        rows = [json.loads(line) for line in f if line.strip()]
    return any(
        r.get("dataset") == dataset
        and r.get("method") == method
        and r.get("seed") == seed
        and (epochs is None or r.get("epochs") == epochs)
        and "metrics" in r
        for r in rows
    )


if __name__ == "__main__":
    path, dataset, method, seed = sys.argv[1:5]
    epochs = int(sys.argv[5]) if len(sys.argv) > 5 else None
    sys.exit(0 if have_row(path, dataset, method, int(seed), epochs) else 1)
