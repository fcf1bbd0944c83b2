"""Unmixing a molecule: adenylate kinase's two hinges, from recipe to scores, where linear methods suffice or fail.

    python tests/benchmarks/ica_molecule.py default modulated view --seeds 1 2 3 --snr 1 0.1 --out /tmp/molecule
    python tests/benchmarks/ica_molecule.py images --seeds 1 2 --views 3 --jobs 1 --out /tmp/molecule

default: the committed recipe (random known orientations, CTF) at each SNR; PCL and SNICA against TICA, SOBI and
FastICA on the same latents. modulated: the same molecule, its hinges' amplitudes drawn anew for every segment of 26
frames; TCL against FastICA and NonstationaryICA. view: the default's trajectory photographed without noise from one
direction, focus and place, as if every molecule lay on a surface alike: 24 principal components of the images, then
PCL against TICA and FastICA; `--views` directions a seed. images: adenylate_kinase_view.toml, then the same molecules
from other random directions; PCL end to end on the images themselves against the three on principal components. Every
score is the mean absolute rank correlation with the hinge angles on replicas that training never saw, matched on the
training replicas. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import xarray
from scipy.spatial.transform import Rotation
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from tempica.evaluate.metrics import assign, correlation_matrix
from tempica.ica import PCL, SOBI, TICA, FastICA, NonstationaryICA
from tempica.imaging import FOCUS, camera_of

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "simulations" / "adenylate_kinase_known_poses.toml"
IMAGES = RECIPE.with_name("adenylate_kinase_view.toml")
N_PRINCIPAL = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", choices=["default", "modulated", "view", "images"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--snr", nargs="+", default=["1", "0.1"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--views", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    a = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, dict] = {}
    with threadpool_limits(1):
        for seed in a.seeds:
            for case in a.cases:
                alone = {"view": _view, "images": _images}
                for key, row in alone[case](a, seed) if case in alone else _latents(a, case, seed):
                    figures[key] = row
                    print(f"{key}: {json.dumps(row)}", flush=True)
    found = [row["images PCL"] for row in figures.values() if "images PCL" in row]
    if found:
        print(f"PCL on images: median {np.median(found):.3f}, {min(found):.3f} to {max(found):.3f}, {len(found)} fits")
    print(json.dumps({"benchmark": "ica_molecule", "figures": figures}))


def _latents(a: argparse.Namespace, case: str, seed: int) -> Iterator[tuple[str, dict]]:
    """Scores of methods and linear baselines on the latents of each SNR; the trajectory is simulated once."""
    simulated = None
    for snr in a.snr:
        run = a.out / f"{case}_{seed}_snr_{snr}"
        if simulated is not None and not run.exists():
            shutil.copytree(simulated, run)
        _run(a, case, seed, snr, run)
        simulated = run
        rows = json.loads((run / "scores.json").read_text())["rows"]
        row = {
            f"{each['method']} {each['stage']}": round(each["value"], 3)
            for each in rows
            if (each["split"], each["metric"]) == ("held_out", "mcc_spearman") and each["method"] != "pca_pixels"
        }
        latent = _open(run / "latents.zarr")["latent"].values
        truth, split, labels = _truth(run)
        X = latent.reshape(-1, latent.shape[-1])
        train = np.repeat(split == "train", latent.shape[1])
        series = np.repeat(np.arange(len(split)), latent.shape[1])
        n = truth.shape[-1]
        baselines = {"FastICA": FastICA(n), "SOBI": SOBI(n)} if case == "default" else {"FastICA": FastICA(n)}
        for name, model in baselines.items():
            row[name] = _score(_fitted(model, X, train, replicas=series[train]).transform(X), truth, split)
        if case == "modulated":
            model = _fitted(NonstationaryICA(n), X, train, labels=labels.reshape(-1)[train])
            row["NonstationaryICA"] = _score(model.transform(X), truth, split)
        yield f"{case} seed={seed} snr={snr}", row


def _view(a: argparse.Namespace, seed: int) -> Iterator[tuple[str, dict]]:
    """Scores on noise-free images of the default's trajectory, all from one direction."""
    run = a.out / f"default_{seed}_snr_{a.snr[0]}"
    _run(a, "default", seed, a.snr[0], run, until="render")
    truth, split, _ = _truth(run)
    train, series = _seen(split, truth.shape[1])
    for view, images in enumerate(_photographs(run, a.views)):
        row = _on_principal(images, train, series, truth, split)
        row["gain"] = round(row["PCL"] - max(row["TICA"], row["FastICA"]), 3)
        yield f"view {view} seed={seed}", row


