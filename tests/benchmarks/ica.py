"""How well each estimator recovers known sources through the literature's mixings: accuracy and CPU time.

    python tests/benchmarks/ica.py pcl --n 5 10 --layers 3 --seeds 101 102 103 104 105
    python tests/benchmarks/ica.py tcl --n 5 --layers 1 2 3
    python tests/benchmarks/ica.py tcl --n 5 --layers 2 4 --segments 20 --points 2000
    python tests/benchmarks/ica.py gaussian --n 5 --layers 3

Families: pcl, AR(1) sources with Laplace innovations; tcl, Laplace sources modulated per segment, scored against |s|;
gaussian, AR(1) with normal innovations: distinct coefficients, equal ones, and independent frames. Estimators get the
frames and nothing else. They are scored on a new series through the same mixing, the matching fitted on the first half
of it and scored on the second. Stages: sources are what `transform` gives; features are what the contrast left; aligned
are the sources after the best affine map to the truth (the difference is the linear ambiguity that is left). CPU time
is of one thread. Ends with one line of JSON: median and range over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from tempica.errors import IdentifiabilityWarning
from tempica.evaluate.metrics import assign, correlation_matrix
from tempica.ica import PCL, TCL, TICA, FastICA
from tempica.ica.synthetic import Problem, autoregressive, modulated

TEST_FRAMES = 2**15
EQUAL = 0.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=["pcl", "tcl", "gaussian"])
    parser.add_argument("--n", type=int, nargs="+", default=[5])
    parser.add_argument("--layers", type=int, nargs="+", default=[3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104, 105])
    parser.add_argument("--frames", type=int, default=2**17)
    parser.add_argument("--segments", type=int, default=256)
    parser.add_argument("--points", type=int, default=512)
    parser.add_argument("--mixing", choices=["conditioned", "orthogonal"], default="conditioned")
    parser.add_argument("--no-baselines", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, dict] = {}
    with threadpool_limits(1):
        for n in a.n:
            for layers in a.layers:
                rows: dict[str, list[dict]] = {}
                for seed in a.seeds:
                    for name, row in _rows(a, n, layers, seed):
                        rows.setdefault(name, []).append(row)
                        print(f"n={n} L={layers} seed={seed} {name}: {json.dumps(row)}", flush=True)
                for name, found in rows.items():
                    figures[f"n={n} L={layers} {name}"] = _summary(found)
    print(json.dumps({"benchmark": "ica", "family": a.family, "seeds": a.seeds, "figures": figures}))


def _rows(a: argparse.Namespace, n: int, layers: int, seed: int) -> Iterator[tuple[str, dict]]:
    """Name and figures of every estimator on one problem."""
    for case, train, test in _problems(a, n, layers, seed):
        truth = np.abs(test.S) if a.family == "tcl" else test.S
        if not a.no_baselines:
            baselines = {"PCA": PCA(n, whiten=True), "FastICA": FastICA(n, random_state=0, tol=1e-3), "TICA": TICA(n)}
            for name, model in baselines.items():
                if a.family == "tcl" and name == "TICA":
                    continue  # frames are independent in time
                started = time.process_time()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    model.fit(train.X)
                seconds = time.process_time() - started
                sources = model.transform(test.X)
                sources = np.abs(sources) if a.family == "tcl" else sources
                yield f"{name}{case}", {**_scores(sources, truth), "cpu_s": round(seconds, 1)}
        started = time.process_time()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = TCL(n).fit(train.X, train.labels) if a.family == "tcl" else PCL(n).fit(train.X)
        seconds = time.process_time() - started
        row: dict[str, Any] = _scores(model.transform(test.X), truth)
        row |= {f"{key}_features": v for key, v in _scores(model.transform(test.X, stage="features"), truth).items()}
        row |= {"cpu_s": round(seconds, 1), "model": model.model_, "second_stage": model.second_stage_}
        row |= {"ambiguity": model.ambiguity_, "steps": model.n_iter_}
        row["stability"] = round(float(np.nan_to_num(model.stability_).min()), 3)  # 0: no second network
        row["warned"] = any(issubclass(w.category, IdentifiabilityWarning) for w in caught)
        yield f"{type(model).__name__}{case}", row


def _problems(a: argparse.Namespace, n: int, layers: int, seed: int) -> Iterator[tuple[str, Problem, Problem]]:
    """Training problem and one of new sources through the same mixing, for each case of a family."""
    cases: list[tuple[str, dict]] = [("", {"rho": EQUAL})]
    if a.family == "gaussian":
        distinct = np.linspace(0.9, 0.3, n)
        cases = [(f", {name}", {"rho": rho, "innovation": "normal"}) for name, rho in
                 (("distinct", distinct), ("equal", EQUAL), ("iid", 0.0))]  # fmt: skip
    for case, options in cases:
        if a.family == "tcl":
            points = a.points + max(1, TEST_FRAMES // a.segments)
            whole = modulated(n, a.segments, points, n_layers=layers, seed=seed, kind=a.mixing)
            part = np.tile(np.arange(points) < a.points, a.segments)
        else:
            whole = autoregressive(
                n, a.frames + TEST_FRAMES, n_layers=layers, seed=seed, kind=a.mixing, **options
            )  # fmt: skip
            part = np.arange(len(whole.X)) < a.frames
        yield case, _part(whole, part), _part(whole, ~part)


def _part(whole: Problem, frames: np.ndarray) -> Problem:
    segments = None if whole.labels is None else whole.labels[frames]
    return Problem(whole.X[frames], whole.S[frames], whole.mixing, segments)


def _scores(S: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """MCC with the matching of the first half on the second; the same after the affine map that fits the first best."""
    half = len(S) // 2
    found: dict[str, float] = {}
    for kind in ("pearson", "spearman"):
        matched = assign(correlation_matrix(S[:half], truth[:half], kind))
        matrix = np.abs(correlation_matrix(S[half:], truth[half:], kind))
        found[kind] = round(float(matrix[matched, range(len(matched))].mean()), 4)
    design = np.column_stack([S, np.ones(len(S))])
    map_, *_ = np.linalg.lstsq(design[:half], truth[:half], rcond=None)
    aligned = design[half:] @ map_
    each = [np.corrcoef(x, y)[0, 1] for x, y in zip(aligned.T, truth[half:].T, strict=True)]
    found["aligned"] = round(float(np.mean(each)), 4)
    residual = ((aligned - truth[half:]) ** 2).mean(0) / truth[half:].var(0)
    found["r2_least"] = round(float(1 - residual.max()), 4)
    return found


def _summary(rows: list[dict]) -> dict[str, Any]:
    """Median, least and most of figures; the values themselves of words."""
    summary: dict[str, Any] = {}
    for key, first in rows[0].items():
        values = [row[key] for row in rows]
        if isinstance(first, (bool, str)):
            summary[key] = values
        else:
            summary[key] = [round(float(f(values)), 4) for f in (np.median, np.min, np.max)]
    return summary


if __name__ == "__main__":
    main()
