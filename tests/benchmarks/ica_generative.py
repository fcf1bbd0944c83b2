"""How well the generative estimators recover known sources through the literature's mixings.

    python tests/benchmarks/ica_generative.py ivae --n 5 --layers 2 4
    python tests/benchmarks/ica_generative.py slowvae --n 5 --layers 2

ivae: Laplace sources modulated per segment (20 × 2,000 frames). slowvae: sparse jumps, s_t = 0.9 s_{t−1} + e_t, e_t
zero but for one frame in ten, where it is normal. Linear baselines beside. Scored on a new series through the same
mixing, the matching fitted on its first half and scored on the second. CPU time is of one thread. Ends with one line of
JSON: median and range over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from scipy.signal import lfilter
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from tempica.evaluate.metrics import assign, correlation_matrix
from tempica.ica import IVAE, SOBI, FastICA, NonstationaryICA, SlowVAE
from tempica.ica.synthetic import random_mixing

RHO, KICKED = 0.9, 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=["ivae", "slowvae"])
    parser.add_argument("--n", type=int, default=5)
    parser.add_argument("--layers", type=int, nargs="+", default=[2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104, 105])
    parser.add_argument("--segments", type=int, default=20)
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=None)
    a = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, dict] = {}
    with threadpool_limits(1):
        for layers in a.layers:
            rows: dict[str, list[dict]] = {}
            for seed in a.seeds:
                for name, row in _rows(a, layers, seed).items():
                    rows.setdefault(name, []).append(row)
                    print(f"L={layers} seed={seed} {name}: {json.dumps(row)}", flush=True)
            for name, found in rows.items():
                figures[f"n={a.n} L={layers} {name}"] = {
                    key: [float(f(values)) for f in (np.median, np.min, np.max)]
                    for key in found[0]
                    for values in [[row[key] for row in found]]
                }
    print(json.dumps({"benchmark": "ica_generative", "family": a.family, "seeds": a.seeds, "figures": figures}))


def _rows(a: argparse.Namespace, layers: int, seed: int) -> dict[str, dict]:
    mixing_seed, source_seed = np.random.SeedSequence(seed).spawn(2)
    rng, mixing = np.random.default_rng(source_seed), random_mixing(a.n, layers, seed=mixing_seed)
    options = {} if a.steps is None else {"max_steps": a.steps}
    if a.family == "ivae":
        scale = rng.uniform(0, 1, size=(a.segments, 1, a.n))
        train, test = (
            (scale * rng.laplace(size=(a.segments, a.points, a.n))).reshape(-1, a.n) / np.sqrt(2) for _ in range(2)
        )
        labels = np.repeat(np.arange(a.segments), a.points)
        models = [NonstationaryICA(a.n), FastICA(a.n), IVAE(a.n, **options)]
    else:
        train, test = (_jumps(rng, a.segments * a.points, a.n) for _ in range(2))
        labels, models = None, [SOBI(a.n), FastICA(a.n), SlowVAE(a.n, **options)]
    rows = {}
    for model in models:
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(mixing(train), labels)
        seconds = time.process_time() - started
        rows[type(model).__name__] = {**_scored(model.transform(mixing(test)), test), "cpu_s": round(seconds, 1)}
        if hasattr(model, "transform_raw"):
            rows[f"{type(model).__name__} latents"] = _scored(model.transform_raw(mixing(test)), test)
    return rows


def _jumps(rng: np.random.Generator, n_frames: int, n: int) -> np.ndarray:
    kicks = (rng.random((n_frames + 200, n)) < KICKED) * rng.normal(size=(n_frames + 200, n))
    return lfilter([1], [1, -RHO], kicks, axis=0)[200:]


def _scored(S: np.ndarray, truth: np.ndarray) -> dict:
    """MCC on the second half, matched on the first."""
    half, found = len(S) // 2, {}
    for kind in ("pearson", "spearman"):
        assignment = assign(correlation_matrix(S[:half], truth[:half], kind=kind))
        matrix = np.abs(correlation_matrix(S[half:], truth[half:], kind=kind))
        found[kind] = round(float(np.mean([matrix[c, t] if c >= 0 else 0 for t, c in enumerate(assignment)])), 4)
    return found


if __name__ == "__main__":
    main()
