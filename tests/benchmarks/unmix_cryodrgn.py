"""cryoDRGN's latents of our movie through `tempica unmix`, and back to its volumes; ends with one line of JSON.

    python -m venv /tmp/peer
    /tmp/peer/bin/pip install 'torch==2.13.*' cryodrgn
    python tests/benchmarks/unmix_cryodrgn.py --peer /tmp/peer/bin/cryodrgn --out /tmp/unmix_cryodrgn

The main job's dynamics (two hinges of adenylate kinase on sparse jumps of equal rate) with known poses, in images of
32 pixels of 3 Å, so that cryoDRGN ends within the hour on a processor; SNR 0.3, since four pixels of 1.5 Å make one.
Run, export to RELION, `cryodrgn train_vae`, `tempica unmix z.N.pkl --star …` with replicas and time from the STAR file.

Figures: mean correlation (Spearman) with the true hinges of raw latents, of their principal components, of the sources
of unmix and of our own `embed` with `train`, all on held-out replicas, the matching fitted on the others; 95 % of the
null with time shuffled, and of random rotations. Then `cryodrgn eval_vol` along each source: the change of the volumes
between the ends of the traversal against the change of the true volumes with each hinge alone, as correlation over
voxels. Steps whose output lies in --out are not done again.
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from tempica import open_store
from tempica.evaluate import mcc
from tempica.exchange.mrc_volume import read_volume
from tempica.stores.opening import open_stored

RECIPES = Path(__file__).parents[2] / "simulations"
HELD_OUT = 2  # replicas, the last ones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="the command cryodrgn")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--frames", type=int, default=1600, help="of each of eight replicas")
    parser.add_argument("--snr", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--zdim", type=int, default=8)
    parser.add_argument("--width", type=int, default=128, help="of cryoDRGN's networks")
    a = parser.parse_args()
    out, peer = a.out.resolve(), a.peer.absolute()
    out.mkdir(parents=True, exist_ok=True)
    run, particles, vae, axes = out / "run", out / "particles", out / "vae", out / "axes"
    (out / "recipe.toml").write_text(recipe(a.frames, a.snr, a.seed))
    seconds = {
        "run": once(run / "scores.json", tempica("run", out / "recipe.toml", "--out", run, "--until", "evaluate"))
    }
    star = particles / "particles.star"
    seconds["export"] = once(star, tempica("export", run, "--to", "relion", particles))
    pose, ctf = out / "pose.pkl", out / "ctf.pkl"
    once(pose, [peer, "parse_pose_star", star, "-o", pose])
    once(ctf, [peer, "parse_ctf_star", star, "-o", ctf])
    weights, latents = (vae / f"{name}.{a.epochs}.pkl" for name in ("weights", "z"))
    size = ["--enc-dim", a.width, "--dec-dim", a.width, "--zdim", a.zdim, "-n", a.epochs, "--seed", a.seed]
    train = [peer, "train_vae", star, "--poses", pose, "--ctf", ctf, *size, "--no-analysis", "--no-amp", "-o", vae]
    seconds["train_vae"] = once(latents, train)
    told = ["--star", star, "--replicas", "_tempicaReplica", "--time", "_tempicaTime", "--components", 2]
    seconds["unmix"] = once(axes / "unmix.json", tempica("unmix", latents, *told, "--out", axes))
    record = json.loads((axes / "unmix.json").read_text())
    figures: dict[str, Any] = {"verdict": record["verdict"], "given_out": record["given_out"]}
    figures["scores"] = scores(run, latents, axes, record)
    figures["volumes"] = volumes(run, peer, weights, vae / "config.yaml", axes, out)
    print(json.dumps({"benchmark": "unmix_cryodrgn", "frames": 8 * a.frames, "snr": a.snr, "seed": a.seed,
                      "zdim": a.zdim, "seconds": seconds, "figures": figures}))  # fmt: skip


def recipe(n_frames: int, snr: float, seed: int) -> str:
    text = (RECIPES / "adenylate_kinase.toml").read_text().replace('"structures/', f'"{RECIPES}/structures/')
    for old, new in {
        "seed = 1\n": f"seed = {seed}\n",
        "n_frames = 1600\n": f"n_frames = {n_frames}\n",
        "snr = 0.1 ": f"snr = {snr} ",
        "n_pixels = 64\npixel_size_A = 1.5\n": "n_pixels = 32\npixel_size_A = 3.0\n",
        '{ knowledge = "hidden" }': '{ knowledge = "known" }',
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    tomllib.loads(text)
    return text


def tempica(*arguments: object) -> list[object]:
    return [sys.executable, "-m", "tempica.cli", *arguments]


def once(made: Path, command: list[object]) -> float:
    """Seconds of a command, unless what it makes is there."""
    if made.exists():
        return 0.0
    started = time.monotonic()
    print("$ " + " ".join(map(str, command)), file=sys.stderr, flush=True)
    subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr)
    return round(time.monotonic() - started, 1)


def scores(run: Path, latents: Path, axes: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Of held-out replicas, in the order of the STAR file: replica after replica."""
    trajectory = open_store(run / "trajectory.zarr", "trajectory")
    truth = trajectory["collective_variable"].values
    n_replicas, n_frames, _ = truth.shape
    replica = np.repeat(np.arange(n_replicas), n_frames)
    train = replica < n_replicas - HELD_OUT
    with latents.open("rb") as file:
        z = np.asarray(pickle.load(file), dtype=np.float64)  # written by the run above
    centred = z - z[train].mean(0)
    principal = centred @ np.linalg.svd(centred[train], full_matrices=False)[2][:2].T
    unmixed = open_stored(axes / "sources.zarr", "source_table")["source"].values[-1][:, : record["n_components"]]
    candidates = {"raw z": z, "principal components": principal, "unmix": unmixed}
    found = {name: score(S, truth.reshape(-1, truth.shape[-1]), replica, train) for name, S in candidates.items()}
    stored = json.loads((run / "scores.json").read_text())
    found["our embed"] = {
        f"{row['method']}, {row['stage']}": round(row["value"], 3)
        for row in stored["rows"]
        if (row["metric"], row["split"]) == ("mcc_spearman", "held_out")
    }
    return found


