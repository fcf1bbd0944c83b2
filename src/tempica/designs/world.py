"""Latents of an experiment that has not been made: a parametric bootstrap without images.

Frames have variables c_t (`sources`) and amplitudes a_t = g(c_t) + r_t of the embedding's modes, in units in which
their covariance is 1; r is a normal autoregression. An image of information Λ gives the latent
(I + Λ)⁻¹ (Λ a + Λ^½ ξ) with covariance (I + Λ)⁻¹, ξ ~ N(0, I), as the embedding of an image does that is linear in a.

Shape legend: R replica, F frame, V collective variable, K mode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempica import seeds
from tempica.designs.pilot import Pilot, memory
from tempica.designs.sources import Sources, autoregression, root_of

N_LONG = 20_000  # frames by which amplitudes are standardised


@dataclass(frozen=True)
class Latents:
    """What would be known of frames, and the truth."""

    mean: np.ndarray  # (frame, K)
    covariance: np.ndarray  # (frame, K, K)
    truth: np.ndarray  # (frame, V)
    molecule: np.ndarray  # (frame,)
    labels: np.ndarray | None  # (frame,)
    replica: np.ndarray  # (frame,)

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, some: np.ndarray) -> Latents:
        """Those frames alone."""
        labels = None if self.labels is None else self.labels[some]
        known = self.mean[some], self.covariance[some]
        return Latents(*known, self.truth[some], self.molecule[some], labels, self.replica[some])


@dataclass(frozen=True)
class World:
    """Sources seen by the recipe's camera."""

    sources: Sources
    pilot: Pilot
    left: np.ndarray  # (K, K) covariance of r
    memory: np.ndarray  # (K,) of r
    centre: np.ndarray  # (K,) of a
    root: np.ndarray  # (K, K): a = centre + root a′, and a′ has the covariance 1

    @classmethod
    def of(cls, sources: Sources, pilot: Pilot) -> World:
        rho = memory(pilot.left, pilot.molecule)
        left = pilot.left.T @ pilot.left / len(pilot.left)
        each = min(N_LONG, 4 * sources.recipe.simulate.n_frames)
        variable = sources.draw(seeds.integer(sources.recipe.seed, "design scale"), -(-N_LONG // each), each)
        expected = pilot.amplitude(variable.reshape(-1, variable.shape[-1]))
        covariance = np.cov(expected, rowvar=False).reshape(left.shape) + left
        return cls(sources, pilot, left, rho, expected.mean(0), root_of(covariance))

    def draw(self, seed: int, n_replicas: int, n_frames: int, snr: float) -> Latents:
        """Latents of replicas of n frames each, at an SNR."""
        sources, pilot = self.sources, self.pilot
        variable = sources.draw(seed, n_replicas, n_frames)
        molecule = sources.molecules(n_replicas, n_frames)
        rng = seeds.generator(seed, "design latents")
        left = np.stack([autoregression(self.memory, self.left, n_frames, rng, _begins(m)) for m in molecule])
        flat = variable.reshape(-1, variable.shape[-1])
        amplitude = pilot.amplitude(flat) + left.reshape(len(flat), -1) - self.centre
        inverse = np.linalg.pinv(self.root)
        amplitude = amplitude @ inverse.T
        information = self.root.T @ pilot.information @ self.root * (snr / pilot.snr)
        some = rng.integers(len(information), size=len(flat))
        noise = (root_of(information)[some] @ rng.standard_normal((*amplitude.shape, 1)))[..., 0]
        evidence = (information[some] @ amplitude[..., None])[..., 0] + noise
        covariance = np.linalg.inv(np.eye(amplitude.shape[1]) + information)[some]
        labels = sources.labels(n_frames)
        return Latents(
            (covariance @ evidence[..., None])[..., 0],
            covariance,
            flat,
            molecule.reshape(-1),
            None if labels is None else np.tile(labels, n_replicas),
            np.repeat(np.arange(n_replicas), n_frames),
        )


def _begins(molecule: np.ndarray) -> np.ndarray:
    return np.r_[True, molecule[1:] != molecule[:-1]]
