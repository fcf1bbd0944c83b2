"""Latents of another program: can both motions be told apart in every view of ESPER's, by PCL at its defaults?

    python tests/benchmarks/esper.py PATH --out /tmp/esper
    python tests/benchmarks/esper.py PATH --out /tmp/esper --views 001 109 --walks 1 --audit --env-peers /tmp/peers

PATH holds files PDnnn_…_vec.npy (2,000 images, 15 principal components) of https://github.com/evanseitz/cryoEM_ESPER
(not shipped here): noisy projections of a molecule with two motions of 20 states each, five images a state. Row = 5 ×
state + copy, state = 20 a + b.

A walk makes a movie of them. Motions a and b move independently by the same law, reflected at both ends, and each
frame is one of its state's five images, drawn anew. 10,000 frames; estimators learn from the first 8,000 and are scored
on the rest, with the truth (a, b).

    laplace         steps with a Laplace law of deviation 3 states: both motions are as fast, so that only the law of
                    the steps tells them apart
    gaussian_steps  the same with normal steps; between reflecting ends they are no Gaussian process
    gaussian        an Ornstein-Uhlenbeck process, ± 3 deviations in 20 bins: a Gaussian process, of equal rates, whose
                    axes nothing identifies
    shuffled        the frames of `laplace` in random order
    unseen          `laplace`, where the frames to be scored show a fifth image of each state that no fit has seen; in
                    the other walks every image comes about four times in what is learned, so that a network can also
                    learn single images by heart

`supervised`, on the first walks `laplace` and `unseen`, is a network given the truth on the frames that are learned,
scored as the others are. PCL is told that there are two sources, and not which components matter; smoothed are its
sources after `smooth`, told nothing else; ideally smoothed, by a smoother that is told the law of the steps, and mean
and spread of each source in each state. --audit tells what the audit says of the frames that are learned, and what
its own sources score on them. It compares disjoint parts of the frames, and these show the same images here, so that
peculiarities of single images agree between parts as motions do.
Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import peers
import torch
from cells import figures, kept, supervised, timed
from scipy.signal import lfilter
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from tempica.evaluate.metrics import mcc
from tempica.ica import PCL, SOBI, TICA, FastICA, smooth

N_FRAMES, N_LEARNED = 10_000, 8_000
N_STATES, N_COPIES = 20, 5
STEP = 3.0  # deviation of a step, in states
WALKS = ("laplace", "unseen", "gaussian", "shuffled", "gaussian_steps")
LIKE = {"shuffled": "laplace", "unseen": "laplace"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="folder of PDnnn_…_vec.npy")
    parser.add_argument("--out", type=Path, required=True, help="folder of finished cells")
    parser.add_argument("--views", nargs="+", help="numbers, as 001; all if not given")
    parser.add_argument("--walks", type=int, default=5, help="Laplace walks a view")
    parser.add_argument("--controls", type=int, default=1, help="walks a view of each other kind")
    parser.add_argument("--table", action="store_true", help="the table of what is there; nothing is run")
    parser.add_argument("--env-peers", type=Path, metavar="DIR", help="environment of other programs, made if need be")
    parser.add_argument("--audit", action="store_true", help="audit each first walk too, told the number of sources")
    parser.add_argument("--step", type=float, default=STEP, help="deviation of a step, in states")
    a = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    python = peers.environment(a.env_peers) if a.env_peers and not a.table else None
    with threadpool_limits(1):
        for seed in range(1, 1 + max(a.walks, a.controls)):
            for kind in (kind for kind in WALKS if seed <= (a.walks if kind == "laplace" else a.controls)):
                for view, latents in views(a.path, a.views):
                    path = a.out / f"step_{a.step:g}" / f"{view}_{kind}_{seed}.json"
                    if a.table and not path.exists():
                        continue
                    cell = kept(path, partial(judge, latents, kind, seed, a.step))
                    if python and kind == "laplace" and seed == 1:
                        beside = path.with_stem(f"{path.stem}_peers")
                        cell |= kept(beside, partial(judge_peers, latents, kind, seed, a.step, python))
                    if a.audit and seed == 1:
                        cell |= kept(path.with_stem(f"{path.stem}_audit"), partial(verdict, latents, kind, a.step))
                    rows.append({"view": view, "walk": kind, "seed": seed, **cell})
                    print(line(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows))
    today = datetime.date.today().isoformat()
    print(json.dumps({"benchmark": "esper", "date": today, "step": a.step, "figures": summary(rows)}))


def views(path: Path, chosen: list[str] | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Number and latents (image, component) of each view in a folder."""
    files = {m[1]: file for file in sorted(path.glob("PD*_vec.npy")) if (m := re.match(r"PD(\d+)_", file.name))}
    missing = [view for view in chosen or () if view not in files]
    if missing or not files:
        raise SystemExit(f"{path} has no view {', '.join(missing) or 'PDnnn_…_vec.npy'}; it has {', '.join(files)}.")
    for view in chosen or files:
        latents = np.load(files[view])
        if len(latents) != N_STATES**2 * N_COPIES:
            raise SystemExit(f"{files[view]} has {len(latents)} rows; {N_STATES**2 * N_COPIES} are expected.")
        yield view, latents


