"""The electron camera as a likelihood: whitened images, and the beads that they are images of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tempica.embed.quadratic import Observed, linearise, together
from tempica.imaging.likelihood import Expansion
from tempica.imaging.linearise import Scatterers

ROUGH = 8  # radius, in steps of Fourier space, of the disc of first steps


@dataclass(frozen=True)
class Micrographs:
    """Frames as `imaging.likelihood.Likelihood`; the expansion is that of `quadratic.linearise`."""

    observed: Observed
    scatterers: Scatterers

    @property
    def n_values(self) -> int:
        return self.observed.disc.n_values

    @property
    def empty(self) -> np.ndarray:
        """Misfits (F,) of a model without a molecule."""
        target = np.ascontiguousarray(self.observed.target).view(np.float32)
        return np.asarray(np.einsum("fm,fm->f", target, target, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.observed)

    def __getitem__(self, frames: np.ndarray | slice) -> Micrographs:
        return Micrographs(self.observed[frames], self.scatterers)

    def expand(
        self, position: np.ndarray, rotation: np.ndarray, shift_A: np.ndarray, shape: np.ndarray, *, pose: bool
    ) -> Expansion:
        return linearise(self.observed, self.scatterers, position, rotation, shift_A, shape, pose=pose)

    def within(self, resolution_A: float) -> Micrographs:
        return self._within(int(np.ceil(self.observed.disc.edge_A / resolution_A)))

    def rough(self) -> Micrographs:
        return self._within(ROUGH) if self.observed.disc.radius > 2 * ROUGH else self

    def widened(self, variance: np.ndarray) -> Micrographs:
        return Micrographs(self.observed, widened(self.scatterers, variance))

    def _within(self, radius: int) -> Micrographs:
        smaller = self.observed.within(radius)
        return self if smaller is self.observed else Micrographs(smaller, self.scatterers)


def concatenated(parts: Sequence[Micrographs]) -> Micrographs:
    """Frames of several, all of one setting, one after the other."""
    return Micrographs(together([part.observed for part in parts]), parts[0].scatterers)


def widened(scatterers: Scatterers, variance: np.ndarray) -> Scatterers:
    """Beads as they are seen on average where their places have a variance (N,) in nm² along an axis."""
    width = np.sqrt(scatterers.width_A**2 + 100 * variance.reshape(-1, *[1] * (scatterers.width_A.ndim - 1)))
    return Scatterers(scatterers.amplitude, width)
