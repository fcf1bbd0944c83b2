"""All-atom molecules in implicit solvent."""

import numpy as np
import openmm
import pytest

from tempica.errors import RecipeError, StructureError
from tempica.imaging import SCATTERING_LENGTH_A
from tempica.recipe.experiment import Recipe
from tempica.simulate import engine, models

DIPEPTIDE = {"kind": "atomistic", "structure": "structures/alanine_dipeptide.pdb"}
PHI = {"name": "phi", "kind": "dihedral", "residues": ["1", "2", "2", "2"], "atoms": ["C", "N", "CA", "C"]}


def recipe(molecule=DIPEPTIDE, variable=PHI, **simulate):
    content = {
        "name": "atoms",
        "simulate": {
            "molecule": molecule,
            "collective_variables": [variable],
            "n_replicas": 3,
            "n_frames": 10,
            "steps_per_frame": 20,
            "equilibration_frames": 0,
            "time_step": 0.002,
            "platform": "Reference",
        }
        | simulate,
        "train": {"held_out_replicas": 1, "n_components": 1},
    }
    return Recipe.model_validate(content)


@pytest.fixture(scope="module")
def dipeptide(simulations):
    return models.build_model(recipe().simulate, simulations)


def run(setting, model, first, last, state, platform="Reference"):
    series = engine.targets(setting, model, 0, last)
    return engine.run_block(setting, model, 0, series, state, first, last, platform)


def test_heavy_atoms_carry_their_hydrogens(dipeptide):
    assert len(dipeptide.whole.residue) == 22
    assert dipeptide.molecule.topology.n_atoms == 10
    names = [atom.name for atom in dipeptide.molecule.topology.atoms]
    carbon, hydrogen = SCATTERING_LENGTH_A["C"], SCATTERING_LENGTH_A["H"]
    assert dipeptide.molecule.scattering_length_A[names.index("CB")] == pytest.approx(carbon + 3 * hydrogen)
    total = sum(SCATTERING_LENGTH_A[atom.element.symbol] for atom in dipeptide.whole.topology.atoms)
    assert dipeptide.molecule.scattering_length_A.sum() == pytest.approx(total)
    assert dipeptide.molecule.bead_width.max() < 0.07
    assert dipeptide.molecule.formula[names.index("CB")] == "CH3"
    assert dipeptide.molecule.formula[names.index("C")] == "C"


def test_the_energy_is_the_force_fields(dipeptide):
    """A relaxed dipeptide in Amber14 with GBn2 lies near −137 kJ/mol, and solvation is most of it."""
    state = engine.first_state(recipe(), dipeptide, 0)
    context = openmm.Context(
        dipeptide.system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(state.position)
    assert context.getState(energy=True).getPotentialEnergy()._value == pytest.approx(-137, abs=3)
    assert any(isinstance(force, openmm.CustomGBForce) for force in dipeptide.system.getForces())


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def test_blocks_make_no_difference(dipeptide, platform):
    setting = recipe()
    start = engine.first_state(setting, dipeptide, 0, platform)
    one, end = run(setting, dipeptide, 0, 6, start, platform)
    again, _ = run(setting, dipeptide, 0, 6, start, platform)
    np.testing.assert_array_equal(one.position, again.position)
    assert one.position.shape == (6, 10, 3)
    assert end.position.shape == (22, 3)
    more, _ = run(setting, dipeptide, 6, 8, end, platform)
    assert np.isfinite(more.position).all()


def test_bonds_with_hydrogen_are_rigid_and_phi_is_mdtrajs(dipeptide):
    import mdtraj

    setting = recipe()
    _, end = run(setting, dipeptide, 0, 5, engine.first_state(setting, dipeptide, 0))
    for one, other in dipeptide.whole.topology.bonds:
        if "H" in (one.element.symbol, other.element.symbol):
            length = np.linalg.norm(end.position[one.index] - end.position[other.index])
            assert 0.09 < length < 0.112
    _, phi = mdtraj.compute_phi(mdtraj.Trajectory(end.position[None], dipeptide.whole.topology))
    assert dipeptide.variables[0].measure(end.position) == pytest.approx(float(phi[0, 0]), abs=1e-5)


def test_a_driven_dihedral_follows(simulations):
    drive = {
        "collective_variable": "phi", "process": "ar1", "coefficient": 0.5, "mean": -100.0, "deviation": 15.0,
        "stiffness": 2000.0,
    }  # fmt: skip
    setting = recipe(dynamics=[drive], steps_per_frame=100, n_frames=30)
    model = models.build_model(setting.simulate, simulations)
    frames, _ = run(setting, model, 0, 30, engine.first_state(setting, model, 0))
    assert np.corrcoef(frames.collective_variable[5:, 0], frames.source[5:, 0])[0, 1] > 0.9


def test_the_platform_is_the_recipes_or_a_measured_one(dipeptide):
    assert engine.choose_platform(recipe(), dipeptide) == ("Reference", {})
    name, seconds = engine.choose_platform(recipe(platform="auto"), dipeptide)
    assert {"Reference", "CPU"} <= set(seconds)
    assert name == "Reference" or seconds["Reference"] > 2 * seconds[name]
    missing = next((p for p in ("CUDA", "OpenCL") if p not in seconds), None)
    if missing:
        with pytest.raises(RecipeError, match=f"simulate.platform = '{missing}': OpenMM has .*Reference"):
            engine.choose_platform(recipe(platform=missing), dipeptide)


def test_what_the_force_field_does_not_know_is_said(simulations, tmp_path):
    lines = (simulations / "structures/alanine_dipeptide.pdb").read_text().replace("ALA", "XYZ")
    (tmp_path / "odd.pdb").write_text(lines)
    with pytest.raises(StructureError, match=r"odd\.pdb cannot be given the force field amber14.*XYZ"):
        models.build_model(recipe(DIPEPTIDE | {"structure": "odd.pdb"}).simulate, tmp_path)
    with pytest.raises(ValueError, match=r"time_step = 0\.02 ps is too long for atoms"):
        recipe(time_step=0.02)
    with pytest.raises(ValueError, match="contradict each other: '2' lies within '1-3'"):
        recipe(variable=PHI | {"residues": ["1-3", "2", "2", "3"], "atoms": None})
    with pytest.raises(StructureError, match="asks for atom CX, but its residues have atoms CH3"):
        models.build_model(recipe(variable=PHI | {"atoms": ["CX", "N", "CA", "C"]}).simulate, simulations)


@pytest.mark.slow
def test_a_small_protein_is_simulated(simulations):
    """The TrpZip2 hairpin keeps its fold for a moment, and its heavy atoms are recorded."""
    variable = {"name": "ends", "kind": "distance", "residues": ["1", "12"], "atoms": ["CA", "CA"]}
    setting = recipe(
        {"kind": "atomistic", "structure": "structures/trpzip2.pdb", "body": "2-11"}, variable, steps_per_frame=10
    )
    model = models.build_model(setting.simulate, simulations)
    frames, _ = run(setting, model, 0, 2, engine.first_state(setting, model, 0, "CPU"), "CPU")
    assert frames.position.shape == (2, 116, 3)
    away = np.linalg.norm(frames.position - model.molecule.position, axis=-1)
    assert np.median(away) < 0.15
