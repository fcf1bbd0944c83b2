import numpy as np
import pytest
from scipy import stats
from scipy.spatial.transform import Rotation

from tempica import imaging
from tempica.imaging import rotation_matrix
from tempica.recipe.electron import RenderRecipe
from tempica.render.electron.poses import diffusion_of, movie_views, random_views, stated_poses, stokes_einstein_per_s

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
    assert stats.kstest(views.pose_shift_A.ravel() / 2.5, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(views.pose_shift_A.T)[0, 1]) < 4 / np.sqrt(N)
    np.testing.assert_allclose(views.defocus_u_A - views.defocus_v_A, 300, rtol=1e-9)
    middle = (views.defocus_u_A + views.defocus_v_A) / 2
    assert stats.kstest(middle, stats.uniform(8_000, 7_000).cdf).pvalue > 1e-3
    assert stats.kstest(views.defocus_angle, stats.uniform(0, np.pi).cdf).pvalue > 1e-3


def test_views_of_neighbouring_frames_are_independent(views):
    columns = np.column_stack([views.pose_quaternion, views.pose_shift_A, views.defocus_u_A, views.defocus_angle])
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
    np.testing.assert_allclose((first.defocus_u_A + first.defocus_v_A) / 2, second.defocus_u_A, rtol=1e-12)
    assert not second.pose_shift_A.any()


def recipe_with(**poses):
    return RenderRecipe.model_validate({"poses": poses})


def views_of(recipe, n, molecule=None, step_s=1.0, diffusion=0.0, replica=0, seed=5):
    molecule = np.zeros(n, int) if molecule is None else molecule
    return movie_views(recipe, seed, replica, molecule, np.full(n, step_s), diffusion)


@pytest.mark.parametrize("variance", [0.004, 0.3, 3.0])
def test_rotational_diffusion_forgets_as_its_theory_says(variance):
    """⟨P_l(axis(0) · axis(t))⟩ = exp(−l (l + 1) D t), with 2 D Δt = `variance` about each axis."""
    recipe = recipe_with(kind="diffusion", rotational_diffusion_per_s=variance / 2)
    lag, n_movies, n_frames = (10, 40, 121) if variance < 1e-2 else (1, 40, 31)
    kept = {1: [], 2: []}
    for replica in range(n_movies):
        views = views_of(recipe, n_frames, diffusion=variance / 2, replica=replica)
        rotation = imaging.rotation_matrix(views.pose_quaternion)[::lag]
        for axes in (rotation[:, 2], rotation[:, :, 0]):  # fixed in the view, and in the molecule
            cos = np.einsum("fi,fi->f", axes[1:], axes[:-1])
            kept[1].append(cos.mean())
            kept[2].append((1.5 * cos**2 - 0.5).mean())
    for order, values in kept.items():
        movies = np.reshape(values, (n_movies, 2)).mean(1)
        expected = np.exp(-order * (order + 1) * variance / 2 * lag)
        assert abs(movies.mean() - expected) < 4.5 * movies.std() / np.sqrt(n_movies) + 2e-3 * (1 - expected)


def test_diffusing_frames_do_not_depend_on_how_many_follow_and_start_anew_with_a_molecule():
    recipe = recipe_with(kind="diffusion", rotational_diffusion_per_s=0.01, drift_A=0.5)
    molecule = np.repeat([0, 1, 2], [7, 7, 6])
    whole, part = (views_of(recipe, n, molecule[:n], diffusion=0.01) for n in (20, 11))
    for name, value in vars(part).items():
        np.testing.assert_array_equal(value, vars(whole)[name][:11])
    own = random_views(recipe, 5, 0, 0, 20)
    for name in ("pose_quaternion", "pose_shift_A", "defocus_u_A"):
        np.testing.assert_array_equal(vars(whole)[name][[0, 7, 14]], vars(own)[name][[0, 7, 14]])
    assert (np.diff(whole.defocus_u_A)[[0, 5, 8, 18]] == 0).all()
    step = np.diff(whole.pose_shift_A, axis=0)[[0, 3, 8]]
    np.testing.assert_allclose(np.linalg.norm(step, axis=1), 0.5, rtol=1e-9)
    np.testing.assert_allclose(step[0], step[1], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(whole.pose_quaternion, axis=1), 1, rtol=1e-12)


def test_fixed_poses_stay():
    views = views_of(recipe_with(kind="fixed"), 9, np.repeat([0, 1], [5, 4]))
    for value in vars(views).values():
        assert (value[:5] == value[0]).all()
        assert (value[5:] == value[5]).all()
    assert (views.pose_quaternion[0] != views.pose_quaternion[5]).all()


