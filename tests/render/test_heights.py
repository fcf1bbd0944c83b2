"""How molecules lie under the tip: on their faces, on the support, diffusing in the plane."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.recipe.afm import AfmRecipe, LyingPoses
from tempica.render.afm.poses import lie, quaternions, scanned
from tempica.render.afm.stage import clean_heights, noisy

RNG = np.random.default_rng(0)
STRUCTURE = RNG.normal(size=(30, 3)) * [1.2, 0.8, 0.3]
RADIUS = np.full(30, 0.25)


def camera(**changes: object) -> AfmRecipe:
    return AfmRecipe(kind="afm", **changes)  # type: ignore[arg-type]


def test_molecules_lie_flat_on_either_side_and_keep_it() -> None:
    molecule = np.repeat(np.arange(40), 5)
    lying = lie(camera(), 1, 0, molecule, STRUCTURE)
    rotation = Rotation.from_quat(quaternions(lying)).as_matrix()
    axis = np.linalg.svd(STRUCTURE - STRUCTURE.mean(0))[2][2]
    up = rotation @ axis
    np.testing.assert_allclose(np.abs(up[:, 2]), 1, atol=1e-9)
    side = np.sign(up[:, 2]).reshape(40, 5)
    assert (side == side[:, :1]).all()
    assert 8 <= (side[:, 0] > 0).sum() <= 32  # each side with probability ½: outside once in 1e4


def test_declared_faces_are_the_only_ones() -> None:
    faces = ((0.0, 0.0, 0.0, 2.0), (1.0, 0.0, 0.0, 0.0))
    lying = lie(camera(poses=LyingPoses(faces=faces)), 1, 0, np.arange(50), STRUCTURE)
    assert set(map(tuple, np.abs(lying.face).round(9))) == {(0, 0, 0, 1), (1, 0, 0, 0)}


def test_angles_walk_and_places_stay_about_the_middle() -> None:
    poses = LyingPoses(turn_deg=5.0, step_nm=0.2, shift_deviation_nm=0.5)
    lying = lie(camera(poses=poses), 2, 0, np.zeros(4000, int), STRUCTURE)
    assert np.degrees(np.diff(lying.angle)).std() == pytest.approx(5.0, rel=0.05)
    assert lying.shift_nm.std() == pytest.approx(0.5, rel=0.15)  # 350 independent values
    again = lie(camera(poses=poses), 2, 0, np.zeros(100, int), STRUCTURE)
    np.testing.assert_array_equal(again.angle, lying.angle[:100])
    alone = lie(camera(poses=LyingPoses(step_nm=0.5, shift_deviation_nm=0.5)), 2, 0, np.zeros(4000, int), STRUCTURE)
    x = alone.shift_nm[:, 0]
    assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 4 / np.sqrt(4000)


@pytest.mark.parametrize("line_time_s", [0.0, 0.002])
def test_the_lowest_atom_touches_the_support_all_the_time(line_time_s: float) -> None:
    recipe = camera(line_time_s=line_time_s, poses=LyingPoses(lying="free", turn_deg=20.0))
    lying = lie(recipe, 1, 0, np.zeros(6, int), STRUCTURE)
    position = STRUCTURE + 0.05 * np.random.default_rng(1).normal(size=(6, 30, 3))
    place = scanned(recipe, lying, position, np.roll(position, -1, 0), RADIUS)
    assert place.shape[1] == (1 if line_time_s == 0 else 16 if line_time_s > 0.01 else place.shape[1])
    np.testing.assert_allclose((place[..., 2] - RADIUS).min(-1), 0, atol=1e-12)


def test_a_scan_ends_where_the_next_frame_begins_if_it_takes_all_the_time() -> None:
    recipe = camera(n_pixels=20, frame_interval_s=0.1, line_time_s=0.005, poses=LyingPoses(turn_deg=10.0))
    lying = lie(recipe, 1, 0, np.zeros(5, int), STRUCTURE)
    position = STRUCTURE + 0.05 * np.random.default_rng(1).normal(size=(5, 30, 3))
    place = scanned(recipe, lying, position, np.roll(position, -1, 0), RADIUS)
    np.testing.assert_allclose(place[:-1, -1], place[1:, 0], atol=1e-9)


def test_imperfections_are_left_out_where_they_are_zero_and_are_as_large_as_said() -> None:
    ideal = camera(noise_nm=0.0)
    lying = lie(ideal, 1, 0, np.zeros(3, int), STRUCTURE)
    position = np.repeat(STRUCTURE[None], 3, 0)
    clean = clean_heights(ideal, lying, position, position, RADIUS)
    np.testing.assert_array_equal(noisy(ideal, clean[0], 1, 0, 0), clean[0])
    assert clean[:, 0, 0].max() == 0  # the support
    loud = camera(noise_nm=0.2, line_offset_nm=0.5)
    noise = np.stack([noisy(loud, clean[0], 1, 0, k) - clean[0] for k in range(60)])
    line = noise.mean(-1, keepdims=True)
    assert (noise - line).std() == pytest.approx(0.2 * np.sqrt(1 - 1 / 35), rel=0.02)
    assert line.std() == pytest.approx(np.hypot(0.5, 0.2 / np.sqrt(35)), rel=0.06)
    tilted = camera(stage_tilt_deg=2.0, noise_nm=0.0)
    sloping = clean_heights(tilted, lie(tilted, 1, 0, np.zeros(3, int), STRUCTURE), position, position, RADIUS)
    plane = (sloping - clean)[0]
    np.testing.assert_allclose(np.diff(plane, 2, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.diff(plane, 2, axis=1), 0, atol=1e-5)
    assert np.abs(plane).max() > 0.01
