"""A million rows of ten latents through `tempica unmix`: peak memory and time.

    python tests/benchmarks/unmix_large.py [--rows 1000000]

Without order (FastICA), then as one series (TICA). Prints the largest resident memory of each command, that of Python
with the modules alone (a thousand rows), and the size of the input in memory. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.signal import lfilter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    a = parser.parse_args()
    rng = np.random.default_rng(0)
    sources = np.stack([lfilter([1], [1, -memory], rng.laplace(size=a.rows)) for memory in np.linspace(0, 0.9, 10)], 1)
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in (1000, a.rows):
            path = Path(folder) / f"z{rows}.npy"
            np.save(path, (sources[:rows] @ rng.normal(size=(10, 10))).astype(np.float32))
            for name, asked in (("fastica", []), ("tica", ["--ordered", "--method", "tica"])):
                figures[f"{name}_{rows}"] = measured(path, Path(folder) / f"{name}{rows}", asked)
                print(name, rows, figures[f"{name}_{rows}"], flush=True)
    size = 8 * 10 * a.rows / 2**20
    print(json.dumps({"benchmark": "unmix_large", "rows": a.rows, "input_MiB": round(size), "figures": figures}))


def measured(path: Path, out: Path, asked: list[str]) -> dict[str, float]:
    """Peak memory (MiB), CPU and wall seconds of a command, in a process of its own that has no other child."""
    command = [sys.executable, "-m", "tempica.cli", "unmix", str(path), "--out", str(out), *asked]
    code = (
        "import json, resource, subprocess, sys, time; began = time.monotonic();"
        f" done = subprocess.run({command!r}, capture_output=True);"
        " use = resource.getrusage(resource.RUSAGE_CHILDREN);"
        " print(json.dumps([done.returncode, use.ru_maxrss / 1024, use.ru_utime, time.monotonic() - began]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, memory, cpu, wall = json.loads(done.stdout)
    if status:
        raise SystemExit(f"{command} ended with {status}")
    return {"peak_MiB": round(memory), "cpu_s": round(cpu, 1), "wall_s": round(wall, 1)}


if __name__ == "__main__":
    main()
