"""Trajectories of other programs: what is read is what was written, whatever the format, the cut and the block."""

import os
import shutil
import sys
import tomllib
import tracemalloc
import warnings
from concurrent.futures import Executor, Future
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from tempica import cli
from tempica.errors import RecipeError, StructureError
from tempica.imaging import SCATTERING_LENGTH_A, composition
from tempica.progress import Progress
from tempica.recipe.completing import complete_recipe
from tempica.recipe.experiment import Recipe, load_recipe
from tempica.runs.folder import open_run
from tempica.runs.work import Work
from tempica.simulate import engine, slow_modes, stage
from tempica.simulate.beads import CARBON_WIDTH_NM
from tempica.simulate.foreign import files, layout, molecule
from tempica.simulate.foreign import stage as reading_stage
from tempica.stores import reading, store

from ..conftest import tempica

N_RESIDUES, N_FRAMES, INTERVAL = 24, 60, 2.0
GROUPS = {"bend": ["1-6", "9-15", "18-24"], "length": ["1-4", "21-24"]}
# what a format keeps of a coordinate, nm; ours go through single precision once more when they are superposed
FORMATS = {"dcd": 2e-6, "xtc": 6e-4, "trr": 2e-6, "h5": 2e-6, "nc": 2e-6}


def save(trajectory, path):
    if path.suffix == ".h5":
        pytest.importorskip("tables")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on scipy in the place of netCDF4
        trajectory.save(str(path))
    return path


@pytest.fixture(scope="module")
def peptide():
    """Alanines on a coil that bends in the middle, while it tumbles and drifts."""
    topology, chain = mdtraj.Topology(), None
    chain = topology.add_chain()
    for number in range(1, N_RESIDUES + 1):
        residue = topology.add_residue("ALA", chain, resSeq=number)
        for name in ("N", "CA", "C", "O", "CB"):
            topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
    topology.create_standard_bonds()
    rng = np.random.default_rng(3)
    along = 0.38 * (np.arange(N_RESIDUES) - N_RESIDUES / 2)
    offset = np.array([[-0.12, 0.05, 0.02], [0, 0, 0], [0.13, 0.06, -0.02], [0.13, 0.18, -0.03], [0.01, -0.1, 0.11]])
    position = np.empty((N_FRAMES, N_RESIDUES, 5, 3))
    angle = 0.5 + 0.4 * np.sin(0.21 * np.arange(N_FRAMES)) + 0.05 * rng.standard_normal(N_FRAMES)
    turn = np.radians(100.0) * np.arange(N_RESIDUES)
    coil = 0.23 * np.stack([np.zeros(N_RESIDUES), np.cos(turn), np.sin(turn)], -1)  # a straight rod could not be laid
    for frame, theta in enumerate(angle):
        direction = np.array([np.cos(theta), np.sin(theta), 0.0])
        backbone = np.where(along[:, None] > 0, along[:, None] * direction, along[:, None] * [1.0, 0, 0])
        rigid = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        rigid[:, 0] *= np.linalg.det(rigid)
        noisy = (backbone + coil)[:, None] + offset + 0.005 * rng.standard_normal((N_RESIDUES, 5, 3))
        position[frame] = noisy @ rigid.T + rng.uniform(-2, 2, 3)
    return mdtraj.Trajectory(position.reshape(N_FRAMES, -1, 3), topology, time=INTERVAL * np.arange(N_FRAMES))


@pytest.fixture
def folder(peptide, tmp_path):
    """A topology and the whole trajectory as DCD."""
    peptide[0].save(str(tmp_path / "top.pdb"))
    save(peptide, tmp_path / "all.dcd")
    return tmp_path


def content(names, **changes):
    """A recipe of four replicas of 15 frames; `changes` are to the molecule or, by the names there, to simulate."""
    simulate = {
        "n_replicas": 4,
        "n_frames": 15,
        "ensemble_frames": 12,
        "collective_variables": [
            {"name": "bend", "residues": GROUPS["bend"]},
            {"name": "length", "kind": "distance", "residues": GROUPS["length"]},
        ],
    }
    simulate |= {key: changes.pop(key) for key in list(changes) if key in ("n_replicas", "n_frames", "dynamics")}
    simulate |= changes.pop("simulate", {})
    molecule = {"kind": "trajectory", "topology": "top.pdb", "files": names, "frame_interval": INTERVAL} | changes
    molecule = {key: value for key, value in molecule.items() if value is not None}
    return {
        "name": "foreign",
        "simulate": simulate | {"molecule": molecule},
        "train": {"methods": ["tica"], "held_out_replicas": 1},
    }


