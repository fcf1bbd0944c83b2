"""Free motion along one collective variable, as overdamped diffusion in its declared potential, on a grid.

dx = −D U′(x)/kT dt + √(2D) dW between frames dt apart: the chain of the grid's cells with rates between neighbours
D/h² exp(−(U_j − U_i)/2kT), which keeps exp(−U/kT) exactly, and P = exp(Q dt). The product D dt is that at which the
autocorrelation from one frame to the next is the pilot's.

Shape legend: G cell of the grid, S series, F frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize

from tempica.recipe.dynamics import DoubleWell, Free, Harmonic, MultiWell

GAS = 8.31446e-3  # kJ/mol/K
N_CELLS = 161
HIGHEST = 12.0  # kT, to which the grid climbs


@dataclass(frozen=True)
class Well:
    """A potential on a grid."""

    place: np.ndarray  # (G,) distance from the centre, rad or nm
    energy: np.ndarray  # (G,) kJ/mol

    def equilibrium(self, temperature: float) -> np.ndarray:
        weight = np.exp(-(self.energy - self.energy.min()) / (GAS * temperature))
        return weight / weight.sum()

    def step(self, diffusion: float, temperature: float) -> np.ndarray:
        """Probabilities (G, G) of the next frame's cell; `diffusion` is D dt at that temperature."""
        return _propagated(*self._modes(temperature), diffusion)

    def autocorrelation(self, diffusion: float, temperature: float) -> float:
        """Of the place, from one frame to the next."""
        value, vector, root = self._modes(temperature)
        centred = self.place - root**2 @ self.place
        share = (vector.T @ (root * centred)) ** 2
        return float(share @ np.exp(value * diffusion) / share.sum())

    def diffusion(self, autocorrelation: float, temperature: float) -> float:
        """D dt at which the autocorrelation is the given one."""
        scale = float(self.equilibrium(temperature) @ (self.place - self.equilibrium(temperature) @ self.place) ** 2)

        def surplus(log: float) -> float:
            return self.autocorrelation(scale * math.exp(log), temperature) - autocorrelation

        return scale * math.exp(optimize.brentq(surplus, -12.0, 12.0))

    def series(
        self, n_series: int, n_frames: int, diffusion: float, temperatures: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Places (S, F) in a bath of `temperatures` (F,); D dt is that of the first, and proportional to them."""
        chains = {}
        for one in np.unique(temperatures).tolist():
            chains[one] = self.step(diffusion * one / temperatures[0], one).cumsum(1)
        cell = rng.choice(len(self.place), n_series, p=self.equilibrium(float(temperatures[0])))
        found, width = np.empty((n_series, n_frames)), self.place[1] - self.place[0]
        for frame, one in enumerate(temperatures.tolist()):
            cell = (chains[one][cell] < rng.random((n_series, 1))).sum(1).clip(max=len(self.place) - 1)
            found[:, frame] = self.place[cell]
        return found + width * (rng.random(found.shape) - 0.5)

    def _modes(self, temperature: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Eigenvalues (G,) and vectors (G, G) of the symmetrised rates at D = 1, and the root (G,) of the law."""
        half = 0.5 * self.energy / (GAS * temperature)
        h2 = (self.place[1] - self.place[0]) ** 2
        rate = np.exp(half[:-1] - half[1:]) / h2, np.exp(half[1:] - half[:-1]) / h2  # upward, downward
        leaving = np.append(rate[0], 0) + np.insert(rate[1], 0, 0)
        # √p Q /√p is symmetric, with 1/h² between neighbours
        value, vector = linalg.eigh_tridiagonal(-leaving, np.full(len(half) - 1, 1 / h2))
        return np.minimum(value, 0.0), vector, np.sqrt(self.equilibrium(temperature))


def well_of(entry: Free, temperature: float, scale: float) -> Well:
    """The potential of a recipe's entry as far as the bath climbs it; `scale` takes the recipe's unit to rad or nm."""
    reach = _reach(entry, temperature, scale)
    place = np.linspace(-reach, reach, N_CELLS)
    return Well(place, potential(entry, place, scale))


def potential(entry: Free, place: np.ndarray, scale: float) -> np.ndarray:
    """U (…,) in kJ/mol at distances (…,) from the centre, rad or nm."""
    if isinstance(entry, Harmonic):
        return 0.5 * entry.curvature * place**2
    if isinstance(entry, DoubleWell):
        return entry.barrier * ((place / (scale * entry.half_width)) ** 2 - 1) ** 2
    wave = 2 * math.pi * entry.n_wells / (scale * entry.width)
    inside = np.clip(place, -scale * entry.width / 2, scale * entry.width / 2)
    phase = 0.0 if entry.n_wells % 2 else math.pi
    walls = 0.25 * entry.barrier * wave**2 * (place - inside) ** 2
    return 0.5 * entry.barrier * (1 - np.cos(wave * inside + phase)) + walls


def _reach(entry: Free, temperature: float, scale: float) -> float:
    highest = HIGHEST * GAS * temperature
    if isinstance(entry, Harmonic):
        return math.sqrt(2 * highest / entry.curvature)
    if isinstance(entry, DoubleWell):
        return scale * entry.half_width * math.sqrt(1 + math.sqrt(highest / entry.barrier))
    assert isinstance(entry, MultiWell)
    wave = 2 * math.pi * entry.n_wells / (scale * entry.width)
    return scale * entry.width / 2 + math.sqrt(4 * highest / entry.barrier) / wave


def _propagated(value: np.ndarray, vector: np.ndarray, root: np.ndarray, diffusion: float) -> np.ndarray:
    kernel = (vector * np.exp(value * diffusion)) @ vector.T
    step = np.maximum(kernel * (root / root[:, None]), 0.0)
    return step / step.sum(1, keepdims=True)
