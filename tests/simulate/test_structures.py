import json
import math
from dataclasses import replace

import mdtraj
import numpy as np
import pytest

from tempica.errors import StructureError
from tempica.imaging import SCATTERING_LENGTH_A, composition
from tempica.recipe.residues import residues
from tempica.recipe.simulate import SimulateRecipe
from tempica.simulate.models import declared
from tempica.simulate.structures import load_molecule, matching, topology_json

# MDTraj's readers leave a file open when they fail
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

HINGES = {"adk_open.pdb": (72.7, 144.6), "adk_closed.pdb": (44.7, 106.4)}


@pytest.fixture(scope="session")
def lines(simulations):
    """The first residues of the open form, line by line."""
    text = (simulations / "structures/adk_open.pdb").read_text().splitlines()
    return [line for line in text if line.startswith("ATOM") and int(line[22:26]) <= 12]


@pytest.fixture
def load(tmp_path):
    def load(text, name="molecule.pdb"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_molecule(path)

    return load


def edited(lines, where, columns, text):
    """Lines with a field of one of them overwritten, right-aligned."""
    line, width = lines[where], columns.stop - columns.start
    other = line[: columns.start] + text.rjust(width) + line[columns.stop :]
    return [*lines[:where], other, *lines[where + 1 :]]


@pytest.mark.parametrize("name", HINGES)
def test_the_templates_have_the_published_hinge_angles(simulations, model, name):
    molecule = load_molecule(simulations / "structures" / name)
    assert molecule.position.shape == (214, 3)
    assert molecule.residue.tolist() == list(range(1, 215))
    np.testing.assert_allclose(molecule.position.mean(0), 0, atol=1e-12)
    angles = [math.degrees(variable.measure(molecule.position)) for variable in model.variables]
    np.testing.assert_allclose(angles, HINGES[name], atol=0.1)


def test_a_bead_stands_for_the_heavy_atoms_of_its_residue(load, lines):
    """Atom by atom from the file's columns."""
    molecule = load("\n".join(lines))
    for bead, number in enumerate(molecule.residue):
        atoms = [line for line in lines if int(line[22:26]) == number]
        xyz = 0.1 * np.array([[float(line[a : a + 8]) for a in (30, 38, 46)] for line in atoms])
        spread = sum(((x - xyz.mean(0)) ** 2).sum() for x in xyz) / len(atoms)
        assert molecule.bead_width[bead] == pytest.approx(math.sqrt(spread / 3), rel=1e-5)
        elements = [line[76:78].strip() for line in atoms]
        assert molecule.scattering_length_A[bead] == pytest.approx(sum(SCATTERING_LENGTH_A[e] for e in elements))
        alpha = next(x for line, x in zip(atoms, xyz, strict=True) if line[12:16].strip() == "CA")
        expected = alpha - 0.1 * np.mean(
            [[float(line[a : a + 8]) for a in (30, 38, 46)] for line in lines if line[12:16].strip() == "CA"], axis=0
        )
        np.testing.assert_allclose(molecule.position[bead], expected, atol=1e-5)


def test_hydrogens_change_nothing(load, lines):
    with_hydrogen = []
    for line in lines:
        with_hydrogen.append(line)
        if line[12:16].strip() == "CA":
            with_hydrogen.append(line[:12] + " HA " + line[16:30] + "  99.000" + line[38:76] + " H" + line[78:])
    plain, other = load("\n".join(lines)), load("\n".join(with_hydrogen))
    np.testing.assert_array_equal(plain.scattering_length_A, other.scattering_length_A)
    np.testing.assert_array_equal(plain.bead_width, other.bead_width)
    np.testing.assert_array_equal(plain.position, other.position)


def test_the_formula_counts_hydrogens_that_are_shown_and_adds_them_where_none_is(load, lines):
    atoms = [line for line in lines if int(line[22:26]) == 1]
    names = [line[12:16].strip() for line in atoms]
    assert atoms[0][17:20] == "MET"
    assert load("\n".join(lines)).formula[0] == "C5H9NOS"
    shown = atoms[0][:12] + " HA " + atoms[0][16:76] + " H" + atoms[0][78:]
    assert load("\n".join([shown, *lines])).formula[0] == "C5HNOS"
    assert "CB" in names
    unknown = [line.replace("MET", "XYZ") for line in lines]
    assert load("\n".join(unknown)).formula[0] == "C5H8NOS"  # one a heavy atom


def test_adenylate_kinase_has_its_mass(simulations):
    """23,586 Da of the E. coli sequence; what the templates show, with the hydrogens that they do not."""
    mass = {"H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "S": 32.06}
    molecule = load_molecule(simulations / "structures" / "adk_open.pdb")
    total = sum(mass[e] * n for text in molecule.formula for e, n in composition(text).items())
    assert total == pytest.approx(23_586, rel=2e-3)


def test_pdb_and_mmcif_are_the_same_molecule(tmp_path, simulations):
    path = simulations / "structures/adk_open.pdb"
    mdtraj.load(str(path)).save_cif(str(tmp_path / "adk.cif"))
    pdb, cif = load_molecule(path), load_molecule(tmp_path / "adk.cif")
    np.testing.assert_allclose(cif.position, pdb.position, atol=1e-4)
    np.testing.assert_array_equal(cif.residue, pdb.residue)
    np.testing.assert_array_equal(cif.scattering_length_A, pdb.scattering_length_A)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StructureError, match=r"nowhere\.pdb does not exist"):
        load_molecule(tmp_path / "nowhere.pdb")
    with pytest.raises(StructureError, match="is a folder"):
        load_molecule(tmp_path)
    (tmp_path / "empty.pdb").touch()
    with pytest.raises(StructureError, match="is empty: it has 0 bytes"):
        load_molecule(tmp_path / "empty.pdb")
    (tmp_path / "ADK.XYZ").write_text("ATOM\n")
    with pytest.raises(StructureError, match=r"ADK\.XYZ must have a name that ends in one of \.pdb"):
        load_molecule(tmp_path / "ADK.XYZ")


X, NUMBER, NAME, ELEMENT = slice(30, 38), slice(22, 26), slice(12, 16), slice(76, 78)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: [], "is empty|cannot be read"),
        (lambda lines: ["garbage", "more of it"], "has 0 Cα atoms among|cannot be read"),
        (lambda lines: [line for line in lines if line[12:16].strip() != "CA"], "has 0 Cα atoms among"),
        (lambda lines: [line for line in lines if int(line[22:26]) <= 3], "has 3 Cα atoms among"),
        (lambda lines: edited(lines, 4, X, "nan"), "not finite"),
        (lambda lines: edited(lines, 4, X, "inf"), "not finite"),
        (lambda lines: edited(lines, 4, X, "eleven"), "cannot be read.*damaged, or no PDB file"),
        (lambda lines: lines + lines, "residue number (A:)?1 more than once"),
        (lambda lines: edited(lines, 4, ELEMENT, "FM"), "element 'Fm'"),
    ],
    ids=["empty", "garbage", "no-ca", "three-ca", "nan", "inf", "words", "twice", "fermium"],
)
def test_an_error_names_what_is_wrong(load, lines, spoil, message):
    with pytest.raises(StructureError, match=message):
        load("\n".join(spoil(lines)))


