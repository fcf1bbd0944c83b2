"""Models of a run's ensemble, as `tempica export RUN OUT --to models` writes them, beside the run's true frames.

    python tests/benchmarks/unmix_models.py RUN [--models 20]

RUN is a folder of `tempica run` of a simulated molecule. Prints the RMSD (Å) of each model's alpha carbons, superposed,
to the nearest true frame; beside it, that of the recipe's structure, which knows no motion, to the same frames; how
many atoms gemmi reads, where it is installed; and the sum of the populations. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import mdtraj
import numpy as np
import pandas

from tempica.stores.reading import open_store
from tempica.unmix.internal import superposed
from tempica.unmix.models import export_models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--models", type=int, default=20)
    a = parser.parse_args()
    truth = open_store(a.run / "trajectory.zarr", "trajectory")["position"].values
    truth = truth.reshape(-1, *truth.shape[2:]).astype(np.float64)
    with tempfile.TemporaryDirectory() as folder:
        out = export_models(a.run, Path(folder) / "models", n_models=a.models)
        models = mdtraj.load(str(out / "ensemble.cif"))
        share = pandas.read_csv(out / "populations.csv")["population"].to_numpy()
        atoms = by_gemmi(out / "ensemble.cif")
    alpha = models.xyz[:, models.topology.select("name CA")].astype(np.float64)
    distance = np.stack([rmsd(truth, model) for model in alpha])
    nearest = distance.argmin(1)
    structure = open_store(a.run / "structure.zarr", "structure")["position"].values.reshape(-1, truth.shape[1], 3)[0]
    still = rmsd(truth[nearest], structure)
    figures = {
        "models": len(alpha),
        "atoms": int(models.n_atoms),
        "atoms_by_gemmi": atoms,
        "populations_sum": round(float(share.sum()), 6),
        "rmsd_A": (10 * distance.min(1)).round(2).tolist(),
        "rmsd_median_A": round(float(10 * np.median(distance.min(1))), 2),
        "rmsd_of_the_structure_A": round(float(10 * np.median(still)), 2),
    }
    print(json.dumps({"benchmark": "unmix_models", "run": a.run.name, **figures}))


def rmsd(frames: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Root-mean-square deviation (frame,) in nm of frames (frame, atom, 3) from a model, superposed."""
    apart = superposed(frames, model) - (model - model.mean(0))
    return np.sqrt((apart**2).sum(-1).mean(1))


def by_gemmi(path: Path) -> list[int] | None:
    """Atoms of each model as gemmi reads them; None without gemmi."""
    try:
        import gemmi
    except ImportError:
        return None
    structure = gemmi.read_structure(str(path))
    return [sum(len(residue) for chain in model for residue in chain) for model in structure]


if __name__ == "__main__":
    main()
