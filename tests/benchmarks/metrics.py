"""Metrics at size, and against other programs where these are installed.

    python tests/benchmarks/metrics.py                # seconds and memory of the MCC with nulls and interval
    python tests/benchmarks/metrics.py --peers        # neighbours against dadapy, in an environment with it

Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np
from scipy import signal

from tempica.evaluate.metrics import mcc
from tempica.evaluate.metrics.neighbours import imbalance, overlap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--times", type=float, nargs="+", default=[1, 100, 2000], help="correlation times, in frames")
    parser.add_argument("--peers", action="store_true")
    arguments = parser.parse_args()
    figures = peers() if arguments.peers else sizes(arguments)
    print(json.dumps({"benchmark": "metrics", **figures}))


def sizes(arguments: argparse.Namespace) -> dict:
    """Processor seconds of the MCC of series of each correlation time, in ten replicas."""
    rng, seconds = np.random.default_rng(0), {}
    for correlation_time in arguments.times:
        rho = np.exp(-1 / correlation_time)
        shape = 10, arguments.frames // 10, arguments.columns
        S, truth = (signal.lfilter([1], [1, -rho], rng.standard_normal(shape), axis=1) for _ in range(2))
        S = S + truth
        started = time.process_time()
        mcc(*(x.reshape(-1, arguments.columns) for x in (S, truth)), replicas=np.repeat(np.arange(10), shape[1]))
        seconds[correlation_time] = round(time.process_time() - started, 2)
        print(correlation_time, seconds[correlation_time], flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    size = {"frames": arguments.frames, "columns": arguments.columns}
    return size | {"processor_seconds": seconds, "peak_GiB": round(peak, 2)}


def peers() -> dict:
    """Largest differences of information imbalances, and of shares of common neighbours, from those of dadapy."""
    from dadapy import MetricComparisons

    rng, imbalances, overlaps = np.random.default_rng(0), [], []
    for n_frames in (300, 1000):
        x = rng.standard_normal((n_frames, 3))
        x[:, 2] = x[:, 0] * x[:, 1] + 0.3 * x[:, 2]
        for n in (1, 2, 3):
            one, other = x[:, :n], x[:, [2]]
            compared = MetricComparisons(coordinates=x, maxk=n_frames - 1)
            theirs = compared.return_inf_imb_two_selected_coords(list(range(n)), [2])
            ours = imbalance(one, other), imbalance(other, one)
            imbalances.append(float(np.abs(np.subtract(ours, theirs)).max()))
            for k in (1, 5, 20):
                shared = MetricComparisons(coordinates=one, maxk=n_frames - 1).return_data_overlap(other, k=k)
                overlaps.append(abs(overlap(one, other, k) - float(shared)))
            print(n_frames, n, ours, theirs, overlaps[-3:], flush=True)
    return {"peer": "dadapy", "information_imbalance": max(imbalances), "common_neighbours": max(overlaps)}


if __name__ == "__main__":
    main()