@pytest.mark.parametrize("name", ["molecule.pdb", "molecule.cif", "molecule.xyz", "molecule", "molecule.pdb.gz"])
@pytest.mark.parametrize("text", [b"", b"\x00\xff\xfe" * 50, b"loop_\n_atom_site.id\n", b"ATOM\n"])
def test_no_other_error_comes_from_a_file_that_is_no_structure(load, name, text):
    with pytest.raises(StructureError):
        load(text, name)


@pytest.mark.filterwarnings("ignore")  # as a user has them, or warnings would hide what comes after
def test_a_damaged_file_gives_a_molecule_or_a_structure_error(load, lines):
    rng = np.random.default_rng(5)
    outcomes = set()
    for _ in range(250):
        spoiled = list(lines)
        for _ in range(rng.integers(1, 4)):
            row = rng.integers(len(spoiled))
            line = spoiled[row]
            kind = rng.integers(5)
            if kind == 0:
                spoiled[row] = line[: rng.integers(len(line) + 1)]
            elif kind == 1 and line:
                column = rng.integers(len(line))
                spoiled[row] = line[:column] + chr(rng.integers(32, 127)) + line[column + 1 :]
            elif kind == 2 and len(line) > 54:
                column = int(rng.choice([30, 38, 46]))
                text = rng.choice(["nan", "1e38", "1e300", "-inf", "99999999", "0x10", ""])
                spoiled[row] = line[:column] + text.rjust(8) + line[column + 8 :]
            elif kind == 3:
                spoiled.insert(
                    row, str(rng.choice(["TER", "END", "MODEL 2", "ENDMDL", "CONECT    1 9999", "CRYST1 x"]))
                )
            else:
                spoiled[row] = spoiled[rng.integers(len(spoiled))]
        try:
            molecule = load("\n".join(spoiled))
        except StructureError as error:
            outcomes.add("molecule.pdb" in str(error))
        else:
            for value in (molecule.position, molecule.bead_width, molecule.scattering_length_A):
                assert np.isfinite(value).all()
            assert len(molecule.position) == molecule.topology.n_atoms == len(molecule.residue)
            outcomes.add("read")
    assert outcomes == {True, "read"}  # every message names the file


