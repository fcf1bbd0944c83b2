"""Latents and trajectories that others made, through `tempica unmix`, one command each.

    python tests/benchmarks/unmix.py DATA [--parts cryodrgn esper bpti enspara]

DATA is a folder with cryodrgn/zvals_*.pkl, esper/*_vec.npy, bpti/bpti_mini.* and enspara/beta-peptide.*. Prints what
each command gives: verdicts; for ESPER's views, whose rows are state × 5 + copy of 20 × 20 states of two motions, the
correlation of sources and of raw components with the motions, with null; for BPTI, the largest difference between the
sources of five formats of one trajectory; for the peptide, implied timescales at a lag of 2 ns, of the 120 distances
between backbone nitrogen and oxygen atoms that are five or more apart in their order, in sample as they are usually
quoted, and the number of directions that held-out frames confirm. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from tempica.evaluate import mcc
from tempica.stores.opening import open_stored

FORMATS = ("xtc", "dcd", "trr", "h5", "nc")
STATES, COPIES = 20, 5
NS_A_FRAME, LAG_NS = 0.01, 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parts = {"cryodrgn": cryodrgn, "esper": esper, "bpti": bpti, "enspara": enspara}
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    a = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for part in a.parts:
            figures[part] = parts[part](a.data / part, Path(folder))
    print(json.dumps({"benchmark": "unmix", "figures": figures}))


def unmixed(out: Path, *arguments: object) -> tuple[dict[str, Any], np.ndarray]:
    """Record and sources (row, component) of one command."""
    started = time.monotonic()
    command = [sys.executable, "-m", "tempica.cli", "unmix", *map(str, arguments), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    record = json.loads((out / "unmix.json").read_text())
    stored = open_stored(out / "sources.zarr", "source_table")
    sources = stored["source"].values[-1][:, : record["n_components"]]
    print(f"{arguments[0]}: {record['given_out']}, {record['n_components']} sources, {record['verdict']}", flush=True)
    print(f"  {record['why'][:160]}… ({time.monotonic() - started:.0f} s)", flush=True)
    return record, sources


def cryodrgn(data: Path, folder: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(data.glob("zvals_*.pkl")):
        record, sources = unmixed(folder / path.stem, path)
        clear = sum(value > record["methods"]["fastica"]["negentropy_null_95"] for value in _negentropy(record))
        found[path.name] = {"rows": len(sources), "sources": sources.shape[1], "clear": clear}
    return found


def esper(data: Path, folder: Path) -> dict[str, Any]:
    """Correlations with the two motions, of sources and of components; null: the motions of other rows."""
    rows = {}
    state = np.arange(STATES**2 * COPIES) // COPIES
    truth = np.stack([state // STATES, state % STATES], axis=1).astype(float)
    order = np.random.default_rng(0).permutation(len(truth))
    for path in sorted(data.glob("*_vec.npy")):
        record, sources = unmixed(folder / path.stem, path)
        Z = np.load(path)
        # rows of a grid of states have no time; a permutation is what nothing explains
        scores = {
            "sources": mcc(sources, truth, n_null=2).score,
            "components_1_2": mcc(Z[:, :2], truth, n_null=2).score,
            "components_all": mcc(Z, truth, n_null=2).score,
            "null": mcc(sources, truth[order], n_null=2).score,
            "clear": sum(v > record["methods"]["fastica"]["negentropy_null_95"] for v in _negentropy(record)),
        }
        rows[path.stem.partition("_")[0]] = {key: round(float(value), 3) for key, value in scores.items()}
        print(f"  {rows[path.stem.partition('_')[0]]}", flush=True)
    median = {key: float(np.median([row[key] for row in rows.values()])) for key in next(iter(rows.values()))}
    return {"median": median, "views": rows}


def _negentropy(record: dict[str, Any]) -> list[float]:
    return record["methods"]["fastica"]["negentropy"]


def bpti(data: Path, folder: Path) -> dict[str, Any]:
    found = {}
    for ending in FORMATS:
        topology = ["--topology", data / "bpti_ca.pdb"]
        record, found[ending] = unmixed(folder / f"bpti_{ending}", data / f"bpti_mini.{ending}", *topology)
    differ = {ending: float(np.abs(found[ending] - found["xtc"]).max()) for ending in FORMATS}
    print(f"  largest difference from xtc: {differ}", flush=True)
    return {"largest_difference": max(differ.values()), "sources": found["xtc"].shape[1], "counted": record["counted"]}


def enspara(data: Path, folder: Path) -> dict[str, Any]:
    import mdtraj

    trajectory = mdtraj.load(data / "beta-peptide.xtc", top=data / "beta-peptide.pdb")
    atoms = trajectory.topology.select("name N or name O")
    i, j = np.triu_indices(len(atoms), 5)
    values = mdtraj.compute_distances(trajectory, np.stack([atoms[i], atoms[j]], axis=1), periodic=False)
    np.save(folder / "distances.npy", values)
    lag = round(LAG_NS / NS_A_FRAME)
    asked = ["--ordered", "--lag", lag, "--method", "tica", "--components", 6]
    record, _ = unmixed(folder / "distances", folder / "distances.npy", *asked)
    quoted = [round(NS_A_FRAME * each, 1) for each in record["methods"]["tica"]["timescales"]]
    own = {}
    for lag_ns in (0.1, LAG_NS):
        name = f"peptide_{lag_ns}"
        topology = ["--topology", data / "beta-peptide.pdb", "--lag", round(lag_ns / NS_A_FRAME)]
        record, sources = unmixed(folder / name, data / "beta-peptide.xtc", *topology)
        own[f"lag_{lag_ns}_ns"] = {
            "given_out": record["given_out"],
            "verdict": record["verdict"],
            "counted": record["counted"],
            "sources": sources.shape[1],
        }
    print(f"  {values.shape[1]} distances: timescales {quoted} ns at lag {LAG_NS} ns, in sample", flush=True)
    return {"distances": values.shape[1], "timescales_ns": quoted, "chosen_coordinates": own}


if __name__ == "__main__":
    main()
