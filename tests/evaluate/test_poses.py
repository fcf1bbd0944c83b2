"""Errors of poses and of latents on structures whose errors are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica import imaging
from tempica.evaluate import poses
from tempica.imaging.linearise import Images, Scatterers, Whitened
from tempica.imaging.modes import Modes
from tempica.imaging.poses import pose_velocities, rotation_vector, superposition

F, N, K = 40, 30, 3


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def random_rotation(rng, n=F):
    return Rotation.random(n, random_state=int(rng.integers(1 << 30))).as_matrix()


def model(rng):
    mean = rng.normal(size=(N, 3))
    return Modes(mean, 0.1 * rng.normal(size=(K, N, 3)))


def structures(modes, amplitude):
    return modes.mean + np.tensordot(amplitude, modes.shape, 1)


def moved(placed, rng):
    """The same views told in another frame of the molecule: rotated and with another origin."""
    turn, origin = random_rotation(rng, 1)[0], rng.normal(size=3)
    position = placed.position @ turn.T - origin
    rotation = placed.rotation @ turn.T
    shift = placed.shift_A + 10 * (rotation @ origin)[:, :2]
    return poses.Placed(position, rotation, shift)


def test_superposition_finds_the_rotation_of_the_weighted_atoms(rng):
    x, turn = rng.normal(size=(F, N, 3)), random_rotation(rng)
    weight = np.r_[np.ones(10), np.zeros(N - 10)]
    y = np.einsum("fij,fnj->fni", turn, x) + rng.normal(size=(F, 1, 3))
    y[:, 10:] += rng.normal(size=(F, N - 10, 3))
    np.testing.assert_allclose(superposition(x, y, weight), turn, atol=1e-9)
    mirrored = superposition(x, x * [1, 1, -1], np.ones(N))
    np.testing.assert_allclose(np.linalg.det(mirrored), 1)  # never a reflection


def test_velocities_are_those_of_finite_steps(rng):
    view, step, pixel_A = 10 * rng.normal(size=(F, N, 3)), 1e-5, 1.5
    found = pose_velocities(view, pixel_A)
    for j, axis in enumerate(np.eye(3)):
        turned = view @ Rotation.from_rotvec(step * axis).as_matrix().T
        np.testing.assert_allclose(found[:, j], (turned - view)[..., :2] / step / pixel_A, atol=1e-3)
    np.testing.assert_allclose(found[:, 3:], np.eye(2)[None, :, None] / pixel_A * np.ones((F, 1, N, 1)))


def test_the_frame_in_which_a_view_is_told_does_not_count(rng):
    modes = model(rng)
    truth = poses.Placed(structures(modes, rng.normal(size=(F, K))), random_rotation(rng), rng.normal(size=(F, 2)))
    found = poses.pose_errors(truth, moved(truth, rng), np.ones(N))
    assert found.angle.max() < 1e-6
    np.testing.assert_allclose(found.shift_A, 0, atol=1e-9)
    np.testing.assert_allclose(found.structure_A, 0, atol=1e-9)


def test_errors_are_those_that_were_made(rng):
    modes = model(rng)
    w, step = 0.1 * rng.normal(size=(F, 3)), rng.normal(size=(F, 2))
    position = structures(modes, rng.normal(size=(F, K)))
    truth = poses.Placed(position, random_rotation(rng), rng.normal(size=(F, 2)))
    turned = Rotation.from_rotvec(-w).as_matrix() @ truth.rotation
    found = poses.pose_errors(truth, poses.Placed(position, turned, truth.shift_A - step), np.ones(N))
    np.testing.assert_allclose(found.turn, w, atol=1e-9)
    np.testing.assert_allclose(found.shift_A, step, atol=1e-9)
    assert not found.mirrored.any()


def test_a_view_from_behind_is_named_where_the_molecule_hardly_shows_its_hand(rng):
    flat = rng.normal(size=(F, N, 3)) * [1, 1, 0.05]
    upright = np.broadcast_to(np.eye(3), (F, 3, 3))
    tilted = Rotation.from_rotvec([0.5, 0.2, 0]).as_matrix()
    behind = np.diag([1.0, 1, -1]) @ tilted @ np.diag([1.0, 1, -1])
    truth = poses.Placed(flat, upright @ tilted, np.zeros((F, 2)))
    seen = poses.pose_errors(truth, poses.Placed(flat, upright @ behind, np.zeros((F, 2))), np.ones(N))
    assert seen.mirrored.all()
    astray = poses.pose_errors(truth, poses.Placed(flat, random_rotation(rng), np.zeros((F, 2))), np.ones(N))
    assert astray.mirrored.mean() < 0.2


def test_without_structures_one_frame_of_the_molecule_is_fitted_to_all_frames(rng):
    truth = poses.Placed(np.zeros((F, 1, 3)), random_rotation(rng), rng.normal(size=(F, 2)))
    w = 0.02 * rng.normal(size=(F, 3))
    told = moved(truth, rng)
    turned = Rotation.from_rotvec(-w).as_matrix() @ told.rotation
    turned[:4] = random_rotation(rng, 4)
    found = poses.without_structures(turned, told.shift_A, truth.rotation, truth.shift_A)
    np.testing.assert_allclose(found.turn[4:], w[4:], atol=0.02)
    assert np.abs(found.shift_A[4:]).max() < 1.5
    assert (found.angle[:4] > poses.LOST).sum() >= 3


@pytest.mark.parametrize("rigid", [False, True])
def test_coordinates_of_a_structure_that_the_model_can_tell_are_its_own(rng, rigid):
    modes = model(rng)
    if rigid:  # a mode that holds a rotation of the whole, as those of a body's frame do
        shape = modes.shape.copy()
        shape[0] += 0.2 * np.cross([0.0, 0, 1], modes.mean)
        modes = Modes(modes.mean, shape)
    a = rng.normal(size=(F, K))
    model_frame = poses.Placed(structures(modes, a), random_rotation(rng), rng.normal(size=(F, 2)))
    truth = moved(model_frame, rng)
    guess = a + 0.3 * rng.normal(size=(F, K))
    w, step = 0.1 * rng.normal(size=(F, 3)), rng.normal(size=(F, 2))
    turned = Rotation.from_rotvec(-w).as_matrix() @ model_frame.rotation
    estimate = poses.Placed(structures(modes, guess), turned, model_frame.shift_A - step)
    found = poses.coordinates(truth, modes, estimate, guess)
    np.testing.assert_allclose(found.amplitude, a, atol=1e-5)
    np.testing.assert_allclose(found.pose, np.concatenate([w, step], 1), atol=1e-4)
    np.testing.assert_allclose(found.placed.rotation, model_frame.rotation, atol=1e-5)
    np.testing.assert_allclose(poses.project_on_modes(structures(modes, a), modes), a, atol=1e-9)


def test_the_bound_is_what_least_squares_near_the_truth_reaches(rng):
    modes = Modes(0.8 * rng.normal(size=(N, 3)), 0.05 * rng.normal(size=(K, N, 3)))
    optics = imaging.Optics(
        n_pixels=32, pixel_size_A=2.0, voltage_kV=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1,
        b_factor_A2=40.0, bead_b_factor_A2=20.0,
    )  # fmt: skip
    scatterers = Scatterers(np.full((N, 1), 20.0), np.full((N, 1), 2.5))
    camera = imaging.Camera(optics, scatterers.amplitude, scatterers.width_A, np.zeros(1), np.ones(1), np.ones(1))
    n = 300
    a, rotation, shift = rng.normal(size=(n, K)), random_rotation(rng, n), rng.normal(size=(n, 2))
    quaternion = Rotation.from_matrix(rotation).as_quat()
    focus = (np.full(n, 12_000.0), np.full(n, 12_000.0), np.zeros(n), np.zeros(n))
    clean = camera.clean_images(structures(modes, a), quaternion, shift, *focus)
    variance = 0.3 * float(clean.var())
    noisy = clean + np.sqrt(variance) * rng.standard_normal(clean.shape).astype(np.float32)
    images = Images(noisy, rotation, shift, camera.transfer(*focus), camera.power())
    covariance = poses.bound(images, structures(modes, a), modes, scatterers, 2.0, variance)
    # one step from the truth, with the prior
    whitened = Whitened(images, modes.shape, scatterers, 2.0, variance, np.float64, pose=True)
    residual, jacobian = whitened.linearise(structures(modes, a), slice(None))
    real = jacobian.reshape(n, K + 5, -1).view(np.float64)
    slope = (real @ residual.reshape(n, -1).view(np.float64)[..., None])[..., 0]
    slope[:, :K] -= a
    information = real @ real.swapaxes(1, 2) + np.diag(np.r_[np.ones(K), np.zeros(5)])
    error = np.linalg.solve(information, slope[..., None])[..., 0]
    square = np.einsum("fp,fpq,fq->f", error[:, K:], np.linalg.inv(covariance[:, K:, K:]), error[:, K:]) / 5
    assert square.mean() == pytest.approx(1, abs=0.15)
    assert np.degrees(np.sqrt(covariance[:, K, K])).max() < 20
    # of a body: what superposing it finds, to first order
    weight, small = np.r_[np.ones(12), np.zeros(N - 12)], 1e-3 * error
    placed = poses.Placed(structures(modes, a), rotation, shift)
    turned = Rotation.from_rotvec(small[:, K : K + 3]).as_matrix() @ rotation
    there = poses.Placed(structures(modes, a + small[:, :K]), turned, shift)
    turn = poses.pose_errors(there, placed, weight).turn * 1e3
    body = poses.turn_of_body(covariance, placed, modes, weight)
    assert body.shape == (n, 3, 3)
    square = np.einsum("fp,fpq,fq->f", turn, np.linalg.inv(body), turn) / 3
    assert square.mean() == pytest.approx(1, abs=0.2)


def test_rotation_vectors_are_the_shortest(rng):
    rotation = random_rotation(rng)
    found = rotation_vector(rotation.reshape(4, -1, 3, 3))
    np.testing.assert_allclose(Rotation.from_rotvec(found.reshape(-1, 3)).as_matrix(), rotation, atol=1e-9)
    assert np.linalg.norm(found, axis=-1).max() <= np.pi
