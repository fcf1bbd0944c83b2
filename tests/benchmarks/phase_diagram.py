"""Does the audit's verdict predict recovery? Dynamics × mixings × seeds, each audited and scored.

python tests/benchmarks/phase_diagram.py --seeds 1 2 3 4 5 --layers 1 2 4 --out phase

Four sources, since random rotations of three score above 0.9 in one of five cases. Each world is audited as it is, and
the sources of the recommended pipeline, as the audit has fitted it, are scored against the truth (Spearman, |s| where
the pipeline is TCL's). What is done is kept in OUT/worlds.jsonl, and not done again. Prints the matrix, the area under
the ROC curve of `confidence` for a score above 0.9 with a bootstrap interval over worlds, and a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from tempica.evaluate import audit, mcc
from tempica.ica.synthetic import random_mixing

N, FRAMES, LABELS = 4, 6000, 60
RATES = np.array([0.95, 0.85, 0.7, 0.4])
RECOVERED = 0.9
Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray | None]]


def ar(rng: np.random.Generator, rho, noise: np.ndarray) -> np.ndarray:
    """AR(1) series (frame, n) of unit variance, driven by noise (frame + 300, n) of unit variance."""
    rho = np.broadcast_to(np.asarray(rho, float), noise.shape[1])
    columns = [lfilter([1], [1, -r], np.sqrt(1 - r * r) * e) for r, e in zip(rho, noise.T, strict=True)]
    return np.stack(columns, axis=1)[300:]


def size() -> tuple[int, int]:
    return FRAMES + 300, N


def normal(rho) -> Draw:
    return lambda rng: (ar(rng, rho, rng.normal(size=size())), None)


def laplace(rho) -> Draw:
    return lambda rng: (ar(rng, rho, rng.laplace(size=size()) / np.sqrt(2)), None)


def student(rng):
    return ar(rng, 0.8, rng.standard_t(4, size=size()) / np.sqrt(2)), None


def jumps(rng):
    happens = rng.random(size()) < 0.1
    return ar(rng, 0.9, happens * rng.normal(size=size()) / np.sqrt(0.1)), None


def wells(barrier: float) -> Draw:
    """Overdamped motion in V = barrier (s² − 1)², kT = 1, four Euler steps of 0.01 a frame and barrier."""

    def draw(rng):
        step = 0.04 / barrier
        s = rng.choice([-1.0, 1.0], size=N)
        found = np.empty((FRAMES, N))
        for t in range(-300, FRAMES):
            for _ in range(8):
                s = s - step * 4 * barrier * s * (s * s - 1) + np.sqrt(2 * step) * rng.normal(size=N)
            if t >= 0:
                found[t] = s
        return found, None

    return draw


def burst(rng):
    """White normal noise whose log-amplitude is an AR(1) of its own for each source."""
    amplitude = np.exp(0.8 * ar(rng, 0.97, rng.normal(size=size())))
    return amplitude * rng.normal(size=(FRAMES, N)), None


def modulated(kind: str) -> Draw:
    def draw(rng):
        scale = rng.uniform(0.1, 1, size=(LABELS, N))
        noise = (
            rng.laplace(size=(LABELS, FRAMES // LABELS, N))
            if kind == "laplace"
            else rng.normal(size=(LABELS, FRAMES // LABELS, N))
        )
        return (scale[:, None] * noise).reshape(-1, N), np.repeat(np.arange(LABELS), FRAMES // LABELS)

    return draw


def one_control(rng):
    scale = np.repeat(rng.uniform(0.1, 1, size=(LABELS, 1)), FRAMES // LABELS, axis=0)
    return scale * rng.normal(size=(FRAMES, N)), np.repeat(np.arange(LABELS), FRAMES // LABELS)


def temperature_jump(rng):
    label = np.repeat(np.arange(4), FRAMES // 4)
    return np.sqrt(np.array([250, 300, 350, 400]) / 300)[label][:, None] * rng.normal(size=(FRAMES, N)), label


def coupled(rng):
    """Laplace innovations whose amplitudes follow the first source: dynamics that no map makes independent."""
    noise = rng.laplace(size=size()) / np.sqrt(2)
    s = np.zeros(N)
    found = np.empty((FRAMES, N))
    for t, e in enumerate(noise):
        past = s.copy()
        gain = np.r_[1, 0.2 + np.abs(past[:-1])]
        s = 0.8 * past + 0.6 * gain * e
        if t >= 300:
            found[t - 300] = s
    return found, None


def ring(rng):
    """Overdamped motion in V = 4 (|s|² − 1)²: sources held together by the shell on which they lie."""
    s = rng.normal(size=N)
    found = np.empty((FRAMES, N))
    for t in range(-300, FRAMES):
        for _ in range(4):
            s = s - 0.01 * 16 * s * (s @ s - 1) + np.sqrt(0.02) * rng.normal(size=N)
        if t >= 0:
            found[t] = s
    return found, None


def white(rng):
    return rng.normal(size=(FRAMES, N)), None


DYNAMICS: dict[str, Draw] = {
    "ou_equal": normal(0.8),
    "ou_distinct": normal(RATES),
    "laplace_equal": laplace(0.8),
    "laplace_distinct": laplace(RATES),
    "student": student,
    "jumps": jumps,
    "wells_1kT": wells(1.0),
    "wells_3kT": wells(3.0),
    "bursts": burst,
    "modulated_laplace": modulated("laplace"),
    "modulated_normal": modulated("normal"),
    "one_control": one_control,
    "temperature_jump": temperature_jump,
    "coupled": coupled,
    "ring": ring,
    "white": white,
}
# worlds in which no axes are to be called identifiable
NEGATIVE = ("ou_equal", "one_control", "temperature_jump", "coupled", "ring", "white")


def world(name: str, layers: int, seed: int) -> dict[str, object]:
    """One world, audited and scored."""
    rng = np.random.default_rng([seed, list(DYNAMICS).index(name)])
    S, labels = DYNAMICS[name](rng)
    X = random_mixing(N, layers, seed=seed + 1000 * layers)(S)
    began, cpu = time.monotonic(), time.process_time()
    found = audit(X, labels=labels, random_state=seed)
    told = {"name": name, "layers": layers, "seed": seed, "verdict": found.verdict.kind}
    told |= {"confidence": found.confidence, "n": found.sources.shape[1]}
    told |= {"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu}
    told |= {"pipeline": None, "score": 0.0, "null_95": 0.0}
    if found.pipeline is not None:
        truth = np.abs(S) if found.pipeline.method == "tcl" else S
        scored = mcc(found.sources, truth, n_null=20)
        told |= {"pipeline": f"{found.pipeline.method}+{found.pipeline.stage}", "score": scored.score}
        told |= {"null_95": scored.rotation_null_95}
    return told


def area(good: np.ndarray, confidence: np.ndarray) -> float:
    """Chance that a world that succeeds has the higher confidence; ties count half."""
    high, low = confidence[good], confidence[~good]
    if not len(high) or not len(low):
        return float("nan")
    return float((high[:, None] > low).mean() + 0.5 * (high[:, None] == low).mean())


def summary(rows: list[dict[str, object]]) -> dict[str, object]:
    """Area under the curve with its interval, and verdicts that must not be."""
    good = np.array([row["score"] > RECOVERED for row in rows])
    confidence = np.array([row["confidence"] for row in rows])
    rng = np.random.default_rng(0)
    draws = [area(good[pick], confidence[pick]) for pick in rng.integers(len(rows), size=(1000, len(rows)))]
    said = np.array([str(row["verdict"]).startswith("identifiable") for row in rows])
    negative = np.array([row["name"] in NEGATIVE for row in rows])
    wrong = [
        f"{row['name']} L={row['layers']} seed {row['seed']}"
        for row, bad in zip(rows, said & negative, strict=True)
        if bad
    ]
    return {
        "worlds": len(rows),
        "recovered": int(good.sum()),
        "auc": round(area(good, confidence), 4),
        "auc_interval": np.nanquantile(draws, [0.025, 0.975]).round(4).tolist(),
        "said_identifiable": int(said.sum()),
        "said_and_recovered": int((said & good).sum()),
        "negative_controls": int(negative.sum()),
        "negative_controls_said_identifiable": wrong,
        "median_cpu_seconds": round(float(np.median([row["cpu"] for row in rows])), 1),
    }


def matrix(rows: list[dict[str, object]]) -> None:
    """Score, confidence and first letters of the verdict: a row a dynamics and mixing, medians over seeds."""
    print(f"{'dynamics':18s} {'layers':>6s} {'score':>6s} {'range':>13s} {'conf.':>6s} {'null 95':>7s}  verdicts")
    for name in DYNAMICS:
        for layers in sorted({row["layers"] for row in rows}):
            own = [row for row in rows if (row["name"], row["layers"]) == (name, layers)]
            if not own:
                continue
            score = np.array([row["score"] for row in own])
            confidence, null = (np.median([row[key] for row in own]) for key in ("confidence", "null_95"))
            said: dict[str, int] = {}
            for row in own:
                key = f"{row['verdict']} [{row['pipeline']}]"
                said[key] = said.get(key, 0) + 1
            words = "; ".join(f"{count} {key}" for key, count in said.items())
            spread = f"{score.min():.2f} to {score.max():.2f}"
            print(
                f"{name:18s} {layers:6d} {np.median(score):6.3f} {spread:>13s} {confidence:6.3f} {null:7.3f}  {words}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--dynamics", nargs="+", default=list(DYNAMICS))
    parser.add_argument("--out", type=Path, default=Path("phase"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "worlds.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["name"], row["layers"], row["seed"]) for row in rows}
    for seed in asked.seeds:
        for layers in asked.layers:
            for name in asked.dynamics:
                if (name, layers, seed) not in done:
                    rows.append(world(name, layers, seed))
                    with path.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
                    print({key: rows[-1][key] for key in ("name", "layers", "seed", "score", "verdict")}, flush=True)
    wanted = [
        row
        for row in rows
        if row["seed"] in asked.seeds and row["layers"] in asked.layers and row["name"] in asked.dynamics
    ]
    matrix(wanted)
    print(json.dumps(summary(wanted)))


if __name__ == "__main__":
    main()
