import math
import re
from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.errors import RecipeError, SimulationError, StructureError
from tempica.simulate import engine
from tempica.simulate import models as molecule_models
from tempica.simulate.frames import superpose
from tempica.stores import files

GAS_CONSTANT = 8.314462618e-3  # kJ/mol/K


def run(recipe, model, replica, first, last, state=None, n_frames=50):
    series = engine.targets(recipe, model, replica, n_frames)
    return engine.run_block(
        recipe, model, replica, series, state or engine.first_state(recipe, model, replica), first, last
    )


def assert_same(first, second):
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, vars(second)[name], err_msg=name)


def test_a_run_goes_on_from_a_saved_state_as_if_it_had_not_stopped(make_recipe, model, tmp_path):
    recipe = make_recipe(steps_per_frame=15, equilibration_frames=2)
    blocks = [(-2, 0), (0, 3), (3, 5)]
    through = {}
    for replica in (0, 1):
        state = None
        for first, last in blocks:
            through[replica, first], state = run(recipe, model, replica, first, last, state)

    for first, last in blocks:  # replicas turn by turn, the other first, everything by way of the disk
        for replica in (1, 0):
            before = tmp_path / f"{replica}-{first}.npz"
            state = engine.State(**files.load_arrays(before)) if before.exists() else None
            frames, state = run(recipe, model, replica, first, last, state)
            assert_same(frames, through[replica, first])
            files.save_arrays(tmp_path / f"{replica}-{last}.npz", **vars(state))
    assert (through[0, 0].position != through[1, 0].position).any()
    assert (through[0, 0].source != through[1, 0].source).all()


def test_every_block_has_noise_of_its_own(make_recipe, model):
    recipe = make_recipe(steps_per_frame=5, dynamics=[])
    state = engine.first_state(recipe, model, 0)
    ends = [run(recipe, model, replica, first, first + 1, state)[1] for replica in (0, 1) for first in (0, 1)]
    for one, other in combinations(ends, 2):
        assert np.abs(one.velocity - other.velocity).max() > 0.1 * state.velocity.std()


