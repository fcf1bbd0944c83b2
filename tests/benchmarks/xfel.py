"""Hinges from pairs of diffraction patterns: PCL beside the ceiling, with orientations known and searched, and
with modes learned from an ensemble and from one structure.

    python tests/benchmarks/xfel.py --out /tmp/xfel                # three seeds of 8 × 100 frames: 15 minutes of CPU
    python tests/benchmarks/xfel.py --out /tmp/xfel --frames 400   # at the recipe's size
    python tests/benchmarks/xfel.py --out /tmp/xfel --seeds 2 --parts known   # a piece of it

The committed recipe `adenylate_kinase_xfel.toml` with other seeds and numbers of frames, each simulated once and
recorded with orientations that are told or not. Then the single-frame ceiling over the photons of a pulse, for the
budget; and frames/s of an expansion (four modes and the pose) by the X-ray and by the electron camera, of the same
structures at as many pixels, in CPU time of one thread; and, where it is installed, of its sums alone by finufft.
Scores stand beside chance, 95 % of random rotations, and their interval. Finished runs stay in --out, and the same
command goes on. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np

try:
    import finufft
except ImportError:
    finufft = None

from tempica import imaging
from tempica.embed.micrographs import Micrographs
from tempica.embed.quadratic import Disc, Observed
from tempica.evaluate import ceilings, metrics, temporal
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import principal_modes
from tempica.imaging.photons import patterns_in
from tempica.series import number_molecules
from tempica.stores.reading import open_store

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "simulations" / "adenylate_kinase_xfel.toml"
BUDGETS = (0.1, 0.25, 0.5, 1.0, 2.0)  # times the recipe's photons
BUDGET_FRAMES = 100
RUNS = {  # name: knowledge of poses, what modes are learned from
    "known": ("known", "ensemble"),
    "hidden": ("hidden", "ensemble"),
    "structure": ("known", "structure"),
    "nothing": ("hidden", "structure"),
}
PARTS = (*RUNS, "budget", "speed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--frames", type=int, default=100, help="of a replica; there are eight")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="all others need known")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in arguments.seeds:
        for part in (part for part in RUNS if part in arguments.parts):
            run = arguments.out / f"{part}-{seed}-{arguments.frames}"
            rows.append(recovered(run, part, seed, arguments.frames))
            print(json.dumps(rows[-1]), flush=True)
    first = arguments.out / f"known-{arguments.seeds[0]}-{arguments.frames}"
    budget = budgets(first) if "budget" in arguments.parts else []
    speed = speeds(first) if "speed" in arguments.parts else {}
    for line in (*budget, speed):
        print(json.dumps(line))
    print(json.dumps({"benchmark": "xfel", "frames": arguments.frames, "runs": rows, "budget": budget, "speed": speed}))


def recovered(run: Path, part: str, seed: int, n_frames: int) -> dict:
    """Scores of a run on held-out replicas, after it is made; others than the known one begin with its stores."""
    (poses, start), known = RUNS[part], run.with_name(run.name.replace(part, "known"))
    if not run.exists() and known.exists():
        shutil.copytree(known, run)
    text = RECIPE.read_text().replace("seed = 1", f"seed = {seed}").replace("n_frames = 400", f"n_frames = {n_frames}")
    text = text.replace('kind = "fixed"', f'kind = "fixed", knowledge = "{poses}"')
    text += f'\n[embed]\nmodes_from = "{start}"\n'
    recipe = run.with_suffix(".toml")
    recipe.write_text(text.replace('"structures/', f'"{ROOT}/simulations/structures/'))
    command = [sys.executable, "-m", "tempica.cli", "run", recipe, "--out", run, "--until", "evaluate", "--jobs", "1"]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    scores = json.loads((run / "scores.json").read_text())
    movie = open_store(run / "movie.zarr", "diffraction")
    row = {
        "seed": seed,
        "poses": poses,
        "modes_from": start,
        "photons": round(float(movie["image"].sum(("y", "x")).mean()), 1),
    }
    for entry in scores["rows"]:
        if (entry["split"], entry["metric"]) == ("held_out", "mcc_spearman") and entry["method"] in ("pcl", "latents"):
            row[f"{entry['method']} {entry['stage']}"] = {
                name: entry[name] for name in ("value", "interval", "null_95", "rotation_null_95")
            }
            row |= {"ceiling": entry["ceiling"], "ceiling_temporal": entry["ceiling_temporal"]}
    for about in scores["poses"]["splits"] if poses == "hidden" else ():
        if about["split"] == "all":
            row |= {
                "lost": about["lost"],
                "angle_median_deg": about["angle_deg"][50],
                "bound_deg": about["bound_deg"][50],
            }
    row["squared_error"] = next(one["squared_error"] for one in scores["latents"] if one["split"] == "all")
    return row


def budgets(run: Path) -> list[dict]:
    """The single-frame ceiling (Spearman) of a run's held-out structures over the photons of a pattern."""
    trajectory, movie = open_store(run / "trajectory.zarr", "trajectory"), open_store(run / "movie.zarr", "diffraction")
    position = trajectory["position"].values.astype(float)
    variable = trajectory["collective_variable"].values.astype(float)
    prior = ceilings.learn_prior(position[:5].reshape(-1, *position.shape[2:]), variable[:5].reshape(-1, 2))
    molecule = number_molecules(trajectory["molecule"].values[:5]).reshape(-1)
    law = temporal.learn_dynamics(variable[:5].reshape(-1, 2), molecule)
    each = min(BUDGET_FRAMES // 2, position.shape[1])
    place, truth = (v[-2:, :each].reshape(-1, *v.shape[2:]) for v in (position, variable))
    quaternion = movie["pose_quaternion"].values[-2:, :each].reshape(-1, 4)
    rotation = imaging.rotation_matrix(quaternion)
    found = []
    for times in BUDGETS:
        about = movie.assign_attrs(photons_per_um2=times * movie.attrs["photons_per_um2"])
        empty = patterns_in(about, np.zeros((1, *movie["image"].shape[2:])))
        mean = empty.expected(place, rotation)
        count = np.random.default_rng(0).poisson(mean).astype(np.float32)
        image = np.zeros((len(count), *movie["image"].shape[2:]))
        image[:, movie["mask"].values > 0] = count
        seen = patterns_in(about, image)
        pose = rotation, np.zeros((len(count), 2))
        told = ceilings.likelihoods_by(prior, seen, pose, place, law.coarse_values())
        estimate, members = ceilings.bayes_estimate(prior, told, law.interpolation(law.score(prior.library)))
        own = np.arange(truth.shape[1])
        score = metrics.mcc(estimate, truth, replicas=np.repeat([0, 1], each), assignment=own, n_null=20)
        found.append(
            {
                "photons": round(float(count.sum(1).mean()), 1),
                "ceiling": round(score.score, 3),
                "interval": [round(float(end), 3) for end in score.interval],
                "members": round(float(np.median(members)), 1),  # of the library; below 3 it is no bound
            }
        )
    return found


def speeds(run: Path) -> dict:
    """Expansions a second in four modes and the pose, of images of as many pixels."""
    movie, ensemble = open_store(run / "movie.zarr", "diffraction"), open_store(run / "ensemble.zarr", "ensemble")
    n, modes = 64, principal_modes(ensemble["position"].values, 4)
    patterns = patterns_in(movie, movie["image"].values[0, :n])
    position = np.repeat(modes.mean[None], n, 0)
    quaternion = np.random.default_rng(0).normal(size=(n, 4))
    rotation = imaging.rotation_matrix(quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True))
    n_pixels, rng = movie.sizes["x"], np.random.default_rng(1)
    disc = Disc(n_pixels, 3.0, n_pixels // 2 - 1)
    target = rng.normal(size=(n, len(disc.index[0]), 2)).astype(np.float32).view(np.complex64)[..., 0]
    beads = Scatterers(np.full(len(modes.mean), 20.0), np.full(len(modes.mean), 2.5))
    images = Micrographs(Observed(disc, target, np.ones(target.shape, np.float32)), beads)
    nowhere, found = np.zeros((n, 2)), {"pixels": n_pixels**2, "beads": len(modes.mean)}
    for name, camera in (("xfel", patterns[:n]), ("electron", images)):
        best = np.inf
        for _ in range(6):
            start = time.process_time()
            camera.expand(position, rotation, nowhere, modes.shape, pose=True)
            best = min(best, time.process_time() - start)
        found[f"{name}_frames_per_s"] = round(len(camera) / best)
    if finufft is not None:
        found["finufft_frames_per_s"] = round(
            1 / by_nufft(modes.mean, rotation[0], patterns.q, 3 * len(modes.shape) + 4)
        )
    return found


def by_nufft(mean: np.ndarray, rotation: np.ndarray, q: np.ndarray, n_sums: int) -> float:
    """CPU seconds of the sums of an expansion alone, over the beads at every pixel, by a non-uniform FFT to 1e-5."""
    place = [np.ascontiguousarray(x, dtype=np.float32) for x in (10 * mean @ rotation.T).T]
    angle = [np.ascontiguousarray(2 * np.pi * x, dtype=np.float32) for x in q]
    weight = np.random.default_rng(0).normal(size=(n_sums, len(mean))).astype(np.complex64)
    best = np.inf
    for _ in range(6):
        start = time.process_time()
        finufft.nufft3d3(*place, weight, *angle, eps=1e-5, isign=1, nthreads=1)
        best = min(best, time.process_time() - start)
    return best


if __name__ == "__main__":
    main()
