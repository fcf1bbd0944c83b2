"""cryoDRGN's latents of our movie through `tempica unmix`, and back to its volumes; ends with one line of JSON.

    python -m venv /tmp/peer
    /tmp/peer/bin/pip install 'torch==2.13.*' cryodrgn
    python tests/benchmarks/unmix_cryodrgn.py --peer /tmp/peer/bin/cryodrgn --out /tmp/unmix_cryodrgn

The main job's dynamics (two hinges of adenylate kinase on sparse jumps of equal rate) with known poses, in 12,800
images of 32 pixels of 3 Å, and of SNR 1: cryoDRGN's encoder sees one image at a time, and what noise leaves of the
hinges in it is what can be unmixed (R² 0.47 of 6,400 images of SNR 0.3, after 30 epochs). Networks of 128 (encoder)
and 64 units (decoder), four latents, 20 epochs at a rate of 5e-4, one thread; a training that was cut goes on. Then
`tempica unmix z.N.pkl --star …` with replicas and time from the STAR file, its poses, defoci, shifts and replicas as
nuisances, and once more with poses and defoci taken out (`--given`).

Figures: mean correlation (Spearman) with the true hinges of raw latents, of their principal components, of the sources
of unmix and of our own `embed` with `train`, all on held-out replicas, the matching fitted on the others; 95 % of the
null with time shuffled, and of random rotations; the verdicts; what latents and sources carry: R² of functions of the
hinges and of each nuisance, on rows left out, and the correlation of a frame with the next. Then `cryodrgn eval_vol`
along each source: the change of the volumes between the ends of the traversal against the change of the true volumes
with each hinge alone, as correlation over voxels. `hinge` is what hinge each source follows, 0 or 1, in training
replicas. Steps whose output lies in --out are not done again.
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
from tempica.evaluate.leakage import functions_of
from tempica.exchange.mrc_volume import read_volume
from tempica.imaging.linearise import Scatterers
from tempica.imaging.pseudo_atoms import density_of
from tempica.stores.opening import open_stored
from tempica.unmix.nuisances import leakage

RECIPES = Path(__file__).parents[2] / "simulations"
HELD_OUT = 2  # replicas, the last ones
NUISANCES = ("pose", "_rlnDefocusU", "_rlnOriginXAngst", "_rlnOriginYAngst", "_tempicaReplica")
GIVEN = ("--given", "pose", "--given", "_rlnDefocusU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="the command cryodrgn")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--frames", type=int, default=1600, help="of each of eight replicas")
    parser.add_argument("--snr", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--zdim", type=int, default=4)
    parser.add_argument("--widths", type=int, nargs=2, default=(128, 64), help="of cryoDRGN's encoder and decoder")
    parser.add_argument("--rate", type=float, default=5e-4, help="of learning")
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
    size = ["--enc-dim", a.widths[0], "--dec-dim", a.widths[1], "--zdim", a.zdim, "-n", a.epochs, "--seed", a.seed]
    size += ["--lr", a.rate, *(["--load", "latest"] if list(vae.glob("weights.*.pkl")) else [])]
    train = [peer, "train_vae", star, "--poses", pose, "--ctf", ctf, *size, "--no-analysis", "--no-amp", "-o", vae]
    seconds["train_vae"] = once(latents, train)
    told = ["--star", star, "--replicas", "_tempicaReplica", "--time", "_tempicaTime", "--components", 2]
    nuisances = [part for name in NUISANCES for part in ("--nuisance", name)]
    asked = tempica("unmix", latents, *told, *nuisances, "--audit", "--out", axes)
    seconds["unmix"] = once(axes / "unmix.json", asked)
    given = out / "axes_given"
    once(given / "unmix.json", tempica("unmix", latents, *told, *GIVEN, "--out", given))
    record = json.loads((axes / "unmix.json").read_text())
    figures: dict[str, Any] = {"verdict": record["verdict"], "given_out": record["given_out"], "why": record["why"]}
    figures["audit"] = record["audit"]["verdict"]["kind"]
    figures["scores"], figures["carries"], figures["hinge"] = scores(
        run, latents, {"unmix": axes, "unmix, given pose and defocus": given}, record
    )
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


def scores(
    run: Path, latents: Path, axes: dict[str, Path], record: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], list[int]]:
    """Of held-out replicas, in the order of the STAR file: replica after replica."""
    trajectory = open_store(run / "trajectory.zarr", "trajectory")
    truth = trajectory["collective_variable"].values
    n_replicas, n_frames, _ = truth.shape
    truth = truth.reshape(-1, truth.shape[-1])
    replica = np.repeat(np.arange(n_replicas), n_frames)
    train = replica < n_replicas - HELD_OUT
    with latents.open("rb") as file:
        z = np.asarray(pickle.load(file), dtype=np.float64)  # written by the run above
    centred = z - z[train].mean(0)
    principal = centred @ np.linalg.svd(centred[train], full_matrices=False)[2][:2].T
    unmixed = {name: sources_of(folder) for name, folder in axes.items()}
    unmixed |= {f"{name}, smoothed": sources_of(folder, smoothed=True) for name, folder in axes.items()}
    candidates = {"raw z": z, "principal components": principal, **unmixed}
    found = {name: score(S, truth, replica, train) for name, S in candidates.items()}
    stored = json.loads((run / "scores.json").read_text())
    found["our embed"] = {
        f"{row['method']}, {row['stage']}": round(row["value"], 3)
        for row in stored["rows"]
        if (row["metric"], row["split"]) == ("mcc_spearman", "held_out")
    }
    functions = {"hinges": np.concatenate([functions_of(hinge, "hinge") for hinge in truth.T], axis=1)}
    S = unmixed["unmix"]
    next_one = np.flatnonzero(replica[1:] == replica[:-1])
    carried = {}
    for name, values, key in (("raw z", z, "of_latents"), ("unmix", S, "of_sources")):
        of_hinges = leakage(values, functions)["hinges"]
        carried[name] = {"hinges": of_hinges.r2.round(3).tolist()}
        carried[name] |= {row["nuisance"]: np.round(row[key]["r2"], 3).tolist() for row in record["leakage"]}
        pairs = zip(values[next_one].T, values[next_one + 1].T, strict=True)
        carried[name]["autocorrelation"] = [round(float(np.corrcoef(*pair)[0, 1]), 3) for pair in pairs]
    alike = np.abs(np.corrcoef(S[train].T, truth[train].T)[: S.shape[1], S.shape[1] :])
    return found, carried, alike.argmax(1).tolist()


def sources_of(axes: Path, *, smoothed: bool = False) -> np.ndarray:
    stored = open_stored(axes / "sources.zarr", "source_table")
    stored = stored["smoothed_source"].values if smoothed else stored["source"].values[-1]
    return stored[:, np.isfinite(stored).all(0)]


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
    about = Scatterers(*(movie[f"scatterer_{name}_A"].values.astype(np.float64) for name in ("amplitude", "width")))
    middle = np.abs(truth - np.median(truth, 0)) < 0.5 * truth.std(0)
    true = []
    for j in range(truth.shape[1]):
        others = np.delete(middle, j, axis=1).all(1)
        low, high = np.quantile(truth[others, j], [0.1, 0.9])
        ends = [position[others & (truth[:, j] >= high)], position[others & (truth[:, j] <= low)]]
        true.append(np.subtract(*[density_of(some.mean(0), about, n_pixels, pixel_A) for some in ends]))
    found = {}
    for path in sorted((axes / "traversals").glob("source_*.txt")):
        folder = out / f"volumes_{path.stem}"
        if not folder.exists():
            once(folder, [peer, "eval_vol", weights, "--config", config, "--zfile", path, "-o", folder])
        maps = [read_volume(file).density for file in sorted(folder.glob("*.mrc"))]
        change = maps[-1] - maps[0]
        found[path.stem] = [round(float(np.corrcoef(change.ravel(), t.ravel())[0, 1]), 3) for t in true]
    return found


if __name__ == "__main__":
    main()
