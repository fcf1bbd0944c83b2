"""Poses under a tip by search, and the tip from what it sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.embed.heights.foreign import fit
from tempica.embed.heights.search import found_poses
from tempica.embed.heights.tasks import calibrate
from tempica.errors import DataError
from tempica.imaging.afm import Probe, flat_faces
from tempica.imaging.heights import Heights
from tempica.imaging.modes import Modes

TIP, NOISE = 0.8, 0.1


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
    found, prior = found_poses(seen, modes, flat_faces(modes.mean), label)
    assert prior.rotation is not None
    np.testing.assert_allclose(np.abs(prior.rotation[:, 2] @ flat_faces(modes.mean)[0, 2]), 1.0, atol=1e-6)  # upright
    off = Rotation.from_matrix(found.rotation @ true.swapaxes(1, 2)).magnitude()
    assert (off < np.radians(15.0)).all()
    assert (np.abs(found.shift_A - shift_A) < 3.5).all()
    error = (found.mean - amplitude)[:, 0] / np.sqrt(found.covariance[:, 0, 0])
    assert np.sqrt((error**2).mean()) < 2
    assert np.corrcoef(found.mean[:, 0], amplitude[:, 0])[0, 1] > 0.98


@pytest.mark.parametrize("start", [0.4, 1.6])
def test_the_radius_of_the_tip_and_the_noise_are_learned(lying, start: float) -> None:  # type: ignore[no-untyped-def]
    seen, modes, label, _ = lying
    blind = replace(seen, probe=replace(seen.probe, radius_nm=start), noise_nm=0.3)
    learned, _ = calibrate(blind, modes, *found_poses(blind, modes, flat_faces(modes.mean), label))
    assert learned.probe.radius_nm == pytest.approx(TIP, rel=0.1)
    assert learned.noise_nm == pytest.approx(NOISE, rel=0.1)
    assert learned.line_offset_nm == 0


def test_frames_that_were_read_upside_down_are_told(lying) -> None:  # type: ignore[no-untyped-def]
    seen, modes, label, (amplitude, _, _) = lying
    blind = replace(seen, image=np.ascontiguousarray(seen.image[:, ::-1]), noise_nm=0.3)
    fitted = fit(blind, Modes(modes.mean, 2 * modes.shape), flat_faces(modes.mean), label)
    assert fitted.mirrored
    assert fitted.heights.noise_nm == pytest.approx(NOISE, rel=0.15)
    assert fitted.other_hand_nm > 1.5 * fitted.heights.noise_nm
    moved = (modes.shape**2).sum(2).mean() ** 0.5 * amplitude[:, 0]
    assert np.corrcoef(fitted.displacement[:, 0], moved)[0, 1] > 0.98
    assert fitted.displacement.std() == pytest.approx(moved.std(), rel=0.15)  # the modes' deviation is learned
    with pytest.raises(DataError, match="must be numbers"):
        fit(replace(blind, image=np.full_like(blind.image, np.nan)), modes, flat_faces(modes.mean), label)


def test_fewer_pixels_are_the_same_ones() -> None:
    rng = np.random.default_rng(1)
    form, turn = rng.normal(size=(1, 20, 3)), Rotation.random(1, random_state=0).as_matrix()
    for n in (35, 40):
        seen = Heights(np.zeros((1, n, n), np.float32), np.full(20, 0.3), Probe(0.5, 0.2, n, 0.3), 0.1)
        whole, few = (one.model(form, turn, np.array([[2.0, -1.0]])) for one in (seen, seen.sparser()))
        first = n // 2 % 2
        np.testing.assert_allclose(few, whole[:, first::2, first::2], atol=1e-5)
        assert seen.sparser().image.shape == few.shape
