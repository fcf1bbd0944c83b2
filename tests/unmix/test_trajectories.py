"""Molecular dynamics: internal coordinates are right, and do not depend on the format or on how a molecule lies."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import mdtraj
import numpy as np
import openmm
import pytest

from tempica.errors import DataError, StructureError
from tempica.ica import TICA
from tempica.unmix import internal, read_trajectory, unmix
from tempica.unmix.biasing import biases

from ..conftest import ROOT

STRUCTURE = ROOT / "simulations" / "structures" / "trpzip2.pdb"
N = 400


@pytest.fixture(scope="module")
def swinging(tmp_path_factory: pytest.TempPathFactory) -> tuple[mdtraj.Trajectory, np.ndarray, Path]:
    """A peptide that bends at one place, slowly, between noise, tumbling; the bend (frame,); a folder of its files."""
    rng = np.random.default_rng(0)
    start = mdtraj.load(STRUCTURE)
    bend = np.zeros(N)
    for t in range(1, N):
        bend[t] = 0.95 * bend[t - 1] + 0.31 * rng.laplace() / np.sqrt(2)
    half = np.array([atom.residue.index < 6 for atom in start.topology.atoms])
    xyz = np.repeat(start.xyz.astype(float), N, axis=0)
    axis = xyz[0, ~half].mean(0)
    angle = 0.25 * bend
    c, s, zero, one = np.cos(angle), np.sin(angle), np.zeros(N), np.ones(N)
    turn = np.stack([np.stack([c, -s, zero], 1), np.stack([s, c, zero], 1), np.stack([zero, zero, one], 1)], 1)
    xyz[:, half] = np.einsum("tij,taj->tai", turn, xyz[:, half] - axis) + axis
    tumble = np.linalg.qr(rng.normal(size=(N, 3, 3)))[0]
    tumble *= np.sign(np.linalg.det(tumble))[:, None, None]
    xyz = np.einsum("tij,taj->tai", tumble, xyz) + rng.normal(size=(N, 1, 3)) + 0.01 * rng.normal(size=xyz.shape)
    folder = tmp_path_factory.mktemp("swinging")
    trajectory = mdtraj.Trajectory(xyz, start.topology)
    trajectory.save(str(folder / "t.xtc"))
    trajectory = mdtraj.load(str(folder / "t.xtc"), top=str(STRUCTURE))  # as rounded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MDTraj advises to install netCDF4
        for ending in ("dcd", "trr", "nc"):
            trajectory.save(str(folder / f"t.{ending}"))
    return trajectory, bend, folder


def test_torsions_distances_and_superposition_agree_with_mdtraj(swinging) -> None:
    trajectory, _, _ = swinging
    part, position = trajectory[:20], trajectory.xyz[:20].astype(float)
    for name, compute in (("phi", mdtraj.compute_phi), ("psi", mdtraj.compute_psi), ("chi1", mdtraj.compute_chi1)):
        atoms, angle = compute(part, periodic=False)
        own = internal.dihedral(*(position[:, atoms[:, i]] for i in range(4)))
        np.testing.assert_allclose(np.exp(1j * own), np.exp(1j * angle), atol=1e-5, err_msg=name)
    atoms = internal.representatives(part.topology)
    fitted = part[:].superpose(part, 0, atom_indices=atoms).xyz[:, atoms].astype(float)
    own = internal.superposed(position[:, atoms], position[0, atoms])
    np.testing.assert_allclose(own, fitted - fitted[0].mean(0), atol=1e-5)


@pytest.mark.parametrize("place", range(3))
def test_internal_coordinates_do_not_see_how_a_molecule_lies(place: int, swinging) -> None:
    trajectory, _, _ = swinging
    position = trajectory.xyz[:5].astype(float)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    kind = internal.candidates(trajectory.topology, position[0])[place]
    np.testing.assert_allclose(kind.measure(position @ turn + 1.0), kind.measure(position), atol=1e-9)


def test_a_slow_motion_is_found_through_every_format(swinging, tmp_path: Path) -> None:
    _, bend, folder = swinging
    asked = {"topology": STRUCTURE, "methods": ["tica"], "components": 1, "out": tmp_path / "xtc"}
    found = unmix(folder / "t.xtc", **asked).sources
    assert abs(np.corrcoef(found[:, 0], bend)[0, 1]) > 0.9
    for ending in ("dcd", "trr", "nc"):
        frames = read_trajectory(folder / f"t.{ending}", topology=STRUCTURE)
        other = TICA(n_components=1, lag=1).fit_transform(frames.X, replicas=frames.replicas)
        np.testing.assert_allclose(other, found, atol=1e-5)
    names: dict = {}
    exec(compile((tmp_path / "xtc" / "unmix.py").read_text(), "unmix.py", "exec"), names)
    np.testing.assert_array_equal(names["sources"], found)


def test_each_file_is_a_series_and_directions_are_counted_on_held_out_frames(swinging) -> None:
    _, _, folder = swinging
    frames = read_trajectory([folder / "t.xtc", folder / "t.dcd"], topology=STRUCTURE)
    assert frames.replicas is not None
    assert np.bincount(frames.replicas).tolist() == [N, N]
    assert frames.counted is not None
    assert 1 <= frames.counted[0] <= 5


@pytest.mark.parametrize("coordinates", ["torsions", "distances"])
def test_a_bias_has_the_value_of_its_source(coordinates: str, swinging, tmp_path: Path) -> None:
    trajectory, _, folder = swinging
    asked = {"topology": STRUCTURE, "coordinates": coordinates, "methods": ["tica"], "components": 2}
    result = unmix(folder / "t.xtc", out=tmp_path / "axes", **asked)
    system = openmm.System()
    for _ in range(trajectory.n_atoms):
        system.addParticle(1.0)
    force = openmm.XmlSerializer.deserialize((result.folder / "bias" / "source_2.xml").read_text())
    system.addForce(force)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setParameter("tempica_k", 10.0)
    context.setParameter("tempica_target", 1.0)
    assert "2 sources are a bias" in result.record["bias"]
    text = (result.folder / "bias" / "source_2.dat").read_text()
    for frame in (0, 7, 200):
        context.setPositions(trajectory.xyz[frame].astype(float))
        (value,) = force.getCollectiveVariableValues(context)
        source = result.sources[frame, 1]
        assert value == pytest.approx(source, abs=2e-4)
        energy = context.getState(getEnergy=True).getPotentialEnergy()._value
        assert energy == pytest.approx(5 * (value - 1) ** 2, rel=1e-6)
        assert _plumed(text, trajectory.xyz[frame].astype(float)) == pytest.approx(source, abs=2e-4)


@pytest.mark.parametrize(("coordinates", "why"), [("distances", "network"), ("aligned coordinates", "superposed")])
def test_what_is_no_sum_is_refused_as_a_bias(coordinates: str, why: str, swinging) -> None:
    _, _, folder = swinging
    frames = read_trajectory(folder / "t.xtc", topology=STRUCTURE, coordinates=coordinates)
    bent = SimpleNamespace(transform=lambda X: np.tanh(X[:, :1]))
    with pytest.raises(DataError, match=why):
        biases(frames, bent, np.tanh(frames.X[:, :1]), {})


def _plumed(text: str, position: np.ndarray) -> float:
    """What PLUMED would make of the last COMBINE of an input, for the few actions that it uses."""
    known: dict[str, float] = {}
    for line in text.splitlines():
        name, action, *words = line.replace(":", "").split()
        given = dict(word.split("=") for word in words if "=" in word)
        if action in ("DISTANCE", "TORSION"):
            points = position[[int(atom) - 1 for atom in given["ATOMS"].split(",")]]
            two = action == "DISTANCE"
            known[name] = float(np.linalg.norm(points[1] - points[0]) if two else internal.dihedral(*points))
        elif action == "CUSTOM":
            known[name] = float(getattr(np, given["FUNC"].removesuffix("(x)"))(known[given["ARG"]]))
        elif action == "COMBINE":
            c, a = (np.array(given[key].split(","), dtype=float) for key in ("COEFFICIENTS", "PARAMETERS"))
            return float(c @ (np.array([known[each] for each in given["ARG"].split(",")]) - a))
    raise AssertionError(text)


@pytest.mark.parametrize(
    ("given", "options", "told"),
    [
        ("t.xtc", {}, "does not say what its atoms are. Give a structure with --topology"),
        ("absent.xtc", {"topology": STRUCTURE}, "There is no trajectory file"),
        ("t.xtc", {"topology": "absent.pdb"}, "There is no structure file"),
        ("t.xtc", {"topology": ROOT / "simulations/structures/alanine_dipeptide.pdb"}, "atoms and the structure 22"),
        ("t.xtc", {"topology": STRUCTURE, "labels": "k"}, "--labels k is no option for trajectories"),
        ("t.xtc", {"topology": STRUCTURE, "stride": 50}, "8 frames are too few"),
    ],
)
def test_what_cannot_be_used_is_refused(given: str, options: dict, told: str, swinging, tmp_path: Path) -> None:
    with pytest.raises((DataError, StructureError), match=told):
        unmix(swinging[2] / given, out=tmp_path / "axes", **options)
    assert not list(tmp_path.iterdir())
