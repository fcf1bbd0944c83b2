"""CPU seconds of fits beside those of an earlier version of the source, in turns on one thread.

    git worktree add /tmp/before COMMIT
    python tests/benchmarks/ica_before.py --before /tmp/before/src --rounds 5

Each round times the same fits with either source, in processes of their own, after a first fit that compiles:
training of stated numbers of steps, so that both do the same work, and PCL's default fit, whose steps and choices may
differ. Figures are medians; ratios above 1 mean that today's is slower. Ends with one line of JSON."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FITS = """
import json, sys, time, warnings
import torch
from tempica.ica import PCL, TCL
from tempica.ica.synthetic import autoregressive, modulated

warnings.simplefilter("ignore")
torch.set_num_threads(1)
series, segments = autoregressive(5, 2**14, n_layers=3, seed=101), modulated(5, 64, 256, n_layers=2, seed=101)
labels = segments.segments if hasattr(segments, "segments") else segments.labels
fits = {
    "pcl, training": lambda: PCL(5, max_steps=600, second_stage="none", score_function="reference").fit(series.X),
    "pcl, whole": lambda: PCL(5).fit(series.X),
    "tcl": lambda: TCL(5, max_steps=600).fit(segments.X, labels),
}
seconds = {}
for name, fit in fits.items():
    for _ in range(2):  # the first compiles
        started = time.process_time()
        fit()
        seconds[name] = time.process_time() - started
print(json.dumps(seconds))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="folder src of the earlier version")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    sources = {"before": arguments.before, "now": ROOT / "src"}
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(arguments.rounds):
        for which in sorted(sources, reverse=bool(number % 2)):
            environment = os.environ | {"PYTHONPATH": str(sources[which].resolve()), "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                [sys.executable, "-c", FITS], env=environment, capture_output=True, text=True, check=True
            )
            for name, seconds in json.loads(done.stdout.splitlines()[-1]).items():
                found.setdefault(name, {}).setdefault(which, []).append(seconds)
    figures = {}
    for name, times in found.items():
        before, now = (statistics.median(times[which]) for which in ("before", "now"))
        each = [n / b for n, b in zip(times["now"], times["before"], strict=True)]
        ratio = statistics.median(each)
        figures[name] = {"before_s": round(before, 2), "now_s": round(now, 2), "ratio": round(ratio, 3)}
        figures[name]["range"] = [round(min(each), 3), round(max(each), 3)]
    print(json.dumps({"benchmark": "ica_before", "rounds": arguments.rounds, "figures": figures}))


if __name__ == "__main__":
    main()
