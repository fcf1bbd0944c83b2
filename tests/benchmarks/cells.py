"""What benchmark scripts share: cells that are kept on disk, and the figures by which sources are judged.

A cell is one method on one world with one seed. It is a JSON file, written whole, so that a script that was stopped
goes on with the cells that are missing.
"""

from __future__ import annotations

import json
import os
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tempica.evaluate.metrics import assign, correlation_matrix, mcc

N_ROTATIONS, N_RANKED = 200, 1000


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The cell at a path; made, and kept there, if it is not."""
    if path.exists():
        return json.loads(path.read_text())
    path.parent.mkdir(parents=True, exist_ok=True)
    cell = make()
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(cell))
    part.replace(path)
    return cell


def timed(make: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    """What a call returns, its CPU time, and the peak memory of the process after it; warnings are kept."""
    started = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = make()
    said = {"cpu_s": round(time.process_time() - started, 2), "peak_mb": peak_mb()}
    return value, said | {"warnings": sorted({type(each.message).__name__ for each in caught})}


def peak_mb() -> int:
    """Largest resident memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def figures(
    S: np.ndarray, truth: np.ndarray, learned: np.ndarray, held_out: np.ndarray, replicas: np.ndarray, seed: int = 0
) -> dict[str, Any]:
    """Scores of sources S (frame, n) on frames `held_out`, matched and aligned on frames `learned`.

    `mcc` (rank correlation) with `interval` and `null_95`, the chance of series as slow; `pearson`; `each` true source;
    `r2` of the best affine map, and `aligned`, the correlations after it; `rotation` and `rotation_95`, mean and 95 %
    quantile of the score of random rotations of that map's image: chance within the subspace.
    """
    matched = assign(correlation_matrix(S[learned], truth[learned], "spearman"))
    found = mcc(S[held_out], truth[held_out], replicas=replicas[held_out], assignment=matched, n_null=100)
    pearson = np.abs(correlation_matrix(S[held_out], truth[held_out], "pearson"))
    each = [abs(float(found.matrix[c, t])) if c >= 0 else 0.0 for t, c in enumerate(matched)]
    linear = [float(pearson[c, t]) if c >= 0 else 0.0 for t, c in enumerate(matched)]
    aligned = _aligned(S, truth, learned)
    error = ((aligned[held_out] - truth[held_out]) ** 2).mean(0) / truth[held_out].var(0)
    straight = np.diagonal(correlation_matrix(aligned[held_out], truth[held_out], "spearman"))
    turned = _rotated(aligned, truth, learned, held_out, seed)
    row = {
        "mcc": found.score,
        "interval": list(found.interval),
        "null_95": found.null_95,
        "pearson": float(np.mean(linear)),
        "each": each,
        "aligned": float(np.abs(straight).mean()),
        "r2": float(1 - error.mean()),
        "rotation": float(turned.mean()),
        "rotation_95": float(np.quantile(turned, 0.95)),
    }
    return {name: _rounded(value) for name, value in row.items()}


def supervised(X: np.ndarray, truth: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """The supervised bound: the truth (frame, n) by a network that was given it on the frames `learned`."""
    from sklearn.neural_network import MLPRegressor

    mean, deviation, centre, spread = (f(Y[learned], axis=0) for Y in (X, truth) for f in (np.mean, np.std))
    Z = (X - mean) / deviation
    model = MLPRegressor(hidden_layer_sizes=(32, 32), alpha=1e-2, early_stopping=True, max_iter=60, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is stopped early on purpose
        model.fit(Z[learned], (truth[learned] - centre) / spread)
    return model.predict(Z) * spread + centre


def _aligned(S: np.ndarray, truth: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """The truth (frame, n) that the best affine map of S, fitted on `learned`, predicts."""
    design = np.column_stack([S, np.ones(len(S))])
    weight, *_ = np.linalg.lstsq(design[learned], truth[learned], rcond=None)
    return design @ weight


def _rotated(aligned: np.ndarray, truth: np.ndarray, learned: np.ndarray, held_out: np.ndarray, seed: int):
    """Scores of random rotations of the whitened space that the aligned sources span, on about 1,000 frames."""
    rng, n = np.random.default_rng(seed), truth.shape[1]
    value, vector = np.linalg.eigh(np.cov(aligned[learned].T).reshape(n, n))
    white = (aligned - aligned[learned].mean(0)) @ (vector / np.sqrt(np.maximum(value, 1e-12 * value.max())))
    some = [np.flatnonzero(part)[:: max(1, part.sum() // N_RANKED)] for part in (learned, held_out)]
    scores = []
    for _ in range(N_ROTATIONS):
        q, r = np.linalg.qr(rng.normal(size=(n, n)))
        turned = white @ (q * np.sign(np.diagonal(r)))
        expected, found = (np.abs(correlation_matrix(turned[part], truth[part], "spearman")) for part in some)
        scores.append(found[assign(expected), range(n)].mean())
    return np.array(scores)


def _rounded(value: Any) -> Any:
    return [round(each, 4) for each in value] if isinstance(value, list) else round(value, 4)
