"""Poses under a tip by search, and the tip from what it sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.embed.heights.search import N_ANGLES, lying_prior, search
from tempica.embed.heights.tasks import calibrate
from tempica.embed.posterior import posterior
from tempica.imaging.afm import Probe, flat_faces
from tempica.imaging.heights import Heights
from tempica.imaging.modes import Modes

TIP, NOISE, STEP = 0.8, 0.1, 2 * np.pi / N_ANGLES


@pytest.fixture(scope="module")
def lying() -> tuple[Heights, Modes, np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Two molecules of 12 frames, on either face: frames, modes, labels, and true amplitudes and poses."""
    rng = np.random.default_rng(0)
    form = rng.normal(size=(60, 3)) * [1.5, 1.1, 0.5] + rng.normal(size=(60, 1)) * [0.0, 0.4, 0.2]
    bend = np.stack([np.zeros(60), 0.15 * form[:, 0] ** 2, np.zeros(60)], 1)
    modes = Modes(form - form.mean(0), (bend - bend.mean(0))[None])
    label = np.repeat([0, 1], 12)
    spin = Rotation.from_rotvec(rng.uniform(0, 2 * np.pi, (24, 1)) * [0.0, 0.0, 1.0]).as_matrix()
    rotation, shift_A = spin @ flat_faces(modes.mean)[label], 4 * rng.normal(size=(24, 2))
    amplitude = rng.normal(size=(24, 1))
    seen = Heights(np.zeros((24, 32, 32), np.float32), np.full(60, 0.3), Probe(TIP, 0.2, 32, 0.35), NOISE)
    clean = seen.model(modes.mean + np.tensordot(amplitude, modes.shape, 1), rotation, shift_A)
    image = clean + NOISE * rng.normal(size=clean.shape)
    return replace(seen, image=image.astype(np.float32)), modes, label, (amplitude, rotation, shift_A)


def test_faces_angles_and_places_are_found(lying) -> None:  # type: ignore[no-untyped-def]
    seen, modes, label, (amplitude, true, shift_A) = lying
    rotation, found_A = search(seen, modes, flat_faces(modes.mean), label)
    off = Rotation.from_matrix(rotation @ true.swapaxes(1, 2)).magnitude()
    assert (off < 3 * STEP).all()
    assert (np.abs(found_A - shift_A) < 2 * 3.5).all()
    found = posterior(seen, modes, rotation, found_A, 8, lying_prior(seen, rotation))
    error = (found.mean - amplitude)[:, 0] / np.sqrt(found.covariance[:, 0, 0])
    assert np.sqrt((error**2).mean()) < 2
    assert np.corrcoef(found.mean[:, 0], amplitude[:, 0])[0, 1] > 0.98


@pytest.mark.parametrize("start", [0.4, 1.6])
def test_the_radius_of_the_tip_and_the_noise_are_learned(lying, start: float) -> None:  # type: ignore[no-untyped-def]
    seen, modes, label, _ = lying
    blind = replace(seen, probe=replace(seen.probe, radius_nm=start), noise_nm=0.3)
    rotation, shift_A = search(blind, modes, flat_faces(modes.mean), label)
    prior = lying_prior(blind, rotation)
    learned, _ = calibrate(blind, modes, posterior(blind, modes, rotation, shift_A, 8, prior), prior)
    assert learned.probe.radius_nm == pytest.approx(TIP, rel=0.1)
    assert learned.noise_nm == pytest.approx(NOISE, rel=0.1)
    assert learned.line_offset_nm == 0
