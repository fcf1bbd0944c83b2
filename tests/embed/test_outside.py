"""Density that images hold beside the model."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.embed.outside import density_outside
from tempica.embed.quadratic import Disc, Observed, model_waves
from tempica.imaging.linearise import Scatterers

DISC = Disc(48, 2.5, 12)


def scatterers(n: int) -> Scatterers:
    return Scatterers(np.full((n, 1), 30.0), np.full((n, 1), 1.5))


def images(position: np.ndarray, n_frames: int, noise: float) -> tuple[Observed, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    rotation, shift = Rotation.random(n_frames, rng=rng).as_matrix(), rng.normal(0, 2, (n_frames, 2))
    wave = model_waves(DISC, scatterers(len(position)), np.stack([position] * n_frames), rotation, shift)
    ky, kx = DISC.index
    transfer = np.sin(0.2 + (kx**2 + ky**2) * rng.uniform(0.02, 0.04, (n_frames, 1))).astype(np.float32) / noise
    drawn = rng.standard_normal((2, *wave.shape))
    return Observed(DISC, (transfer * wave + drawn[0] + 1j * drawn[1]).astype(np.complex64), transfer), rotation, shift


@pytest.mark.parametrize("noise", [30.0, 300.0])
def test_a_missing_part_is_told_and_a_whole_structure_is_not(noise):
    rng = np.random.default_rng(1)
    body, lobe = rng.normal(size=(120, 3)) * 0.9, rng.normal(size=(40, 3)) * 0.5 + [2.6, 0, 0]
    whole = np.concatenate([body, lobe])
    observed, rotation, shift = images(whole, 60, noise)
    place = (np.stack([whole] * 60), rotation, shift)
    assert not density_outside(observed, scatterers(160), *place).is_there
    partial = density_outside(observed, scatterers(120), place[0][:, :120], *place[1:])
    assert partial.is_there
    assert "missing" in partial.told()


def test_noise_alone_holds_nothing():
    body = np.random.default_rng(1).normal(size=(120, 3))
    observed, rotation, shift = images(body, 30, 1e6)
    assert not density_outside(observed, scatterers(120), np.stack([body] * 30), rotation, shift).is_there
