"""What `tempica design` foresees, beside what is then measured: adenylate kinase, known poses, two SNRs.

    python tests/benchmarks/design.py --out /tmp/design --seeds 1 2
    python tests/benchmarks/design.py --out /tmp/design --seeds 1 --methods tica --replicas 6 --frames 400

The world is that of the default recipe with every pose told and modes of an ensemble: two hinges on sparse jumps of
equal rate. Of every seed one long movie is simulated, imaged and embedded at each SNR. Methods are then trained on
growing numbers of its training frames (stretches of every replica: several disjoint ones while the movie has them), at
the lag that was recommended and at others, and scored on the held-out replicas as `designs.fits` scores what it draws.
The design of a seed is made from a pilot of its own. Prints a table in Markdown and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np

import tempica
from tempica.designs.curves import Curve
from tempica.designs.fits import Drawn, Trial, scored
from tempica.designs.world import Latents
from tempica.recipe.experiment import Recipe, load_recipe
from tempica.runs import pool
from tempica.stores import files

ROOT = Path(__file__).parents[2]
BASE = ROOT / "simulations" / "adenylate_kinase_known_poses.toml"
STRETCHES = 3  # of the movie, at most, at each number of frames
SIZES = (200, 400, 800, 1600, 3200, 6400, 12800)  # frames to learn from
LAGS = (1, 2, 3, 5)
STAGE = "smoothed"
SHORT = "n_restarts = 1\nmax_steps = 400\n"  # of pcl, foreseen and measured alike, so that many fits are affordable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--snr", type=float, nargs="+", default=[0.1, 0.03])
    parser.add_argument("--methods", nargs="+", default=["tica", "pcl"])
    parser.add_argument("--score", type=float, default=0.9)
    parser.add_argument("--replicas", type=int, default=12)
    parser.add_argument("--frames", type=int, default=1600, help="of a replica")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    figures = []
    for seed in given.seeds:
        foreseen = design(given, seed)
        for snr in given.snr:
            for method in given.methods:
                figures.append(
                    {"seed": seed, "snr": snr, "method": method, **compare(given, seed, snr, method, foreseen)}
                )
                print(json.dumps(figures[-1]), file=sys.stderr, flush=True)
    print(table(figures))
    today = datetime.date.today().isoformat()
    print(json.dumps({"benchmark": "design", "date": today, "score": given.score, "figures": figures}))


def recipe_text(given: argparse.Namespace, seed: int, snr: float) -> str:
    """The recipe of a long movie: both hinges of equal rate on sparse jumps, as in the default recipe."""
    text = BASE.read_text().replace('"structures/', f'"{ROOT}/simulations/structures/')
    text = re.sub(r"^name = .*", 'name = "adk_design"', text, count=1, flags=re.M)
    text = re.sub(r'"laplace"\ncoefficient = \S+', '"jump"\njump_probability = 0.2\ncoefficient = 0.85', text)
    text = re.sub(r"^deviation = 7.0", "deviation = 7.5", text, flags=re.M)
    text = re.sub(r"^deviation = 9.5", "deviation = 7.0", text, flags=re.M)
    for key, value in (("seed", seed), ("n_replicas", given.replicas), ("n_frames", given.frames), ("snr", snr)):
        text = re.sub(rf"^{key} = \S+", f"{key} = {value}", text, flags=re.M)
    text = re.sub(r"^methods = .*\n", "", text, flags=re.M)
    for method in given.methods:
        text += f'\n[[train.method]]\nname = "{method}"\n' + (SHORT if method == "pcl" else "")
    return text


def recipe_file(given: argparse.Namespace, seed: int, snr: float) -> Path:
    path = given.out / f"movie-{seed}-{snr:g}.toml"
    path.write_text(recipe_text(given, seed, snr))
    return path


def design(given: argparse.Namespace, seed: int) -> dict:
    """What is foreseen, kept in the folder of the design."""
    out = given.out / f"design-{seed}"
    path = recipe_file(given, seed, given.snr[0])
    tempica.design(path, score=given.score, snr=given.snr, method=given.methods, out=out, jobs=given.jobs)
    return json.loads((out / "design.json").read_text())


def movie(given: argparse.Namespace, seed: int, snr: float) -> Path:
    """The run of a long movie, embedded; those of a seed share one simulation."""
    run = given.out / f"movie-{seed}-{snr:g}"
    if (run / "latents.zarr").exists():
        return run
    command = [sys.executable, "-m", "tempica.cli", "run", "--jobs", str(given.jobs)]
    simulated = given.out / f"simulated-{seed}"
    if not run.exists():
        path = recipe_file(given, seed, snr)
        subprocess.run([*command, path, "--out", simulated, "--until", "simulate"], check=True, stdout=sys.stderr)
        shutil.copytree(simulated, run)
    subprocess.run(
        [*command, recipe_file(given, seed, snr), "--out", run, "--until", "embed"], check=True, stdout=sys.stderr
    )
    return run


def compare(given: argparse.Namespace, seed: int, snr: float, method: str, foreseen: dict) -> dict:
    """Frames and lag as foreseen and as measured."""
    row = next(row for row in foreseen["rows"] if (row["method"], row["snr"]) == (method, snr))
    light = next(light for light in foreseen["lights"] if light["snr"] == snr)
    lag = row["lag"]
    curve = measure(given, seed, snr, method, [(size, lag) for size in SIZES])
    measured = Curve.of({size: scores for (size, _), scores in curve.items()})
    size = min(measured.frames, key=lambda n: abs(np.log(n / (row["frames"] or measured.frames[-1]))))
    by_lag = measure(given, seed, snr, method, [(size, one) for one in sorted({*LAGS, lag})])
    scores = {one: Curve.of({size: each}) for (_, one), each in by_lag.items()}
    best = max(scores, key=lambda one: scores[one].score[0])
    needed, ends = measured.needed(given.score), [measured.needed(given.score, shift) for shift in (1, -1)]
    return {
        "lag": lag,
        "ceiling": light["ceiling"][STAGE],
        "foreseen": row["frames"],
        "foreseen_within": row["interval"],
        "foreseen_curve": dict(zip(row["curve"]["frames"], row["curve"]["score"], strict=True)),
        "measured": needed if np.isfinite(needed) else None,
        "measured_within": [each if np.isfinite(each) else None for each in ends],
        "measured_curve": dict(zip(measured.frames, measured.score, strict=True)),
        "best_lag": best,
        "lags_at": size,
        "by_lag": {one: [each.score[0], each.error[0]] for one, each in scores.items()},
    }


def measure(
    given: argparse.Namespace, seed: int, snr: float, method: str, wanted: list[tuple[int, int]]
) -> dict[tuple[int, int], list[float]]:
    """Scores of stretches of the movie at each number of frames and lag."""
    run, work = movie(given, seed, snr), given.out / f"measured-{seed}-{snr:g}"
    work.mkdir(exist_ok=True)
    path = recipe_file(given, seed, snr)
    recipe = load_recipe(path)[0]
    learning = recipe.simulate.n_replicas - recipe.train.held_out_replicas
    trials = [
        Trial(method, size // learning, snr, lag, number)
        for size, lag in wanted
        for number in range(min(STRETCHES, recipe.simulate.n_frames // (size // learning)))
    ]
    left = [trial for trial in trials if not (work / f"{trial.key}.json").exists()]
    with pool.process_pool(given.jobs) as executor:
        pool.run_chains(executor, [[partial(fit_stretch, path, run, work, trial)] for trial in left], lambda: None)
    found: dict[tuple[int, int], list[float]] = {}
    for trial in trials:
        told = json.loads((work / f"{trial.key}.json").read_text())
        found.setdefault((trial.n_frames * learning, trial.lag), []).append(told[STAGE])
    return found


def fit_stretch(path: Path, run: Path, work: Path, trial: Trial) -> None:
    """Train on one stretch of every training and validation replica; score on the held-out ones, whole."""
    with pool.one_thread():
        recipe = load_recipe(path)[0]
        files.write_json(work / f"{trial.key}.json", scored(recipe, stretch(run, recipe, trial), trial))


def stretch(run: Path, recipe: Recipe, trial: Trial) -> Drawn:
    latents = tempica.open_store(run / "latents.zarr", "latents")
    truth = tempica.open_store(run / "trajectory.zarr", "trajectory")["collective_variable"].values.astype(float)
    mean, covariance = latents["latent"].values, latents["latent_covariance"].values
    split = np.array(recipe.splits)
    kept = np.zeros(mean.shape[:2], dtype=bool)
    kept[:, trial.number * trial.n_frames : (trial.number + 1) * trial.n_frames] = True
    kept[split == "held_out"] = True
    replica = np.broadcast_to(np.arange(len(mean))[:, None], kept.shape)[kept]
    part = Latents(mean[kept], covariance[kept], truth[kept], replica, None, replica)
    purpose = split[replica]
    return Drawn(part, purpose == "train", purpose != "held_out", purpose == "held_out")


def table(figures: list[dict]) -> str:
    lines = [
        "| SNR | method | seed | frames foreseen (within) | measured (within) | lag recommended | best lag measured |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in figures:
        both = [
            f"{number(one[kind])} ({' to '.join(number(end) for end in one[f'{kind}_within'])})"
            for kind in ("foreseen", "measured")
        ]
        lags = [
            f"{lag}: {one['by_lag'][lag][0]:.3f} ± {one['by_lag'][lag][1]:.3f}" for lag in (one["lag"], one["best_lag"])
        ]
        lines.append("| " + " | ".join([f"{one['snr']:g}", one["method"], str(one["seed"]), *both, *lags]) + " |")
    return "\n".join(lines)


def number(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    main()
