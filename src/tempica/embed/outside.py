"""Density that images hold outside of the model: a part of the molecule that its structure lacks.

With r the residual of a whitened image at its pose, and b_g the image of a mean bead at a point x_g of the molecule's
frame, the best occupancy of that bead over all frames is

    o_g = Σ_t Re⟨b_g, r_t⟩ / Σ_t |b_g|²,    with the standard error 1 / √(Σ_t |b_g|²).

The same of the model's own images says what counts as dense. Beads of the model take nothing up, so that a
missing domain is told by a structure that fits what there is of it.

Shape legend: F frame, N bead, G point, M coefficient of the disc.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from tempica.embed.quadratic import Observed, model_waves
from tempica.imaging.linearise import Scatterers

DETAIL_A = 12.0  # resolution: of more detail, models of beads are not good enough
STEP_NM = 0.5  # between points
FAR_NM = 0.8  # from beads of the mean structure: nearer, motion and shape of the model leave something over
AROUND_NM = 3.0  # beyond the structure's outermost bead, or as far as the box goes
DENSE = 0.5  # of the model's own density
SURE, LIKELY = 6.0, 3.0  # standard errors: of one point at least, and of all that count
LEAST_NM3 = 2.0  # volume, of some twenty residues
NEAR_NM = 0.4  # of a bead: points whose density is the model's own


@dataclass(frozen=True)
class Outside:
    """What there is beside the model."""

    share: float  # of the model's own density, at the densest point that is certain
    z: float  # the largest density in standard errors
    volume_nm3: float  # in which more than half of the model's density lies

    @property
    def is_there(self) -> bool:
        return self.volume_nm3 > LEAST_NM3

    def told(self) -> str:
        """One sentence."""
        return (
            f"images hold density beside the structure, over {self.volume_nm3:.0f} nm³ more than half as dense as"
            " itself: a part of the molecule is missing from the structure, or something else lies beside it. Give the"
            " whole molecule of which the images were made"
        )


def density_outside(
    observed: Observed, scatterers: Scatterers, position: np.ndarray, rotation: np.ndarray, shift_A: np.ndarray
) -> Outside:
    """What images hold outside of the structures (F, N, 3) in nm that explain them, at their poses."""
    small = observed.within(int(np.ceil(observed.disc.edge_A / DETAIL_A)))
    mean = position.mean(0)
    point, away = _points(mean, small.disc.edge_A / 10)
    model = small.transfer * model_waves(small.disc, scatterers, position, rotation, shift_A)
    bead = Scatterers(scatterers.amplitude.mean(0, keepdims=True), scatterers.width_A.mean(0, keepdims=True))
    form = model_waves(small.disc, bead, np.zeros((1, 1, 3)), np.eye(3)[None], np.zeros((1, 2)))[0]
    ky, kx = small.disc.index
    steps = 2j * np.pi / small.disc.edge_A * np.stack([kx, ky])
    number = np.arange(small.disc.radius + 1)
    found, size = np.zeros((2, len(point))), 0.0
    for t, turn in enumerate(rotation):
        blob = form * small.transfer[t]
        wave = np.exp(20j * np.pi / small.disc.edge_A * (point @ turn[:2].T)[..., None] * number).astype(np.complex64)
        along = wave[:, 1][:, np.abs(ky)]
        phase = wave[:, 0][:, kx] * np.where(ky < 0, along.conj(), along)  # against that of a shift
        seen = np.stack([small.target[t] - model[t], model[t]]) * np.exp(shift_A[t] @ steps) * blob.conj()
        found += (seen.astype(np.complex64) @ phase.T).real
        size += float((np.abs(blob) ** 2).sum())
    dense = float(np.median(found[1, away < NEAR_NM]))
    outside = away > FAR_NM
    share, z = found[0, outside] / dense, found[0, outside] / np.sqrt(size)
    if dense <= 0 or not len(share):
        return Outside(0.0, 0.0, 0.0)
    certain = z > SURE
    volume = certain.any() * ((z > LIKELY) & (share > DENSE)).sum() * STEP_NM**3
    return Outside(float(share[certain].max(initial=0.0)), float(z.max()), float(volume))


def _points(mean: np.ndarray, edge_nm: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (G, 3) in nm of the ball about the structure that the box holds, and how far each is from a bead."""
    reach = min(np.linalg.norm(mean, axis=1).max() + AROUND_NM, edge_nm / 2 - STEP_NM)
    axis = np.arange(-reach, reach + STEP_NM, STEP_NM)
    point = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    point = point[np.linalg.norm(point, axis=1) < reach]
    return point, cKDTree(mean).query(point)[0]
