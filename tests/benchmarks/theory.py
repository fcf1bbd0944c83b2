"""The theorems in a table: which method finds the axes in which world, on latents and through the camera.

    python tests/benchmarks/theory.py latents --seeds 1 2 3 4 5
    python tests/benchmarks/theory.py latents --only laplace "equal rates" --layers 1
    python tests/benchmarks/theory.py camera --out /tmp/theory --seeds 1 2 3 4 5

latents: N sources in REPLICAS series of --frames frames, mixed by an orthogonal matrix (one layer) or by the
literature's mixing of two layers. camera: the committed recipes of arms up to their latents, poses known.

Scores are mean absolute Spearman correlations of what a method makes of single frames (unmixed) with the truth, on
replicas that training never saw, matched on the training replicas. Beside each is the 95 % quantile of its rotation
null: the same score of random rotations of the method's own subspace after its best affine map onto the truth. A method
has found axes only where it is above. "raw" are frames or latents as they are, "pca" their principal components, "pcl
contrast" what PCL's contrast leaves, before its second stage. Where amplitudes are modulated it is |s| that theory
promises, and |s| that is scored (on latents); elsewhere, and through the camera, TCL's sources with signs.

Prints a table in Markdown: the median over seeds, in bold where theory says that the method finds the axes, in brackets
where it excludes it. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

import tempica
from tempica.evaluate.metrics import assign, correlation_matrix
from tempica.evaluate.metrics.rotations import fit_subspace, haar, rotated_each
from tempica.ica import PCL, SOBI, TCL, TICA, FastICA, NonstationaryICA
from tempica.ica.synthetic import random_mixing
from tempica.recipe.experiment import load_recipe
from tempica.simulate.protocols import ar1

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "simulations"
N, REPLICAS, HELD_OUT = 3, 8, 2
N_DRAWS, MOST_RANKED = 200, 2000
EQUAL, DISTINCT = (0.8, 0.8, 0.8), (0.95, 0.8, 0.5)
DELAYS, DECAYS = 20, (2.5, 5.0, 10.0)  # labels of a pump-probe experiment, and times of decay in frames
OFTEN, WELL_STEPS = 25, 0.02  # steps of Langevin motion between two frames, and their length

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Case:
    """A world and what theory says of it: `right` methods find its axes, `excluded` ones cannot."""

    draw: Draw | None  # sources (replica, frame, N) and labels (replica, frame), if frames have any
    recipe: str | None
    right: tuple[str, ...]
    excluded: tuple[str, ...]
    absolute: bool = False


@dataclass(frozen=True)
class World:
    """Frames X (frame, feature) of one world, what is known of them, and the truth S (frame, source)."""

    X: np.ndarray
    S: np.ndarray
    replicas: np.ndarray
    labels: np.ndarray | None
    split: np.ndarray  # (frame,) train, validation or held_out


def driven(innovation: str, rates: tuple[float, ...], **options: float) -> Draw:
    def draw(rng: np.random.Generator, n_frames: int) -> tuple[np.ndarray, None]:
        series = [ar1(n_frames, rate, innovation, rng, n_series=REPLICAS, **options) for rate in rates]
        return np.stack(series, -1), None

    return draw


def wells(rng: np.random.Generator, n_frames: int) -> tuple[np.ndarray, None]:
    """Overdamped motion in U = 3 kT (x² − 1)², which leaves a well about once in 15 frames."""
    x = rng.choice([-1.0, 1.0], size=(REPLICAS, N))
    kept = np.empty((REPLICAS, n_frames, N))
    for frame in range(n_frames):
        for _ in range(OFTEN):
            x = x - WELL_STEPS * 12 * x * (x**2 - 1) + np.sqrt(2 * WELL_STEPS) * rng.normal(size=x.shape)
        kept[:, frame] = x
    return kept, None


def modulated(common: bool) -> Draw:
    """Sources whose amplitude every segment of 20 frames draws anew: Laplace ones each, or normal ones all together.

    With one amplitude for all, Laplace sources could still be told apart by linear ICA, and only labels would fail.
    """

    def draw(rng: np.random.Generator, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
        segment = np.arange(n_frames) // 20
        scale = rng.uniform(0, 1, size=(segment[-1] + 1, 1 if common else N))[segment]
        innovation = "gaussian" if common else "laplace"
        series = np.stack([ar1(n_frames, 0.5, innovation, rng, n_series=REPLICAS) for _ in range(N)], -1)
        return scale * series, np.tile(segment, (REPLICAS, 1))

    return draw


def temperatures(rng: np.random.Generator, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Springs of equal rate in a bath that alternates between 250 K and 400 K every 40 frames."""
    label = np.arange(n_frames) // 40 % 2
    series = np.stack([ar1(n_frames, 0.8, "gaussian", rng, n_series=REPLICAS) for _ in range(N)], -1)
    return np.sqrt(np.array([250.0, 400.0]) / 325)[label][:, None] * series, np.tile(label, (REPLICAS, 1))


