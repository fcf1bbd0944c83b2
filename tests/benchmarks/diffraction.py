"""Diffraction patterns: patterns/s of the kernel beside plain numpy, plain torch and, where installed, a NUFFT.

All on one thread, in turns within one run, in CPU time; every one is held against the direct sum in float64. The
molecule is a ball of protein density; beads are of residues (each its own width), atoms of carbon. The last line is
JSON.

    python tests/benchmarks/diffraction.py [--rounds 5] [--large]
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from tempica.imaging.diffraction import Beamline, diffract
from tempica.imaging.xray import Scatterers, scatterers_of

try:
    import finufft
except ImportError:
    finufft = None

# name: (atoms, pixels, frames of a round, atoms per nm³, whether they are beads of residues, µm of a pixel)
CASES = {
    "214 beads, 64 x 64": (214, 64, 40, 7.6, True, 750.0),
    "1,656 atoms, 128 x 128": (1656, 128, 3, 60.0, False, 500.0),
    "10,000 atoms, 256 x 256": (10_000, 256, 1, 60.0, False, 250.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of which the fastest counts")
    parser.add_argument("--large", action="store_true", help="the 10,000 atoms as well: minutes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        figures = {name: measure(*case, arguments.rounds) for name, case in list(CASES.items())[: 2 + arguments.large]}
    for name, found in figures.items():
        print(name)
        for way, row in found.items():
            told = f"{row['patterns_per_s']:10.2f} patterns/s   relative L2 error {row['error']:.1e}"
            print(f"  {way:8s}{told}   {row['ns_per_atom_and_pixel']:7.3f} ns per atom and pixel")
    print(json.dumps({"benchmark": "diffraction", "threads": 1, "cases": figures}))


def measure(n: int, n_pixels: int, n_frames: int, density: float, beads: bool, pixel: float, rounds: int) -> dict:
    rng = np.random.default_rng(0)
    radius = (3 * n / (4 * np.pi * density)) ** (1 / 3)
    direction = rng.standard_normal((n_frames, n, 3))
    position = radius * rng.random((n_frames, n, 1)) ** (1 / 3) * direction
    position /= np.linalg.norm(direction, axis=-1, keepdims=True)
    position -= position.mean(1, keepdims=True)
    width = rng.uniform(0.12, 0.25, n) if beads else np.zeros(n)
    scatterers = scatterers_of(["C4.9H7.76N1.35O1.48S0.04" if beads else "C"] * n, width)
    beamline = Beamline(n_pixels, pixel, 100.0, 6000.0, 0.0, "x", 20.0)
    ways = {"tempica": lambda: diffract(position, np.eye(3)[None], scatterers, beamline)}
    if n * n_pixels**2 < 1e8:  # minutes a pattern beyond
        ways["numpy"] = lambda: by_numpy(position, scatterers, beamline)
    ways["torch"] = lambda: by_torch(position, scatterers, beamline)
    if finufft is not None:
        ways["finufft"] = lambda: by_nufft(position, scatterers, beamline)
    reference = direct(position[:1], scatterers, beamline)
    best, error = dict.fromkeys(ways, np.inf), {}
    for way, make in ways.items():
        error[way] = float(np.linalg.norm(make()[0] - reference[0]) / np.linalg.norm(reference[0]))
    for _ in range(rounds):
        for way, make in ways.items():
            start = time.process_time()
            make()
            best[way] = min(best[way], time.process_time() - start)
    return {
        way: {
            "patterns_per_s": round(n_frames / seconds, 3),
            "error": error[way],
            "ns_per_atom_and_pixel": round(1e9 * seconds / (n_frames * n * n_pixels**2), 4),
        }
        for way, seconds in best.items()
    }


def direct(position: np.ndarray, scatterers: Scatterers, beamline: Beamline) -> np.ndarray:
    """The sum in float64, row by row of the detector."""
    q = beamline.q
    out = np.empty((len(position), *q.shape[:2]))
    for row in range(len(q)):
        f = scatterers.factors(np.linalg.norm(q[row], axis=-1), beamline.b_factor_A2).astype(np.float64)
        for k, frame in enumerate(position):
            wave = np.exp(2j * np.pi * (10 * frame @ q[row].T))
            out[k, row] = np.abs((f[scatterers.kind] * wave).sum(0)) ** 2
    return out


def by_numpy(position: np.ndarray, scatterers: Scatterers, beamline: Beamline) -> np.ndarray:
    """As one writes it: complex exponentials in single precision, row by row."""
    q = beamline.q.astype(np.float32)
    out = np.empty((len(position), *q.shape[:2]), dtype=np.float32)
    for row in range(len(q)):
        f = scatterers.factors(np.linalg.norm(q[row], axis=-1), beamline.b_factor_A2)[scatterers.kind]
        for k, frame in enumerate((10 * position).astype(np.float32)):
            out[k, row] = np.abs(np.einsum("np,np->p", f, np.exp(np.complex64(2j * np.pi) * (frame @ q[row].T)))) ** 2
    return out


def by_torch(position: np.ndarray, scatterers: Scatterers, beamline: Beamline) -> np.ndarray:
    """Phases by a matrix product, then sines and cosines, then the sum over atoms; 2,048 pixels at a time."""
    q = torch.from_numpy(2 * np.pi * beamline.q.reshape(-1, 3)).float()
    size = np.linalg.norm(beamline.q.reshape(-1, 3), axis=1)
    view = torch.from_numpy(10 * position).float()
    parts = []
    for first in range(0, len(q), 2048):
        part = slice(first, first + 2048)
        f = torch.from_numpy(scatterers.factors(size[part], beamline.b_factor_A2)[scatterers.kind])
        waves = [frame @ q[part].T for frame in view]
        sums = [((f * torch.cos(w)).sum(0), (f * torch.sin(w)).sum(0)) for w in waves]
        parts.append(torch.stack([a**2 + b**2 for a, b in sums]))
    return torch.cat(parts, 1).reshape(len(position), *beamline.q.shape[:2]).numpy()


def by_nufft(position: np.ndarray, scatterers: Scatterers, beamline: Beamline) -> np.ndarray:
    """Nonuniform to nonuniform in three dimensions, tolerance 1e-5; one transform for each kind of bead's factor.

    Beads of many widths have as many factors: those are sums of as many singular vectors over |q| as matter.
    """
    x, y, z = (np.ascontiguousarray(20 * np.pi * position[..., i], dtype=np.float32) for i in range(3))
    s, t, u = (np.ascontiguousarray(beamline.q[..., i].ravel(), dtype=np.float32) for i in range(3))
    size = np.linalg.norm(beamline.q.reshape(-1, 3), axis=1)
    some = np.linspace(0, size.max(), 200)
    table = scatterers.factors(some, beamline.b_factor_A2)
    left, value, right = np.linalg.svd(table.astype(np.float64), full_matrices=False)
    rank = int((value > 1e-6 * value[0]).sum())
    weight = np.ascontiguousarray((left[:, :rank] * value[:rank])[scatterers.kind].T, dtype=np.complex64)
    shape = np.stack([np.interp(size, some, one) for one in right[:rank]]).astype(np.float32)
    out = np.empty((len(position), *beamline.q.shape[:2]), dtype=np.float32)
    for k in range(len(position)):
        wave = finufft.nufft3d3(x[k], y[k], z[k], weight, s, t, u, eps=1e-5, isign=1, nthreads=1)
        total = (np.atleast_2d(wave) * shape).sum(0)
        out[k] = (np.abs(total) ** 2).reshape(beamline.q.shape[:2])
    return out


if __name__ == "__main__":
    main()
