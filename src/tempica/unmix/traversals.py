"""Paths through the original latent space along one source each, the others at their median, staying where data are.

Shape legend: k point of a path, n neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from tempica.ica.base import linear_map, whitening
from tempica.unmix.frames import Frames

N_POINTS, ENDS = 10, (5.0, 95.0)  # of a path; percentiles of the source between which it goes
SHARE, LEAST, MOST = 0.005, 10, 200  # rows near a point that are averaged: share of all, and bounds
NEIGHBOURS, DENSE = 10, 95.0  # row whose distance tells how dense data are; percentile of the data's own distances
MOST_ROWS = 100_000  # that are searched; of more, every second, third … is taken


@dataclass(frozen=True)
class Traversal:
    """A path along one source.

    Attributes:
        latent: (k, feature) in the original latent space.
        source: (k, component) of the path, means of the rows near each point.
        row: (k,) row of the input that is nearest to each point.
        density: (k,) distance to the tenth nearest row over that which 95 % of rows do not exceed: at most 1.
    """

    latent: np.ndarray
    source: np.ndarray
    row: np.ndarray
    density: np.ndarray


def traverse(frames: Frames, sources: np.ndarray) -> list[Traversal]:
    """A path along each source (frame, component).

    Rows whose sources are nearest to a point of the path, in deviations, are averaged: noise in other directions goes,
    and what the source does to the latents stays. Where that mean is not as near to data as data are to each other
    (`density`), as in a bend or between clusters, the densest of those rows takes its place.
    """
    latents = frames.X if frames.raw is None else frames.raw
    step = -(-len(latents) // MOST_ROWS)
    latents, S, row = latents[::step], sources[::step], frames.row[::step]
    scale = np.maximum(S.std(0), 1e-300)
    mean, white = whitening(latents)
    Z = linear_map(latents, mean, white)
    near, around = KDTree(S / scale), KDTree(Z)
    n = int(np.clip(SHARE * len(S), min(LEAST, len(S)), MOST))
    far = around.query(Z, min(NEIGHBOURS + 1, len(Z)))[0][:, -1]  # the first is the row itself
    limit = float(np.percentile(far, DENSE))
    found = []
    for i in range(S.shape[1]):
        points = np.repeat(np.median(S, 0)[None], N_POINTS, axis=0)
        low, high = np.percentile(S[:, i], ENDS).tolist()
        points[:, i] = np.linspace(low, high, N_POINTS)
        at = near.query(points / scale, n)[1].reshape(N_POINTS, n)
        latent, source = latents[at].mean(1), S[at].mean(1)
        density = around.query(linear_map(latent, mean, white), min(NEIGHBOURS, len(Z)))[0].reshape(N_POINTS, -1)[:, -1]
        nearest = np.take_along_axis(at, _nearest(Z, at, linear_map(latent, mean, white)), 1)[:, 0]
        for k in np.flatnonzero(density > limit).tolist():
            best = int(at[k][far[at[k]].argmin()])
            latent[k], source[k], density[k], nearest[k] = latents[best], S[best], far[best], best
        found.append(Traversal(latent, source, row[nearest], density / limit))
    return found


def _nearest(Z: np.ndarray, at: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Place (k, 1) among neighbours (k, n) of the one nearest to a target (k, feature)."""
    return np.linalg.norm(Z[at] - target[:, None], axis=-1).argmin(1)[:, None]


def write_traversals(folder: Path, paths: list[Traversal]) -> None:
    """source_I.txt, latents alone, as cryoDRGN's `eval_vol --zfile` and RECOVAR's `compute_state --latent-points` read.

    And source_I.csv: row of the input nearest to each point, sources, and density.
    """
    folder.mkdir(exist_ok=True)
    for number, path in enumerate(paths, 1):
        np.savetxt(folder / f"source_{number}.txt", path.latent, fmt="%.9g")
        names = ["row", "density", *(f"source_{i + 1}" for i in range(path.source.shape[1]))]
        table = np.column_stack([path.row, path.density, path.source])
        np.savetxt(folder / f"source_{number}.csv", table, "%.9g", ",", header=",".join(names), comments="")