def states(kind: str, rng: np.random.Generator, step: float = STEP) -> np.ndarray:
    """States (frame, 2) of both motions, from 0 to 19."""
    if kind == "gaussian":
        rho = 1 - (np.pi * step / N_STATES) ** 2 / 4  # about the rate of the slowest mode between reflecting ends
        noise = rng.normal(size=(N_FRAMES, 2)) * np.sqrt(1 - rho**2)
        noise[0] = rng.normal(size=2)
        place = (lfilter([1], [1, -rho], noise, axis=0) + 3) / 6 * N_STATES
        return np.clip(place, 0, N_STATES - 1).astype(int)
    normal = kind == "gaussian_steps"
    steps = rng.normal(size=(N_FRAMES, 2)) if normal else rng.laplace(size=(N_FRAMES, 2)) / np.sqrt(2)
    place = rng.uniform(0, N_STATES, size=2) + np.cumsum(step * steps, axis=0)
    folded = np.abs((place + N_STATES) % (2 * N_STATES) - N_STATES)
    return np.minimum(folded.astype(int), N_STATES - 1)


def movie(latents: np.ndarray, kind: str, seed: int, step: float = STEP) -> tuple[np.ndarray, np.ndarray]:
    """Frames X (frame, component) of one walk, and the truth (frame, 2)."""
    rng = np.random.default_rng([seed, ["laplace", "gaussian_steps", "gaussian"].index(LIKE.get(kind, kind))])
    truth = states(kind, rng, step)
    copy = rng.integers(N_COPIES, size=N_FRAMES)
    if kind == "unseen":
        copy = np.where(np.arange(N_FRAMES) < N_LEARNED, rng.integers(N_COPIES - 1, size=N_FRAMES), N_COPIES - 1)
    if kind == "shuffled":
        order = rng.permutation(N_FRAMES)
        truth, copy = truth[order], copy[order]
    return latents[(truth @ [N_STATES, 1]) * N_COPIES + copy], truth.astype(float)


def judge(latents: np.ndarray, kind: str, seed: int, step: float) -> dict[str, Any]:
    """Figures of every method on one walk."""
    X, truth = movie(latents, kind, seed, step)
    learned = np.arange(N_FRAMES) < N_LEARNED
    replicas = np.zeros(N_FRAMES, dtype=int)
    n = truth.shape[1]
    cell: dict[str, Any] = {"raw": figures(X[:, :n], truth, learned, ~learned, replicas)}
    for name, model in (("tica", TICA(n)), ("sobi", SOBI(n)), ("fastica", FastICA(n, random_state=0)), ("pcl", PCL(n))):
        fitted, said = timed(lambda: model.fit(X[learned]))  # noqa: B023
        S = fitted.transform(X)
        cell[name] = figures(S, truth, learned, ~learned, replicas) | said
        if name == "pcl":
            cell[name] |= {key: getattr(fitted, f"{key}_") for key in ("model", "second_stage", "ambiguity")}
            cell[name]["stability"] = [round(float(each), 3) for each in fitted.stability_]
            if kind != "shuffled":
                smoothed = smooth(S, train=learned).mean
                cell["pcl smoothed"] = figures(smoothed, truth, learned, ~learned, replicas)
            if LIKE.get(kind, kind) == "laplace" and kind != "shuffled":
                cell["pcl ideally smoothed"] = figures(
                    ideal(S, truth, learned, step), truth, learned, ~learned, replicas
                )
    if kind in ("laplace", "unseen") and seed == 1:
        cell["supervised"] = figures(supervised(X, truth, learned), truth, learned, ~learned, replicas)
    return cell


def ideal(S: np.ndarray, truth: np.ndarray, learned: np.ndarray, step: float) -> np.ndarray:
    """Expected states (frame, 2) given all frames' sources, each by itself, by a smoother that is told the truth.

    It knows the law of the steps, and mean and spread of the source in each state on the frames that are learned. What
    it leaves is no fault of smoothing: the source itself tells no more.
    """
    from tempica.evaluate.metrics import assign, correlation_matrix

    kernel, found = steps(step), []
    for i, source in enumerate(assign(correlation_matrix(S[learned], truth[learned]))):
        shown = [S[learned & (truth[:, i] == state), source] for state in range(N_STATES)]
        mean, spread = (np.array([f(values) for values in shown]) for f in (np.mean, np.std))
        found.append(forward_backward(norm.pdf(S[:, source, None], mean, spread) + 1e-300, kernel))
    return np.stack(found, 1) @ np.arange(N_STATES)


