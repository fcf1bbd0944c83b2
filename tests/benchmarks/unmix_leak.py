"""A latent space into which the pose leaks, through `tempica unmix` with and without `--given pose`.

    python tests/benchmarks/unmix_leak.py --seeds 1 2 3

Two sources (AR(1), Laplace innovations), mixed by two layers, with two directions of noise; two entries of each
particle's rotation, tumbling from frame to frame, are added to two latents. Prints the correlation (MCC) of the sources
with the truth without leak, with it, and with the pose taken out; which latents and sources are found to leak. Ends
with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas
from scipy.spatial.transform import Rotation

from tempica.evaluate import mcc
from tempica.ica.synthetic import autoregressive, random_mixing
from tempica.unmix import unmix

N, TURN_DEG = 6000, 25.0
ANGLES = ("_rlnAngleRot", "_rlnAngleTilt", "_rlnAnglePsi")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--strength", type=float, default=1.0, help="of the leak, in deviations of a latent")
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for seed in a.seeds:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row(seed, a.strength, Path(folder)))
        print(rows[-1], flush=True)
    worst = max(each["clean"] - each["given"] for each in rows)
    print(json.dumps({"benchmark": "unmix_leak", "frames": N, "largest_loss": round(worst, 3), "rows": rows}))


def row(seed: int, strength: float, folder: Path) -> dict[str, float | int | list[bool]]:
    rng = np.random.default_rng(seed)
    problem = autoregressive(2, N, rho=(0.9, 0.6), n_layers=2, seed=seed)
    X = np.c_[problem.X / problem.X.std(0), rng.normal(size=(N, 2))] @ random_mixing(4, 1, seed=seed).matrices[0].T
    steps = Rotation.from_rotvec(np.radians(TURN_DEG) * rng.normal(size=(N, 3)))
    turn, turns = Rotation.random(random_state=seed), []
    for step in steps:
        turn = step * turn
        turns.append(turn.as_matrix())
    view = np.array(turns)
    leaking = X.copy()
    leaking[:, :2] += strength * np.sqrt(3) * X[:, :2].std(0) * view[:, 2, :2]
    angles = dict(zip(ANGLES, Rotation.from_matrix(view).as_euler("ZYZ", degrees=True).T, strict=True))
    table = pandas.DataFrame(X, columns=list("abcd")).assign(**angles)
    leaky = table.assign(**dict(zip("abcd", leaking.T, strict=True)))
    found: dict[str, float | int | list[bool]] = {"seed": seed}
    for name, data, asked in (
        ("clean", table, {"nuisances": ["pose"]}),
        ("leaking", leaky, {"nuisances": ["pose"]}),
        ("given", leaky, {"given": ["pose"]}),
    ):
        result = unmix(data, ordered=True, out=folder / name, **asked)
        (told,) = result.record["leakage"]
        found[name] = round(mcc(result.sources, problem.S, n_null=2).score, 3)
        found[f"{name}_sources"] = result.record["n_components"]
        found[f"{name}_latents_leak"], found[f"{name}_sources_leak"] = (
            told[part]["leaks"] for part in ("of_latents", "of_sources")
        )
    return found


if __name__ == "__main__":
    main()
