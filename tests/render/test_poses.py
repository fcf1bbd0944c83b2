import numpy as np
import pytest
from scipy import stats

from tempica.imaging import rotation_matrix
from tempica.recipe import RenderRecipe
from tempica.render.poses import random_views

RECIPE = RenderRecipe(shift_deviation_A=2.5, defocus_low_A=8_000, defocus_high_A=15_000, astigmatism_A=300)
N = 4000


@pytest.fixture(scope="module")
def views():
    return random_views(RECIPE, 11, 0, 0, N)


def test_orientations_are_uniform(views):
    np.testing.assert_allclose(np.linalg.norm(views.pose_quaternion, axis=1), 1, rtol=1e-12)
    rotation = rotation_matrix(views.pose_quaternion)
    # under the Haar measure each entry has mean 0 and variance 1/3, different ones do not correlate,
    # and the trace has mean 0 and variance 1
    assert np.abs(rotation.mean(0)).max() < 4 * np.sqrt(1 / 3 / N)
    second = np.einsum("fa,fb->ab", rotation.reshape(N, 9), rotation.reshape(N, 9)) / N
    np.testing.assert_allclose(second, np.eye(9) / 3, atol=4.5 * np.sqrt(4 / 45 / N))
    trace = np.einsum("fii->f", rotation)
    assert abs(trace.mean()) < 4 / np.sqrt(N)
    assert abs(trace.var() - 1) < 4 * np.sqrt(2 / N)
    angle = np.arccos(np.clip((trace - 1) / 2, -1, 1))
    assert stats.kstest(angle, lambda x: (x - np.sin(x)) / np.pi).pvalue > 1e-3
    for direction in (rotation[:, 2, 2], rotation[:, 0, 1]):  # a coordinate of a point on a sphere: Archimedes
        assert stats.kstest(direction, stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_shifts_and_focus_have_the_stated_distributions(views):
    assert stats.kstest(views.pose_shift.ravel() / 2.5, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(views.pose_shift.T)[0, 1]) < 4 / np.sqrt(N)
    np.testing.assert_allclose(views.defocus_u - views.defocus_v, 300, rtol=1e-9)
    middle = (views.defocus_u + views.defocus_v) / 2
    assert stats.kstest(middle, stats.uniform(8_000, 7_000).cdf).pvalue > 1e-3
    assert stats.kstest(views.defocus_angle, stats.uniform(0, np.pi).cdf).pvalue > 1e-3


def test_views_of_neighbouring_frames_are_independent(views):
    columns = np.column_stack([views.pose_quaternion, views.pose_shift, views.defocus_u, views.defocus_angle])
    score = (columns - columns.mean(0)) / columns.std(0)
    assert np.abs(score[1:].T @ score[:-1] / (N - 1)).max() < 4.5 / np.sqrt(N)
    np.testing.assert_allclose(score.T @ score / N, np.eye(8), atol=4.5 / np.sqrt(N))


def test_views_do_not_depend_on_the_blocks_they_are_drawn_in():
    whole = random_views(RECIPE, 3, 1, 0, 10)
    parts = [random_views(RECIPE, 3, 1, *span) for span in ((4, 10), (0, 4))]
    for name, value in vars(whole).items():
        np.testing.assert_array_equal(value, np.concatenate([vars(parts[1])[name], vars(parts[0])[name]]))
    for other in (random_views(RECIPE, 3, 2, 0, 10), random_views(RECIPE, 4, 1, 0, 10)):
        assert (other.pose_quaternion != whole.pose_quaternion).all()


def test_one_option_leaves_the_draws_of_the_others():
    """So that two recipes that differ in one number differ in nothing else."""
    changed = RECIPE.model_copy(update={"shift_deviation_A": 0.0, "astigmatism_A": 0.0})
    first, second = (random_views(recipe, 3, 0, 0, 5) for recipe in (RECIPE, changed))
    np.testing.assert_array_equal(first.pose_quaternion, second.pose_quaternion)
    np.testing.assert_array_equal(first.defocus_angle, second.defocus_angle)
    np.testing.assert_allclose((first.defocus_u + first.defocus_v) / 2, second.defocus_u, rtol=1e-12)
    assert not second.pose_shift.any()