def recipe_of(names, **changes):
    return Recipe.model_validate(content(names, **changes))


class Killed(Exception):
    pass


class Inline(Executor):
    def __init__(self, lifetime):
        self.left = lifetime

    def submit(self, task, /, *args, **kwargs):
        if self.left == 0:
            raise Killed
        self.left -= 1
        future = Future()
        future.set_result(task(*args, **kwargs))
        return future


def simulate(recipe, source, out, lifetime=10**6):
    stage.check(recipe, source)
    out.mkdir(exist_ok=True)
    stage.run(Work("simulate", source, out, recipe, "", "0" * 16, Inline(lifetime), Progress(terminal=False)))
    for kind in ("trajectory", "ensemble"):
        store.seal(out / f"{kind}.zarr")
    return [reading.open_store(out / f"{kind}.zarr", kind).load() for kind in ("trajectory", "ensemble")]


def truth(peptide, frames):
    """Both variables, by the cosine rule and Pythagoras, from what was written."""
    alpha = peptide.xyz[frames][:, peptide.topology.select("name CA")].astype(np.float64)

    def centroid(text):
        first, last = map(int, text.split("-"))
        return alpha[:, first - 1 : last].mean(1)

    a, b, c = map(centroid, GROUPS["bend"])
    sides = [((p - q) ** 2).sum(1) for p, q in ((a, b), (b, c), (a, c))]
    bend = np.arccos((sides[0] + sides[1] - sides[2]) / (2 * np.sqrt(sides[0] * sides[1])))
    p, q = map(centroid, GROUPS["length"])
    return np.stack([bend, np.sqrt(((p - q) ** 2).sum(1))], -1)


def distances(position):
    return np.linalg.norm(position[..., :, None, :] - position[..., None, :, :], axis=-1)


def assert_read(trajectory, peptide, frames, precision):
    """A store (replica, time, …) holds these frames (replica, time) of the peptide."""
    alpha = peptide.topology.select("name CA")
    for r, numbers in enumerate(frames):
        np.testing.assert_allclose(
            trajectory["collective_variable"][r], truth(peptide, numbers), atol=precision * 2, rtol=0
        )
        np.testing.assert_allclose(
            distances(trajectory["position"].values[r].astype(float)),
            distances(peptide.xyz[numbers][:, alpha].astype(float)),
            atol=precision * 4,
        )


@pytest.mark.parametrize("ending", list(FORMATS))
def test_every_format_gives_what_was_written(ending, peptide, folder):
    save(peptide, folder / f"a.{ending}")
    changes = {"topology": None} if ending == "h5" else {}
    if ending != "dcd":
        changes["frame_interval"] = None  # the file's own times
    trajectory, _ = simulate(recipe_of([f"a.{ending}"], **changes), folder, folder / "out")
    assert_read(trajectory, peptide, np.arange(60).reshape(4, 15), FORMATS[ending])
    np.testing.assert_allclose(trajectory["time"], INTERVAL * np.arange(15))
    assert trajectory["cv"].values.tolist() == ["bend", "length"]
    assert trajectory["cv_units"].values.tolist() == ["rad", "nm"]
    assert trajectory.sizes["source_name"] == 0
    assert np.isnan(trajectory["potential_energy"]).all()
    assert (trajectory["molecule"] == 0).all()
    assert np.isfinite(trajectory["slow_mode"]).all()


def test_frames_lie_on_the_first_by_their_body(peptide, folder):
    for body in ("1-12", "resSeq 1 to 12", None):
        trajectory, _ = simulate(recipe_of(["all.dcd"], body=body), folder, folder / f"out {body}")
        position = trajectory["position"].values.reshape(60, N_RESIDUES, 3).astype(float)
        beads = slice(0, 12 if body else N_RESIDUES)
        np.testing.assert_allclose(position[0].mean(0), 0, atol=1e-5)
        for frame in position[1:]:
            p, q = (x[beads] - x[beads].mean(0) for x in (frame, position[0]))
            u, _, v = np.linalg.svd(p.T @ q)
            best = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
            np.testing.assert_allclose(best, np.eye(3), atol=2e-3)  # no rotation is left to be made


