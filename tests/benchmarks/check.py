"""Bias tests of sound runs of adenylate kinase, and of runs with something planted in them.

    python tests/benchmarks/check.py --out /tmp/check
    python tests/benchmarks/check.py --out /tmp/check --only known-sound known-motion

Runs are of the recipe adenylate_kinase_known_poses, or with its poses hidden, and share one simulation. Planted are: a
movie of noise alone; the structure of other beads, the same in number; the motion of a molecule whose beads are in
reversed order; and training replicas of which every other is of another molecule. Runs and checks that are complete in
--out are not done again. Prints a table in Markdown, and ends with one line of JSON: verdicts, what they should be, and
seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import tempica
from tempica.embed.checks.models import folded_differently
from tempica.embed.modes.elastic import elastic_modes
from tempica.embed.start import N_ELASTIC
from tempica.errors import TempicaError
from tempica.imaging.modes import Modes
from tempica.stores import store

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "simulations"
BASE = "adenylate_kinase_known_poses"
CASES = {  # knowledge of poses, where modes are from, the violation, and the tests that must fail
    "known-sound": ("known", "ensemble", None, set()),
    "known-noise": ("known", "ensemble", "noise", {"molecule"}),
    "known-structure": ("known", "structure", "structure", {"molecule"}),
    "known-motion": ("known", "ensemble", "motion", {"motion"}),
    "known-halves": ("known", "structure", "halves", {"halves"}),
    "hidden-sound": ("hidden", "structure", None, set()),
    "hidden-noise": ("hidden", "structure", "noise", {"molecule"}),
    "hidden-structure": ("hidden", "structure", "structure", {"molecule"}),
    "hidden-halves": ("hidden", "structure", "halves", {"halves"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--only", nargs="+", metavar="CASE", choices=CASES, help="cases; all if not given")
    parser.add_argument("--simulated", type=Path, help="a run to begin with, of another seed, say")
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    figures = {name: carry_out(name, arguments) for name in arguments.only or CASES}
    print(table(figures))
    today = datetime.date.today().isoformat()
    print(json.dumps({"benchmark": "check", "date": today, "frames": arguments.frames, "figures": figures}))


def carry_out(name: str, arguments: argparse.Namespace) -> dict:
    """Simulate, plant, embed and check what is not up to date of a case."""
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    pose, start, violation, expected = CASES[name]
    simulated, run = arguments.simulated or out / "simulated", out / name
    if arguments.simulated:
        text = (simulated / "recipe.toml").read_text().replace("[render.poses]\n", "")
    else:
        text = (RECIPES / f"{BASE}.toml").read_text().replace('"structures/', f'"{RECIPES}/structures/')
        tempica_run(out / "simulated.toml", text, simulated, "simulate", arguments.jobs)
    snr = "snr = 1e-6\n" if violation == "noise" else "snr = 0.1\n"
    text = re.sub(r"^snr = .*\n", snr, text, flags=re.M)
    text = text.replace("[embed]\n", f'[render.poses]\nknowledge = "{pose}"\n\n[embed]\nmodes_from = "{start}"\n')
    if not run.exists():
        shutil.copytree(simulated, run, ignore=shutil.ignore_patterns("movie.zarr", "poses.zarr"))
        plant(run, violation, before=True)
        tempica_run(out / f"{name}.toml", text, run, "render", arguments.jobs)
        plant(run, violation, before=False)
    tempica_run(out / f"{name}.toml", text, run, "embed", arguments.jobs)
    before = time.perf_counter()
    command = [sys.executable, "-m", "tempica.cli", "check", run, "--frames", arguments.frames]
    subprocess.run([*map(str, command), "--jobs", str(arguments.jobs)], check=True, stdout=sys.stderr)
    seconds = time.perf_counter() - before
    checks = json.loads((run / "checks.json").read_text())["checks"]
    verdicts = {row["name"]: row["verdict"] for row in checks}
    failed = {test for test, verdict in verdicts.items() if verdict == "failed"}
    told = failed >= expected if expected else not failed
    values = {row["name"]: {f["name"]: round(f["value"], 3) for f in row["figures"]} for row in checks}
    print(f"{name}: {'as it should be' if told else 'NOT TOLD'}: {verdicts}", file=sys.stderr, flush=True)
    return {
        "told": told,
        "failed": sorted(failed),
        "expected": sorted(expected),
        "seconds": round(seconds, 1),
        "figures": values,
    }


def tempica_run(recipe: Path, text: str, run: Path, until: str, jobs: int) -> None:
    recipe.write_text(text)
    command = [sys.executable, "-m", "tempica.cli", "run", recipe, "--out", run, "--until", until, "--jobs", jobs]
    subprocess.run([*map(str, command)], check=True, stdout=sys.stderr)


def plant(run: Path, violation: str | None, *, before: bool) -> None:
    """Overwrite what a run holds: before it is rendered, or before it is embedded."""
    form = read(run, "structure", "position")
    alien = folded(form)
    if violation == "halves" and before:
        position = read(run, "trajectory", "position")
        position[1:5:2] = alien + (position[1:5:2] - position[1:5:2].mean(1, keepdims=True))
        overwrite(run, "trajectory", position)
    if violation == "structure" and not before:
        overwrite(run, "structure", alien)
    if violation == "motion" and not before:
        position = read(run, "ensemble", "position")
        mean = position.mean(0)
        overwrite(run, "ensemble", mean + (position - mean)[:, ::-1])


def folded(form: np.ndarray) -> np.ndarray:
    """The same beads along another chain: the first that holds together as an elastic network, or none could begin."""
    for seed in itertools.count(5):
        alien = folded_differently(Modes(form, np.zeros((0, *form.shape))), np.random.default_rng(seed)).mean
        with contextlib.suppress(TempicaError):
            elastic_modes(alien, N_ELASTIC)
            return alien
    raise AssertionError("never reached")


def read(run: Path, kind: str, name: str) -> np.ndarray:
    return tempica.open_store(run / f"{kind}.zarr", kind)[name].values.astype(float)


def overwrite(run: Path, kind: str, position: np.ndarray) -> None:
    """Other positions in a completed store."""
    store.write(run / f"{kind}.zarr", {"position": position})
    store.seal(run / f"{kind}.zarr")


def table(figures: dict[str, dict]) -> str:
    lines = ["| case | must fail | failed | as it should be | seconds |", "|---|---|---|---|---|"]
    for name, row in figures.items():
        expected, failed = (", ".join(row[key]) or "none" for key in ("expected", "failed"))
        lines.append(f"| {name} | {expected} | {failed} | {'yes' if row['told'] else 'NO'} | {row['seconds']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
