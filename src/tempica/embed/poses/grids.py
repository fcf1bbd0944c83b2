"""Grids of poses that a search tries: rotations spread evenly over SO(3), shifts over a disc, rotations near others.

Shape legend: G rotation, S shift, F frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from tempica.errors import DataError
from tempica.imaging.geometry import quaternion_of, rotation_matrix

_PHI, _PSI = np.sqrt(2.0), 1.533751168755204288118041  # of the super-Fibonacci spiral; ψ⁴ = ψ + 4


@dataclass(frozen=True)
class Grid:
    """Rotations to try, and which of them lie within `apart` of each other."""

    quaternion: np.ndarray  # (G, 4) order x y z w
    apart: float  # rad: peaks of a search are further apart than this

    def __len__(self) -> int:
        return len(self.quaternion)

    @cached_property
    def rotation(self) -> np.ndarray:
        return rotation_matrix(self.quaternion)

    @property
    def cell(self) -> float:
        """Angle ω (rad) of a turn's ball as large as one rotation's share: ω³/6π ≈ 1/G."""
        return float(np.cbrt(6 * np.pi / len(self)))

    @cached_property
    def near(self) -> np.ndarray:
        """(G, most) numbers of the rotations within `apart` of each, itself included and repeated to fill up."""
        q = self.quaternion
        tree = cKDTree(np.concatenate([q, -q]))
        chord = 2 * np.sin(self.apart / 4)  # of unit quaternions whose rotations differ by `apart`
        lists = [np.unique(np.asarray(found) % len(q)) for found in tree.query_ball_point(q, chord)]
        near = np.tile(np.arange(len(q))[:, None], max(len(found) for found in lists))
        for row, found in zip(near, lists, strict=True):
            row[: len(found)] = found
        return near


def rotation_grid(n_rotations: int, apart_deg: float = 18.0) -> Grid:
    """`n_rotations` spread evenly over SO(3), on a super-Fibonacci spiral.

    q_i = (√u sin α, √u cos α, √(1−u) sin β, √(1−u) cos β) with u = (i + ½)/n, α = 2π(i + ½)/√2, β = 2π(i + ½)/ψ.
    4,608 of them are about 15° apart. Raises DataError for fewer than one.
    Source: Alexa 2022, Super-Fibonacci spirals: fast, low-discrepancy sampling of SO(3).
    """
    if n_rotations < 1:
        raise DataError(f"n_rotations = {n_rotations} must be at least 1.")
    step = np.arange(n_rotations) + 0.5
    inner, outer = np.sqrt(step / n_rotations), np.sqrt(1 - step / n_rotations)
    alpha, beta = 2 * np.pi * step / _PHI, 2 * np.pi * step / _PSI
    quaternion = np.stack([inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta)], 1)
    return Grid(quaternion, np.radians(apart_deg))


def rotations_for(position: np.ndarray, reach_A: float = 6.0) -> int:
    """How many rotations a search for a structure (N, 3) in nm needs: n = 6π (r/reach)³, between 500 and 40,000.

    Within the cell of one rotation of so many, beads at r, beyond which one in twenty lies, move by `reach_A` at most,
    two thirds of the search's resolution: from there one Gauss–Newton step comes close. Adenylate kinase has 2,373.
    """
    radius_A = 10 * np.percentile(np.linalg.norm(position - position.mean(0), axis=1), 95)
    return int(np.clip(6 * np.pi * (radius_A / reach_A) ** 3, 500, 40_000))


def shift_grid(deviation_A: float, step_A: float, reach: float = 4.0) -> np.ndarray:
    """Shifts (S, 2) in Å on a hexagonal grid, out to `reach` deviations; the first is none at all.

    Neighbours are `step_A` apart, so that no shift within reach is further than step/√3 from one of the grid.
    """
    n = int(np.ceil(1.2 * reach * deviation_A / step_A)) + 1
    i, j = np.mgrid[-n : n + 1, -n : n + 1].reshape(2, -1)
    shift = step_A * np.stack([i + 0.5 * j, np.sqrt(0.75) * j], 1)
    length = np.linalg.norm(shift, axis=1)
    shift = shift[np.argsort(length, kind="stable")]
    return shift[np.linalg.norm(shift, axis=1) <= reach * deviation_A + 1e-9]


def turns_near(angle: float, n_turns: int) -> np.ndarray:
    """`n_turns` rotations (n, 3, 3) spread evenly over all that turn by at most `angle` (rad); the first is none."""
    step = np.arange(n_turns)
    z = 1 - 2 * (step + 0.5) / n_turns
    around = np.pi * (3 - np.sqrt(5.0)) * step
    axis = np.stack([np.sqrt(1 - z**2) * np.cos(around), np.sqrt(1 - z**2) * np.sin(around), z], 1)
    size = (np.modf(step * 0.7548776662466927)[0] + 0.5 / n_turns) % 1.0  # low discrepancy beside z and the turn
    vector = angle * np.cbrt(size)[:, None] * axis
    vector[0] = 0.0
    return rotation_matrix(quaternion_of(vector))