@cache
def steps(step: float) -> np.ndarray:
    """Probability (state, state) of going from one state to another in a frame, as long walks show it."""
    kernel, rng = np.zeros((N_STATES, N_STATES)), np.random.default_rng(0)
    for walk in (one for _ in range(20) for one in states("laplace", rng, step).T):
        np.add.at(kernel, (walk[:-1], walk[1:]), 1)
    return kernel / kernel.sum(1, keepdims=True)


def forward_backward(likelihood: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Probabilities (frame, state) given all frames, each state as likely at first (Rabiner 1989)."""
    ahead, found = np.full(len(kernel), 1 / len(kernel)), np.empty_like(likelihood)
    for t, value in enumerate(likelihood):
        found[t] = ahead * value / (ahead @ value)
        ahead = found[t] @ kernel
    behind = np.ones(len(kernel))
    for t in range(len(found) - 1, -1, -1):
        after, found[t] = likelihood[t] * behind, found[t] * behind / (found[t] @ behind)
        behind = kernel @ after / after.sum()
    return found


def judge_peers(latents: np.ndarray, kind: str, seed: int, step: float, python: Path) -> dict[str, Any]:
    """Figures of other programs on one walk."""
    X, truth = movie(latents, kind, seed, step)
    learned, replicas = np.arange(N_FRAMES) < N_LEARNED, np.zeros(N_FRAMES, dtype=int)
    cell = {}
    for name in peers.NAMES:
        S, said = peers.run(name, python, X, learned, replicas, truth.shape[1])
        cell[name] = figures(S, truth, learned, ~learned, replicas) | said
    return cell


def verdict(latents: np.ndarray, kind: str, step: float) -> dict[str, Any]:
    """What the audit says of the frames that are learned, as a series, and what its own sources score on them."""
    from tempica.audit import audit

    X, truth = movie(latents, kind, 1, step)
    found, said = timed(lambda: audit(X[:N_LEARNED], n_components=truth.shape[1]))
    words = {"verdict": found.verdict.kind, "why": found.verdict.sentence, "confidence": round(found.confidence, 3)}
    score = mcc(found.sources, truth[found.frames]) if found.pipeline else None
    words["audited_mcc"] = None if score is None else [round(x, 4) for x in (score.score, *score.interval)]
    return words | {"audit_cpu_s": said["cpu_s"], "notes": list(found.notes)}


def line(row: dict[str, Any]) -> str:
    found = {name: row[name]["mcc"] for name in row if isinstance(row[name], dict)}
    audited = f"; audit: {row['verdict']}" if "verdict" in row else ""
    return f"view {row['view']} {row['walk']} {row['seed']}: {json.dumps(found)}{audited}"


def table(rows: list[dict[str, Any]]) -> str:
    """Least and median of every method over views and walks, in Markdown."""
    lines = [
        "| walk | method | median MCC | least (view, walk) | Pearson, median | R², median | chance in the subspace |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in WALKS:
        some = [row for row in rows if row["walk"] == kind]
        for name in methods_of(some):
            those = [row | row[name] for row in some if name in row]
            worst = min(those, key=lambda row: row["mcc"])
            middle = {key: np.median([row[key] for row in those]) for key in ("mcc", "pearson", "r2", "rotation")}
            lines.append(
                f"| {kind} | {name} | {middle['mcc']:.3f} | {worst['mcc']:.3f} ({worst['view']}, {worst['seed']})"
                f" | {middle['pearson']:.3f} | {middle['r2']:.3f} | {middle['rotation']:.3f} |"
            )
    return "\n".join(lines)


def methods_of(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name, value in row.items() if isinstance(value, dict)))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Median, least and most of each method's MCC in each kind of walk; how often PCL reached its targets."""
    found: dict[str, Any] = {}
    for kind in WALKS:
        some = [row for row in rows if row["walk"] == kind]
        for name in methods_of(some):
            values = [row[name]["mcc"] for row in some if name in row]
            found[f"{kind} {name}"] = [round(float(f(values)), 4) for f in (np.median, np.min, np.max)]
        if some:
            found[f"{kind} fits"] = len(some)
        if said := Counter(row["verdict"] for row in some if "verdict" in row):
            found[f"{kind} audit"] = dict(said)
    for name, target in (("pcl", 0.96), ("pcl smoothed", 0.975)):
        reached = [row[name]["mcc"] >= target for row in rows if row["walk"] == "laplace"]
        found[f"laplace {name} at {target} or above"] = f"{sum(reached)} of {len(reached)}"
    return found


if __name__ == "__main__":
    main()
