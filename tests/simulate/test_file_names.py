"""Files are read whatever their folder is called, and whatever the case of their ending."""

import gzip
import shutil

import mdtraj
import numpy as np
import pytest
import xarray

from tempica.exchange import plain_paths
from tempica.exchange.plain_paths import plain_path
from tempica.exchange.trajectories import write_dcd, write_hdf5
from tempica.progress import Progress
from tempica.simulate.foreign import files
from tempica.simulate.structures import load_molecule, topology_json

pytestmark = pytest.mark.filterwarnings("ignore:Warning. The 'netCDF4' Python package:UserWarning")
FOLDERS = ["plain", "Messung Übersicht", "データ", "emoji 🧬"]
N_FRAMES, N_RESIDUES = 4, 5


@pytest.fixture(scope="module")
def frames():
    topology = mdtraj.Topology()
    chain = topology.add_chain("A")
    for number in range(N_RESIDUES):
        residue = topology.add_residue("GLY", chain, number + 1)
        for name in ("N", "CA", "C", "O"):
            topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
    place = np.random.default_rng(0).normal(size=(N_FRAMES, topology.n_atoms, 3)).astype("f4")
    return mdtraj.Trajectory(place, topology, time=np.arange(N_FRAMES))


@pytest.fixture(params=FOLDERS)
def folder(request, tmp_path):
    (tmp_path / request.param).mkdir()
    return tmp_path / request.param


@pytest.mark.parametrize("name", ["a.xtc", "RUN.XTC", "a.Trr", "TRAJ.DCD", "long.nc", "X.NetCDF", "größe.dcd", "a.H5"])
def test_a_trajectory_of_any_name_is_read(frames, folder, tmp_path, name):
    suffix = name[name.rindex(".") :].lower()
    if suffix == ".h5":
        pytest.importorskip("tables")
    frames.save(str(tmp_path / f"plain{suffix}"))
    shutil.move(tmp_path / f"plain{suffix}", folder / name)
    assert files.count(folder / name) == N_FRAMES
    found = files.read(folder / name, np.array([1, 3])).position
    np.testing.assert_allclose(found, frames.xyz[[1, 3]], atol=1e-3)


@pytest.mark.parametrize("name", ["A.PDB", "a.ent", "PDB1XYZ.ENT.GZ", "a.pdb.gz", "A.Pdb.Gz", "A.CIF", "a.MMCIF"])
def test_a_structure_of_any_name_is_read(frames, folder, tmp_path, name):
    cif = "cif" in name.lower()
    plain = tmp_path / ("plain.cif" if cif else "plain.pdb")
    frames[0].save(str(plain))
    content = plain.read_bytes()
    (folder / name).write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)
    assert len(load_molecule(folder / name).residue) == N_RESIDUES
    assert files.topology_of(folder / name).n_atoms == 4 * N_RESIDUES


@pytest.mark.parametrize("name", ["TOP.GRO", "top.gro"])
def test_a_topology_of_any_name_is_read(frames, folder, tmp_path, name):
    frames[0].save(str(tmp_path / "plain.gro"))
    shutil.move(tmp_path / "plain.gro", folder / name)
    assert files.topology_of(folder / name).n_atoms == 4 * N_RESIDUES


def test_a_damaged_file_is_told_by_its_own_name(folder):
    path = folder / "RUN.DCD"
    path.write_bytes(b"no trajectory" * 10)
    with pytest.raises(files.StructureError) as caught:
        files.count(path)
    assert str(path) in str(caught.value)
    assert "tempica-" not in str(caught.value)


def test_a_plain_path_stays_as_it_is_and_links_are_made_once(tmp_path, monkeypatch):
    assert plain_path(tmp_path / "a.xtc") == str(tmp_path / "a.xtc")
    assert plain_path(tmp_path) == str(tmp_path)
    odd = tmp_path / "Ä.XTC"
    odd.touch()
    assert plain_path(odd) == plain_path(odd)
    assert plain_path(odd).isascii()
    assert plain_path(odd).endswith(".xtc")
    monkeypatch.setattr(plain_paths.tempfile, "gettempdir", lambda: str(tmp_path / "Ä"))
    monkeypatch.setattr(plain_paths, "_own_folder", plain_paths._own_folder.__wrapped__)
    other = tmp_path / "Ö.XTC"
    assert plain_path(other).isascii()


@pytest.mark.parametrize("ending", ["dcd", "h5"])
def test_a_trajectory_is_exported_into_any_folder(frames, folder, ending):
    if ending == "h5":
        pytest.importorskip("tables")
    store = xarray.Dataset(
        {"position": (("replica", "time", "atom", "space"), frames.xyz[None])},
        coords={"replica": [7], "time": frames.time},
        attrs={"topology": topology_json(frames.topology)},
    )
    {"dcd": write_dcd, "h5": write_hdf5}[ending](store, folder, Progress(terminal=False))
    found = files.read(folder / f"replica00007.{ending}", np.arange(N_FRAMES))
    np.testing.assert_allclose(found.position, frames.xyz, atol=1e-5)
