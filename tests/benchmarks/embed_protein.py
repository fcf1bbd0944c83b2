"""Hidden poses and one structure, for molecules of which nothing was tuned: another protein, or four arms.

    python tests/benchmarks/embed_protein.py --out /tmp/protein --open first.pdb --closed second.pdb
    python tests/benchmarks/embed_protein.py --out /tmp/arms --arms

`--open` and `--closed` are two forms of one protein, with the same residues. Its domains are found by comparing them,
and the angles between the largest and the others (`--domains`, at most) are driven by Laplace autoregressions, 0.95
and 0.8 a frame, about their values in the first form. `--arms` is the recipe arms_laplace. No pose is told,
and of the molecule one structure. Prints held-out Spearman correlations with the truth, and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

RECIPES = Path(__file__).parents[2] / "simulations"
PROTEIN = """name = "protein"
seed = 1

[simulate]
n_replicas = 8
n_frames = 400
steps_per_frame = 600
ensemble_frames = 100

[simulate.molecule]
structure = "{open}"
second_structure = "{closed}"
n_domains = {domains}
body = "domain_1"

{dynamics}
[render]
n_pixels = {pixels}
pixel_size_A = 1.5
snr = 0.1

[embed]
n_modes = {modes}

[train]
methods = ["tica"]
n_components = {sources}
"""
DRIVEN = """[[simulate.dynamics]]
collective_variable = "hinge_{number}"
process = "ar1"
innovation = "laplace"
coefficient = {coefficient}
deviation = {deviation}
"""
RATES = (0.95, 0.8, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--open", type=Path, help="structure file that embed is given")
    parser.add_argument("--closed", type=Path, help="the other form")
    parser.add_argument("--arms", action="store_true", help="the recipe arms_laplace instead")
    parser.add_argument("--domains", type=int, default=3)
    parser.add_argument("--deviation", type=float, default=7.0, help="degrees, of each angle")
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--frames", type=int, default=400, help="of each of the eight replicas")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.arms == bool(arguments.open and arguments.closed):
        parser.error("give either --arms, or both --open and --closed")
    figures = {}
    for seed in arguments.seeds:
        figures[seed] = carry_out(seed, arguments)
        print(f"seed {seed}: {json.dumps(figures[seed])}", file=sys.stderr, flush=True)
    sizes = {"frames": 8 * arguments.frames, "molecule": "arms" if arguments.arms else arguments.open.stem}
    today = datetime.date.today().isoformat()
    print(json.dumps({"benchmark": "embed_protein", "date": today, **sizes, "figures": figures}))


def carry_out(seed: int, arguments: argparse.Namespace) -> dict:
    """Do what is not up to date of a run; returns its figures."""
    text = arms() if arguments.arms else protein(arguments)
    text = text.replace("[embed]\n", '[render.poses]\nknowledge = "hidden"\n\n[embed]\nmodes_from = "structure"\n')
    text = re.sub(r"^seed = .*", f"seed = {seed}", text, flags=re.M)
    text = re.sub(r"^n_frames = .*", f"n_frames = {arguments.frames}", text, flags=re.M)
    arguments.out.mkdir(parents=True, exist_ok=True)
    run = arguments.out / f"{'arms' if arguments.arms else arguments.open.stem}-{arguments.frames}-{seed}"
    recipe = run.with_suffix(".toml")
    recipe.write_text(text)
    command = [sys.executable, "-m", "tempica.cli", "run", recipe, "--out", run, "--until", "evaluate"]
    subprocess.run([*command, "--jobs", str(arguments.jobs)], check=True, stdout=sys.stderr)
    content = json.loads((run / "scores.json").read_text())
    rows = [r for r in content["rows"] if r["split"] == "held_out" and r["metric"] == "mcc_spearman"]
    keys = ("value", "null_95", "ceiling", "ceiling_temporal")
    found = {
        f"{row['method']} {row['stage']}": {key: row[key] and round(row[key], 3) for key in keys}
        | {"interval": [round(end, 3) for end in row["interval"]]}
        for row in rows
    }
    poses = next(split for split in content["poses"]["splits"] if split["split"] == "all")
    angle = round(statistics.median(poses["angle_deg"]), 2)
    return {"scores": found, "pose_deg": angle, "lost": round(poses["lost"], 4)}


def arms() -> str:
    text = (RECIPES / "arms_laplace.toml").read_text()
    return text.replace('methods = ["tica", "pcl", "snica"]', 'methods = ["tica", "pcl"]')


def protein(arguments: argparse.Namespace) -> str:
    n = arguments.domains - 1
    driven = [
        DRIVEN.format(number=k + 1, coefficient=RATES[k % len(RATES)], deviation=arguments.deviation) for k in range(n)
    ]
    return PROTEIN.format(
        open=arguments.open.resolve(),
        closed=arguments.closed.resolve(),
        domains=arguments.domains,
        pixels=arguments.pixels,
        modes=n + 2,
        sources=n,
        dynamics="\n".join(driven),
    )


if __name__ == "__main__":
    main()
