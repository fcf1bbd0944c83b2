"""Other programs at their own defaults: run by their own Python, which need not have tempica.

    ENV/bin/python tests/benchmarks/peers.py NAME IN.npz OUT.npz

IN holds X (frame, feature), learned (frame,) the frames to learn from, replica (frame,) labels of series, and n, the
number of sources. OUT gets S (frame, component) of all frames, cpu_s and peak_mb. `environment(folder)`, called from
the project's Python, makes such an environment.

deeptime_tica and deeptime_vampnet have lag 1; VAMPNets' lobe, which has no default, is the one of deeptime's
documentation, two hidden layers of 64, trained 30 epochs with batches of 512. cebra learns from time alone
(conditional "time", batches of 512, its 10,000 iterations), in one dimension more than there are sources, since its
embedding lies on a sphere. Frames are scaled to unit variance for both networks, as their documentations advise.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

PACKAGES = ("torch==2.13.*", "cebra==0.6.*", "deeptime==0.4.*")
NAMES = ("deeptime_tica", "deeptime_vampnet", "cebra")


def main() -> None:
    name, given, out = sys.argv[1:]
    with np.load(given) as file:
        X, learned, replica, n = file["X"], file["learned"], file["replica"], int(file["n"])
    Z = ((X - X[learned].mean(0)) / X[learned].std(0)).astype(np.float32)
    series = [Z[learned & (replica == label)] for label in np.unique(replica[learned])]
    started = time.process_time()
    S = {"deeptime_tica": tica, "deeptime_vampnet": vampnet, "cebra": cebra}[name](series, Z, n)
    seconds, peak = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    np.savez(out, S=np.asarray(S, dtype=float), cpu_s=seconds, peak_mb=peak)


def tica(series: list[np.ndarray], Z: np.ndarray, n: int) -> np.ndarray:
    from deeptime.decomposition import TICA

    return TICA(lagtime=1, dim=n).fit(series).fetch_model().transform(Z)


def vampnet(series: list[np.ndarray], Z: np.ndarray, n: int) -> np.ndarray:
    import torch
    from deeptime.decomposition.deep import VAMPNet
    from deeptime.util.data import TrajectoriesDataset
    from deeptime.util.torch import MLP
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = TrajectoriesDataset.from_numpy(1, series)
    net = VAMPNet(lobe=MLP([Z.shape[1], 64, 64, n], nonlinearity=torch.nn.ReLU))
    return net.fit(DataLoader(data, batch_size=512, shuffle=True), n_epochs=30).fetch_model().transform(Z)


def cebra(series: list[np.ndarray], Z: np.ndarray, n: int) -> np.ndarray:
    import torch
    from cebra import CEBRA

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = CEBRA(output_dimension=n + 1, conditional="time", batch_size=512, device="cpu")
    return model.fit(np.concatenate(series)).transform(Z)


def run(
    name: str, python: Path, X: np.ndarray, learned: np.ndarray, replica: np.ndarray, n: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Sources S (frame, component) by a program in another environment, with its CPU time and memory."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(given, X=X, learned=learned, replica=replica, n=n)
        done = subprocess.run([python, __file__, name, given, out], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{name} failed: {' '.join(done.stderr.strip().splitlines()[-1:])}")
        with np.load(out) as file:
            return file["S"], {"cpu_s": round(float(file["cpu_s"]), 2), "peak_mb": int(file["peak_mb"])}


def environment(folder: Path) -> Path:
    """Python of the environment in a folder; made, with the packages above, if it is not there."""
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True, stdout=sys.stderr)
        (folder / "complete").touch()
    return python


if __name__ == "__main__":
    main()
