"""Several processes fit one model: two gloo ranks end where one process does."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

WORKER = """
import sys, warnings
import numpy as np, torch
from tempica.ica import GCL, PCL, TCL
from tempica.ica.synthetic import autoregressive, modulated

torch.set_num_threads(1)
warnings.simplefilter("ignore")
out = sys.argv[1]
options = {"max_steps": 60, "n_restarts": 3, "random_state": 1}
series, labelled = autoregressive(2, 1500, n_layers=2, seed=3), modulated(2, 10, 120, n_layers=2, seed=3)
pcl = {"training": {"batch_size": 88, "precision": "float64"}, "lag": (1, 2), "second_stage": "none"}
models = {kind: PCL(2, score_function=kind, **options, **pcl) for kind in ("reference", "free")}
other = {"batch_size": 101, "precision": "float64"}
models |= {"TCL": TCL(2, training=other, **options)}
models |= {"GCL": GCL(2, max_steps=60, n_restarts=2, training={"batch_size": 101})}
for kind, model in models.items():
    X, given = (labelled.X, labelled.labels) if kind == "TCL" else (series.X, None)
    model.fit(X, given, log=f"{out}.{kind}.log")
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    np.save(f"{out}.{kind}.{rank}.npy", model.transform(X, stage="features"))
"""


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """Where one process, and two, have left what they found."""
    folder = tmp_path_factory.mktemp("fits")
    script = folder / "fit.py"
    script.write_text(WORKER)
    environment = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK")} | {"OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for command, out in (([sys.executable], "alone"), (torchrun, "both")):
        done = subprocess.run([*command, script, folder / out], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return folder


# GCL computes in single precision, in which the order of additions alone moves weights along a training
@pytest.mark.parametrize(("kind", "tolerance"), [("reference", 1e-6), ("free", 1e-6), ("TCL", 1e-6), ("GCL", 2e-2)])
def test_two_processes_end_where_one_does(kind: str, tolerance: float, fits) -> None:
    one, first, second = (
        np.load(fits / f"{name}.npy") for name in (f"alone.{kind}.0", f"both.{kind}.0", f"both.{kind}.1")
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, one, rtol=0, atol=tolerance * np.abs(one).max())


@pytest.mark.parametrize("kind", ["reference", "free", "TCL", "GCL"])
def test_one_of_the_processes_writes_the_log(kind: str, fits) -> None:
    alone, both = (len((fits / f"{name}.{kind}.log").read_text().splitlines()) for name in ("alone", "both"))
    assert alone == both > 0