def _images(a: argparse.Namespace, seed: int) -> Iterator[tuple[str, dict]]:
    """Scores end to end, from the recipe's direction and from others, each with what a user who passes nothing gets."""
    run = a.out / f"images_{seed}"
    _run(a, "images", seed, "inf", run, until="render")
    truth, split, _ = _truth(run)
    train, series = _seen(split, truth.shape[1])
    turned = Rotation.random(a.views - 1, random_state=seed).as_quat() if a.views > 1 else []
    for view, images in enumerate(_photographs(run, 1, turned)):
        row = _on_principal(images, train, series, truth, split)
        started = time.process_time()
        model = _fitted(PCL(2, random_state=seed), images, train, replicas=series[train])
        row["images PCL"] = _score(model.transform(images), truth, split)
        row["images PCL cpu_s"] = round(time.process_time() - started, 1)
        row |= {"model": model.model_, **{f"loss {name}": round(v, 3) for name, v in model.candidates_.items()}}
        yield f"images {view} seed={seed}", row


def _photographs(run: Path, n: int, turned: Iterable[np.ndarray] = ()) -> Iterator[np.ndarray]:
    """All frames (frame, y, x) without noise, as the camera of each of the first n frames saw, and turned otherwise."""
    movie, trajectory = _open(run / "movie.zarr"), _open(run / "trajectory.zarr")
    camera = camera_of(movie)
    for k, pose in enumerate([*movie["pose_quaternion"].values[0, :n], *turned]):
        seen = [movie[name].values[0, k if k < n else 0] for name in ("pose_shift_A", *FOCUS)]
        images = []
        for replica in trajectory["position"].values:
            same = [np.broadcast_to(part, (len(replica), *np.shape(part))) for part in (pose, *seen)]
            images.append(camera.clean_images(replica, *same))
        yield np.concatenate(images).astype(np.float32)


def _seen(split: np.ndarray, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Marks (frame,) of frames that a fit sees, and the number (frame,) of each one's replica."""
    return np.repeat(split != "held_out", n_frames), np.repeat(np.arange(len(split)), n_frames)


def _on_principal(images: np.ndarray, train: np.ndarray, series: np.ndarray, truth: np.ndarray, split: np.ndarray):
    """Scores and times of three estimators on principal components of images."""
    flat = images.reshape(len(images), -1)
    principal = PCA(N_PRINCIPAL, svd_solver="covariance_eigh").fit(flat[train]).transform(flat)
    row: dict = {}
    for model in (TICA(2), FastICA(2), PCL(2)):
        started = time.process_time()
        _fitted(model, principal, train, replicas=series[train])
        row[type(model).__name__] = _score(model.transform(principal), truth, split)
        row[f"{type(model).__name__} cpu_s"] = round(time.process_time() - started, 1)
    return row


def _fitted(model, X, train, **labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence, identifiability: what came back is scored
        return model.fit(X[train], **labels)


def _score(S: np.ndarray, truth: np.ndarray, split: np.ndarray) -> float:
    """Mean absolute Spearman correlation on held-out replicas, matched on the training ones; 0 for a lost variable."""
    n_frames, truth = truth.shape[1], truth.reshape(-1, truth.shape[-1])
    train, held = (np.repeat(split == name, n_frames) for name in ("train", "held_out"))
    matched = assign(correlation_matrix(S[train], truth[train], "spearman"))
    matrix = np.abs(correlation_matrix(S[held], truth[held], "spearman"))
    return round(float(np.mean([matrix[c, t] if c >= 0 else 0.0 for t, c in enumerate(matched)])), 3)


def _truth(run: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Collective variables (replica, time, cv), what each replica is for, labels (replica, time)."""
    split = np.array(["train"] * 5 + ["validation"] + ["held_out"] * 2)
    return (
        _open(run / "trajectory.zarr")["collective_variable"].values,
        split,
        _open(run / "movie.zarr")["label"].values,
    )


def _open(path: Path) -> xarray.Dataset:
    return xarray.open_zarr(path, consolidated=False, chunks=None)


def _run(a: argparse.Namespace, case: str, seed: int, snr: str, run: Path, until: str = "evaluate") -> None:
    text = (IMAGES if case == "images" else RECIPE).read_text().replace('"structures/', f'"{RECIPE.parent}/structures/')
    text = re.sub(r"^seed = .*", f"seed = {seed}", text, flags=re.M)
    text = re.sub(r"^snr = .*", f"snr = {snr}", text, flags=re.M)
    methods = '["tica", "pcl", "snica"]'
    if case == "modulated":
        methods = '["tica", "tcl"]'
        text = text.replace('process = "ar1"', 'process = "modulated"')
        text = re.sub(r"^coefficient = .*", "coefficient = 0.5", text, flags=re.M)
        text = re.sub(r"^(n_frames = .*)", r"\1\nsegment_frames = 26", text, flags=re.M)
    text = re.sub(r"^methods = .*", f"methods = {methods}", text, flags=re.M)
    recipe = run.parent / f"{run.name}.toml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(text)
    command = [sys.executable, "-m", "tempica.cli", "run", recipe, "--out", run, "--until", until]
    subprocess.run([*command, "--jobs", str(a.jobs)], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
