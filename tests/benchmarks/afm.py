"""Heights by an atomic force microscope against other programs' data, and adenylate kinase found again.

    python tests/benchmarks/afm.py tip FOLDER            # single_tip_{surfs,tip,images}.npy of ColabBTR
    python tests/benchmarks/afm.py circle PDB TIFF --out DIR   # a molecule that goes round in two normal modes
    python tests/benchmarks/afm.py adk --out DIR [--seeds 1 2 3] [--replicas 6] [--frames 250] [--single]

The last lines are JSON, one a seed and one of all.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

import tempica
from tempica.embed.heights import tasks
from tempica.embed.heights.search import found_poses
from tempica.embed.modes.elastic import elastic_modes
from tempica.imaging.afm import Probe, dilate, flat_faces, radii_nm
from tempica.imaging.heights import Heights
from tempica.recipe.afm import AfmRecipe
from tempica.recipe.residues import residues
from tempica.render.afm.poses import lie, quaternions
from tempica.render.afm.stage import clean_heights

ROOT = Path(__file__).parents[2]
SIMULATED = {"ensemble_frames": "60", "methods": '["pcl"]', "tip": "{ radius_nm = 0.4, half_angle_deg = 10.0 }"}
BROAD = {"7.5": "12.0", "7.0": "16.0"}  # degrees: the open and the closed form are 1.2 deviations from the middle
NOISE_NM = 0.3
LOST_DEG = 30.0  # a pose that is further off is lost
LONG_MOVIE = 1000  # frames over which the making of templates is spread
REPEATS = 5  # of timing, of which the quickest counts: others may be at work on the machine
N_MODES = 8  # elastic motions by which single frames are explained


def tip(folder: Path) -> dict[str, Any]:
    """What images have beyond the dilation of their surfaces: noise, if its neighbours know nothing of it."""
    surfaces, shape, images = (np.load(folder / f"single_tip_{name}.npy") for name in ("surfs", "tip", "images"))
    rest = images - dilate(surfaces, shape)
    centred = rest - rest.mean()
    beside = (centred[..., 1:] * centred[..., :-1]).mean() / centred.var()
    without = (images - surfaces).std()
    return {
        "rest_std": round(float(rest.std()), 4),
        "rest_mean": round(float(rest.mean()), 4),
        "correlation_of_neighbours": round(float(beside), 4),
        "three_deviations_of_chance": round(3 / math.sqrt(rest.size), 4),
        "std_without_tip": round(float(without), 4),
    }


def circle(pdb: Path, tiff: Path, out: Path) -> dict[str, Any]:
    """Phase of a molecule that goes round in two modes of its own, by `tempica import TIFF --structure PDB`."""
    command = ["import", str(tiff), "--structure", str(pdb), "--pixel-nm", "0.7", "--interval", "1", "--jobs", "1"]
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tempica.cli", *command, "--out", str(out), "--run"], check=True)
    seconds = time.perf_counter() - begun
    movie, latents = (
        tempica.open_store(out / f"{name}.zarr", kind)
        for name, kind in (("movie", "crops"), ("latents", "form_latents"))
    )
    size = np.sqrt((latents["mode_shape"].values ** 2).sum(2).mean(1))
    moved = latents["latent"].values.reshape(-1, len(size)) * size  # directions that cost the same to see
    frame, n_frames = movie["frame"].values.reshape(-1), movie.attrs["n_film_frames"]
    true = 2 * np.pi * frame / n_frames
    left, size, _ = np.linalg.svd(moved - moved.mean(0), full_matrices=False)
    guess = np.arctan2(left[:, 1], left[:, 0])
    rng = np.random.default_rng(0)
    null = [abs(circular(rng.permutation(guess), true)) for _ in range(200)]
    again = [rng.integers(0, len(true), len(true)) for _ in range(200)]
    return {
        "frames": f"{len(frame)} of {n_frames}",
        "circular_correlation": round(abs(circular(guess, true)), 4),
        "interval": np.quantile([abs(circular(guess[k], true[k])) for k in again], [0.025, 0.975]).round(4).tolist(),
        "null_95": round(float(np.quantile(null, 0.95)), 4),
        "components_nm": (size / math.sqrt(len(true))).round(3).tolist(),
        "mirrored": latents.attrs["mirrored"],
        "left_nm": round(latents.attrs["noise_nm"], 3),
        "left_by_the_other_hand_nm": round(latents.attrs["other_hand_nm"], 3),
        "tip_nm": round(latents.attrs["tip_radius_nm"], 3),
        "seconds_of_the_command": round(seconds, 1),
    }


def circular(one: np.ndarray, other: np.ndarray) -> float:
    """Circular correlation of angles (Fisher & Lee, Biometrika 70, 327 (1983))."""
    i, j = np.triu_indices(len(one), 1)
    a, b = np.sin(one[i] - one[j]), np.sin(other[i] - other[j])
    return float((a * b).sum() / math.sqrt((a**2).sum() * (b**2).sum()))


def recipe_text(seed: int, replicas: int, frames: int, noise_nm: float) -> str:
    """The committed recipe, shortened, with frames that are taken at once."""
    values = SIMULATED | {"seed": str(seed), "n_replicas": str(replicas), "n_frames": str(frames)}
    text = (ROOT / "simulations" / "adenylate_kinase_afm.toml").read_text()
    for key, value in (values | {"noise_nm": str(noise_nm), "line_time_s": "0.0"}).items():
        text, n = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
        assert n == 1, key
    for narrow, broad in BROAD.items():
        assert text.count(f"deviation = {narrow}\n") == 1, narrow
        text = text.replace(f"deviation = {narrow}\n", f"deviation = {broad}\n")
    return text.replace('"structures/', f'"{ROOT}/simulations/structures/')


def domains() -> dict[str, np.ndarray]:
    """Beads of the domains of 4AKE, one a residue from 1 on."""
    named = {"CORE": "1-29, 68-117, 161-214", "AMPbd": "30-67", "LID": "118-160"}
    return {name: np.array(sorted(number for _, number in residues(text))) - 1 for name, text in named.items()}


def distances(position: np.ndarray) -> np.ndarray:
    """LID–CORE, CORE–AMPbd, AMPbd–LID (…, 3) in nm between centroids, of structures (…, N, 3)."""
    centre = {name: position[..., beads, :].mean(-2) for name, beads in domains().items()}
    pairs = (("LID", "CORE"), ("CORE", "AMPbd"), ("AMPbd", "LID"))
    return np.stack([np.linalg.norm(centre[a] - centre[b], axis=-1) for a, b in pairs], -1)


def core_off(one: np.ndarray, turn: np.ndarray, other: np.ndarray, other_turn: np.ndarray) -> np.ndarray:
    """Angles (F,) in degrees between the CORE of structures (F, N, 3), each turned by its rotation (F, 3, 3)."""
    core = domains()["CORE"]
    views = [
        (x[:, core] - x[:, core].mean(1, keepdims=True)) @ r.swapaxes(1, 2)
        for x, r in ((one, turn), (other, other_turn))
    ]
    pairs = zip(*views, strict=True)
    return np.degrees([Rotation.align_vectors(a, b)[0].magnitude() for a, b in pairs])


def single_frames(folder: Path, seed: int, held_out: list[int]) -> dict[str, Any]:
    """Noise-free frames one by one: open structure, elastic motions, tip from 60 of the frames."""
    stored = tempica.open_store(folder / "trajectory.zarr", "trajectory")
    form = tempica.open_store(folder / "structure.zarr", "structure")["position"].values
    radius, modes = radii_nm(stored["formula"].values), elastic_modes(form, N_MODES)
    camera = AfmRecipe(kind="afm", tip={"radius_nm": 0.4}, noise_nm=0.0)  # type: ignore[arg-type]
    parts, true, turn = [], [], []
    for r in held_out:
        position = stored["position"].values[r].astype(float)
        lying = lie(camera, seed, r, np.zeros(len(position), dtype=int), position[0])
        parts.append(clean_heights(camera, lying, position, position, radius))
        true.append(position)
        turn.append(Rotation.from_quat(quaternions(lying)).as_matrix())
    images, position = np.concatenate(parts), np.concatenate(true)
    label = np.arange(len(images))  # every frame for itself, its face too
    seen = Heights(images, radius, Probe(0.3, math.radians(10.0), 35, 0.3), 0.1)
    faces, some = flat_faces(form), np.linspace(0, len(images) - 1, 60).astype(int)
    tried = [tasks.tried(seen[some], nm, modes, faces, some) for nm in tasks.FIRST_TIPS_NM]
    best = min(tried, key=lambda one: one.noise_nm)
    seen = replace(seen, probe=best.probe, noise_nm=best.noise_nm)
    found_poses(seen[:9], modes, faces, label[:9])  # kernels are compiled
    begun = time.process_time()
    found, _ = found_poses(seen, modes, faces, label)
    form_found = modes.mean + np.tensordot(found.mean, modes.shape, 1)
    estimate = distances(form_found)
    seconds = time.process_time() - begun
    again, many_more = (
        np.tile(np.arange(len(images)), -(-LONG_MOVIE // len(images)))[:LONG_MOVIE],
        np.arange(LONG_MOVIE),
    )
    taken = []
    for _ in range(REPEATS):
        begun = time.process_time()
        longer, _ = found_poses(seen[again], modes, faces, many_more)
        distances(modes.mean + np.tensordot(longer.mean, modes.shape, 1))
        taken.append(time.process_time() - begun)
    goal = distances(position)
    off = core_off(form_found, found.rotation, position, np.concatenate(turn))
    many = slice(0, 200)
    place = form_found[many], found.rotation[many], found.shift_A[many]
    seen[many].expand(*place, modes.shape[:4], pose=True)
    begun = time.process_time()
    seen[many].expand(*place, modes.shape[:4], pose=True)
    expanding = time.process_time() - begun
    return {
        "single_nm": np.abs(estimate - goal).mean(0).round(4).tolist(),
        "single_mean_nm": round(float(np.abs(estimate - goal).mean()), 4),
        "mean_of_all_nm": round(float(np.abs(goal - goal.mean(0)).mean()), 4),
        "open_form_nm": round(float(np.abs(goal - distances(form)).mean()), 4),
        "pose_median_deg": round(float(np.median(off)), 2),
        "lost_percent": round(100 * float((off > LOST_DEG).mean()), 2),
        "tip_nm": round(best.probe.radius_nm, 3),
        "expansions_per_s": round(len(place[0]) / expanding),
        "single_frames": len(images),
        "single_frames_per_s": round(len(images) / seconds),  # templates, search, refinement, posterior, distances
        "long_movie_frames_per_s": round(LONG_MOVIE / min(taken)),  # the same, of the same frames again and again
    }


def adk(out: Path, seed: int, replicas: int, frames: int, *, single: bool) -> dict[str, Any]:
    """Single frames without noise, then, if not these alone, the movie with it: distances, and hinges by PCL."""
    folder, recipe = out / f"seed-{seed}", out / f"seed-{seed}.toml"
    out.mkdir(parents=True, exist_ok=True)
    recipe.write_text(recipe_text(seed, replicas, frames, NOISE_NM))
    tempica.run(recipe, out=folder, stages=("simulate",), jobs=1)
    told = single_frames(folder, seed, [replicas - 2, replicas - 1])
    print(json.dumps({"seed": seed} | told), flush=True)
    if single:
        return told
    tempica.run(recipe, out=folder, stages=("simulate", "render", "embed"), jobs=1)
    latents = tempica.open_store(folder / "latents.zarr", "latents")
    truth = tempica.open_store(folder / "trajectory.zarr", "trajectory")
    mean, shape = latents["mean_structure"].values, latents["mode_shape"].values
    held_out = slice(replicas - 2, None)
    goal = distances(truth["position"].values[held_out].astype(float))
    of = lambda name: distances(mean + np.tensordot(latents[name].values[held_out], shape, 1))  # noqa: E731
    told |= {
        "movie_nm": np.abs(of("state_space_source") - goal).mean((0, 1)).round(4).tolist(),
        "movie_mean_nm": round(float(np.abs(of("state_space_source") - goal).mean()), 4),
        "noisy_single_mean_nm": round(float(np.abs(of("latent") - goal).mean()), 4),
        "movie_tip_nm": round(float(latents.attrs["tip_radius_nm"]), 3),
    }
    print(json.dumps({"seed": seed} | told), flush=True)
    tempica.run(recipe, out=folder, stages=("simulate", "render", "embed", "train", "evaluate"), jobs=1)
    told |= dict(hinges(folder))
    return told


def hinges(folder: Path) -> Iterator[tuple[str, Any]]:
    """Held-out correlations of hinge angles by the run's own evaluation, with what a frame and a movie allow."""
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    for row in scores["rows"]:
        if (row["split"], row["metric"]) != ("held_out", "mcc_spearman") or row["stage"] not in ("unmixed", "smoothed"):
            continue
        name = f"{row['method']}_{row['stage']}"
        yield f"mcc_{name}", round(row["value"], 4)
        yield f"mcc_{name}_interval", [round(float(x), 4) for x in row["interval"]]
        yield f"mcc_{name}_null_95", round(row["null_95"], 4)
        for ceiling in ("ceiling", "ceiling_temporal"):
            if row[ceiling] is not None:
                yield f"{ceiling}_{row['stage']}", round(row[ceiling], 4)
    yield "verdict", [str(tempica.open(folder).verdict)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    of = parser.add_subparsers(dest="what", required=True)
    of.add_parser("tip").add_argument("folder", type=Path)
    images = of.add_parser("circle")
    images.add_argument("pdb", type=Path)
    images.add_argument("tiff", type=Path)
    images.add_argument("--out", type=Path, required=True, help="folder of the run that the command makes")
    found = of.add_parser("adk")
    found.add_argument("--out", type=Path, required=True)
    found.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    found.add_argument("--replicas", type=int, default=6)
    found.add_argument("--frames", type=int, default=250)
    found.add_argument("--single", action="store_true", help="only single frames, without noise")
    given = parser.parse_args()
    if given.what == "tip":
        print(json.dumps(tip(given.folder)))
    elif given.what == "circle":
        print(json.dumps(circle(given.pdb, given.tiff, given.out)))
    else:
        rows = [adk(given.out, seed, given.replicas, given.frames, single=given.single) for seed in given.seeds]
        for seed, row in zip(given.seeds, rows, strict=True):
            print(json.dumps({"seed": seed} | row))
        numbers = [key for key, value in rows[0].items() if not isinstance(value, list)]
        print(json.dumps({key: round(float(np.median([row[key] for row in rows])), 4) for key in numbers}))


if __name__ == "__main__":
    main()
