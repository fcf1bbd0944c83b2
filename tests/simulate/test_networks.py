import tracemalloc
from itertools import combinations

import mdtraj
import numpy as np
import openmm
import pytest

from tempica.recipe.simulate import NetworkRecipe
from tempica.simulate.networks import build_system
from tempica.simulate.structures import Molecule, load_molecule

RECIPE = NetworkRecipe()  # its defaults are those of the published network


def energies(system, position):
    """Energy of each force (kJ/mol)."""
    for group, force in enumerate(system.getForces()):
        force.setForceGroup(group)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(position)
    groups = range(system.getNumForces())
    return [context.getState(energy=True, groups={g}).getPotentialEnergy()._value for g in groups]


def slow_energies(position, first, second, domain, forbidden, recipe):
    """Springs and contacts of the docstring, pair by pair."""
    springs = contacts = 0.0
    numbers = first.residue.tolist()
    for i, j in combinations(range(len(position)), 2):
        r, open_r, closed_r = (np.linalg.norm(x[i] - x[j]) for x in (position, first.position, second.position))
        if numbers[j] == numbers[i] + 1:
            springs += 0.5 * recipe.backbone_stiffness * (r - open_r) ** 2
        elif domain[i] == domain[j] != -1:
            if open_r < recipe.domain_cutoff:
                springs += 0.5 * recipe.domain_stiffness * (r - open_r) ** 2
        elif {domain[i], domain[j]} not in forbidden and min(open_r, closed_r) < recipe.contact_cutoff:
            shortest = max(0.0, min(open_r, closed_r) - recipe.contact_margin)
            longest = max(open_r, closed_r) + recipe.contact_margin
            beyond = max(shortest - r, r - longest, 0.0)
            contacts += 0.5 * recipe.contact_stiffness * beyond**2
    return springs, contacts


@pytest.fixture(scope="module")
def forms(simulations):
    return [load_molecule(simulations / "structures" / name) for name in ("adk_open.pdb", "adk_closed.pdb")]


@pytest.fixture(scope="module")
def domain():
    """CORE 0, NMP 1, LID 2; here beads 161 to 164 belong to none."""
    number = np.arange(1, 215)
    index = np.where((number >= 30) & (number <= 67), 1, np.where((number >= 118) & (number <= 160), 2, 0))
    index[160:164] = -1
    return index


@pytest.mark.parametrize("spread", [0.01, 0.1, 0.5])
@pytest.mark.parametrize(
    "changes", [{}, {"contact_cutoff": 1.4, "domain_cutoff": 0.7, "contact_margin": 0.5, "contact_stiffness": 1.0}]
)
def test_the_energy_is_that_of_the_slow_twin(forms, domain, spread, changes):
    recipe = RECIPE.model_copy(update=changes)
    forbidden = [{1, 2}]
    system = build_system(*forms, domain, {frozenset(pair) for pair in forbidden}, recipe)
    rng = np.random.default_rng(4)
    position = forms[0].position + spread * rng.normal(size=forms[0].position.shape)
    slow = slow_energies(position, *forms, domain, forbidden, recipe)
    assert slow[0] > 0
    np.testing.assert_allclose(energies(system, position), slow, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("margin", [0.0, 0.04])
def test_contacts_cost_nothing_in_either_form(forms, domain, margin):
    system = build_system(*forms, domain, set(), RECIPE.model_copy(update={"contact_margin": margin}))
    assert energies(system, forms[0].position) == pytest.approx([0, 0], abs=1e-12)
    springs, contacts = energies(system, forms[1].position)
    assert contacts == pytest.approx(0, abs=1e-12)
    assert springs > 0
    blend = 0.5 * (forms[0].position + forms[1].position)
    twice = forms[0].position + 2 * (forms[0].position - blend)
    assert energies(system, twice)[1] > 1


def test_forbidden_domains_have_no_contacts(forms, domain):
    pairs = {}
    for forbidden in (set(), {frozenset((1, 2))}, {frozenset((0, 1)), frozenset((0, 2))}):
        system = build_system(*forms, domain, forbidden, RECIPE)
        flat = system.getForce(1)
        bonds = [tuple(flat.getBondParameters(b)[:2]) for b in range(flat.getNumBonds())]
        assert len(set(bonds)) == len(bonds)
        pairs[len(forbidden)] = {frozenset((int(domain[i]), int(domain[j]))) for i, j in bonds}
    everything = {frozenset(p) for p in ((0, 1), (0, 2), (1, 2), (0, -1), (-1,), (2, -1))}
    assert pairs[0] >= everything - {frozenset((2, -1))}
    assert pairs[1] == pairs[0] - {frozenset((1, 2))}
    assert pairs[2] == pairs[0] - {frozenset((0, 1)), frozenset((0, 2))}


def test_no_pair_has_two_springs_and_every_bead_its_mass(forms, domain):
    system = build_system(*forms, domain, set(), RECIPE.model_copy(update={"bead_mass": 87.5}))
    harmonic, flat = system.getForces()
    pairs = [tuple(harmonic.getBondParameters(b)[:2]) for b in range(harmonic.getNumBonds())]
    pairs += [tuple(flat.getBondParameters(b)[:2]) for b in range(flat.getNumBonds())]
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert [system.getParticleMass(i)._value for i in range(system.getNumParticles())] == [87.5] * 214


def test_a_gap_in_the_chain_is_no_bond(tmp_path, simulations):
    text = (simulations / "structures/adk_open.pdb").read_text().splitlines()
    path = tmp_path / "gap.pdb"
    path.write_text("\n".join(x for x in text if x.startswith("ATOM") and int(x[22:26]) not in range(50, 60)))
    molecule = load_molecule(path)
    recipe = RECIPE.model_copy(update={"contact_cutoff": 0.31})
    system = build_system(molecule, molecule, np.full(204, -1), set(), recipe)
    harmonic = system.getForce(0)
    pairs = {tuple(harmonic.getBondParameters(b)[:2]) for b in range(harmonic.getNumBonds())}
    assert pairs == {(i, i + 1) for i in range(203)} - {(48, 49)}


def test_memory_follows_the_springs_and_not_all_pairs():
    """A straight chain of 4,000 beads has 16 million pairs of them, 380 MB of differences."""
    n = 4_000
    position = 0.38 * np.arange(n)[:, None] * np.array([1.0, 0.0, 0.0])
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(n):
        topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("ALA", chain))
    line = Molecule(topology, position, np.arange(n), np.ones(n), np.ones(n), np.full(n, "C"))
    tracemalloc.start()
    system = build_system(line, line, np.zeros(n, dtype=int), set(), RECIPE)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20e6
    assert system.getForce(0).getNumBonds() == (n - 1) + (n - 2)  # neighbours, and those 0.76 nm apart