def test_the_end_of_a_block_leaves_no_trace(make_recipe, model):
    """Without friction there is no noise either, and two blocks are the one trajectory of Newton."""
    recipe = make_recipe(friction=1e-12, steps_per_frame=10)
    whole, end = run(recipe, model, 0, 0, 4)
    first, state = run(recipe, model, 0, 0, 2)
    second, again = run(recipe, model, 0, 2, 4, state)
    for name, value in vars(whole).items():
        parts = np.concatenate([vars(first)[name], vars(second)[name]])
        np.testing.assert_allclose(parts, value, rtol=1e-3, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(again.position, end.position, atol=1e-5)
    np.testing.assert_allclose(again.velocity, end.velocity, atol=1e-3)


@pytest.mark.parametrize(("temperature", "bead_mass"), [(300.0, 110.0), (150.0, 220.0)])
def test_every_degree_of_freedom_has_half_kT(make_recipe, simulations, temperature, bead_mass):
    recipe = make_recipe(
        temperature=temperature, steps_per_frame=100, dynamics=[], network={"bead_mass": bead_mass}, friction=2.0
    )
    free = molecule_models.build_model(recipe.simulate, simulations)
    _, state = run(recipe, free, 0, 0, 5)
    n_frames, n_degrees = 150, 3 * 214
    frames, state = run(recipe, free, 0, 0, n_frames, state, n_frames)
    found = 2 * frames.kinetic_energy / (n_degrees * GAS_CONSTANT)
    # each frame is a draw of χ²/dof; frames are 2 ps and so four relaxation times apart
    error = temperature * math.sqrt(2 / n_degrees / n_frames)
    assert abs(found.mean() - temperature) < 4 * error
    assert found.std() == pytest.approx(temperature * math.sqrt(2 / n_degrees), rel=0.3)
    # the velocities themselves, and that they are those of the stated mass
    final = bead_mass * (state.velocity**2).mean() / GAS_CONSTANT
    assert abs(final - temperature) < 4.5 * temperature * math.sqrt(2 / n_degrees)
    assert (bead_mass * state.velocity**2).sum() / 2 == pytest.approx(frames.kinetic_energy[-1], rel=1e-6)


def test_first_velocities_are_those_of_the_temperature(make_recipe, model):
    for temperature in (300.0, 75.0):
        recipe = make_recipe(temperature=temperature)
        velocity = np.array([engine.first_state(recipe, model, r).velocity for r in range(40)])
        found = 110.0 * (velocity**2).mean() / GAS_CONSTANT
        assert abs(found / temperature - 1) < 4 * math.sqrt(2 / velocity.size)
        assert abs(velocity.mean()) < 4 * velocity.std() / math.sqrt(velocity.size)


def test_driven_hinges_follow_their_targets_and_the_frames_hold_them(make_recipe, model):
    recipe = make_recipe(equilibration_frames=5)  # 600 steps a frame, as committed
    series = engine.targets(recipe, model, 0, 40)
    _, state = engine.run_block(recipe, model, 0, series, engine.first_state(recipe, model, 0), -5, 0)
    frames, _ = engine.run_block(recipe, model, 0, series, state, 0, 40)
    np.testing.assert_array_equal(frames.source, series[6:])
    for k, spread in enumerate(drive.deviation for drive in recipe.simulate.drives):
        assert np.corrcoef(frames.source[:, k], frames.collective_variable[:, k])[0, 1] > 0.95
        off = np.degrees(frames.source[:, k] - frames.collective_variable[:, k])
        assert off.std() < spread / 4
        assert abs(off.mean()) < spread / 2  # the network pulls back at the edges of its basin
    again = np.stack([v.measure(frames.position) for v in model.variables], -1)
    np.testing.assert_allclose(again, frames.collective_variable, atol=1e-5)


def test_targets_are_the_recipes_series(make_recipe, model):
    recipe = make_recipe(equilibration_frames=3)
    n_frames = 4000
    series = engine.targets(recipe, model, 2, n_frames)
    assert series.shape == (1 + 3 + n_frames, 2)
    np.testing.assert_allclose(np.degrees(series[0]), (72.7, 144.6), atol=0.1)  # starts where the structure is
    for k, drive in enumerate(recipe.simulate.drives):
        mean, spread, rho = drive.mean, drive.deviation, drive.coefficient
        wanted = np.degrees(series[1:, k])
        error = math.sqrt((1 + rho) / (1 - rho) / n_frames)
        assert abs(wanted.mean() - mean) < 4 * error * spread
        assert abs(wanted.std() / spread - 1) < 4 * error
        assert np.corrcoef(wanted[1:], wanted[:-1])[0, 1] == pytest.approx(rho, abs=0.03)
    assert abs(np.corrcoef(series[1:].T)[0, 1]) < 0.15
    np.testing.assert_array_equal(engine.targets(recipe, model, 2, 10), series[:14])
    assert (engine.targets(recipe, model, 3, 10)[1:] != series[1:14]).all()


def test_targets_stay_where_the_angle_has_a_gradient(make_recipe, model):
    content = make_recipe().simulate.model_dump()["dynamics"]
    content[0] |= {"mean": 170.0, "deviation": 50.0}
    series = engine.targets(make_recipe(dynamics=content), model, 0, 500)
    assert np.degrees(series.max()) == pytest.approx(175)
    assert np.degrees(series[:, 0].min()) >= 5 - 1e-9
    with pytest.raises(
        RecipeError, match=r"ar1 dynamics of NMP, mean 170\.0, deviation 50\.0, reach 20 … 320 °.*within 5 … 175 °"
    ):
        molecule_models.check_targets(make_recipe(dynamics=content), model)
    molecule_models.check_targets(make_recipe(), model)


def test_a_mean_that_is_left_out_is_the_structures_own(make_recipe, simulations):
    content = make_recipe().simulate.model_dump()["dynamics"]
    free = {"collective_variable": "LID", "process": "harmonic", "curvature": 500.0}
    told = make_recipe(dynamics=[content[0] | {"mean": 72.68387}, free | {"mean": 144.63}])
    silent = make_recipe(dynamics=[{k: v for k, v in content[0].items() if k != "mean"}, free])
    models = [molecule_models.build_model(recipe.simulate, simulations) for recipe in (told, silent)]
    own = [float(v.measure(models[0].molecule.position)) for v in models[0].variables]
    series = [engine.targets(recipe, model, 0, 30) for recipe, model in zip((told, silent), models, strict=True)]
    np.testing.assert_allclose(series[1][1:] - series[0][1:], own[0] - np.radians(72.68387), atol=1e-9)
    molecule_models.check_targets(silent, models[1])
    centre = models[1].variables[1].potential(molecule_models.settled(silent.simulate, models[1]).dynamics[1])
    assert repr(own[1])[:12] in centre.getEnergyFunction()


@pytest.mark.parametrize(("replica", "named"), [(3, "replica 3"), (2**32 - 1, "the separate ensemble")])
def test_a_blow_up_names_replica_and_step(make_recipe, simulations, replica, named):
    recipe = make_recipe(time_step=0.1, steps_per_frame=20, network={"backbone_stiffness": 1e8})
    stiff = molecule_models.build_model(recipe.simulate, simulations)
    with pytest.raises(
        SimulationError, match=rf"The integration of {named} broke down before frame \d+ \(step \d+"
    ) as info:
        run(recipe, stiff, replica, 0, 50)
    frame, step = map(int, re.search(r"frame (\d+) \(step (\d+)", str(info.value)).groups())
    assert step == 20 * frame
    assert "simulate.time_step (now 0.1 ps)" in str(info.value)
    force, bead = re.search(r"largest force was (\S+) kJ/mol/nm, on bead (\d+)\.", str(info.value)).groups()
    assert float(force) > 1e4  # a bond at 300 K feels hundreds
    assert 0 <= int(bead) < 214


@pytest.mark.parametrize("steps", [1, 49, 50, 51, 149])
def test_any_number_of_steps_a_frame_reaches_the_target(make_recipe, model, steps, monkeypatch):
    taken = []
    make = engine.openmm.LangevinMiddleIntegrator

    def counting(*args):
        integrator = make(*args)
        step = integrator.step
        integrator.step = lambda n: (taken.append(n), step(n))
        return integrator

    monkeypatch.setattr(engine.openmm, "LangevinMiddleIntegrator", counting)
    recipe = make_recipe(steps_per_frame=steps)
    run(recipe, model, 0, 0, 2)
    assert sum(taken) == 2 * steps
    assert max(taken) < 2 * engine.SUBSTEPS


@pytest.mark.parametrize("far", [0.0, 100.0])
def test_superposition_puts_the_body_on_the_reference(model, far):
    rng = np.random.default_rng(6)
    still = model.molecule.position
    turns = Rotation.random(8, rng=rng)
    shift = far * rng.normal(size=(8, 1, 3)) + rng.normal(size=(8, 1, 3))
    moved = np.stack([turn.apply(still) for turn in turns]) + shift
    np.testing.assert_allclose(superpose(moved, model), np.broadcast_to(still, moved.shape), atol=2e-5 + far * 1e-6)

    bent = moved + 0.05 * rng.normal(size=moved.shape)
    placed = superpose(bent, model)
    assert placed.dtype == np.float32
    centred = still[model.body] - still[model.body].mean(0)
    for frame, seen in zip(bent, placed, strict=True):
        body = frame[model.body]
        _, best = Rotation.align_vectors(centred, body - body.mean(0))  # Kabsch
        off = np.linalg.norm(seen[model.body] - still[model.body])
        assert off == pytest.approx(best, rel=1e-3)
        np.testing.assert_allclose(seen[model.body].mean(0), still[model.body].mean(0), atol=2e-5 + far * 1e-6)
    for variable in model.variables:
        np.testing.assert_allclose(variable.measure(placed), variable.measure(bent), atol=1e-5 + far * 1e-6)


def test_a_model_names_what_its_molecule_lacks(make_recipe, simulations):
    molecule = make_recipe().simulate.molecule.model_dump()
    for change, message in [
        ({"structure": "structures/none.pdb"}, r"none\.pdb does not exist"),
        ({"second_structure": "structures/none.pdb"}, r"none\.pdb does not exist"),
        ({"domains": {**molecule["domains"], "NMP": "30-67, 300"}}, "domain NMP asks for residues 300"),
        ({"domains": {**molecule["domains"], "NMP": "30-31"}, "body": "NMP"}, "'NMP' has 2 beads.*needs 3"),
    ]:
        with pytest.raises(StructureError, match=message):
            molecule_models.build_model(make_recipe(molecule=molecule | change).simulate, simulations)
    variables = make_recipe().simulate.model_dump()["collective_variables"]
    variables[1]["residues"] = ["1-3", "4-6", "200-220"]
    with pytest.raises(StructureError, match="collective variable LID asks for residues 215"):
        molecule_models.build_model(make_recipe(collective_variables=variables).simulate, simulations)


def test_a_model_without_body_or_second_form_is_simulated(make_recipe, simulations):
    recipe = make_recipe(
        molecule={"structure": "structures/adk_open.pdb"}, network={"no_contacts": []}, steps_per_frame=5
    )
    plain = molecule_models.build_model(recipe.simulate, simulations)
    assert plain.body.tolist() == list(range(214))
    frames, _ = run(recipe, plain, 0, 0, 2)
    assert np.isfinite(frames.position).all()
