"""Nulls and intervals on independent and on related autoregressions of any correlation time.

    python tests/benchmarks/nulls.py
    python tests/benchmarks/nulls.py --draws 50 --times 1 500 --worlds 1x2000

A world is R replicas of T frames. p is the share of null scores that reach the score of unrelated series; over the
draws it must be uniform (Kolmogorov and Smirnov). The interval is that of sources whose correlations with the truth are
0.6 and 0.9. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from scipy import signal, stats

from tempica.evaluate import mcc

SHARES = np.array([0.6, 0.9])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--times", type=float, nargs="+", default=[1, 5, 20, 100, 500])
    parser.add_argument("--worlds", nargs="+", default=["1x2000", "2x700", "5x1000"])
    parser.add_argument("--kinds", nargs="+", default=["spearman", "pearson"])
    parser.add_argument("--null", type=int, default=99, help="draws of the null")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = []
    for kind in arguments.kinds:
        for world in arguments.worlds:
            for time in arguments.times:
                n_replicas, n_frames = map(int, world.split("x"))
                row = measured(n_replicas, n_frames, time, kind, arguments)
                rows.append({"kind": kind, "world": world, "correlation_time": time, **row})
                print(rows[-1], flush=True)
    covered = [row["covered"] for row in rows]
    figures = {
        "worlds": len(rows),
        "draws": arguments.draws,
        "least_ks_p": min(row["ks_p"] for row in rows),
        "uniform_at_1_percent": sum(row["ks_p"] > 0.01 for row in rows),
        "below_0.05": [min(row["below_0.05"] for row in rows), max(row["below_0.05"] for row in rows)],
        "covered": [min(covered), max(covered)],
        "covered_mean": round(float(np.mean(covered)), 4),
    }
    print(json.dumps({"benchmark": "nulls", "seed": arguments.seed, **figures, "rows": rows}))


def measured(n_replicas: int, n_frames: int, time: float, kind: str, arguments: argparse.Namespace) -> dict:
    """Of one world: how uniform p is, and how often the interval covers."""
    rho, replicas = float(np.exp(-1 / time)), np.repeat(np.arange(n_replicas), n_frames)
    true = SHARES if kind == "pearson" else 6 / np.pi * np.arcsin(SHARES / 2)
    p, covered, widths = [], [], []
    for draw in range(arguments.draws):
        rng = np.random.default_rng([arguments.seed, n_replicas, n_frames, round(10 * time), draw])
        S, truth = (autoregression(rng, n_replicas, n_frames, rho) for _ in range(2))
        found = mcc(S, truth, kind=kind, replicas=replicas, n_null=arguments.null)
        p.append((1 + (found.null_scores >= found.score).sum()) / (1 + arguments.null))
        related = SHARES * truth + np.sqrt(1 - SHARES**2) * S
        low, high = mcc(related, truth, kind=kind, replicas=replicas, assignment=[0, 1], n_null=1).interval
        covered.append(low <= true.mean() <= high)
        widths.append(high - low)
    return {
        "ks_p": round(float(stats.kstest(p, "uniform").pvalue), 4),
        "below_0.05": float(np.mean(np.array(p) <= 0.05)),
        "covered": float(np.mean(covered)),
        "width": round(float(np.median(widths)), 3),
    }


def autoregression(rng: np.random.Generator, n_replicas: int, n_frames: int, rho: float) -> np.ndarray:
    """Two stationary series (frame, 2) of unit variance in replicas."""
    e = np.sqrt(1 - rho**2) * rng.standard_normal((n_replicas, n_frames, 2))
    e[:, 0] /= np.sqrt(1 - rho**2)
    return signal.lfilter([1], [1, -rho], e, axis=1).reshape(-1, 2)


if __name__ == "__main__":
    main()
