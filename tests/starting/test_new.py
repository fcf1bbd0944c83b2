"""`tempica new`: from a structure to a recipe that runs, and one message for what is no structure."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.errors import RecipeError, StructureError, TempicaError
from tempica.pipeline import load_recipe
from tempica.recipe.residues import residues
from tempica.simulate.models import build_model
from tempica.starting import begin
from tempica.starting.aligning import pair_residues
from tempica.starting.dividing import changes_of_frames, changes_of_modes, divide, soft_motions
from tempica.starting.forms import read_forms

from ..conftest import ROOT, tempica

STRUCTURES = ROOT / "simulations" / "structures"
OPEN, CLOSED = STRUCTURES / "adk_open.pdb", STRUCTURES / "adk_closed.pdb"
CORE, NMP, LID = "1-29, 68-117, 161-214", "30-67", "118-160"  # of the literature, in the committed recipes


@pytest.fixture
def written(tmp_path: Path):
    """Writes a changed copy of the open form: which residues, renumbered how, in which chain, placed how."""

    def write(name: str, source: Path = OPEN, keep=slice(None), shift: int = 0, chain: str = "A", turn=None) -> Path:
        model = mdtraj.load(str(source))
        wanted = list(model.topology.residues)[keep]
        model = model.atom_slice([atom.index for residue in wanted for atom in residue.atoms])
        for residue in model.topology.residues:
            residue.resSeq += shift
        for one in model.topology.chains:
            one.chain_id = chain
        if turn is not None:
            model.xyz = model.xyz @ turn.astype(np.float32)
        model.save_pdb(str(tmp_path / name))
        return tmp_path / name

    return write


def agreement(domains: dict[str, str]) -> float:
    """Share of residues whose domain is that of the literature, names matched by their largest overlap."""
    truth = [set(residues(text)) for text in (CORE, NMP, LID)]
    found = [set(residues(text)) for text in domains.values()]
    return sum(max(len(one & other) for other in found) for one in truth) / sum(map(len, truth))


@pytest.mark.parametrize("files", [(OPEN, CLOSED), (OPEN,)])
def test_a_structure_becomes_a_recipe_whose_model_can_be_built(files, tmp_path: Path) -> None:
    told: list[str] = []
    start = begin.new(files, out=tmp_path / "own.toml", tell=told.append)
    recipe, text = load_recipe(start.recipe)
    assert agreement(recipe.simulate.molecule.domains) > 0.85
    model = build_model(recipe.simulate, tmp_path)
    assert len(model.variables) == recipe.train.n_components == 2
    for variable, entry in zip(model.variables, recipe.simulate.dynamics, strict=True):
        low, high = entry.reach
        assert variable.kind != "hinge_angle" or (low > 15 and high < 165)
    assert ("an observation" in " ".join(told)) == (len(files) == 1)
    assert "# " in text
    assert start.type_next == f"tempica run {start.recipe}"


def test_forms_of_other_numbers_and_chains_are_aligned_by_sequence(written) -> None:
    told: list[str] = []
    turn = Rotation.random(rng=np.random.default_rng(0)).as_matrix()
    other = written("other.pdb", CLOSED, keep=slice(3, 200), shift=1000, chain="Q", turn=turn)
    first, second = read_forms([OPEN, other], [], told.append)
    assert second is not None
    assert first.numbers == second.numbers == tuple(range(4, 201))
    plain = read_forms([OPEN, CLOSED], [], told.append)[1]
    assert plain is not None
    np.testing.assert_allclose(second.position, plain.position[3:200], atol=0.2)  # superposed on fewer residues
    assert any("by sequence" in line for line in told)


def test_a_gap_in_the_model_is_no_obstacle(written, tmp_path: Path) -> None:
    keep = written("gap.pdb", keep=slice(0, 100))
    lines = keep.read_text().splitlines()
    keep.write_text("\n".join(line for line in lines if not (line[:4] == "ATOM" and 40 <= int(line[22:26]) <= 47)))
    start = begin.new([keep], out=tmp_path / "own.toml", tell=lambda _: None)
    recipe, _ = load_recipe(start.recipe)
    build_model(recipe.simulate, tmp_path)


def test_two_chains_of_one_file_are_its_two_forms(tmp_path: Path) -> None:
    lines = [line for line in OPEN.read_text().splitlines() if line.startswith("ATOM")]
    other = [line[:21] + "B" + line[22:] for line in CLOSED.read_text().splitlines() if line.startswith("ATOM")]
    both = tmp_path / "both.pdb"
    both.write_text("\n".join([*[line[:21] + "A" + line[22:] for line in lines], "TER", *other, "TER", "END", ""]))
    told: list[str] = []
    first, second = read_forms([both], ["A", "B"], told.append)
    assert second is not None
    assert len(first) == len(second) == 214
    _, none = read_forms([both], [], told.append)
    assert none is None
    assert "--chain A --chain B" in " ".join(told)
    with pytest.raises(StructureError, match=r"--chain Z.*A \(214 residues\), B \(214 residues\)"):
        read_forms([both], ["Z"], told.append)


def test_planted_domains_are_found_from_their_motion() -> None:
    """Two balls of beads of which one turns, with a loop that does as it likes: neither is mistaken for a domain."""
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*[np.arange(5)] * 3), -1).reshape(-1, 3) * 0.38
    position = np.concatenate([grid[:100], grid[:60] + np.array([2.5, 0, 0])]) + 0.03 * rng.normal(size=(160, 3))
    truth = np.repeat([0, 1], [100, 60])
    moved = position.copy()
    turn = Rotation.from_rotvec([0, 0.4, 0]).as_matrix()
    moved[truth == 1] = (position[truth == 1] - position[100]) @ turn + position[100]
    moved[40:46] += 0.8
    change = changes_of_frames(np.stack([position, moved]))
    label = divide(position, (moved - position)[None], {"forms": change}).label
    assert (np.delete(label, range(38, 48)) == np.delete(truth, range(38, 48))).mean() > 0.97


def test_changes_of_modes_are_those_of_small_steps() -> None:
    position = read_forms([OPEN], [], lambda _: None)[0].position[:60]
    shape = soft_motions(position)[:1]
    step = 1e-4
    near = changes_of_frames(np.stack([position, position + step * shape[0]])) / step
    np.testing.assert_allclose(changes_of_modes(position, shape), near, atol=2e-3)


def test_an_alignment_bridges_what_one_chain_lacks() -> None:
    rng = np.random.default_rng(1)
    names = rng.choice(["ALA", "GLY", "LEU", "SER", "VAL", "LYS"], 80).tolist()
    other = [*names[5:30], *names[38:70], "TRP", "TRP"]
    found = pair_residues((range(80), range(200, 200 + len(other))), (names, other), 10)
    assert found.by == "sequence"
    expected = [*range(5, 30), *range(38, 70)]
    assert np.isin(expected, found.first).mean() > 0.95
    assert found.identity > 0.9


def _dna(path: Path) -> None:
    lines = []
    for number, residue in enumerate(["DA", "DC", "DG", "DT"] * 3, 1):
        for i, name in enumerate(("P", "C1'")):
            place = f"{number:8.3f}{i:8.3f}{0:8.3f}"
            lines.append(f"ATOM  {2 * number + i:5d}  {name:<3} {residue:>3} C{number:4d}    {place}  1.00  0.00")
    path.write_text("\n".join([*lines, "END", ""]))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # MDTraj leaves what it cannot read open
def test_what_is_no_protein_is_told_in_one_message(tmp_path: Path, written) -> None:
    dna, empty, text = (tmp_path / name for name in ("dna.pdb", "empty.pdb", "words.pdb"))
    _dna(dna)
    empty.write_text("")
    text.write_text("these are words, and no atoms\n")
    one = written("one.pdb", keep=slice(7, 8))
    few = written("few.pdb", keep=slice(0, 6))
    for files, message in (
        ([dna], "no protein chain.*nucleic acid"),
        ([empty], "empty.pdb is empty"),
        ([text], "words.pdb"),
        ([one], "1 protein residue"),
        ([few], "has 6 residues, too few"),
        ([tmp_path / "gone.pdb", empty], "(?s)no file .*gone.pdb.*empty.pdb is empty"),
        ([OPEN, STRUCTURES / "trpzip2.pdb"], "too little in common"),
        ([OPEN, OPEN], "the same within"),
        ([OPEN, CLOSED, OPEN], "cannot tell"),
    ):
        with pytest.raises(TempicaError, match=message):
            begin.new(files, out=tmp_path / "own.toml", tell=lambda _: None)
    assert not (tmp_path / "own.toml").exists()
    assert not (tmp_path / "own_structures").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    kept = tmp_path / "own.toml"
    kept.write_text("mine")
    with pytest.raises(RecipeError, match="exists already"):
        begin.new([OPEN], out=kept, tell=lambda _: None)
    with pytest.raises(RecipeError, match="exists already"):
        begin.example("quick_look", kept)
    assert kept.read_text() == "mine"


def test_chains_of_what_has_none_are_refused_and_name_the_recipe_of_a_protein(tmp_path: Path, monkeypatch) -> None:
    for name in ("z.npy", "film.npy", "a.star"):
        (tmp_path / name).write_text("data_\n")
    np.save(tmp_path / "z.npy", np.zeros((50, 3)))
    np.save(tmp_path / "film.npy", np.zeros((50, 3, 3)))
    for name, what in (("z.npy", "latents have"), ("film.npy", "a movie.*has"), ("a.star", "a STAR file has")):
        with pytest.raises(RecipeError, match=f"^--chain A: {what} no chains"):
            begin.new([tmp_path / name], chains=["A"], tell=lambda _: None)
    monkeypatch.chdir(tmp_path)
    for chains in ([], ["A"]):
        begin.new([OPEN], chains=chains, tell=lambda _: None)
    assert {path.name for path in tmp_path.glob("*.toml")} == {"adk_open.toml", "adk_open_A.toml"}


def test_an_example_is_a_recipe_with_its_structures(tmp_path: Path) -> None:
    for name in ("quick_look", "arms_laplace", "adenylate_kinase"):  # two of which share their structures
        start = begin.example(name, tmp_path / f"{name}.toml")
        load_recipe(start.recipe)
    assert {path.name for path in (tmp_path / "structures").iterdir()} == {"adk_open.pdb", "adk_closed.pdb"}


def test_the_command_says_what_to_type_next(tmp_path: Path) -> None:
    done = tempica("new", OPEN, CLOSED, "--out", "own.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Recipe: own.toml\nContinue with: tempica run own.toml\n")
    again = tempica("new", OPEN, "--out", "own.toml", cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1
    assert tempica("new", cwd=tmp_path).returncode == 2
