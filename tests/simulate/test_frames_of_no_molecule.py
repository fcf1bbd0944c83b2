"""Holes and explosions in foreign trajectories are refused with their frame and file; real motions are not."""

import re

import mdtraj
import numpy as np
import pytest

from tempica.errors import StructureError
from tempica.recipe.simulate import SimulateRecipe
from tempica.simulate.foreign import molecule
from tempica.simulate.foreign.layout import layout

N_RESIDUES, N_FRAMES = 18, 24


@pytest.fixture(scope="module")
def chain():
    """A chain of alpha carbons that folds up slowly from a straight line."""
    topology = mdtraj.Topology()
    strand = topology.add_chain()
    for number in range(N_RESIDUES):
        topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("LEU", strand, number + 1))
    turn = np.linspace(0.1, 1.6, N_FRAMES)[:, None] * np.arange(N_RESIDUES)
    step = 0.38 * np.stack([np.cos(turn), np.sin(turn), np.full_like(turn, 0.3)], -1)
    return mdtraj.Trajectory(np.cumsum(step, 1), topology, time=np.arange(N_FRAMES))


@pytest.fixture
def written(chain, tmp_path):
    def write(frame=None, change=None, suffix="trr", cell=None):
        place = chain.xyz.copy()
        if frame is not None:
            place[frame] = change(place[frame])
        some = mdtraj.Trajectory(place, chain.topology, time=chain.time)
        if cell is not None:
            some.unitcell_vectors = np.repeat(cell * np.eye(3)[None], N_FRAMES, 0)
        chain[5].save_pdb(str(tmp_path / "top.pdb"))
        some.save(str(tmp_path / f"run {{1}}.{suffix}"))  # braces must not confuse what is told
        about = {"kind": "trajectory", "topology": "top.pdb", "files": [f"run {{1}}.{suffix}"]}
        variable = {"name": "h", "residues": ["1-5", "8-11", "14-18"]}
        recipe = {"molecule": about, "collective_variables": [variable], "n_replicas": 2, "n_frames": 12}
        return SimulateRecipe.model_validate(recipe | {"ensemble_frames": 10}), tmp_path

    return write


def read(recipe, folder):
    """Checked, then both replicas block by block."""
    molecule.check(recipe, folder)
    known, plan = molecule.build_foreign(recipe, folder), layout(recipe, folder)
    blocks = [(replica, first) for replica in (0, 1) for first in (0, 6)]
    return [molecule.read_block(known, plan.pieces(r, a, a + 6), f"replica {r}", a, 1.0) for r, a in blocks]


def zeroed(part):
    def change(place):
        place[part] = 0
        return place

    return change


def one_away(distance):
    def change(place):
        place[7] += distance
        return place

    return change


FAULTS = {
    "zeros": (zeroed(slice(None)), "all at one place"),
    "the last third is zeros": (zeroed(slice(12, None)), "all at one place"),
    "a placeholder": (lambda place: np.full_like(place, 999.9), "all at one place"),
    "blown up": (lambda place: 1e7 * place, "has blown up"),
    "blown up a little": (lambda place: 30 * place, "has blown up, or is broken by a periodic box"),
    "one atom far away": (one_away(1e6), "has blown up"),
    "one atom torn off": (one_away(8.0), "has blown up"),
    "in angstrom": (lambda place: 10 * place - 3, "10 times"),
    "in ten nanometres": (lambda place: 0.1 * place, "0.1 times"),
    "not a number": (lambda place: np.full_like(place, np.nan), "not finite"),
}


@pytest.mark.parametrize("suffix", ["trr", "dcd"])
@pytest.mark.parametrize("frame", [8, 19, N_FRAMES - 1])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_frame_that_is_no_molecule_is_named(fault, frame, suffix, written):
    change, told = FAULTS[fault]
    recipe, folder = written(frame, change, suffix)
    if suffix == "dcd":  # without times
        recipe = recipe.model_copy(update={"molecule": recipe.molecule.model_copy(update={"frame_interval": 1.0})})
    with pytest.raises(StructureError, match=told) as caught:
        read(recipe, folder)
    assert re.search(rf"frame {frame}\b", str(caught.value))
    assert f"run {{1}}.{suffix}" in str(caught.value)


@pytest.mark.parametrize("fault", ["zeros", "blown up", "a placeholder", "not a number"])
def test_a_first_frame_that_is_no_molecule_is_named(fault, written):
    change, told = FAULTS[fault]
    recipe, folder = written(0, change)
    with pytest.raises(StructureError, match=told) as caught:
        molecule.check(recipe, folder)
    assert "frame 0 of" in str(caught.value)


def test_a_molecule_that_unfolds_or_drifts_is_none_of_these(chain, written):
    recipe, folder = written(8, lambda place: place + 500)
    assert len(read(recipe, folder)) == 4
    size = np.linalg.norm(np.ptp(chain.xyz, axis=1), axis=1)
    assert size.max() > 2.4 * size.min()


def test_a_molecule_broken_by_its_box_is_made_whole_first(written):
    def wrapped(place):
        return place % 4.0

    recipe, folder = written(23, wrapped, "trr", cell=4.0)
    read(recipe, folder)
    recipe, folder = written(23, wrapped, "trr")
    with pytest.raises(StructureError, match=r"There is no molecule in frame 23 .* broken by a periodic box"):
        read(recipe, folder)
