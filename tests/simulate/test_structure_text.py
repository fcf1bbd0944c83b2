"""No atom of a structure file is lost, and of alternate locations the most occupied is taken."""

import gzip

import mdtraj
import numpy as np
import pytest

from tempica.exchange.structure_text import lost_atoms, tidy
from tempica.simulate.foreign import files
from tempica.simulate.structures import load_molecule

NAMES = ("N", "CA", "C", "O", "CB")


def line(serial, name, number, x, residue="ALA", alternate=" ", occupancy=1.0, record="ATOM  ", chain="A"):
    """A PDB line; `serial` is text and takes the room that it needs."""
    rest = f" {name:<3}{alternate}{residue} {chain}{number:4d}    {x:8.3f}{0.5 * number:8.3f}{1.0:8.3f}"
    return f"{record}{serial:>5} {rest}{occupancy:6.2f}  0.00          {name[0]:>2}"


def styles():
    """How programs go on after atom 99,999; each gives a line from its number and the rest."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

    def hybrid(number):
        n, text = number - 100_000 + 10 * 36**4, ""
        while n:
            n, k = divmod(n, 36)
            text = digits[k] + text
        return text

    def standard(text):
        return lambda number, rest: f"ATOM  {text(number):>5} {rest}"

    return {
        "into the record's name": lambda number, rest: f"ATOM {number} {rest}",
        "into the record's name, seven digits": lambda number, rest: f"ATOM{number + 900_000} {rest}",
        "into the blank": lambda number, rest: f"ATOM  {number}{rest}",
        "by a column": lambda number, rest: f"ATOM  {number} {rest}",
        "by two columns": lambda number, rest: f"ATOM  {number + 900_000} {rest}",
        "heteroatoms by a column": lambda number, rest: f"HETATM{number} {rest}",
        "hybrid-36": standard(hybrid),
        "hexadecimal": standard(lambda number: f"{number:x}"),
        "stars": standard(lambda number: "*****"),
        "from zero again": standard(lambda number: str(number % 100_000)),
    }


@pytest.mark.parametrize("style", styles())
def test_atoms_after_the_99999th_are_read(style, tmp_path):
    text = ["CRYST1  100.000  100.000  100.000  90.00  90.00  90.00 P 1"]
    for k in range(40):
        number, rest = 99_980 + k, line("", NAMES[k % 5], 1 + k // 5, 1.0 + k)[12:]
        text.append(f"ATOM  {number:5d} {rest}" if number < 100_000 else styles()[style](number, rest))
    (tmp_path / "a.pdb").write_text("\n".join([*text, "END", ""]))
    topology = files.topology_of(tmp_path / "a.pdb")
    assert topology.n_atoms == 40
    assert [residue.resSeq for residue in topology.residues] == list(range(1, 9))
    molecule = load_molecule(tmp_path / "a.pdb")
    found = mdtraj.load(tidy(tmp_path / "a.pdb").path)
    np.testing.assert_allclose(10 * found.xyz[0, :, 0], 1 + np.arange(40), atol=1e-3)
    assert len(molecule.residue) == 8
    said = [note for note in molecule.notes if "a.pdb has 20 atoms whose serial numbers" in note]
    assert len(said) == (style not in ("from zero again", "hexadecimal")) or style == "hexadecimal"
    assert not any("are read" in note and "warning" in note for note in molecule.notes)


def test_atoms_that_a_reader_loses_are_counted(tmp_path):
    (tmp_path / "a.pdb").write_text("\n".join(line(str(k), NAMES[k % 5], 1 + k // 5, k) for k in range(20)))
    text = tidy(tmp_path / "a.pdb")
    assert text.n_atoms == 20
    assert lost_atoms(text, tmp_path / "a.pdb", 20) == ()
    assert lost_atoms(text, tmp_path / "a.pdb", 17) == ("warning: a.pdb has 20 atoms, and 17 of them are read",)


def alternates(first, second, **others):
    """Five residues; the third from CA on has two locations, or is another residue (`others`) in the first of them."""
    found = []
    for k in range(25):
        name, number = NAMES[k % 5], 1 + k // 5
        if number == 3 and (others or name != "N"):
            found += [line(str(k), name, number, 3.8 * number, alternate="A", occupancy=first, **others)]
            found += [line(str(k), name, number, 3.8 * number + 2, alternate="B", occupancy=second)]
        else:
            found.append(line(str(k), name, number, 3.8 * number))
    return "\n".join([*found, "END", ""])


def x_of(path):
    """x (Å) of the third alpha carbon, by both doors, in the frame of the file."""
    molecule = load_molecule(path)
    assert len(molecule.residue) == 5
    assert files.topology_of(path).n_atoms == 25
    return 10 * (molecule.position + molecule.centre)[2, 0], molecule.notes


@pytest.mark.parametrize("kind", ["pdb", "pdb.gz", "cif"])
@pytest.mark.parametrize(("first", "second", "x"), [(0.1, 0.9, 13.4), (0.9, 0.1, 11.4), (0.5, 0.5, 11.4)])
def test_the_most_occupied_location_is_taken(first, second, x, kind, tmp_path):
    text = alternates(first, second)
    if kind == "cif":
        text = as_cif(text)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    found, notes = x_of(path)
    assert found == pytest.approx(x, abs=1e-3)
    assert notes == (
        f"1 residues of a.{kind} have alternate locations: of each the one of the highest occupancy is taken",
    )


CIF = """group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id label_seq_id
Cartn_x Cartn_y Cartn_z occupancy auth_seq_id auth_asym_id pdbx_PDB_ins_code pdbx_PDB_model_num"""


def as_cif(text):
    rows = [
        f"ATOM {k} {row[77]} {row[12:16].strip()} {row[16].replace(' ', '.')} {row[17:20]} A 1 {row[22:26]}"
        f" {row[30:38]} {row[38:46]} {row[46:54]} {row[54:60]} {row[22:26]} A ? 1"
        for k, row in enumerate(row for row in text.splitlines() if row.startswith("ATOM"))
    ]
    return "\n".join(["data_a", "#", "loop_", *(f"_atom_site.{key}" for key in CIF.split()), *rows, "#", ""])


def test_another_residue_at_the_same_place_is_one_residue(tmp_path):
    (tmp_path / "a.pdb").write_text(alternates(0.4, 0.6, residue="SER"))
    assert x_of(tmp_path / "a.pdb")[0] == pytest.approx(13.4)
    assert load_molecule(tmp_path / "a.pdb").formula[2] == "C3H5NO"
    (tmp_path / "b.pdb").write_text(alternates(0.7, 0.3, residue="SER"))
    assert load_molecule(tmp_path / "b.pdb").formula[2] == "C3H5NO2"


def test_a_letter_without_another_is_no_alternate(tmp_path):
    text = alternates(0.9, 0.1)
    one = "\n".join(row for row in text.splitlines() if row[16:17] != "B")
    (tmp_path / "a.pdb").write_text(one)
    assert x_of(tmp_path / "a.pdb") == (pytest.approx(11.4), ())


def test_an_atom_that_the_better_location_lacks_keeps_its_own(tmp_path):
    rows = [row for row in alternates(0.3, 0.7).splitlines() if not (row[16:17] == "B" and " CB " in row)]
    (tmp_path / "a.pdb").write_text("\n".join(rows))
    assert x_of(tmp_path / "a.pdb")[0] == pytest.approx(13.4)


def test_a_file_with_nothing_to_mend_stays_as_it_is(simulations):
    path = simulations / "structures" / "adk_open.pdb"
    assert tidy(path).path == str(path)
    assert tidy(path).notes == ()
