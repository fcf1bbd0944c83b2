"""Embedding of adenylate kinase's movies by what is known of poses and motions: recovery, poses, ceilings, time.

    python tests/benchmarks/embed.py --out /tmp/embed
    python tests/benchmarks/embed.py --out /tmp/embed --only hidden-3deg-0.1 --seeds 1 2

Every case is a run of the recipe adenylate_kinase_known_poses with other poses, noise and knowledge; the cases of a
seed share one simulation. "3deg" is rotational diffusion of 3° a frame about each axis, with shift and focus kept;
"random" draws pose and focus anew for each frame. Runs that are complete in --out are not done again. With --quick only
TICA is trained and no ceilings are told, which takes half the time. Prints a table in
Markdown (held-out Spearman correlation with the truth, median over seeds and each) and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "simulations"
BASE = "adenylate_kinase_known_poses"


def poses(kind: str, knowledge: str) -> str:
    """The recipe's table of poses."""
    table = {"knowledge": f'"{knowledge}"'}
    if kind.endswith("deg"):
        turn = math.radians(float(kind.removesuffix("deg")))
        table |= {"kind": '"diffusion"', "frame_interval_s": "1.0", "rotational_diffusion_per_s": f"{turn**2 / 2:.12g}"}
    if knowledge == "approximate":
        table |= {"error_deg": "2.0", "error_A": "0.5"}
    return "[render.poses]\n" + "\n".join(f"{name} = {value}" for name, value in table.items()) + "\n"


def case(kind: str, snr: str, knowledge: str, start: str) -> tuple[str, str, str]:
    """What replaces snr, poses and the start of embed in the recipe."""
    return f"snr = {snr}\n", poses(kind, knowledge), f'[embed]\nmodes_from = "{start}"\n'


