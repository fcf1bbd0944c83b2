"""The whole chain on the committed recipe: scores over seeds, with and without noise, beside chance and ceiling.

    python tests/benchmarks/chain.py --seeds 1 2 3 --out /tmp/chain

Every seed is simulated once; the noise-free movie is of the same trajectory. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "simulations" / "adenylate_kinase.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--snr", nargs="+", default=["0.1", "inf"])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    figures: dict[str, dict] = {}
    for seed in arguments.seeds:
        simulated: Path | None = None
        for snr in arguments.snr:
            run = arguments.out / f"seed_{seed}_snr_{snr}"
            if simulated is not None and not run.exists():
                shutil.copytree(simulated, run)
            seconds = _run(seed, snr, run)
            simulated = run
            figures[f"seed {seed}, snr {snr}"] = {"seconds": round(seconds, 1), **_scores(run)}
            print(f"seed {seed}, snr {snr}:", json.dumps(figures[f"seed {seed}, snr {snr}"]), flush=True)
    print(json.dumps({"benchmark": "chain", "figures": figures}))


def _run(seed: int, snr: str, run: Path) -> float:
    text = RECIPE.read_text().replace('"structures/', f'"{RECIPE.parent}/structures/')
    text = re.sub(r"^seed = .*", f"seed = {seed}", text, flags=re.M)
    text = re.sub(r"^snr = .*", f"snr = {snr}", text, flags=re.M)
    recipe = run.parent / f"{run.name}.toml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(text)
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tempica.cli", "run", recipe, "--out", run], check=True, stdout=sys.stderr)
    return time.perf_counter() - started


def _scores(run: Path) -> dict:
    rows = json.loads((run / "scores.json").read_text())["rows"]
    return {
        f"{row['method']} {row['stage']}": {
            name: [round(x, 3) for x in row[name]] if name == "interval" else row[name] and round(row[name], 3)
            for name in ("value", "null", "null_95", "interval", "ceiling")
        }
        for row in rows
        if row["split"] == "held_out" and row["metric"] == "mcc_spearman"
    }


if __name__ == "__main__":
    main()
