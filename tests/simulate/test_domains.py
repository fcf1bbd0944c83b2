"""Domains and hinges found from two forms of a molecule."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.errors import StructureError
from tempica.recipe.experiment import Recipe
from tempica.simulate.domains import _hinge, find_domains
from tempica.simulate.models import build_model
from tempica.simulate.structures import load_molecule

CORE = [*range(1, 30), *range(68, 118), *range(161, 215)]
NMP, LID = range(30, 68), range(118, 161)


@pytest.fixture(scope="module")
def forms(simulations):
    return [load_molecule(simulations / "structures" / f"adk_{name}.pdb") for name in ("open", "closed")]


def overlap(found, expected):
    return len(np.intersect1d(found, expected)) / len(np.union1d(found, expected))


def test_adenylate_kinase_has_the_domains_of_the_literature(forms):
    """CORE, NMP and LID as committed in simulations/adenylate_kinase.toml, within three residues of each border."""
    domains = find_domains(*forms, 3)
    for beads, expected in zip(domains.beads, (CORE, LID, NMP), strict=True):
        assert overlap(forms[0].residue[beads], expected) > 0.8
    np.testing.assert_array_equal(np.sort(np.concatenate(domains.beads)), np.arange(214))


@pytest.mark.parametrize("swap", [False, True])
def test_an_assembled_molecule_is_taken_apart_again(swap):
    """A chain of three rigid pieces, the outer two turned by 25° and −40° about their joints."""
    rng = np.random.default_rng(5)
    steps = rng.normal(size=(150, 3))
    path = np.cumsum(0.38 * steps / np.linalg.norm(steps, axis=1, keepdims=True), 0)
    pieces = [np.arange(0, 40), np.arange(40, 110), np.arange(110, 150)]
    path[pieces[0]] += [-2.0, 0, 0]
    path[pieces[2]] += [2.0, 0, 0]
    moved = path + 0.01 * rng.normal(size=path.shape)
    for piece, joint, turn in ((pieces[0], 40, 25.0), (pieces[2], 109, -40.0)):
        rotation = Rotation.from_rotvec(np.radians(turn) * np.array([0.3, 0.5, 0.8]) / np.sqrt(0.98))
        moved[piece] = rotation.apply(path[piece] - path[joint]) + path[joint]
    pair = [molecule(path), molecule(moved)]
    domains = find_domains(*(pair[::-1] if swap else pair), 3)
    for expected in pieces:
        assert max(overlap(beads, expected) for beads in domains.beads) > 0.85
    np.testing.assert_array_equal(domains.beads[0], np.sort(domains.beads[0]))
    for (parent, _, own), beads in zip(domains.hinges, domains.beads[1:], strict=True):
        assert set(own) <= set(beads)
        assert set(parent) <= set(domains.beads[0])  # both hang on the middle piece


def molecule(position):
    import mdtraj

    from tempica.simulate.structures import Molecule

    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in position:
        topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("ALA", chain))
    n = len(position)
    return Molecule(topology, position, np.arange(1, n + 1), np.ones(n), np.ones(n), np.full(n, "C"))


def test_what_cannot_be_found_is_said(forms):
    with pytest.raises(StructureError, match="The two forms are the same"):
        find_domains(forms[0], forms[0], 3)
    with pytest.raises(StructureError, match="do not differ as 20 rigid domains"):
        find_domains(*forms, 20)
    few = [form.part(np.arange(15)) for form in forms]
    with pytest.raises(StructureError, match="15 beads are too few for 2 domains"):
        find_domains(*few, 2)
    # a domain of two pieces of five beads between others, each bead of which is near a crossing
    label = np.repeat([0, 1, 0, 1, 0], [20, 5, 20, 5, 20])
    with pytest.raises(StructureError, match="every bead is part of the hinge"):
        _hinge(1, label, np.zeros(70, dtype=int), forms)


def test_a_recipe_may_ask_for_them(make_recipe, simulations):
    content = make_recipe().model_dump()
    simulate = content["simulate"]
    simulate["molecule"] = {
        "structure": "structures/adk_open.pdb",
        "second_structure": "structures/adk_closed.pdb",
        "n_domains": 3,
    }
    simulate["collective_variables"] = []
    simulate["network"]["no_contacts"] = [["domain_2", "domain_3"]]
    for entry, name in zip(simulate["dynamics"], ("hinge_1", "hinge_2"), strict=True):
        entry["collective_variable"] = name
    recipe = Recipe.model_validate(content)
    model = build_model(recipe.simulate, simulations)
    assert [variable.name for variable in model.variables] == ["hinge_1", "hinge_2"]
    assert 100 < len(model.body) < 160
    simulate["molecule"]["domains"] = {"CORE": "1-29"}
    with pytest.raises(ValueError, match="n_domains = 3 asks for domains to be found"):
        Recipe.model_validate(content)
