"""A bead is its whole residue, however much of it a file shows and whichever way the file came in."""

import mdtraj
import numpy as np
import pytest

from tempica.errors import StructureError
from tempica.imaging import AVERAGE_RESIDUE, RESIDUES, SCATTERING_LENGTH_A, composition, formula
from tempica.recipe.simulate import SimulateRecipe
from tempica.simulate import beads
from tempica.simulate.foreign.molecule import build_foreign
from tempica.simulate.structures import load_molecule

SEQUENCE = {  # side chains, atom by atom
    "MET": ["CB", "CG", "SD", "CE"], "SER": ["CB", "OG"], "GLY": [], "LYS": ["CB", "CG", "CD", "CE", "NZ"],
    "HIS": ["CB", "CG", "ND1", "CD2", "CE1", "NE2"], "VAL": ["CB", "CG1", "CG2"],
}  # fmt: skip
BACKBONE = ["N", "CA", "C", "O"]
SHOWN = {
    "all": lambda name: True,
    "alpha": lambda name: name == "CA",
    "backbone": lambda name: name in BACKBONE,
    "two": lambda name: name in ("CA", "CB"),
    "cut": lambda name: name not in ("CE", "NZ", "OG"),
}


def lines(shown, elements=True, rename=None):
    rng, found = np.random.default_rng(0), []
    for number, (residue, side) in enumerate(SEQUENCE.items(), 1):
        for k, name in enumerate(BACKBONE + side):
            x, y, z = 3.8 * number + 0.4 * k, *rng.normal(size=2) * (1 + 0.3 * k)
            line = f"ATOM  {len(found) + 1:5d}  {name:<3} {(rename or {}).get(residue, residue)} A{number:4d}    "
            line += f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          " + (f"{name[0]:>2}" if elements else "")
            if SHOWN[shown](name):
                found.append(line)
    return "\n".join(["MODEL        1", *found, "ENDMDL", "END", ""])


def both(path):
    """The molecule as a structure, and as a trajectory."""
    mdtraj.load(str(path)).save_dcd(str(path.with_suffix(".dcd")))
    molecule = {"kind": "trajectory", "topology": path.name, "files": [path.with_suffix(".dcd").name]}
    variable = {"name": "length", "kind": "distance", "residues": ["1-2", "5-6"]}
    recipe = {"molecule": molecule, "collective_variables": [variable], "n_frames": 2, "n_replicas": 1}
    return load_molecule(path), build_foreign(SimulateRecipe.model_validate(recipe), path.parent).molecule


@pytest.mark.parametrize("elements", [True, False])
@pytest.mark.parametrize("shown", SHOWN)
def test_a_residue_scatters_alike_however_much_is_shown(shown, elements, tmp_path):
    (tmp_path / "a.pdb").write_text(lines(shown, elements))
    structure, trajectory = both(tmp_path / "a.pdb")
    whole = [composition(RESIDUES[name]) for name in SEQUENCE]
    expected = [sum(SCATTERING_LENGTH_A[e] * n for e, n in one.items() if e != "H") for one in whole]
    for molecule in (structure, trajectory):
        np.testing.assert_allclose(molecule.scattering_length_A, expected, rtol=1e-12)
        assert molecule.formula.tolist() == [RESIDUES[name] for name in SEQUENCE]
        assert (molecule.bead_width > 0.04).all()
    np.testing.assert_allclose(structure.bead_width, trajectory.bead_width, rtol=1e-4)
    if shown == "all":
        assert structure.notes == trajectory.notes == ()
    else:
        n_lacking = {"alpha": 6, "backbone": 5, "two": 6, "cut": 3}[shown]
        assert f"{n_lacking} residues of a.pdb lack heavy atoms (MET1," in structure.notes[0]
        assert f"{n_lacking} residues of the topology lack heavy atoms" in trajectory.notes[0]


def test_a_lone_atom_of_an_unknown_residue_is_the_average_one(tmp_path):
    (tmp_path / "a.pdb").write_text(lines("alpha", rename={"VAL": "XYZ", "SER": "MSE"}))
    for molecule in both(tmp_path / "a.pdb"):
        assert molecule.formula[[1, 5]].tolist() == ["C5H9NOSe", formula(AVERAGE_RESIDUE)]
        assert (molecule.bead_width == beads.BEAD_WIDTH_NM).all()


def test_an_unknown_residue_with_atoms_is_taken_as_it_is(tmp_path):
    (tmp_path / "a.pdb").write_text(lines("backbone", rename={"VAL": "XYZ"}))
    for molecule in both(tmp_path / "a.pdb"):
        assert molecule.formula[5] == "C2H4NO"  # one hydrogen a heavy atom


def test_a_terminal_oxygen_counts_beside_what_is_missing(tmp_path):
    text = lines("alpha").splitlines()
    last = text[6]
    text.insert(7, last[:12] + " OXT" + last[16:76] + " O" + last[78:])
    (tmp_path / "a.pdb").write_text("\n".join(text))
    assert load_molecule(tmp_path / "a.pdb").formula[5] == RESIDUES["VAL"]  # one of the two oxygens is there
    whole = lines("all").splitlines()
    whole.insert(-2, last[:12] + " OXT" + last[16:76] + " O" + last[78:])
    (tmp_path / "b.pdb").write_text("\n".join(whole))
    assert load_molecule(tmp_path / "b.pdb").formula[5] == "C5H9NO2"


def test_calcium_stays_calcium_and_selenium_selenium():
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    calcium = topology.add_atom("CA", mdtraj.element.calcium, topology.add_residue("CA", chain))
    residue = topology.add_residue("MSE", chain)
    selenium = topology.add_atom("SE", mdtraj.element.selenium, residue)
    alpha = topology.add_atom("CA", mdtraj.element.calcium, residue)
    assert [beads.element(atom) for atom in (calcium, selenium, alpha)] == ["Ca", "Se", "C"]


def test_a_residue_without_heavy_atoms_is_no_bead():
    topology = mdtraj.Topology()
    residue = topology.add_residue("ALA", topology.add_chain(), 7)
    topology.add_atom("H", mdtraj.element.hydrogen, residue)
    with pytest.raises(StructureError, match=r"Residue ALA7 of a\.pdb has no heavy atoms"):
        beads.residue_bead(residue, np.zeros((1, 3)), "a.pdb")
