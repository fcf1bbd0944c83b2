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

from tempica.evaluate.metrics import correlation_matrix, mcc

N_NULL = 200  # draws of either null


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
    S: np.ndarray, truth: np.ndarray, learned: np.ndarray, held_out: np.ndarray, replicas: np.ndarray
) -> dict[str, Any]:
    """Scores of sources S (frame, n) on frames `held_out`, matched and aligned on frames `learned`.

    `mcc` (rank correlation) with `interval` and `null_95`, the chance of series as slow; `pearson`; `each` true source;
    `aligned` and `r2`, correlations and R² after the best affine map; `rotation` and `rotation_95`, mean and 95 %
    quantile of the score of random rotations of that map's image: chance within the subspace.
    """
    order = np.concatenate([np.flatnonzero(learned), np.flatnonzero(held_out)])
    train = np.arange(len(order)) < learned.sum()
    labels = 2 * replicas[order] + train  # what is learned and what is scored are never one series
    found = mcc(S[order], truth[order], replicas=labels, train=train, n_null=N_NULL)
    linear = np.abs(correlation_matrix(S[held_out], truth[held_out], "pearson"))
    each, pearson = (
        [abs(float(matrix[c, t])) if c >= 0 else 0.0 for t, c in enumerate(found.assignment)]
        for matrix in (found.matrix, linear)
    )
    row = {
        "mcc": found.score,
        "interval": list(found.interval),
        "null_95": found.null_95,
        "pearson": float(np.mean(pearson)),
        "each": each,
        "aligned": found.aligned,
        "r2": found.r2,
        "rotation": found.rotation_null,
        "rotation_95": found.rotation_null_95,
    }
    return {name: _rounded(value) for name, value in row.items() if value is not None}


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


def _rounded(value: Any) -> Any:
    return [round(each, 4) for each in value] if isinstance(value, list) else round(value, 4)
