"""Poses in RELION's angles: against scipy, against a matrix of PHYSICS.md, and back."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica import imaging
from tempica.exchange.relion import euler_angles, quaternions

MATRIX = [[0.043412, 0.909616, -0.413176], [-0.829598, 0.263258, 0.492404], [0.556670, 0.321394, 0.766044]]


def test_the_matrix_of_known_angles():
    np.testing.assert_allclose(imaging.rotation_matrix(quaternions(np.array([30.0, 40.0, 50.0]))), MATRIX, atol=1e-6)


def relion_matrix(euler):
    """As cryoDRGN and RELION multiply it out: three plane rotations, one after the other."""
    rot, tilt, psi = np.radians(euler)

    def about_z(a):
        return np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])

    about_y = np.array([[np.cos(tilt), 0, -np.sin(tilt)], [0, 1, 0], [np.sin(tilt), 0, np.cos(tilt)]])
    return about_z(psi) @ about_y @ about_z(rot)


@pytest.fixture
def random_quaternions():
    q = np.random.default_rng(0).standard_normal((500, 4))
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def test_angles_are_relions(random_quaternions):
    euler = euler_angles(random_quaternions)
    assert (np.abs(euler) <= 180).all()
    assert (euler[:, 1] >= 0).all()
    A = Rotation.from_quat(random_quaternions).as_matrix()
    np.testing.assert_allclose([relion_matrix(e) for e in euler], A, atol=1e-14)
    np.testing.assert_allclose(Rotation.from_euler("zyz", -euler, degrees=True).as_matrix(), A, atol=1e-14)
    np.testing.assert_allclose(euler[:, 0], np.degrees(np.arctan2(A[:, 2, 1], A[:, 2, 0])), atol=1e-9)
    np.testing.assert_allclose(euler[:, 2], np.degrees(np.arctan2(A[:, 1, 2], -A[:, 0, 2])), atol=1e-9)


def test_angles_lead_back_to_the_same_rotation(random_quaternions):
    rng = np.random.default_rng(1)
    poles = np.zeros((200, 4))  # looking along the axis, or nearly so: rot and psi alone mean nothing
    poles[:100, 2:], poles[100:, :2] = rng.standard_normal((2, 100, 2))
    poles[50:100, :2] = 10.0 ** rng.uniform(-16, -6, (50, 2))
    poles /= np.linalg.norm(poles, axis=1, keepdims=True)
    for q in (random_quaternions, poles):
        back = quaternions(euler_angles(q))
        np.testing.assert_allclose(np.abs((back * q).sum(1)), 1, atol=1e-14)
        np.testing.assert_allclose(imaging.rotation_matrix(back), imaging.rotation_matrix(q), atol=2e-15)
    for angles in ([10.0, 0, 30.0], [10.0, 180.0, 30.0], [-170.0, 90.0, 179.0], [30.0, -40.0, 50.0], [400.0, 1e-9, 0]):
        np.testing.assert_allclose(
            imaging.rotation_matrix(quaternions(np.array(angles))), relion_matrix(np.array(angles)), atol=1e-14
        )
