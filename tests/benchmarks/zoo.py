"""Every committed recipe from its molecule to its scores, by the methods that it names.

    python tests/benchmarks/zoo.py --out /tmp/zoo
    python tests/benchmarks/zoo.py --out /tmp/zoo --only arms_pump_probe --seed 2

Runs that are complete in --out are not done again, and one that was interrupted goes on: give the same command. Prints
a table in Markdown (held-out Spearman correlation with the truth, its 95 % interval, the 95 % quantiles of its null and
of random rotations of what was recovered, and the single-frame ceiling), and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "simulations"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names of recipes; all if not given")
    parser.add_argument("--seed", type=int, help="in the place of each recipe's own")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--until", help="last stage, for all recipes")
    arguments = parser.parse_args()
    names = arguments.only or sorted(path.stem for path in RECIPES.glob("*.toml"))
    figures = {}
    for name in names:
        started = time.perf_counter()
        run = carry_out(name, arguments)
        figures[name] = {"seconds": round(time.perf_counter() - started, 1), **scores(run)}
        print(f"{name}: {json.dumps(figures[name])}", file=sys.stderr, flush=True)
    print(table(figures))
    today = datetime.date.today().isoformat()
    print(json.dumps({"benchmark": "zoo", "date": today, "seed": arguments.seed, "figures": figures}))


def carry_out(name: str, arguments: argparse.Namespace) -> Path:
    """Do what is not up to date of a recipe's run; returns its folder."""
    source = RECIPES / f"{name}.toml"
    text = source.read_text().replace('"structures/', f'"{RECIPES}/structures/')
    run = arguments.out / name
    if arguments.seed is not None:
        text = re.sub(r"^seed = .*", f"seed = {arguments.seed}", text, flags=re.M)
        run = arguments.out / f"{name}_seed_{arguments.seed}"
    recipe = arguments.out / f"{run.name}.toml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(text)
    heights = tomllib.loads(text).get("render", {}).get("kind") == "afm"  # nothing embeds them
    until = "render" if heights else arguments.until or "report"
    command = [sys.executable, "-m", "tempica.cli", "run", recipe, "--out", run, "--until", until]
    subprocess.run([*command, "--jobs", str(arguments.jobs)], check=True, stdout=sys.stderr)
    return run


def scores(run: Path) -> dict:
    """Held-out Spearman scores of a run, by method and stage, with what the methods say of their fit."""
    path = run / "scores.json"
    if not path.exists():
        return {"scores": {}}
    content = json.loads(path.read_text())
    rows = [r for r in content["rows"] if r["split"] == "held_out" and r["metric"] == "mcc_spearman"]
    matrices = [m for m in content["matrices"] if m["split"] == "held_out" and m["metric"] == "spearman"]
    found = {}
    for row, matrix in zip(rows, matrices, strict=True):
        each = {
            name: round(abs(matrix["matrix"][i][j]), 3) if i >= 0 else 0.0
            for j, (name, i) in enumerate(zip(matrix["collective_variables"], matrix["assignment"], strict=True))
        }
        found[f"{row['method']} {row['stage']}"] = {
            "value": round(row["value"], 3),
            "interval": [round(end, 3) for end in row["interval"]],
            "null_95": round(row["null_95"], 3),
            "rotation_null_95": row["rotation_null_95"] and round(row["rotation_null_95"], 3),
            "ceiling": row["ceiling"] and round(row["ceiling"], 3),
            "each": each,
        }
    said = {m["name"]: {k: m[k] for k in ("model", "ambiguity") if k in m} for m in content["methods"]}
    return {"scores": found, "said": {name: told for name, told in said.items() if told}}


def table(figures: dict) -> str:
    """The scores in Markdown: a row a recipe and method."""
    lines = [
        "| recipe | method | unmixed | smoothed | null, 95 % | rotations, 95 % | ceiling | left ambiguous |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, figure in figures.items():
        methods = dict.fromkeys(key.split()[0] for key in figure["scores"])
        for method in methods:
            unmixed = figure["scores"].get(f"{method} unmixed")
            smoothed = figure["scores"].get(f"{method} smoothed")
            if unmixed is None or method == "pca_pixels":
                continue
            ceiling, rotations = unmixed["ceiling"], unmixed["rotation_null_95"]
            told = figure["said"].get(method, {}).get("ambiguity", "")
            cells = [name, method, _cell(unmixed), _cell(smoothed), f"{unmixed['null_95']:.2f}"]
            cells.append(f"{rotations:.3f}" if rotations else "–")
            lines.append(f"| {' | '.join([*cells, f'{ceiling:.3f}' if ceiling else '–', told])} |")
    return "\n".join(lines)


def _cell(row: dict | None) -> str:
    return f"{row['value']:.3f} ({row['interval'][0]:.3f} to {row['interval'][1]:.3f})" if row else "–"


if __name__ == "__main__":
    main()
