"""Labelled snapshots, known and hidden poses side by side: what TCL, iVAE and GCL recover from delays alone.

    python tests/benchmarks/snapshots.py --out /tmp/snapshots
    python tests/benchmarks/snapshots.py --out /tmp/snapshots --only arms --seeds 1 --frames 100

Every image is of another molecule and carries its delay after a pulse. Worlds: "arms" is the recipe arms_pump_probe;
"ring" is the same without the handle on its hub, so that three turns of the molecule look alike and hidden poses of
snapshots cannot tell its equal arms apart; "adk" is adenylate kinase, whose two hinges relax at two rates. Cases:
"known-ensemble" tells poses and a simulation of the molecule, "known-structure" poses and one structure, and
"hidden-structure" one structure alone. Cases of a world and seed share their simulation, rendered anew with the
same noise. Runs that are complete in --out are not done again. Prints a table in Markdown (held-out Spearman
correlation with the truth: median over seeds and each) and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

RECIPES = Path(__file__).parents[2] / "simulations"
CASES = {
    "known-ensemble": ("known", "ensemble"),
    "known-structure": ("known", "structure"),
    "hidden-structure": ("hidden", "structure"),
}
# a pulse displaces both hinges by amounts of their own, and NMP forgets them five times as fast as LID: spreads relax.
# Were it their means alone, labels would fix no axes (Khemakhem et al. 2020)
RELAXING = """
[[simulate.dynamics]]
collective_variable = "NMP"
process = "relaxation"
mean = 60.0
deviation = 2.5
amplitude = 0.0
amplitude_deviation = 8.0
time_constant = 2.0

[[simulate.dynamics]]
collective_variable = "LID"
process = "relaxation"
mean = 125.0
deviation = 3.0
amplitude = 0.0
amplitude_deviation = 10.0
time_constant = 10.0

"""


def arms() -> str:
    return (RECIPES / "arms_pump_probe.toml").read_text()


def ring() -> str:
    return arms().replace("handle = true", "handle = false")


def adk() -> str:
    text = (
        (RECIPES / "adenylate_kinase_known_poses.toml").read_text().replace('"structures/', f'"{RECIPES}/structures/')
    )
    text = text[: text.index("[[simulate.dynamics]]")] + RELAXING.lstrip() + text[text.index("[render]") :]
    # of every frame another molecule, so that undriven motion need not fade within one
    text = text.replace("steps_per_frame = 600", "steps_per_frame = 200").replace("= 350", "= 100")
    snapshots = 'segment_frames = 20\nobservation = { mode = "snapshots", decorrelation_frames = 1 }\n'
    text = text.replace("[simulate.molecule]", f"{snapshots}\n[simulate.molecule]")
    return text.replace('methods = ["tica", "pcl"]', 'methods = ["tcl", "ivae", "gcl"]')


WORLDS = {"arms": arms, "ring": ring, "adk": adk}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--only", nargs="+", choices=WORLDS, default=list(WORLDS), help="worlds")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--frames", type=int, default=300, help="of each of the eight replicas")
    parser.add_argument("--snr", type=float, help="in the place of the recipes' own")
    parser.add_argument("--methods", nargs="+", help="in the place of tcl, ivae and gcl")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    figures: dict[str, dict[int, dict]] = {}
    for world in arguments.only:
        for seed in arguments.seeds:
            for case in arguments.cases:
                name = f"{world} {case}"
                figure = figures.setdefault(name, {})[seed] = carry_out(world, case, seed, arguments)
                print(f"{name}, seed {seed}: {json.dumps(figure)}", file=sys.stderr, flush=True)
    print(table(figures))
    sizes = {"frames": 8 * arguments.frames, "snr": arguments.snr, "seeds": arguments.seeds}
    today = datetime.date.today().isoformat()
    print(json.dumps({"benchmark": "snapshots", "date": today, **sizes, "figures": figures}))


def carry_out(world: str, case: str, seed: int, arguments: argparse.Namespace) -> dict:
    """Do what is not up to date of a case, beginning with the simulation that cases share; returns its figures."""
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    text = re.sub(r"^seed = .*", f"seed = {seed}", WORLDS[world](), flags=re.M)
    text = re.sub(r"^n_frames = .*", f"n_frames = {arguments.frames}", text, flags=re.M)
    if arguments.snr is not None:
        text = re.sub(r"^snr = .*", f"snr = {arguments.snr}", text, flags=re.M)
    if arguments.methods:
        text = re.sub(r"^methods = .*", f"methods = {json.dumps(arguments.methods)}", text, flags=re.M)
    stem = f"{world}-{arguments.frames}-{seed}"
    simulated, run = out / stem, out / f"{stem}-{arguments.snr or 'own'}-{case}"
    execute(out / f"{stem}.toml", text, simulated, "simulate", arguments.jobs)
    if not run.exists():
        shutil.copytree(simulated, run)
    knowledge, start = CASES[case]
    text = text.replace("[embed]\n", f'[render.poses]\nknowledge = "{knowledge}"\n\n[embed]\nmodes_from = "{start}"\n')
    before = time.perf_counter()
    execute(out / f"{run.name}.toml", text, run, "embed", arguments.jobs)
    seconds = time.perf_counter() - before
    execute(out / f"{run.name}.toml", text, run, "evaluate", arguments.jobs)
    return {"seconds_to_latents": round(seconds, 1), **scores(json.loads((run / "scores.json").read_text()))}


def execute(recipe: Path, text: str, run: Path, until: str, jobs: int) -> None:
    recipe.write_text(text)
    command = [sys.executable, "-m", "tempica.cli", "run", recipe, "--out", run, "--until", until, "--jobs", str(jobs)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def scores(content: dict) -> dict:
    """Held-out Spearman scores by method and stage, with interval, null and ceiling, and what is said of poses."""
    rows = [r for r in content["rows"] if r["split"] == "held_out" and r["metric"] == "mcc_spearman"]
    matrices = [m for m in content["matrices"] if m["split"] == "held_out" and m["metric"] == "spearman"]
    found = {}
    for row, matrix in zip(rows, matrices, strict=True):
        found[f"{row['method']} {row['stage']}"] = {
            "value": round(row["value"], 3),
            "interval": [round(end, 3) for end in row["interval"]],
            "null_95": round(row["null_95"], 3),
            "ceiling": row["ceiling"] and round(row["ceiling"], 3),
            "each": [
                round(abs(matrix["matrix"][i][j]), 3) if i >= 0 else 0.0 for j, i in enumerate(matrix["assignment"])
            ],
        }
    poses = [s for s in content.get("poses", {}).get("splits", []) if s["split"] == "held_out"]
    angle = {"pose_deg": round(statistics.median(poses[0]["angle_deg"]), 2), "lost": poses[0]["lost"]} if poses else {}
    return {"scores": found, **angle}


def table(figures: dict) -> str:
    """A row a world and case, a column a method, and the ceiling of single frames."""
    methods = dict.fromkeys(key for case in figures.values() for one in case.values() for key in one["scores"])
    lines = [f"| case | {' | '.join(methods)} | ceiling |", "|---" * (len(methods) + 2) + "|"]
    for name, of_case in figures.items():
        cells = [name]
        for key in methods:
            values = [one["scores"][key]["value"] for one in of_case.values() if key in one["scores"]]
            cells.append(f"{statistics.median(values):.3f} ({', '.join(f'{v:.3f}' for v in values)})" if values else "")
        ceilings = [next(iter(one["scores"].values()))["ceiling"] for one in of_case.values()]
        cells.append(f"{statistics.median(ceilings):.3f}" if all(ceilings) else "–")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
