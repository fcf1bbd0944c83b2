"""How well the generative estimators recover known sources through the literature's mixings.

    python tests/benchmarks/ica_generative.py ivae --n 5 --layers 2 4
    python tests/benchmarks/ica_generative.py slowvae --n 5 --layers 2
    python tests/benchmarks/ica_generative.py snica --n 3 --layers 2 --snr 10
    python tests/benchmarks/ica_generative.py gcl --n 5 --layers 2
    python tests/benchmarks/ica_generative.py hmnlica --n 3 --layers 2

ivae: Laplace sources modulated per segment (20 × 2,000 frames). slowvae: sparse jumps, s_t = 0.9 s_{t−1} + e_t, e_t
zero but for one frame in ten, where it is normal. snica: AR(1) with Laplace innovations, ρ from 0.7 to 0.95, through
the mixing and with white noise added to every feature (SNR: variance over variance; 20,000 frames to train and as many
to score). There every method is scored frame by frame and smoothed in time, and ceiling is the smoother that is told
the dynamics, the noise, and the mixing's derivative at the true sources. gcl: label, normal sources
whose mean (from −2 to 2) and deviation (0.2 to 1) are drawn per segment; history, AR(1) with Laplace innovations,
ρ 0.7. hmnlica: normal sources whose mean (from −2 to 2) and deviation (0.2 to 1) are drawn for each of 2 n + 1 hidden
states, which last 33 frames on average (20 × 2,000 frames, one series); states is the share of frames whose most
probable state is the true one, after matching. Linear baselines beside. Scored on a new series through the same
mixing, the matching fitted on its first half and scored on the second. CPU time is of one thread. Ends with one
line of JSON: median and range over seeds.
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
from scipy.optimize import linear_sum_assignment
from scipy.signal import lfilter
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from tempica.evaluate.metrics import assign, correlation_matrix
from tempica.ica import GCL, HMNLICA, IVAE, PCL, SNICA, SOBI, TCL, TICA, FastICA, NonstationaryICA, SlowVAE, smooth
from tempica.ica.smoothing.dynamics import rts
from tempica.ica.synthetic import Mixing, random_mixing

RHO, KICKED, STAY = 0.9, 0.1, 0.97
NOISY_FRAMES = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=["ivae", "slowvae", "snica", "gcl", "hmnlica"])
    parser.add_argument("--n", type=int, default=5)
    parser.add_argument("--layers", type=int, nargs="+", default=[2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104, 105])
    parser.add_argument("--segments", type=int, default=20)
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--mixing", choices=["conditioned", "orthogonal"], default="conditioned")
    parser.add_argument("--snr", type=float, default=10.0)
    parser.add_argument("--steps", type=int, default=None)
    a = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, dict] = {}
    noise = f" SNR={a.snr:g}" if a.family == "snica" else ""
    with threadpool_limits(1):
        for layers in a.layers:
            rows: dict[str, list[dict]] = {}
            for seed in a.seeds:
                for name, row in _rows(a, layers, seed).items():
                    rows.setdefault(name, []).append(row)
                    print(f"L={layers} seed={seed} {name}: {json.dumps(row)}", flush=True)
            for name, found in rows.items():
                figures[f"n={a.n} L={layers}{noise} {name}"] = {
                    key: [float(f(values)) for f in (np.median, np.min, np.max)]
                    for key in found[0]
                    for values in [[row[key] for row in found]]
                }
    print(json.dumps({"benchmark": "ica_generative", "family": a.family, "seeds": a.seeds, "figures": figures}))


def _rows(a: argparse.Namespace, layers: int, seed: int) -> dict[str, dict]:
    mixing_seed, source_seed = np.random.SeedSequence(seed).spawn(2)
    rng, mixing = np.random.default_rng(source_seed), random_mixing(a.n, layers, seed=mixing_seed, kind=a.mixing)
    options = {} if a.steps is None else {"max_steps": a.steps}
    if a.family == "gcl":
        return _contrasted_rows(a, rng, mixing, options)
    if a.family == "hmnlica":
        return _hidden_rows(a, rng, mixing, options)
    if a.family == "snica":
        return _noisy_rows(a, rng, mixing, options)
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
        if isinstance(model, (IVAE, SlowVAE)):
            rows[f"{type(model).__name__} latents"] = _scored(model.transform(mixing(test), stage="features"), test)
    return rows


def _noisy_rows(a: argparse.Namespace, rng: np.random.Generator, mixing: Mixing, options: dict) -> dict[str, dict]:
    rho, half = np.linspace(0.7, 0.95, a.n), NOISY_FRAMES
    shape = (2 * half + 200, a.n)
    news = np.sqrt(1 - rho**2) * rng.laplace(size=shape) / np.sqrt(2)
    S = np.stack([lfilter([1], [1, -r], e) for r, e in zip(rho, news.T, strict=True)], axis=1)[200:]
    scale, noise = mixing(S).std(0), 1 / np.sqrt(a.snr)
    X = mixing(S) / scale + noise * rng.normal(size=S.shape)
    rows = {}
    for model in [TICA(a.n), SOBI(a.n), PCL(a.n), SNICA(a.n, **options)]:
        name, started = type(model).__name__, time.process_time()
        model.fit(X[:half])
        seconds = round(time.process_time() - started, 1)
        found = model.transform(X)
        rows[name] = {**_scored(found[half:], S[half:]), "cpu_s": seconds}
        smoothed = model.smooth(X) if name == "SNICA" else smooth(found, train=np.arange(len(X)) < half)
        rows[f"{name} smoothed"] = _scored(smoothed.mean[half:], S[half:])
    steps = 1e-4 * np.eye(a.n)
    slope = np.stack([(mixing(S + d) - mixing(S - d)) / 2e-4 / scale for d in steps], axis=2)  # (frame, feature, n)
    seen = X - mixing(S) / scale + np.einsum("tkn,tn->tk", slope, S)
    lam = slope.transpose(0, 2, 1) @ slope * a.snr
    told, _ = rts(np.einsum("tkn,tk->tn", slope, seen) * a.snr, lam, rho, np.ones(a.n))
    return rows | {"ceiling": _scored(told[half:], S[half:])}


def _contrasted_rows(a: argparse.Namespace, rng: np.random.Generator, mixing: Mixing, options: dict) -> dict[str, dict]:
    place, width = rng.uniform(-2, 2, size=(a.segments, 1, a.n)), rng.uniform(0.2, 1, size=(a.segments, 1, a.n))
    shifted = [(place + width * rng.normal(size=(a.segments, a.points, a.n))).reshape(-1, a.n) for _ in range(2)]
    labels = np.repeat(np.arange(a.segments), a.points)
    news = rng.laplace(size=(2, a.segments * a.points + 200, a.n))
    series = list(lfilter([1], [1, -0.7], news, axis=1)[:, 200:])
    rows = {}
    for case, (train, test), models, given in (
        ("label", shifted, [NonstationaryICA(a.n), TCL(a.n), GCL(a.n, **options)], labels),
        ("history", series, [TICA(a.n), PCL(a.n), GCL(a.n, **options)], None),
    ):
        for model in models:
            started = time.process_time()
            model.fit(mixing(train), given)
            seconds = round(time.process_time() - started, 1)
            stage = {"stage": "signed"} if isinstance(model, TCL) else {}
            rows[f"{type(model).__name__} {case}"] = _scored(model.transform(mixing(test), **stage), test) | {
                "cpu_s": seconds
            }
            if isinstance(model, GCL):
                features = _scored(model.transform(mixing(test), stage="features"), test)
                rows[f"GCL {case}"] |= {f"{key}_features": value for key, value in features.items()}
    return rows


def _hidden_rows(a: argparse.Namespace, rng: np.random.Generator, mixing: Mixing, options: dict) -> dict[str, dict]:
    n_states, n_frames = 2 * a.n + 1, a.segments * a.points
    place, width = rng.uniform(-2, 2, size=(n_states, a.n)), rng.uniform(0.2, 1, size=(n_states, a.n))
    series = []
    for _ in range(2):
        change = np.cumsum(rng.random(n_frames) > STAY)
        state = np.cumsum(rng.integers(1, n_states, size=n_frames))[change] % n_states  # always another one
        series.append((state, place[state] + width[state] * rng.normal(size=(n_frames, a.n))))
    (_, train), (state, test) = series
    rows = {}
    for model in [FastICA(a.n), NonstationaryICA(a.n, n_segments=n_frames // 30), PCL(a.n), HMNLICA(a.n, **options)]:
        started = time.process_time()
        model.fit(mixing(train))
        seconds, name = time.process_time() - started, type(model).__name__
        rows[name] = {**_scored(model.transform(mixing(test)), test), "cpu_s": round(seconds, 1)}
        if name == "HMNLICA":
            counts = np.zeros((n_states, n_states))
            np.add.at(counts, (model.states(mixing(test)).argmax(1), state), 1)
            rows[name]["states"] = round(float(counts[linear_sum_assignment(-counts)].sum() / n_frames), 4)
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
