"""Time points after mixing: two sources that relax at different rates, seen at 4, 6 and 12 delays.

    python tests/benchmarks/unmix_time_points.py --delays 12 6 4 --seeds 1 2 3

20,000 rows of 8 latents: the two sources, mixed by two layers, with six directions of noise, mixed linearly (or, with
--bent, all eight mixed by two layers). A source has the mean a exp(−t/τ) after the delay t and normal scatter of
constant deviation (--world mean), or scatter that relaxes as well (both). Rows are unequal in number over delays. Each
is given to `tempica.unmix` as a table with the delay as label and nothing else. Prints the verdict, the number of
sources counted, and the correlation (MCC) with the truth and within each delay, where the delay itself explains
nothing; null: rows permuted. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas

from tempica.errors import DataError
from tempica.evaluate import mcc
from tempica.ica.synthetic import random_mixing
from tempica.unmix import unmix

N, RATES, AMPLITUDE = 20_000, (1.0, 6.0), 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delays", type=int, nargs="+", default=[12, 6, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--world", choices=("mean", "both"), default="mean")
    parser.add_argument("--bent", action="store_true")
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for n_delays in a.delays:
        for seed in a.seeds:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(row(n_delays, seed, a.world, a.bent, Path(folder) / "axes"))
            print(rows[-1], flush=True)
    median = {n: float(np.median([r.get("mcc", np.nan) for r in rows if r["delays"] == n])) for n in a.delays}
    print(
        json.dumps({"benchmark": "unmix_time_points", "world": a.world, "bent": a.bent, "median": median, "rows": rows})
    )


def row(n_delays: int, seed: int, world: str, bent: bool, out: Path) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    delay = np.r_[0, np.geomspace(0.3, 20, n_delays - 1)].round(2)
    share = rng.dirichlet(np.full(n_delays, 5.0))  # rows a delay: unequal
    label = rng.choice(n_delays, N, p=share)
    pumped = np.exp(-delay[label][:, None] / np.array(RATES))
    scatter = 1.0 if world == "mean" else 0.4 + 1.2 * pumped
    s = AMPLITUDE * pumped + scatter * rng.normal(size=(N, 2))
    s /= s.std(0)
    noise = 0.5 * rng.normal(size=(N, 6))
    if bent:
        X = random_mixing(8, 2, seed=seed)(np.c_[s, noise])
    else:
        mixed = random_mixing(2, 2, seed=seed)(s)
        X = random_mixing(8, 1, seed=seed)(np.c_[mixed / mixed.std(0), noise])
    table = pandas.DataFrame(X, columns=[f"z{i}" for i in range(8)]).assign(delay=delay[label])
    found: dict[str, Any] = {"delays": n_delays, "seed": seed}
    try:
        result = unmix(table, labels="delay", out=out)
    except DataError as error:
        return found | {"refused": str(error)}
    record = result.record
    found |= {"counted": record["n_components"], "given_out": record["given_out"], "verdict": record["verdict"]}
    found["why"] = record["why"]
    sources, order = result.sources, rng.permutation(N)
    found["mcc"] = round(mcc(sources, s, n_null=2).score, 3)
    found["null"] = round(mcc(sources, s[order], n_null=2).score, 3)
    within = [mcc(sources[label == k], s[label == k], n_null=2).score for k in np.flatnonzero(share * N > 200)]
    found["mcc_within_delays"] = round(float(np.median(within)), 3)
    return found


if __name__ == "__main__":
    main()