def test_stride_and_gluing(peptide, folder):
    for number in range(4):
        save(peptide[15 * number : 15 * (number + 1)], folder / f"{number}.dcd")
    names = [f"{number}.dcd" for number in range(4)]
    trajectory, _ = simulate(recipe_of(names, simulate={"collective_variables": CV}), folder, folder / "one each")
    assert_read(trajectory, peptide, np.arange(60).reshape(4, 15), 2e-6)

    # the stride runs on through the seams: 40 frames, every second, in pairs of files of 15 and 25 frames
    cuts = [(0, 15), (15, 30), (30, 45), (45, 60)]
    glued = recipe_of(names, files_per_replica=2, stride=2, n_frames=5, n_replicas=6, simulate={"ensemble_frames": 10})
    trajectory, _ = simulate(glued, folder, folder / "glued")
    frames = np.concatenate([np.arange(0, 30, 2).reshape(3, 5), np.arange(30, 60, 2).reshape(3, 5)])
    assert_read(trajectory, peptide, frames, 2e-6)
    np.testing.assert_allclose(trajectory["time"], 2 * INTERVAL * np.arange(5))
    assert cuts[1][0] % 2 == 1  # the second file begins at an odd frame


CV = content([])["simulate"]["collective_variables"]


def test_the_ensemble_is_of_training_replicas_alone(folder):
    recipe = recipe_of(["all.dcd"])
    trajectory, ensemble = simulate(recipe, folder, folder / "out")
    replica, frame = reading_stage.sample(recipe)
    assert set(replica) == {0, 1}  # of train, train, validation, held_out
    assert len(set(zip(replica, frame, strict=True))) == 12
    np.testing.assert_array_equal(ensemble["position"], trajectory["position"].values[replica, frame])
    for number in (2, 3):
        apart = trajectory["position"].values[number][:, None] - ensemble["position"].values[None]
        assert np.abs(apart).max((2, 3)).min() > 1e-4


def test_blocks_and_interruptions_leave_no_trace(folder, monkeypatch):
    recipe = recipe_of(["all.dcd"])
    whole = simulate(recipe, folder, folder / "whole")
    monkeypatch.setattr(engine, "BLOCK_FRAMES", 4)
    for lifetime in (0, 5, 9, 3):
        with pytest.raises(Killed):
            simulate(recipe, folder, folder / "parts", lifetime)
    for one, other in zip(simulate(recipe, folder, folder / "parts"), whole, strict=True):
        for name in other.variables:
            np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)