def score(S: np.ndarray, truth: np.ndarray, replica: np.ndarray, train: np.ndarray) -> dict[str, Any]:
    found = mcc(S, truth, replicas=replica, train=train)
    return {
        "mcc": round(found.score, 3),
        "interval": [round(float(bound), 3) for bound in found.interval],
        "null_95": round(found.null_95, 3),
        "rotation_null_95": None if found.rotation_null_95 is None else round(found.rotation_null_95, 3),
        "r2": round(found.r2, 3),
    }


def volumes(run: Path, peer: Path, weights: Path, config: Path, axes: Path, out: Path) -> dict[str, Any]:
    """Correlation of the change along each source with the true change with each hinge, the other in the middle."""
    trajectory, movie = open_store(run / "trajectory.zarr", "trajectory"), open_store(run / "movie.zarr", "movie")
    truth = trajectory["collective_variable"].values.reshape(-1, trajectory["collective_variable"].shape[-1])
    position = trajectory["position"].values.reshape(len(truth), -1, 3)
    pixel_A, n_pixels = float(movie.attrs["pixel_size_A"]), movie.sizes["x"]
    about = [movie[f"scatterer_{name}_A"].values.astype(np.float64) for name in ("amplitude", "width")]
    middle = np.abs(truth - np.median(truth, 0)) < 0.5 * truth.std(0)
    true = []
    for j in range(truth.shape[1]):
        others = np.delete(middle, j, axis=1).all(1)
        low, high = np.quantile(truth[others, j], [0.1, 0.9])
        ends = [position[others & (truth[:, j] >= high)], position[others & (truth[:, j] <= low)]]
        true.append(np.subtract(*[potential(some.mean(0), *about, n_pixels, pixel_A) for some in ends]))
    found = {}
    for path in sorted((axes / "traversals").glob("source_*.txt")):
        folder = out / f"volumes_{path.stem}"
        if not folder.exists():
            once(folder, [peer, "eval_vol", weights, "--config", config, "--zfile", path, "-o", folder])
        maps = [read_volume(file).density for file in sorted(folder.glob("*.mrc"))]
        change = maps[-1] - maps[0]
        found[path.stem] = [round(float(np.corrcoef(change.ravel(), t.ravel())[0, 1]), 3) for t in true]
    return found


def potential(
    position: np.ndarray, amplitude: np.ndarray, width: np.ndarray, n_pixels: int, pixel_A: float
) -> np.ndarray:
    """Sum of Gaussians of beads (N, 3) in nm on the grid [z, y, x]."""
    grid = pixel_A * (np.arange(n_pixels) - n_pixels // 2)
    factor = np.exp(-((grid - 10 * position[..., None].astype(np.float64)) ** 2) / (2 * width[:, :1, None] ** 2))
    return np.einsum(
        "n,nz,ny,nx->zyx", amplitude[:, 0] / width[:, 0] ** 3, *(factor[:, i] for i in (2, 1, 0)), optimize=True
    )


if __name__ == "__main__":
    main()
