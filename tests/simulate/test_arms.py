"""The designed molecule: as many independent sources as arms, by construction."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.errors import RecipeError
from tempica.recipe.experiment import Recipe
from tempica.recipe.molecule import ArmsRecipe
from tempica.simulate import engine, models, protocols
from tempica.simulate.arms import build_arms

N_FRAMES = 250


def recipe(n, joint="hinge", **changes):
    coefficient = np.linspace(0.9, 0.5, n)
    content = {
        "name": "arms",
        "simulate": {
            "molecule": {"kind": "arms", "n_arms": n, "joint": joint} | changes,
            "dynamics": [
                {
                    "collective_variable": f"arm_{i + 1}",
                    "process": "ar1",
                    "coefficient": float(rho),
                    "mean": 0.0,
                    "deviation": 8.0,
                    "stiffness": 50_000.0 if joint == "hinge" else 20_000.0,
                }
                for i, rho in enumerate(coefficient)
            ],
            "n_replicas": 3,
            "n_frames": N_FRAMES,
            "steps_per_frame": 300,
            "equilibration_frames": 3,
        },
        "train": {"held_out_replicas": 1, "n_components": 1},
    }
    return Recipe.model_validate(content)


@pytest.mark.parametrize("n", [2, 4, 8])
def test_the_arms_are_independent_and_follow_what_drives_them(n):
    setting = recipe(n)
    model = models.build_model(setting.simulate, None)
    series = engine.targets(setting, model, 0, N_FRAMES)
    _, state = engine.run_block(setting, model, 0, series, engine.first_state(setting, model, 0), -3, 0)
    frames, _ = engine.run_block(setting, model, 0, series, state, 0, N_FRAMES)
    realised = frames.collective_variable
    for i in range(n):
        assert np.corrcoef(realised[:, i], frames.source[:, i])[0, 1] >= 0.99

    # the null: largest correlation among as many series of the same memory that are independent by construction
    rng = np.random.default_rng(0)
    rates = [entry.coefficient for entry in setting.simulate.drives]

    def largest(x):
        return np.abs(np.corrcoef(x.T) - np.eye(n)).max()

    null = [largest(np.stack([protocols.ar1(N_FRAMES, r, "laplace", rng) for r in rates], -1)) for _ in range(500)]
    assert largest(realised) < np.quantile(null, 0.999)


def test_arms_do_not_pull_at_each_other():
    """Two arms at rest are not moved by a third that swings: correlated by less than a hundredth of its variance."""
    setting = recipe(3, identical=True)
    content = setting.model_dump()
    content["simulate"]["dynamics"][1]["deviation"] = content["simulate"]["dynamics"][2]["deviation"] = 1e-6
    setting = Recipe.model_validate(content)
    model = models.build_model(setting.simulate, None)
    series = engine.targets(setting, model, 0, N_FRAMES)
    frames, _ = engine.run_block(setting, model, 0, series, engine.first_state(setting, model, 0), 0, N_FRAMES)
    moving, *resting = (frames.collective_variable - frames.collective_variable.mean(0)).T
    for other in resting:
        slope = (moving @ other) / (moving @ moving)
        assert abs(slope) < 0.01 + 4 * other.std() / moving.std() / np.sqrt(N_FRAMES / 10)


@pytest.mark.parametrize("joint", ["hinge", "swivel"])
@pytest.mark.parametrize("n", [1, 3, 10])
def test_beads_keep_their_distance_and_bodies_share_an_axle(n, joint):
    molecule, bodies, variables = build_arms(recipe(n, joint).simulate.molecule)
    position = molecule.position
    apart = np.linalg.norm(position[:, None] - position[None], axis=-1) + 10 * np.eye(len(position))
    assert apart.min() > 0.2
    assert len(bodies) == n + 1
    for body in bodies[1:]:
        assert len(np.intersect1d(body, bodies[0])) == 2  # free to turn about a line, and no more
        assert len(body) >= 7
    np.testing.assert_array_equal(np.unique(np.concatenate(bodies)), np.arange(len(position)))
    assert [variable.name for variable in variables] == [f"arm_{i + 1}" for i in range(n)]
    for variable, body in zip(variables, bodies[1:], strict=True):
        assert abs(variable.measure(position)) < 1e-12
        for angle in (-50.0, 20.0):  # the variable is the rotation of the arm, and of nothing else, about its axle
            start, end = position[np.intersect1d(body, bodies[0])]
            axis = (end - start) / np.linalg.norm(end - start)
            turned = position.copy()
            turned[body] = Rotation.from_rotvec(np.radians(angle) * axis).apply(position[body] - start) + start
            assert np.degrees(variable.measure(turned)) == pytest.approx(angle, abs=1e-9)
            assert all(abs(other.measure(turned)) < 1e-12 for other in variables if other is not variable)


def test_identical_arms_are_copies_and_distinct_ones_differ():
    def lengths(identical):
        molecule, bodies, _ = build_arms(recipe(4, identical=identical).simulate.molecule)
        return [
            np.ptp(
                molecule.position[body] @ np.linalg.svd(molecule.position[body] - molecule.position[body].mean(0))[2][0]
            )
            for body in bodies[1:]
        ]

    np.testing.assert_allclose(lengths(True), lengths(True)[0], rtol=1e-6)
    assert np.ptp(lengths(False)) > 0.3


def test_an_identical_molecule_looks_the_same_after_a_turn():
    n = 5
    molecule, _, _ = build_arms(recipe(n, identical=True).simulate.molecule)
    turn = 2 * np.pi / n
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    centred = molecule.position - molecule.position.mean(0)
    apart = np.linalg.norm((centred @ rotation.T)[:, None] - centred[None], axis=-1)
    assert apart.min(1).max() < 1e-9


@pytest.mark.parametrize("n", [3, 4, 10])
def test_with_a_handle_no_turn_and_no_mirror_brings_the_ring_onto_itself(n):
    def least_misfit(handle):
        position = build_arms(recipe(n, identical=True, handle=handle).simulate.molecule)[0].position
        turns = Rotation.from_rotvec(2 * np.pi / n * np.outer(np.arange(n), [0, 0, 1])).as_matrix()
        flips = [np.diag(signs) for signs in [(1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1)]]
        apart = [
            np.linalg.norm((position @ (turn @ flip))[:, None] - position[None], axis=-1).min(1).max()
            for flip in flips
            for turn in turns
        ]
        return sorted(apart)[1]  # the least of all is the identity's

    assert least_misfit(handle=False) < 1e-9
    assert least_misfit(handle=True) > 1.0
    molecule, bodies, _ = build_arms(recipe(n, identical=True, handle=True).simulate.molecule)
    apart = np.linalg.norm(molecule.position[:, None] - molecule.position[None], axis=-1) + 10 * np.eye(
        len(molecule.position)
    )
    assert apart.min() > 0.3
    assert len(bodies) == n + 1


@pytest.mark.parametrize("changes", [{"n_arms": 2}, {"joint": "swivel"}, {"identical": False}])
def test_a_handle_where_it_does_not_help_is_refused(changes):
    content = {"kind": "arms", "n_arms": 3, "joint": "hinge", "identical": True, "handle": True} | changes
    with pytest.raises(ValueError, match="handle = true is for a ring of three or more arms on hinges"):
        ArmsRecipe(**content)


@pytest.mark.parametrize("joint", ["hinge", "swivel"])
def test_bodies_stay_rigid(joint):
    setting = recipe(2, joint)
    model = models.build_model(setting.simulate, None)
    _, bodies, _ = build_arms(setting.simulate.molecule)
    series = engine.targets(setting, model, 0, N_FRAMES)
    frames, _ = engine.run_block(setting, model, 0, series, engine.first_state(setting, model, 0), 0, 60)
    for body in bodies:
        now = frames.position[:, body].astype(float)
        apart = np.linalg.norm(now[:, :, None] - now[:, None], axis=-1)
        built = np.linalg.norm(model.molecule.position[body][:, None] - model.molecule.position[body], axis=-1)
        assert (apart - built).std(0).max() < 0.1


def test_too_many_beads_are_refused():
    with pytest.raises(RecipeError, match=r"would have \d+ beads, and 5000 are the most"):
        build_arms(recipe(1, hub_radius=10.0, bead_spacing=0.3).simulate.molecule)