def pumped(rng: np.random.Generator, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Snapshots at delays after a pulse, which displaces every source of every molecule by another amount."""
    label = np.tile(np.arange(n_frames) % DELAYS, (REPLICAS, 1))
    shape = (REPLICAS, n_frames, N)
    jump = 4.0 * rng.normal(size=shape)
    return jump * np.exp(-label[..., None] / np.array(DECAYS)) + 0.7 * rng.normal(size=shape), label


# of distinct rates neither "raw" nor "pcl contrast" is excluded: embed has unmixed its latents by their rates already,
# and the contrast begins at TICA's sources, which behind one layer are the truth
SECOND_ORDER = ("raw", "pca", "tica", "sobi")
CASES = {
    "equal rates": Case(
        driven("gaussian", EQUAL), "arms_equal_rates", (), (*SECOND_ORDER, "fastica", "pcl contrast", "pcl")
    ),
    "distinct rates": Case(driven("gaussian", DISTINCT), "arms_gaussian", ("tica", "sobi", "pcl"), ("pca", "fastica")),
    "double wells": Case(wells, "arms_double_well", ("fastica", "pcl"), (*SECOND_ORDER, "pcl contrast")),
    "laplace": Case(driven("laplace", EQUAL), None, ("pcl contrast", "pcl"), SECOND_ORDER),
    "student": Case(
        driven("student", EQUAL, degrees_of_freedom=3.0), "arms_student", ("pcl contrast", "pcl"), SECOND_ORDER
    ),
    "jump": Case(driven("jump", EQUAL, jump_probability=0.2), "arms_jump", ("pcl contrast", "pcl"), SECOND_ORDER),
    "modulated": Case(modulated(False), "arms_modulated", ("tcl", "nonstationary"), ("raw", "pca"), True),
    "single control": Case(
        modulated(True), "arms_single_control", (), ("raw", "tica", "fastica", "tcl", "nonstationary"), True
    ),
    "temperature jump": Case(temperatures, "arms_temperature_jump", (), ("raw", "pca", "tcl", "nonstationary"), True),
    "pump-probe": Case(pumped, "arms_pump_probe", ("tcl", "nonstationary"), ("raw", "pca")),
}
BENT = {"raw", "pca", "tica", "sobi", "fastica", "nonstationary"}  # linear, hence excluded behind two layers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("where", choices=["latents", "camera"])
    parser.add_argument("--only", nargs="+", metavar="CASE", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2], help="of the mixing of latents")
    parser.add_argument("--frames", type=int, default=1600, help="of each series of latents")
    parser.add_argument("--out", type=Path, help="folder of the camera's runs")
    parser.add_argument("--jobs", type=int, default=2)
    a = parser.parse_args()
    if a.where == "camera" and a.out is None:
        parser.error("camera needs --out")
    torch.set_num_threads(1)
    figures: dict[str, dict[int, dict]] = {}
    with threadpool_limits(1):
        for name in a.only:
            for layers in a.layers if a.where == "latents" else [0]:
                for seed in a.seeds:
                    world = synthetic(CASES[name], layers, seed, a.frames) if layers else photographed(name, seed, a)
                    if world is None:
                        continue
                    key = f"{name}, {layers} layer{'s' * (layers > 1)}" if layers else name
                    row = figures.setdefault(key, {})[seed] = judge(CASES[name], world, seed, bool(layers))
                    print(f"{key}, seed {seed}: {json.dumps(row)}", file=sys.stderr, flush=True)
    print(table(figures))
    today = datetime.date.today().isoformat()
    print(json.dumps({"benchmark": "theory", "where": a.where, "date": today, "seeds": a.seeds, "figures": figures}))


def synthetic(case: Case, n_layers: int, seed: int, n_frames: int) -> World:
    """Sources of a case behind a random mixing."""
    assert case.draw is not None
    mixing_seed, source_seed = np.random.SeedSequence(seed).spawn(2)
    S, labels = case.draw(np.random.default_rng(source_seed), n_frames)
    S = S.reshape(-1, N)
    mixing = random_mixing(N, n_layers, seed=mixing_seed, kind="orthogonal" if n_layers == 1 else "conditioned")
    split = np.array(["train"] * (REPLICAS - HELD_OUT - 1) + ["validation"] + ["held_out"] * HELD_OUT)
    series = np.repeat(np.arange(REPLICAS), n_frames)
    molecules = np.arange(len(S)) if case.draw is pumped else series
    return World(mixing(S / S.std(0)), S, molecules, None if labels is None else labels.ravel(), split[series])


def photographed(name: str, seed: int, a: argparse.Namespace) -> World | None:
    """Latents of a recipe's run, and its collective variables; nothing where a case has no recipe."""
    recipe = CASES[name].recipe
    if recipe is None:
        return None
    a.out.mkdir(parents=True, exist_ok=True)
    text, run = (RECIPES / f"{recipe}.toml").read_text(), a.out / f"{recipe}-{seed}"
    path = a.out / f"{run.name}.toml"
    path.write_text(re.sub(r"^seed = .*", f"seed = {seed}", text, flags=re.M))
    command = [sys.executable, "-m", "tempica.cli", "run", path, "--out", run, "--until", "embed"]
    subprocess.run([*command, "--jobs", str(a.jobs)], check=True, stdout=sys.stderr)
    latent = tempica.open_store(run / "latents.zarr", "latents")["latent"].values
    truth = tempica.open_store(run / "trajectory.zarr", "trajectory")["collective_variable"].values
    movie = tempica.open_store(run / "movie.zarr", "movie")
    molecule = movie["molecule"].values
    begins = np.ones(molecule.shape, dtype=bool)
    begins[:, 1:] = molecule[:, 1:] != molecule[:, :-1]
    labelled = "segment_frames" in tomllib.loads(text)["simulate"]
    return World(
        latent.reshape(-1, latent.shape[-1]),
        truth.reshape(-1, truth.shape[-1]),
        np.cumsum(begins),
        movie["label"].values.ravel() if labelled else None,
        np.repeat(load_recipe(path)[0].splits, truth.shape[1]),
    )


def judge(case: Case, world: World, seed: int, latents: bool) -> dict[str, Any]:
    """Score of every method, the 95 % quantile of its rotation null, and what models say of themselves."""
    held, seen = world.split == "held_out", world.split != "held_out"
    absolute = case.absolute and latents
    truth = _size(world.S) if absolute else world.S
    row: dict[str, Any] = {}
    for name, sources, said in sources_of(world, seen, seed, absolute):
        unsigned = absolute and name == "tcl"  # it gives |s| itself, whose subspace is taken to be perfect
        found = _size(sources) if absolute and not unsigned else sources
        null = rotation_null(world.S if unsigned else sources, world.S, seen, held, absolute)
        row[name] = {"score": round(score(found, truth, seen, held), 3), "null_95": round(null, 3), **said}
    return row


def sources_of(world: World, seen: np.ndarray, seed: int, absolute: bool):
    """Name, sources (frame, component) and words of every method that the world has the data for."""
    n, X, replicas, labels = world.S.shape[1], world.X, world.replicas, world.labels
    yield "raw", X, {}
    yield "pca", PCA(n).fit(X[seen]).transform(X), {}
    models: dict[str, Any] = {"fastica": FastICA(n, random_state=seed)}
    if np.bincount(replicas).max() > 2:
        models |= {"tica": TICA(n), "sobi": SOBI(n)}
    given = {"fastica": {}, "tica": {"replicas": replicas[seen]}, "sobi": {"replicas": replicas[seen]}}
    if labels is not None:
        models["nonstationary"] = NonstationaryICA(n)
        given["nonstationary"] = {"labels": labels[seen]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence, identifiability: what came back is scored
        for name, model in models.items():
            yield name, model.fit(X[seen], **given[name]).transform(X), {}
        validation = world.split[seen] == "validation"
        if labels is not None:
            tcl = TCL(n, random_state=seed).fit(X[seen], labels[seen], validation=validation)
            found = tcl.transform(X) if absolute else tcl.transform(X, stage="signed")
            yield "tcl", found, {"rank": tcl.rank_, "ambiguity": tcl.ambiguity_}
        else:
            pcl = PCL(n, random_state=seed).fit(X[seen], replicas=replicas[seen], validation=validation)
            said = {"model": pcl.model_, "second_stage": pcl.second_stage_, "ambiguity": pcl.ambiguity_}
            yield "pcl contrast", pcl.transform(X, stage="features"), {}
            yield "pcl", pcl.transform(X), said


def score(S: np.ndarray, truth: np.ndarray, seen: np.ndarray, held: np.ndarray) -> float:
    """Mean absolute Spearman correlation on held-out frames, matched on the others."""
    matched = assign(correlation_matrix(S[seen], truth[seen]))
    matrix = np.abs(correlation_matrix(S[held], truth[held]))
    return float(matrix[matched, range(truth.shape[1])].mean())


def rotation_null(S: np.ndarray, truth: np.ndarray, seen: np.ndarray, held: np.ndarray, absolute: bool) -> float:
    """95 % quantile of the scores of random rotations of the subspace, after its best affine map onto the truth."""
    subspace = fit_subspace(S[seen], truth[seen])
    some = np.flatnonzero(held)[:: max(1, held.sum() // MOST_RANKED)]
    if not absolute:
        each = rotated_each(subspace, S[some], truth[some], kind="spearman", n_draws=N_DRAWS, refit=False)
        return float(np.quantile(each.mean(1), 0.95))
    aligned, sizes, scores = subspace.whitened(S[some]), _size(truth)[some], []
    for rotation in haar(aligned.shape[1], N_DRAWS, np.random.default_rng(0)):
        matrix = np.abs(correlation_matrix(np.abs(aligned @ rotation.T), sizes))
        scores.append(matrix[assign(matrix), range(sizes.shape[1])].mean())
    return float(np.quantile(scores, 0.95))


def _size(S: np.ndarray) -> np.ndarray:
    return np.abs(S - S.mean(0))


def table(figures: dict[str, dict[int, dict]]) -> str:
    """Medians over seeds in Markdown, with the median quantile of the rotation null."""
    names = ["raw", "pca", "tica", "sobi", "fastica", "nonstationary", "pcl contrast", "pcl", "tcl"]
    lines = [f"| world | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for key, rows in figures.items():
        case, bent = CASES[key.partition(",")[0]], key.endswith("layers")
        cells = [key]
        for name in names:
            values = [row[name]["score"] for row in rows.values() if name in row]
            if not values:
                cells.append("")
                continue
            null = np.median([row[name]["null_95"] for row in rows.values()])
            told = f"{np.median(values):.3f}"
            if name in case.right and not (bent and name in BENT):
                told = f"**{told}**"
            elif name in case.excluded or (bent and name in BENT):
                told = f"({told})"
            cells.append(f"{told} {null:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