def test_residues_at_one_place_are_placeholders(load, lines):
    zeros = [line[:30] + 3 * "   0.000" + line[54:] if 5 <= int(line[NUMBER]) <= 7 else line for line in lines]
    with pytest.raises(StructureError, match=r"molecule\.pdb has [A-Z]{3}5-CA and [A-Z]{3}6-CA at one place"):
        load("\n".join(zeros))


def test_a_second_form_must_have_the_residues_of_the_first(load, lines, tmp_path):
    whole = load("\n".join(lines))
    assert matching(whole, whole, tmp_path) is whole
    shorter = load("\n".join(line for line in lines if int(line[22:26]) != 7))
    with pytest.raises(StructureError, match=r"second\.pdb must have the residues of the first.*differ at residue 7"):
        matching(whole, shorter, tmp_path / "second.pdb")
    backwards = replace(whole, residue=whole.residue[::-1])
    with pytest.raises(StructureError, match="differ in order"):
        matching(whole, backwards, tmp_path)


def test_a_residue_that_is_not_there_is_named(load, lines):
    molecule = load("\n".join(lines))
    np.testing.assert_array_equal(molecule.atoms_of(residues("3, 5"), "domain LID"), [2, 4])
    with pytest.raises(StructureError, match=r"domain LID asks for residues 13, 99.*residues 1 to 12 \(12 "):
        molecule.atoms_of(residues("2, 13, 99"), "domain LID")


def test_chains_may_number_their_residues_alike(load, lines):
    """A dimer: ranges name the chain where a number alone would be ambiguous."""
    other = [line[:21] + "B" + line[22:] for line in lines]
    molecule = load("\n".join([*(line[:21] + "A" + line[22:] for line in lines), "TER", *other]))
    assert len(molecule.residue) == 24
    np.testing.assert_array_equal(molecule.atoms_of(residues("A:3, B:3-4"), "domain LID"), [2, 14, 15])
    with pytest.raises(StructureError, match=r"residue 3, which chains A, B have\. Write A:3"):
        molecule.atoms_of(residues("3"), "domain LID")
    with pytest.raises(StructureError, match=r"residues 3 of chain C, but the structure \(chains A, B\) has"):
        molecule.atoms_of(residues("C:3"), "domain LID")
    with pytest.raises(StructureError, match=r"residues 13 of chain B, but the structure has residues 1 to 12"):
        molecule.atoms_of(residues("B:13"), "domain LID")
    with pytest.raises(StructureError, match="domain LID asks for atom CB, but its residues have atoms CA"):
        molecule.atoms_of(residues("B:3"), "domain LID", "CB")


def test_a_topology_survives_its_json(simulations):
    """Read back the way MDTraj's HDF5 reader does."""
    topology = mdtraj.load(str(simulations / "structures/adk_closed.pdb")).topology
    content = json.loads(topology_json(topology))
    again = mdtraj.Topology()
    for chain in content["chains"]:
        new_chain = again.add_chain()
        for residue in chain["residues"]:
            new_residue = again.add_residue(residue["name"], new_chain, residue["resSeq"], residue["segmentID"])
            for atom in residue["atoms"]:
                again.add_atom(atom["name"], mdtraj.element.get_by_symbol(atom["element"]), new_residue)
    atoms = list(again.atoms)
    for first, second in content["bonds"]:
        again.add_bond(atoms[first], atoms[second])
    assert again == topology
    assert [atom.index for atom in topology.atoms] == [
        atom["index"] for chain in content["chains"] for residue in chain["residues"] for atom in residue["atoms"]
    ]
    assert topology.n_bonds > 1000


def test_groups_that_are_the_same_beads_by_two_names_are_refused(simulations):
    beads = load_molecule(simulations / "structures" / "adk_open.pdb")
    chain = beads.chain[0]
    variable = {"name": "d", "kind": "distance", "residues": ["1-10", f"{chain}:1-10"]}
    content = {"molecule": {"structure": "x.pdb"}, "collective_variables": [variable]}
    with pytest.raises(StructureError, match=rf"the beads of '1-10' lie within '{chain}:1-10'"):
        declared(SimulateRecipe.model_validate(content), beads)


def test_ranges_may_cross_gaps_of_a_model(simulations, tmp_path):
    lines = (simulations / "structures" / "adk_open.pdb").read_text().splitlines()
    gap = tmp_path / "gap.pdb"
    gap.write_text("\n".join(line for line in lines if not (line[:4] == "ATOM" and 40 <= int(line[22:26]) <= 47)))
    molecule = load_molecule(gap)
    found = molecule.residue[molecule.atoms_of(residues("38-50"), "domain LID")]
    assert found.tolist() == [38, 39, 48, 49, 50]
    with pytest.raises(StructureError, match="asks for residues 41-43"):
        molecule.atoms_of(residues("41-43"), "domain LID")
    with pytest.raises(StructureError, match="asks for residues 41, 300"):
        molecule.atoms_of(residues("38, 41, 300"), "domain LID")
