"""Hidden poses of a toy molecule of 30 beads without any symmetry: 32 pixels along an edge, two modes."""

import numpy as np
import pytest

from tempica import imaging
from tempica.embed.grids import rotation_grid, shift_grid, turns_near

N_ATOMS, N_PIXELS, PIXEL_A = 30, 32, 2.5
OPTICS = imaging.Optics(
    n_pixels=N_PIXELS,
    pixel_size_A=PIXEL_A,
    voltage_kV=300.0,
    spherical_aberration_mm=2.7,
    amplitude_contrast=0.1,
    b_factor_A2=40.0,
    bead_b_factor_A2=20.0,
)


def angle(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((np.einsum("...ij,...ij", first, second) - 1) / 2, -1, 1)))


@pytest.mark.parametrize("n_rotations", [300, 2304])
def test_rotations_are_even(n_rotations):
    grid = rotation_grid(n_rotations)
    rng = np.random.default_rng(0)
    q = rng.normal(size=(2000, 4))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    away = 2 * np.degrees(np.arccos(np.clip(np.abs(q @ grid.quaternion.T), 0, 1)))
    # a cap of angle ω holds (ω − sin ω)/π of all rotations
    one = np.radians(2.2 * np.median(away.min(1)))
    share = (one - np.sin(one)) / np.pi
    inside = (away < np.degrees(one)).sum(1)
    assert inside.mean() == pytest.approx(share * n_rotations, rel=0.05)
    assert inside.min() >= 1
    assert inside.std() < np.sqrt(inside.mean())
    assert np.allclose(np.linalg.norm(grid.quaternion, axis=1), 1)


def test_near_rotations_are_those_of_the_distance_table():
    grid = rotation_grid(300, apart_deg=50.0)
    away = angle(grid.rotation[:, None], grid.rotation)
    for row, near in zip(away, grid.near, strict=True):
        assert set(near) == set(np.flatnonzero(row <= 50.0))


def test_shifts_reach_and_cover():
    shift = shift_grid(3.0, 3.5)
    assert np.all(shift[0] == 0)
    assert np.linalg.norm(shift, axis=1).max() <= 12
    rng = np.random.default_rng(0)
    some = rng.uniform(-12, 12, (4000, 2))
    some = some[np.linalg.norm(some, axis=1) < 10]
    assert np.linalg.norm(some[:, None] - shift, axis=2).min(1).max() <= 3.5 / np.sqrt(3) + 1e-9
    assert np.array_equal(shift_grid(0.0, 3.5), np.zeros((1, 2)))


def test_turns_fill_a_ball():
    turns = turns_near(np.radians(30.0), 400)
    size = angle(turns, np.eye(3))
    assert size[0] == pytest.approx(0, abs=1e-5)
    assert size.max() <= 30.001
    assert np.median(size) == pytest.approx(30 * 0.5 ** (1 / 3), abs=1.0)
    assert np.linalg.norm(turns.mean(0) - np.trace(turns.mean(0)) / 3 * np.eye(3)) < 0.02