def test_all_molecules_may_lie_alike():
    views = views_of(recipe_with(kind="fixed", orientation=[0.0, 0.0, 3.0, 4.0]), 9, np.repeat([0, 1], [5, 4]))
    np.testing.assert_allclose(views.pose_quaternion, np.tile([0, 0, 0.6, 0.8], (9, 1)))
    assert len(np.unique(views.pose_shift_A, axis=0)) == 2
    for wrong in ({"orientation": [0, 0, 0, 0]}, {"orientation": [0, 0, 0, 1], "preferred_axes": [[0, 0, 1]]}):
        with pytest.raises(ValueError, match="orientation"):
            recipe_with(kind="fixed", **wrong)


def test_stokes_and_einstein_for_a_protein_in_water():
    assert stokes_einstein_per_s(2.5, 298.0, 0.89) == pytest.approx(1.2e7, rel=0.02)
    ball = np.random.default_rng(0).normal(size=(20_000, 3))
    ball = 2.2 * ball / np.linalg.norm(ball, axis=1, keepdims=True)
    ball *= np.random.default_rng(1).uniform(size=(20_000, 1)) ** (1 / 3)
    recipe = recipe_with(kind="diffusion", temperature_K=298.0)
    assert diffusion_of(recipe, ball, np.ones(len(ball))) == pytest.approx(
        stokes_einstein_per_s(2.5, 298, 0.89), rel=0.02
    )


def test_preferred_directions_point_to_the_eye():
    axes, kappa = [[0, 0, 2], [1, 1, 0]], 8.0
    recipe = recipe_with(preferred_axes=axes, preference=kappa)
    rotation = imaging.rotation_matrix(random_views(recipe, 1, 0, 0, N).pose_quaternion)
    eye = rotation[:, 2]  # the molecule's direction that points to the eye
    unit = np.array(axes) / np.linalg.norm(axes, axis=1, keepdims=True)
    cos = eye @ unit.T
    own = cos.argmax(1)
    assert abs((own == 0).mean() - 0.5) < 4.5 * 0.5 / np.sqrt(N)
    near = cos.max(1)
    mean = 1 / np.tanh(kappa) - 1 / kappa  # Langevin's function
    spread = np.sqrt(1 / kappa**2 - 1 / np.sinh(kappa) ** 2)
    assert abs(near.mean() - mean) < 4.5 * spread / np.sqrt(N)
    inplane = np.arctan2(rotation[:, 1, 2], rotation[:, 0, 2])
    assert stats.kstest(inplane, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3


@pytest.mark.parametrize("kappa", [1e-300, 1e-17, 1e-3])
def test_a_preference_of_next_to_nothing_is_none(kappa):
    rotation = imaging.rotation_matrix(
        random_views(recipe_with(preferred_axes=[[0, 3e300, 0]], preference=kappa), 1, 0, 0, N).pose_quaternion
    )
    for eye in rotation[:, 2].T:
        assert stats.kstest(eye, stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_a_preferred_axis_of_any_length_is_a_direction():
    long, short = (
        random_views(recipe_with(preferred_axes=[[0, size, size]], preference=50.0), 1, 0, 0, 9).pose_quaternion
        for size in (1e300, 1e-5)
    )
    np.testing.assert_allclose(long, short, rtol=1e-12)


def test_approximate_poses_err_as_stated_and_hidden_ones_say_nothing():
    molecule = np.zeros(N, int)
    views = random_views(RECIPE, 2, 0, 0, N)
    recipe = recipe_with(knowledge="approximate", error_deg=3.0, error_A=0.7)
    stated = stated_poses(recipe, 2, 0, molecule, views)
    one, other = (imaging.rotation_matrix(q) for q in (views.pose_quaternion, stated["pose_quaternion"]))
    error = Rotation.from_matrix(other @ one.transpose(0, 2, 1)).as_rotvec(degrees=True)
    np.testing.assert_allclose(error.std(0), 3.0, rtol=4.5 / np.sqrt(2 * N))
    assert np.abs(error.mean(0)).max() < 4.5 * 3 / np.sqrt(N)
    np.testing.assert_allclose((stated["pose_shift_A"] - views.pose_shift_A).std(0), 0.7, rtol=4.5 / np.sqrt(2 * N))
    fixed = recipe_with(kind="fixed", knowledge="approximate", error_deg=3.0)
    still = views_of(fixed, 6)
    assert (stated_poses(fixed, 2, 0, np.zeros(6), still)["pose_quaternion"].std(0) == 0).all()
    hidden = stated_poses(recipe_with(knowledge="hidden"), 2, 0, molecule, views)
    assert all(np.isnan(value).all() for value in hidden.values())


def test_each_molecule_gathers_its_own_dose():
    recipe = RenderRecipe(radiation_damage=True, dose_per_frame_e_A2=2.0, pre_exposure_e_A2=5.0)
    np.testing.assert_allclose(views_of(recipe, 5, np.array([0, 0, 0, 4, 4])).damage_dose, [6, 8, 10, 6, 8])
    assert not views_of(RECIPE, 3).damage_dose.any()
