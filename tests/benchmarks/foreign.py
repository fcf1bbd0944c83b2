"""Real trajectories of adenylate kinase through the whole chain: import … report; ends with one line of JSON.

    python -m venv /tmp/adk && /tmp/adk/bin/pip download --no-deps --no-binary :all: -d /tmp/adk MDAnalysisTests
    tar -xzf /tmp/adk/mdanalysistests-*.tar.gz -C /tmp/adk
    python tests/benchmarks/foreign.py /tmp/adk/mdanalysistests-*/MDAnalysisTests/data --out /tmp/foreign

Two dynamic-importance-sampling paths and one targeted simulation between closed and open (98, 102 and 100 frames of
3,341 atoms, DCD with a PSF), cut into nine replicas of 32 frames: biased, far from stationary, and short, so that the
scores say that the chain works, not how well it can. Hinges are those of simulations/adenylate_kinase.toml; what the
store says of them is compared with a plain calculation from all atoms. Then a solvated, periodic, broken-up XTC and
TRR of the same protein (10 frames of 47,681 atoms) are imported; chains must be whole and both formats agree.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import tomllib
import warnings
from pathlib import Path

import mdtraj
import numpy as np

from tempica import open_store
from tempica.recipe.residues import residues

HINGES = tomllib.loads((Path(__file__).parents[2] / "simulations" / "adenylate_kinase.toml").read_text())["simulate"][
    "collective_variables"
]
PATHS = ("adk_dims.dcd", "adk_gbis_tmd-fast1_NAMD.dcd", "adk_dims2.dcd")
N_FRAMES = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--selection", default="name CA")
    arguments = parser.parse_args()
    data, out = arguments.data, arguments.out
    warnings.simplefilter("ignore")
    out.mkdir(parents=True, exist_ok=True)
    figures = {"whole_chain": chain(data, out, arguments.selection), "solvated": solvated(data, out)}
    figures["peak_MB_of_children"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    print(json.dumps(figures))


def chain(data: Path, out: Path, selection: str) -> dict[str, object]:
    """Import three paths, do every stage, compare the hinges."""
    text = recipe("adk_paths", 9, N_FRAMES, 100, interval=True)
    times = [_import([data / name for name in PATHS], data / "adk.psf", text, out / "paths", "--selection", selection)]
    started = time.perf_counter()
    _tempica("run", out / "paths")
    times.append(time.perf_counter() - started)
    store = open_store(out / "paths" / "trajectory.zarr", "trajectory")
    stored = np.degrees(store["collective_variable"].values)
    blocks = [angles(mdtraj.load(str(data / name), top=str(data / "adk.psf")), selection) for name in PATHS]
    plain = np.concatenate([x[: len(x) // N_FRAMES * N_FRAMES].reshape(-1, N_FRAMES, 2) for x in blocks])
    rows = json.loads((out / "paths" / "scores.json").read_text())["rows"]
    return {
        "seconds_import": round(times[0], 1),
        "seconds_run": round(times[1], 1),
        "largest_difference_deg": float(np.abs(stored - plain).max()),
        "range_deg": {
            hinge["name"]: [round(float(end), 1) for end in (stored[..., i].min(), stored[..., i].max())]
            for i, hinge in enumerate(HINGES)
        },
        "slow_mode_timescale_ps": [round(float(t), 2) for t in store["slow_mode_timescale"].values],
        "scores": {
            f"{r['method']} {r['stage']}": [round(r["value"], 3), round(r["null"], 3)]
            for r in rows
            if (r["split"], r["metric"]) == ("held_out", "mcc_spearman")
        },
    }


def solvated(data: Path, out: Path) -> dict[str, object]:
    """Import a periodic box as XTC and TRR; the chain's longest step, and how far the formats differ."""
    text = recipe("adk_box", 4, 5, 10, interval=False)
    seconds = _import([data / "adk_oplsaa.xtc", data / "adk_oplsaa.trr"], data / "adk_oplsaa.gro", text, out / "box")
    store = open_store(out / "box" / "trajectory.zarr", "trajectory")
    position = store["position"].values.astype(np.float64)
    steps = np.linalg.norm(np.diff(position, axis=2), axis=-1)
    raw = mdtraj.load(str(data / "adk_oplsaa.xtc"), top=str(data / "adk_oplsaa.gro"))
    alpha = raw.xyz[:, raw.topology.select("name CA")]
    protein = raw.atom_slice(raw.topology.select("protein")).make_molecules_whole()
    variable = np.degrees(store["collective_variable"].values)
    return {
        "seconds_import": round(seconds, 1),
        "longest_step_nm": round(float(steps.max()), 4),
        "longest_step_in_the_file_nm": round(float(np.linalg.norm(np.diff(alpha, axis=1), axis=-1).max()), 4),
        "xtc_trr_difference_deg": float(np.abs(variable[:2] - variable[2:]).max()),
        "mdtraj_whole_difference_deg": float(np.abs(variable[:2].reshape(-1, 2) - angles(protein)).max()),
        "interval_ps": float(np.diff(store["time"].values)[0]),
    }


def angles(trajectory: mdtraj.Trajectory, selection: str = "name CA") -> np.ndarray:
    """Hinge angles (frame, hinge) in degrees from the centroids of the selected atoms, by the arc cosine."""
    chosen = trajectory.topology.select(selection)
    numbers = np.array([trajectory.topology.atom(i).residue.resSeq for i in chosen])
    xyz = trajectory.xyz[:, chosen].astype(np.float64)
    found = []
    for hinge in HINGES:
        a, b, c = (xyz[:, np.isin(numbers, residues(text))].mean(1) for text in hinge["residues"])
        u, v = a - b, c - b
        found.append(np.arccos((u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)))
    return np.degrees(np.stack(found, -1))


def recipe(name: str, n_replicas: int, n_frames: int, ensemble: int, *, interval: bool) -> str:
    """All but the molecule's files."""
    hinges = "\n".join(
        f'[[simulate.collective_variables]]\nname = "{h["name"]}"\nresidues = {json.dumps(h["residues"])}'
        for h in HINGES
    )
    given = "frame_interval = 1.0" if interval else ""
    return f"""name = "{name}"
[simulate]
n_replicas = {n_replicas}
n_frames = {n_frames}
ensemble_frames = {ensemble}
[simulate.molecule]
kind = "trajectory"
body = "1-29, 68-117, 161-214"
{given}
{hinges}
[render]
snr = 1.0
[train]
held_out_replicas = {2 if n_replicas > 4 else 1}
"""


def _import(files: list[Path], topology: Path, text: str, out: Path, *more: str) -> float:
    path = out.with_suffix(".toml")
    path.write_text(text)
    started = time.perf_counter()
    _tempica("import", *files, "--topology", topology, "--recipe", path, "--out", out, *more)
    return time.perf_counter() - started


def _tempica(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "tempica.cli", *map(str, arguments)], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
