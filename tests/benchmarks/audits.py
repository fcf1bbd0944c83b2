"""Time and memory of an audit, and of the MCC, at the sizes that are promised.

    python tests/benchmarks/audits.py time
    python tests/benchmarks/audits.py memory

time: audits of 10,000 frames of four features, of worlds of the phase diagram: those that end with a linear map, and
those in which networks are tried. memory: an audit and the MCC of 1,000,000 frames of eight features, each in a process
of its own, whose peak memory is told. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import phase_diagram
from scipy.signal import lfilter

from tempica.evaluate import audit, mcc
from tempica.ica.synthetic import random_mixing

FRAMES, MANY, FEATURES = 10_000, 1_000_000, 8
DYNAMICS = ("ou_distinct", "laplace_equal", "wells_3kT", "coupled", "ring")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["time", "memory", "audit", "mcc"], help="audit, mcc: one part of memory")
    parser.add_argument("--dynamics", nargs="+", choices=phase_diagram.DYNAMICS, default=list(DYNAMICS))
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2], help="of the mixing")
    a = parser.parse_args()
    if a.what in ("audit", "mcc"):
        print(json.dumps(of_many(a.what)))
        return
    figures: dict[str, object] = {"benchmark": f"audits {a.what}", "date": datetime.date.today().isoformat()}
    if a.what == "memory":
        for one in ("audit", "mcc"):
            done = subprocess.run([sys.executable, __file__, one], check=True, stdout=subprocess.PIPE, text=True)
            figures[one] = json.loads(done.stdout)
    else:
        phase_diagram.FRAMES = FRAMES
        rows = [row(name, layers) for name in a.dynamics for layers in a.layers]
        figures |= {"most_cpu_s": max(each["cpu_s"] for each in rows), "rows": rows}
    print(json.dumps(figures))


def row(name: str, layers: int) -> dict[str, Any]:
    """Processor seconds of one audit."""
    S, labels = phase_diagram.DYNAMICS[name](np.random.default_rng(1))
    X = random_mixing(S.shape[1], layers, seed=1)(S)
    began = time.process_time()
    found = audit(X, labels=labels)
    told = {"name": name, "layers": layers, "frames": len(X), "cpu_s": round(time.process_time() - began, 1)}
    print(told | {"verdict": found.verdict.kind}, flush=True)
    return told


def of_many(what: str) -> dict[str, float]:
    """Processor seconds and peak memory (GiB) of a million frames, the data themselves included."""
    rng = np.random.default_rng(0)
    S = lfilter([1], [1, -0.9], rng.laplace(size=(MANY, FEATURES)), axis=0)
    X = random_mixing(FEATURES, 1, seed=0)(S)
    began = time.process_time()
    if what == "audit":
        audit(X)
    else:
        mcc(X, S)
    seconds = round(time.process_time() - began, 1)
    return {"cpu_s": seconds, "peak_GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)}


if __name__ == "__main__":
    main()