@pytest.mark.parametrize("ending", ["dcd", "xtc"])
def test_memory_does_not_grow_with_the_file(ending, peptide, folder):
    peaks = []
    for times in (5, 40):
        long = mdtraj.join([peptide] * times)
        long.time = INTERVAL * np.arange(len(long))
        save(long, folder / f"{times}.{ending}")
        recipe = recipe_of([f"{times}.{ending}"])
        model, plan = molecule.build_foreign(recipe.simulate, folder), layout.layout(recipe.simulate, folder)
        tracemalloc.start()
        for first in range(0, 15, 5):
            molecule.read_block(model, plan.pieces(3, first, first + 5), "replica 3", first, None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < 0.2 * long.xyz.nbytes


@pytest.mark.parametrize("bonds", [True, False])
def test_molecules_broken_by_a_periodic_box_are_made_whole(bonds, peptide, folder):
    some = peptide if bonds else peptide.atom_slice(peptide.topology.select("name CA"))
    tilted = np.array([[9.0, 0, 0], [3.0, 8.5, 0], [-2.0, 1.0, 8.0]])
    cells = np.floor(some.xyz @ np.linalg.inv(tilted))
    broken = mdtraj.Trajectory(some.xyz - cells @ tilted, some.topology, time=some.time)
    broken.unitcell_vectors = np.repeat(tilted[None], N_FRAMES, 0)
    assert len(np.unique(cells.reshape(-1, 3), axis=0)) > 3
    some[0].save(str(folder / "top.pdb"))
    for ending in ("dcd", "xtc"):
        save(broken, folder / f"broken.{ending}")
        trajectory, _ = simulate(recipe_of([f"broken.{ending}"]), folder, folder / ending)
        assert_read(trajectory, peptide, np.arange(60).reshape(4, 15), 2 * FORMATS[ending])


def test_heavy_atoms_scatter_each_on_its_own_and_together_as_their_residues(peptide, folder):
    alanine = sum(k * SCATTERING_LENGTH_A[e] for e, k in {"C": 3, "N": 1, "O": 1}.items())
    alpha = molecule.build_foreign(recipe_of(["all.dcd"]).simulate, folder).molecule
    np.testing.assert_allclose(alpha.scattering_length_A, alanine)
    assert (alpha.bead_width > 0.05).all()
    every = molecule.build_foreign(recipe_of(["all.dcd"], selection="mass > 2").simulate, folder).molecule
    assert len(every.residue) == 5 * N_RESIDUES
    np.testing.assert_allclose(every.scattering_length_A.reshape(-1, 5)[0], [SCATTERING_LENGTH_A[e] for e in "NCCOC"])
    assert (every.bead_width == CARBON_WIDTH_NM).all()
    two = molecule.build_foreign(recipe_of(["all.dcd"], selection="name CA CB").simulate, folder).molecule
    np.testing.assert_allclose(two.scattering_length_A.reshape(-1, 2).sum(1), alanine)
    assert set(alpha.formula) == {"C3H5NO"}
    assert every.formula.reshape(-1, 5)[0].tolist() == ["HN", "CH", "CH", "HO", "CH"]
    parts = [composition(one) for one in two.formula[:2]]
    assert {e: parts[0].get(e, 0) + parts[1].get(e, 0) for e in "CHNO"} == {"C": 3, "H": 5, "N": 1, "O": 1}

    bare = peptide.atom_slice(peptide.topology.select("name CA"))
    bare[0].save(str(folder / "bare.pdb"))
    save(bare, folder / "bare.dcd")
    only = molecule.build_foreign(recipe_of(["bare.dcd"], topology="bare.pdb").simulate, folder).molecule
    np.testing.assert_allclose(only.scattering_length_A, alanine)
    assert set(only.formula) == {"C3H5NO"}


def test_atoms_named_ca_of_a_protein_are_carbon_without_an_element_column(peptide, folder):
    """CHARMM writes names from column 13 and no elements; MDTraj then reads calcium."""
    lines = (folder / "top.pdb").read_text().splitlines()
    odd = [line[:12] + f"{line[12:16].strip():<4}" + line[16:76] if line.startswith("ATOM") else line for line in lines]
    (folder / "odd.pdb").write_text("\n".join(odd) + "\n")
    assert mdtraj.load(str(folder / "odd.pdb")).topology.atom(1).element.symbol == "Ca"
    plain, charmm = (
        molecule.build_foreign(recipe_of(["all.dcd"], topology=name).simulate, folder).molecule
        for name in ("top.pdb", "odd.pdb")
    )
    np.testing.assert_array_equal(plain.scattering_length_A, charmm.scattering_length_A)


# --- mistakes ---------------------------------------------------------------------------------------------------------


def poisoned(peptide, frame):
    bad = mdtraj.Trajectory(peptide.xyz.copy(), peptide.topology, time=peptide.time)
    bad.xyz[frame, 11] = np.nan
    return bad


def cut(path, share):
    path.with_name("cut" + path.suffix).write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def malformed(folder, _):
    text = (folder / "top.pdb").read_text().splitlines()
    (folder / "bad.pdb").write_text("\n".join(line[:30] + "spoilt" + line[40:] for line in text))


def other_topology(folder, peptide):
    peptide.atom_slice(range(100))[0].save(str(folder / "fewer.pdb"))


MISTAKES = {
    "malformed PDB": (malformed, {"topology": "bad.pdb"}, ["bad.pdb", "cannot be read"]),
    "no topology file": (None, {"topology": "none.pdb"}, ["none.pdb", "does not exist"]),
    "topology of unknown kind": (
        lambda f, p: (f / "top.odd").write_text("x"),
        {"topology": "top.odd"},
        ["top.odd", "cannot be read", "PDB"],
    ),
    "no topology": (None, {"topology": None}, ["topology is missing", "--topology"]),
    "other atoms": (other_topology, {"topology": "fewer.pdb"}, ["120 atoms", "topology 100"]),
    "nothing selected": (None, {"selection": "name XX"}, ["name XX", "selects 0 of"]),
    "selection without syntax": (
        None,
        {"selection": "name CA and or"},
        ["name CA and or", "at character 12."],
    ),
    "selection of half words": (None, {"selection": "nom CA"}, ["nom CA", "no selection"]),
    "body without syntax": (None, {"body": "resSeq <"}, ["body", "resSeq <"]),
    "small body": (None, {"body": "1-2"}, ["body", "2 of the selected", "needs 3"]),
    "absent body": (None, {"body": "1-99"}, ["body", "25-99"]),
    "NaN in the first frame": (
        lambda f, p: save(poisoned(p, 0), f / "all.dcd"),
        {},
        ["ALA3-CA", "number 11", "not finite", "frame 0"],
    ),
    "NaN in the last": (lambda f, p: save(poisoned(p, 59), f / "all.dcd"), {}, ["ALA3-CA", "frame 59 of"]),
    "empty file": (lambda f, p: (f / "all.dcd").write_bytes(b""), {}, ["all.dcd", "0 bytes"]),
    "header alone": (
        lambda f, p: (f / "all.dcd").write_bytes((f / "all.dcd").read_bytes()[:300]),
        {},
        ["all.dcd", "cannot be read"],
    ),
    "no frames": (lambda f, p: save(p[:0], f / "a.nc"), {"files": ["a.nc"]}, ["a.nc", "no frames"]),
    "garbage as DCD": (lambda f, p: (f / "all.dcd").write_bytes(os.urandom(5000)), {}, ["all.dcd", "cannot be read"]),
    "garbage as XTC": (
        lambda f, p: (f / "a.xtc").write_bytes(os.urandom(5000)),
        {"files": ["a.xtc"]},
        ["a.xtc", "cannot be read"],
    ),
    "truncated DCD": (
        lambda f, p: cut(f / "all.dcd", 0.7),
        {"files": ["cut.dcd"]},
        ["cut.dcd", "promises 60 frames", "truncated", "× 4 replicas = 60"],
    ),
    "truncated XTC": (
        lambda f, p: cut(save(p, f / "a.xtc"), 0.995),
        {"files": ["cut.xtc"]},
        ["cut.xtc", "cannot be read", "truncated"],
    ),
    "truncated TRR": (
        lambda f, p: cut(save(p, f / "a.trr"), 0.995),
        {"files": ["cut.trr"]},
        ["cut.trr", "cannot be read", "truncated"],
    ),
    "truncated NetCDF": (
        lambda f, p: cut(save(p, f / "a.nc"), 0.7),
        {"files": ["cut.nc"]},
        ["cut.nc", "cannot be read"],
    ),
    "truncated HDF5": (lambda f, p: cut(save(p, f / "a.h5"), 0.7), {"files": ["cut.h5"]}, ["cut.h5", "cannot be read"]),
    "no file": (None, {"files": ["none.xtc"]}, ["none.xtc", "does not exist"]),
    "unknown ending": (
        lambda f, p: (f / "all.dat").write_text("1"),
        {"files": ["all.dat"]},
        ["all.dat", "'.dat'", ".xtc", "mdconvert"],
    ),
    "absent residues": (
        None,
        {"simulate": {"collective_variables": [{"name": "b", "residues": ["1-5", "8-10", "20-30"]}]}},
        ["collective variable b", "25-30", "1 to 24"],
    ),
    "groups one in the other": (
        None,
        {"simulate": {"collective_variables": [{"name": "b", "residues": ["1-9", "4-6", "20-24"]}]}},
        ["groups of b contradict each other", "'4-6' lies within '1-9'"],
    ),
    "too few frames": (None, {"n_frames": 16}, ["all.dcd: 60 frames", "16 frames", "4 replicas", "= 64"]),
    "too few frames after the stride": (None, {"stride": 4}, ["at a stride of 4: 15 frames", "= 60"]),
    "one short file": (
        lambda f, p: [save(p[:n], f / f"{n}.dcd") for n in (15, 16, 17, 9)],
        {"files": ["15.dcd", "16.dcd", "17.dcd", "9.dcd"]},
        ["9.dcd: 9 frames", "15 frames", "each replica"],
    ),
    "more files than replicas": (
        lambda f, p: [save(p[:15], f / f"{n}.dcd") for n in range(5)],
        {"files": [f"{n}.dcd" for n in range(5)]},
        ["make 5 replicas", "n_replicas = 4"],
    ),
    "files that cannot be paired": (None, {"files_per_replica": 2}, ["1 files", "files_per_replica = 2"]),
    "one file twice": (None, {"files": ["all.dcd", "all.dcd"]}, ["all.dcd", "more than once"]),
    "no times": (None, {"frame_interval": None}, ["all.dcd", "does not tell the time", "frame_interval"]),
    "times that stand still": (
        lambda f, p: save(mdtraj.Trajectory(p.xyz, p.topology, time=np.zeros(60)), f / "a.xtc"),
        {"files": ["a.xtc"], "frame_interval": None},
        ["a.xtc", "0 and 0 ps", "frame_interval"],
    ),
    "driven": (
        None,
        {
            "dynamics": [
                {"collective_variable": "bend", "process": "ar1", "mean": 90.0, "deviation": 5.0, "coefficient": 0.5}
            ]
        },
        ["dynamics", "not simulated"],
    ),
    "snapshots": (None, {"simulate": {"observation": {"mode": "snapshots"}}}, ["observation", "always movie"]),
    "time step": (None, {"simulate": {"time_step": 0.01, "steps_per_frame": 10}}, ["steps_per_frame, time_step"]),
    "large ensemble": (None, {"simulate": {"ensemble_frames": 31}}, ["ensemble_frames = 31", "30 frames"]),
}


def text_of(value):
    """TOML of a recipe given as plain data."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {text_of(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(text_of, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)


def main(monkeypatch, capfd, *arguments):
    """The command line in this process: exit code and what it said."""
    monkeypatch.setattr(sys, "argv", ["tempica", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code
    said = capfd.readouterr()
    return code, said.out + said.err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # MDTraj leaves bad files open
@pytest.mark.parametrize("name", list(MISTAKES))
def test_a_mistake_gets_one_clear_error_and_nothing_is_written(name, peptide, folder, monkeypatch, capfd):
    prepare, changes, expected = MISTAKES[name]
    if prepare:
        prepare(folder, peptide)
    names = changes.get("files", ["all.dcd"])
    plain = content(names, **{key: value for key, value in changes.items() if key != "files"})
    (folder / "r.toml").write_text("\n".join(f"{key} = {text_of(value)}" for key, value in plain.items()))
    capfd.readouterr()
    code, said = main(monkeypatch, capfd, "run", folder / "r.toml", "--out", folder / "run")
    assert code == 2, said
    for part in expected:
        assert part in said, f"{part!r} is not in: {said}"
    assert "Traceback" not in said
    assert "dcdplugin" not in said
    assert "xdrfile" not in said
    assert not (folder / "run").exists()


def test_a_file_that_is_damaged_in_the_middle_is_named_when_it_is_reached(peptide, folder):
    save(poisoned(peptide, 37), folder / "nan.dcd")
    recipe = recipe_of(["nan.dcd"])
    with pytest.raises(
        StructureError, match=r"ALA3-CA \(number 11\) are not finite in frame 7 of replica 2 .*frame 37"
    ):
        simulate(recipe, folder, folder / "out")
    assert not (folder / "out" / "trajectory.zarr" / "zarr.json").read_text().count("n_files")

    jumping = mdtraj.Trajectory(peptide.xyz, peptide.topology, time=peptide.time + 50.0 * (np.arange(60) > 40))
    save(jumping, folder / "gap.xtc")
    with pytest.raises(StructureError, match=r"Frames 40 and 41 of .*gap\.xtc are 52 ps apart, and 2 ps are expected"):
        simulate(recipe_of(["gap.xtc"], frame_interval=None), folder, folder / "gap")
    simulate(recipe_of(["gap.xtc"]), folder, folder / "told")


@pytest.mark.parametrize(("first", "later"), [(6.0, 0.0), (0.0, 6.0)])
def test_unit_cells_come_in_every_frame_or_in_none(first, later, peptide, folder):
    mixed = mdtraj.Trajectory(peptide.xyz, peptide.topology, time=peptide.time)
    mixed.unitcell_lengths = np.where(np.arange(N_FRAMES)[:, None] == 41, later, first) * np.ones(3)
    mixed.unitcell_angles = np.full((N_FRAMES, 3), 90.0)
    save(mixed, folder / "mixed.dcd")
    with pytest.raises(StructureError, match=r"Frame 41 of .*mixed\.dcd has (no|a) unit cell"):
        simulate(recipe_of(["mixed.dcd"]), folder, folder / "out")


@pytest.mark.parametrize("jump", [50.0, -INTERVAL])
def test_a_gap_between_two_blocks_is_seen(jump, peptide, folder, monkeypatch):
    time = peptide.time + np.where(np.arange(N_FRAMES) >= 50, jump, 0.0)
    save(mdtraj.Trajectory(peptide.xyz, peptide.topology, time=time), folder / "edge.xtc")
    setting = recipe_of(["edge.xtc"], frame_interval=None, n_replicas=3, n_frames=20)
    monkeypatch.setattr(reading_stage, "blocks", lambda n, size: [(0, 10), (10, n)])
    with pytest.raises(StructureError, match=r"Frames 49 and 50 of .*edge\.xtc are"):
        simulate(setting, folder, folder / "out")


def test_a_slow_motion_beyond_the_data_is_not_given_a_number():
    told = slow_modes.outliving({"bend": 3.0}, {"timescale": np.array([1e9])}, "simulate.molecule.stride", 15)
    assert "a timescale of more than the 15 frames of a replica outlives bend (3)" in told
    assert "(simulate.molecule.stride)" in told


def test_residue_numbers_must_be_unambiguous(peptide, folder):
    both = peptide.topology.join(peptide.topology)
    twice = mdtraj.Trajectory(np.concatenate([peptide.xyz, peptide.xyz + 1], 1), both)
    twice[0].save(str(folder / "two.pdb"))
    save(twice, folder / "two.dcd")
    with pytest.raises(StructureError, match=r"residue 1, which the selection has more than once.*chainid"):
        stage.check(recipe_of(["two.dcd"], topology="two.pdb"), folder)
    stage.check(recipe_of(["two.dcd"], topology="two.pdb", selection="name CA and chainid 1"), folder)


@pytest.mark.parametrize(
    ("kind", "groups", "fine"),
    [
        ("hinge_angle", ["1-5", "5-9", "9-12"], True),  # neighbours share their seam, as adenylate kinase's hinges do
        ("hinge_angle", ["1-5", "6-9", "1-5"], False),
        ("hinge_angle", ["1-5", "2-3", "9"], False),
        ("distance", ["4", "4"], False),
        ("rotation", ["1-9", "3", "7", "20-24"], True),  # an axis belongs to its body
        ("rotation", ["1-9", "3", "3", "20-24"], False),
    ],
)
def test_groups_of_a_variable_must_differ(kind, groups, fine):
    plain = content(["x.dcd"], simulate={"collective_variables": [{"name": "v", "kind": kind, "residues": groups}]})
    if fine:
        Recipe.model_validate(plain)
    else:
        with pytest.raises(ValueError, match="contradict each other"):
            Recipe.model_validate(plain)


# --- the verb, and the run folder -------------------------------------------------------------------------------------

OPEN_RECIPE = """# a comment that stays
name = "open"

[simulate]
n_replicas = 4
n_frames = 15
ensemble_frames = 12

[[simulate.collective_variables]]
name = "bend"
residues = ["1-6", "9-15", "18-24"]

[[simulate.collective_variables]]
name = "length"
kind = "distance"
residues = ["1-4", "21-24"]

[render]
n_pixels = 32
pixel_size_A = 4.0
snr = inf

[embed]
n_modes = 2

[train]
methods = ["tica"]
held_out_replicas = 1

[evaluate]
n_ceiling_frames = 50
"""


def test_an_open_recipe_is_completed_and_keeps_its_words(folder):
    path = folder / "open.toml"
    filled = complete_recipe(
        OPEN_RECIPE, path, [folder / "all.dcd"], topology=folder / "top.pdb", stride=2, selection='name "CA"', name="b"
    )
    parsed = tomllib.loads(filled)
    assert parsed["simulate"]["molecule"] == {
        "kind": "trajectory",
        "topology": str(folder / "top.pdb"),
        "files": [str(folder / "all.dcd")],
        "stride": 2,
        "selection": 'name "CA"',
    }
    assert parsed["name"] == "b"
    assert "# a comment that stays" in filled
    begun = OPEN_RECIPE + '\n[simulate.molecule]  # so far\nkind = "trajectory"\nbody = "1-12"\n'
    molecule = tomllib.loads(complete_recipe(begun, path, [folder / "all.dcd"]))["simulate"]["molecule"]
    assert molecule == {"kind": "trajectory", "body": "1-12", "files": [str(folder / "all.dcd")]}
    nameless = OPEN_RECIPE.replace('name = "open"\n', "", 1)
    assert tomllib.loads(complete_recipe(nameless, path, [], name="c"))["name"] == "c"
    quoted = f'"name" = "b"\n{nameless}'
    assert tomllib.loads(complete_recipe(quoted, path, [], name="c"))["name"] == "c"
    with pytest.raises(RecipeError, match=r"'a\\xff\.dcd' is not UTF-8"):
        complete_recipe(nameless, path, [Path(os.fsdecode(b"a\xff.dcd"))])
    for text, message in [
        (begun + 'files = ["x.dcd"]\n', "which the command gives too"),
        (OPEN_RECIPE + '\n[simulate.molecule]\nkind = "arms"\nn_arms = 1\n', "a molecule of its own"),
        (OPEN_RECIPE.replace("[simulate]\n", '[simulate]\nmolecule = {body = "1-12"}\n'), "in one line"),
        ('name = "x"\nsimulate = {n_frames = 5}\n', "a table of its own"),
        ("[simulate", "not valid TOML"),
    ]:
        with pytest.raises(RecipeError, match=message):
            complete_recipe(text, path, [folder / "all.dcd"])


@pytest.fixture(scope="module")
def imported(peptide, tmp_path_factory):
    """A trajectory imported from a folder of its own, and the run of it to the end."""
    folder = tmp_path_factory.mktemp("foreign")
    peptide[0].save(str(folder / "top.pdb"))
    save(peptide, folder / "all.xtc")
    (folder / "open.toml").write_text(OPEN_RECIPE)
    verb = ("import", folder / "all.xtc", "--topology", folder / "top.pdb", "--recipe", folder / "open.toml")
    done = tempica(*verb, "--out", folder / "run", "--jobs", 1)
    assert done.returncode == 0, done.stderr
    assert f"tempica run {folder / 'run'}" in done.stdout
    again = tempica(*verb, "--out", folder / "run", "--jobs", 1)
    assert "nothing was done" in again.stdout
    done = tempica("run", folder / "run", "--jobs", 1)
    assert done.returncode == 0, done.stderr
    assert "simulate: up to date" in done.stderr
    return folder


def test_an_imported_trajectory_goes_through_to_the_report(imported, peptide):
    run = imported / "run"
    assert (run / "scores.json").exists()
    assert (run / "report.html").exists()
    assert (run / "structures" / "top.pdb").exists()
    assert not list(run.rglob("*.xtc"))
    recipe, _ = load_recipe(run / "recipe.toml")
    assert recipe.simulate.molecule.kind == "trajectory"
    assert_read(reading.open_store(run / "trajectory.zarr", "trajectory"), peptide, np.arange(60).reshape(4, 15), 6e-4)


def test_a_finished_import_needs_its_files_no_more_and_an_unfinished_one_misses_them(imported, tmp_path, peptide):
    folder = tmp_path / "copy"
    shutil.copytree(imported, folder)
    run, file = folder / "run", folder / "all.xtc"
    record, source = run / "trajectories.json", open_run(run, None)
    record.write_text(record.read_text().replace(f'"path": "{imported}', f'"path": "{folder}'))
    assert source.is_current("simulate")
    hidden = file.rename(folder / "elsewhere.xtc")
    shutil.rmtree(run / "movie.zarr")
    done = tempica("run", run, "--until", "render", "--jobs", 1)
    assert done.returncode == 0, done.stderr

    shutil.rmtree(run / "trajectory.zarr")
    done = tempica("run", run, "--jobs", 1)
    assert done.returncode == 2
    assert f"{file}, from which the run {run} is made, has gone" in done.stderr
    save(peptide[1:], file)
    done = tempica("run", run, "--jobs", 1)
    assert done.returncode == 2
    assert "has changed since" in done.stderr
    assert (run / "movie.zarr").exists()
    shutil.move(hidden, file)  # with another time of change, and the same content
    os.utime(file)
    done = tempica("simulate", run, "--jobs", 1)
    assert done.returncode == 0, done.stderr


def test_another_split_is_another_ensemble(imported):
    run = open_run(imported / "run", None)
    other = run.recipe.model_copy(update={"train": run.recipe.train.model_copy(update={"held_out_replicas": 2})})
    assert type(run)(run.path, other, "", run.source).fingerprints["simulate"] != run.fingerprints["simulate"]


def test_files_are_read_where_they_are_asked_for(peptide, folder):
    for ending in ("dcd", "xtc", "nc"):
        path = save(peptide, folder / f"a.{ending}")
        assert files.count(path) == 60
        for frames in ([5], [0, 1, 2], [3, 7, 8, 59]):
            chunk = files.read(path, np.array(frames), np.array([2, 9]))
            np.testing.assert_allclose(chunk.position, peptide.xyz[frames][:, [2, 9]], atol=FORMATS[ending])
            if ending != "dcd":
                np.testing.assert_allclose(chunk.time, peptide.time[frames])
