"""How often the number of sources is estimated right, beside two nuisance dimensions of white noise.

    python tests/benchmarks/ica_count.py

Cases, each mixed linearly with the noise: linear and nonlinear (three layers) mixings of AR(1) Laplace sources;
sources whose variance alone has a memory; Laplace sources modulated per segment, which is given, linear and nonlinear;
and `bent`: sources and noise mixed nonlinearly together, which the test is not made for. Draws right of all, by number
of sources. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from threadpoolctl import threadpool_limits

from tempica.ica import count_sources
from tempica.ica.synthetic import autoregressive, modulated, random_mixing

CASES = ("linear", "nonlinear", "variance", "segments", "segments_nonlinear", "bent")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[2, 3, 4, 5, 6])
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    a = parser.parse_args()
    figures: dict[str, dict] = {}
    with threadpool_limits(1):
        for case in a.cases:
            started, right = time.process_time(), {}
            for n in a.n:
                found = [_counted(case, n, a.frames, 1000 * n + draw) for draw in range(a.draws)]
                right[n] = found.count(n)
                print(f"{case} n={n}: {found}", flush=True)
            seconds = (time.process_time() - started) / (a.draws * len(a.n))
            figures[case] = {"right": right, "of": a.draws, "cpu_s_each": round(seconds, 2)}
    print(json.dumps({"benchmark": "ica_count", "frames": a.frames, "figures": figures}))


def _counted(case: str, n: int, n_frames: int, seed: int) -> int:
    rng, segments = np.random.default_rng(seed), None
    if case.startswith("segments"):
        problem = modulated(n, 20, n_frames // 20, n_layers=3 if case.endswith("nonlinear") else 1, seed=seed)
        X, segments = problem.X, problem.labels
    elif case == "variance":
        log_scale = autoregressive(n, n_frames, rho=0.9, innovation="normal", n_layers=1, seed=seed).S
        X = np.exp(log_scale / 1.5) * rng.normal(size=(n_frames, n))
    else:
        problem = autoregressive(n, n_frames, n_layers=3 if case == "nonlinear" else 1, seed=seed)
        X = problem.S if case == "bent" else problem.X
    frames = np.concatenate([X / X.std(0), rng.normal(size=(len(X), 2))], axis=1)
    frames = random_mixing(n + 2, 3 if case == "bent" else 1, seed=seed)(frames)
    return count_sources(frames, labels=segments).n


if __name__ == "__main__":
    main()