CASES = {
    "known-ensemble-1": case("random", "1.0", "known", "ensemble"),
    "known-ensemble-0.1": case("random", "0.1", "known", "ensemble"),
    "known-ensemble-0.03": case("random", "0.03", "known", "ensemble"),
    "known-ensemble-0.01": case("random", "0.01", "known", "ensemble"),
    "known-structure-0.1": case("random", "0.1", "known", "structure"),
    "known-structure-0.03": case("random", "0.03", "known", "structure"),
    "hidden-random-0.1": case("random", "0.1", "hidden", "structure"),
    "hidden-3deg-0.1": case("3deg", "0.1", "hidden", "structure"),
    "hidden-10deg-0.1": case("10deg", "0.1", "hidden", "structure"),
    "hidden-random-0.03": case("random", "0.03", "hidden", "structure"),
    "hidden-3deg-0.03": case("3deg", "0.03", "hidden", "structure"),
    "hidden-3deg-0.01": case("3deg", "0.01", "hidden", "structure"),
    "approximate-structure-0.1": case("random", "0.1", "approximate", "structure"),
    "approximate-images-0.1": case("random", "0.1", "approximate", "images"),
    "known-3deg-0.1": case("3deg", "0.1", "known", "ensemble"),
    "known-10deg-0.1": case("10deg", "0.1", "known", "ensemble"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--only", nargs="+", metavar="CASE", choices=CASES, help="cases; all if not given")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="TICA alone, no ceilings")
    arguments = parser.parse_args()
    figures: dict[str, dict[int, dict]] = {}
    for name in arguments.only or CASES:
        for seed in arguments.seeds:
            figure = figures.setdefault(name, {})[seed] = carry_out(name, seed, arguments)
            print(f"{name}, seed {seed}: {json.dumps(figure)}", file=sys.stderr, flush=True)
    print(table(figures))
    today = datetime.date.today().isoformat()
    print(json.dumps({"benchmark": "embed", "date": today, "seeds": arguments.seeds, "figures": figures}))


def carry_out(name: str, seed: int, arguments: argparse.Namespace) -> dict:
    """Do what is not up to date of a case, beginning with the seed's simulation; returns its figures."""
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    text = (RECIPES / f"{BASE}.toml").read_text().replace('"structures/', f'"{RECIPES}/structures/')
    text = re.sub(r"^seed = .*", f"seed = {seed}", text, flags=re.M)
    simulated, run = out / f"simulated-{seed}", out / f"{name}-{seed}"
    execute(out / f"{simulated.name}.toml", text, simulated, "simulate", arguments.jobs)
    if not run.exists():
        shutil.copytree(simulated, run)
    snr, table_of_poses, start = CASES[name]
    text = re.sub(r"^snr = .*\n", snr, text, flags=re.M)
    text = text.replace("[embed]\n", f"{table_of_poses}\n{start}")
    if arguments.quick:
        text = text.replace('methods = ["tica", "pcl"]', 'methods = ["tica"]')
        text += "\n[evaluate]\nn_ceiling_frames = 50\n"
    before = time.perf_counter()
    execute(out / f"{run.name}.toml", text, run, "embed", arguments.jobs)
    seconds = time.perf_counter() - before
    execute(out / f"{run.name}.toml", text, run, "evaluate" if arguments.quick else "report", arguments.jobs)
    figure = scores(json.loads((run / "scores.json").read_text()))
    if arguments.quick:
        figure = {key: value for key, value in figure.items() if not key.startswith("ceiling")}
    return {"seconds_to_latents": round(seconds, 1), **figure}


def execute(recipe: Path, text: str, run: Path, until: str, jobs: int) -> None:
    recipe.write_text(text)
    command = [sys.executable, "-m", "tempica.cli", "run", recipe, "--out", run, "--until", until, "--jobs", str(jobs)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def scores(content: dict) -> dict:
    """Held-out Spearman scores of a run, by method and stage, and what it says of poses and latents in all frames."""
    found: dict = {}
    for row in content["rows"]:
        if row["split"] == "held_out" and row["metric"] == "mcc_spearman":
            found[f"{row['method']} {row['stage']}"] = {
                "value": round(row["value"], 3),
                "interval": [round(end, 3) for end in row["interval"]],
                "null_95": round(row["null_95"], 3),
            }
            ceilings = {key: row[key] and round(row[key], 3) for key in row if key.startswith("ceiling")}
    figure = {"scores": found, **ceilings}
    for of in [part for part in content.get("latents", []) if part["split"] == "all"]:
        figure |= {"latents": of["squared_error"], "leak": of["leak"], "leak_null": of["leak_null"]}
    for of in [part for part in content.get("poses", {}).get("splits", []) if part["split"] == "all"]:
        middle = [values[len(values) // 2] for values in (of["angle_deg"], of["bound_deg"])]
        figure |= {"poses": of["squared_error"], "lost": of["lost"], "pose_deg": middle[0], "bound_deg": middle[1]}
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in figure.items()}


COLUMNS = ("ceiling", "ceiling_temporal", "latents", "leak", "poses", "pose_deg", "bound_deg", "lost")
"""Of a case's row: medians over seeds, but of the frames that are lost the largest share."""


def table(figures: dict[str, dict[int, dict]]) -> str:
    """The smoothed scores in Markdown: a row a case, the median over seeds and each, and medians of the rest."""
    methods = dict.fromkeys(
        key for case in figures.values() for figure in case.values() for key in figure["scores"] if "smoothed" in key
    )
    lines = [
        f"| case | {' | '.join(key.split()[0] for key in methods)} | {' | '.join(COLUMNS)} |",
        "|---" * (len(methods) + len(COLUMNS) + 1) + "|",
    ]
    for name, of_case in figures.items():
        cells = [name]
        for key in methods:
            values = [figure["scores"][key]["value"] for figure in of_case.values() if key in figure["scores"]]
            cells.append(f"{statistics.median(values):.3f} ({', '.join(f'{v:.3f}' for v in values)})" if values else "")
        for key in COLUMNS:
            values = [figure[key] for figure in of_case.values() if figure.get(key) is not None]
            middle = max if key == "lost" else statistics.median
            cells.append(f"{middle(values):.3f}" if values else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
