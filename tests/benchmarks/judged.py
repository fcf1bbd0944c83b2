"""Verdicts, coverage of bands and sizes of pages, of finished runs.

    tempica run simulations/quick_look.toml
    python tests/benchmarks/judged.py runs/quick_look runs/adenylate_kinase

Reads scores.json and report.html; computes nothing anew. Ends with one line of JSON: of each run its grade, sentence
and warnings, the coverage of ±2 SD bands of every learned method at its last stage (mean over variables, before and
after widening), and the page's size.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    print(json.dumps({run.name: judged(run) for run in parser.parse_args().runs}))


def judged(run: Path) -> dict[str, Any]:
    """What is told of one run."""
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    coverage = {}
    for method in scores["verdict"]["methods"]:
        where = {"method": method["method"], "stage": method["stage"]}
        own = [band for band in scores["bands"] if where.items() <= band.items()]
        if own:
            coverage[method["method"]] = {
                name: round(sum(band[name] for band in own) / len(own), 3)
                for name in ("coverage_posterior", "coverage", "factor")
            }
    return {
        "grade": scores["verdict"]["grade"],
        "sentence": scores["verdict"]["sentence"],
        "grades": {
            method["method"]: {source["variable"]: source["grade"] for source in method["sources"]}
            for method in scores["verdict"]["methods"]
        },
        "warnings": len(scores["warnings"]),
        "coverage": coverage,
        "page_kB": (run / "report.html").stat().st_size // 1000,
    }


if __name__ == "__main__":
    main()
