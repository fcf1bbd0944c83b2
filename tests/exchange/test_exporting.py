"""What is exported is what the run holds, in the other program's conventions; nothing is ever overwritten."""

import errno
import os
import shutil

import mdtraj
import numpy as np
import pytest

from tempica import imaging
from tempica.commands.exchanging import EXPORTS
from tempica.errors import StoreError
from tempica.exchange import exporting, particles, trajectories
from tempica.exchange.mrc import open_stack
from tempica.exchange.relion import EXACT, KEPT_TABLES, quaternions
from tempica.exchange.star import read_star
from tempica.progress import Progress
from tempica.stores import reading

TEXT = ("rlnImageName", "rlnMicrographName", "rlnOpticsGroupName", "tempicaPose", "tempicaNoise")
TEXT += (*EXACT, *KEPT_TABLES.values())


@pytest.fixture(scope="module")
def movie(small_run):
    return reading.open_store(small_run / "movie.zarr", "movie")


def tables(path):
    """Every column of both tables."""
    labels = [line.split()[0][1:] for line in path.read_text().splitlines() if line.startswith("_")]
    blocks = read_star(path, {label: str if label in TEXT else float for label in labels})
    return blocks["optics"].columns, blocks["particles"].columns


def quiet():
    return Progress(terminal=False)


def test_particles_are_the_frames_of_the_movie(small_run, movie, tmp_path, monkeypatch):
    monkeypatch.setattr(particles, "BLOCK_FRAMES", 33)
    exporting.export(small_run, "relion", tmp_path / "out", progress=quiet())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["out", "particles.mrcs", "particles.star"]
    optics, columns = tables(tmp_path / "out" / "particles.star")
    n_replicas, n_frames = movie["image"].shape[:2]
    n = n_replicas * n_frames
    images = movie["image"].values.astype(np.float32).reshape(n, *movie["image"].shape[2:])
    stack = open_stack(tmp_path / "out" / "particles.mrcs")
    assert stack.pixel_A == optics["rlnImagePixelSize"][0] == movie.attrs["pixel_size_A"]
    np.testing.assert_array_equal(stack.read(np.arange(n)), images)
    assert columns["rlnImageName"].tolist() == [f"{i:06d}@particles.mrcs" for i in range(1, n + 1)]
    flat = {name: movie[name].values.reshape(n, *movie[name].shape[2:]) for name in movie if "time" in movie[name].dims}
    np.testing.assert_array_equal(columns["rlnDefocusU"], flat["defocus_u_A"])
    np.testing.assert_array_equal(columns["rlnDefocusV"], flat["defocus_v_A"])
    np.testing.assert_allclose(np.radians(columns["rlnDefocusAngle"]), flat["defocus_angle"], rtol=1e-15)
    euler = np.stack([columns[f"rlnAngle{name}"] for name in ("Rot", "Tilt", "Psi")], -1)
    np.testing.assert_allclose(
        imaging.rotation_matrix(quaternions(euler)), imaging.rotation_matrix(flat["pose_quaternion"]), atol=1e-14
    )
    origin = np.stack([columns["rlnOriginXAngst"], columns["rlnOriginYAngst"]], -1)
    np.testing.assert_array_equal(-origin, flat["pose_shift_A"])
    assert columns["tempicaReplica"].tolist() == np.repeat(movie["replica"].values, n_frames).tolist()
    np.testing.assert_array_equal(columns["tempicaTime"], np.tile(movie["time"].values, n_replicas))
    assert columns["tempicaFrame"].tolist() == list(range(n_frames)) * n_replicas
    assert (columns["rlnGroupNumber"] == columns["tempicaReplica"] + 1).all()
    assert np.bincount(columns["rlnRandomSubset"].astype(int)).tolist() == [0, n / 2, n / 2]
    assert len(set(columns["rlnMicrographName"].tolist())) == n_replicas
    assert (columns["rlnCtfBfactor"] == movie.attrs["b_factor_A2"]).all()
    assert (optics["rlnVoltage"][0], optics["rlnSphericalAberration"][0]) == (300.0, 2.7)
    assert (optics["rlnAmplitudeContrast"][0], optics["rlnImageSize"][0]) == (0.1, 64)
    assert "rlnPhaseShift" in columns  # cryoDRGN cannot do without


def test_hidden_poses_stay_hidden(movie, tmp_path):
    part = movie.isel(replica=[0], time=slice(0, 5))
    part.attrs["pose"] = "hidden"
    particles.write_particles(part, tmp_path, quiet())
    optics, columns = tables(tmp_path / "particles.star")
    assert optics["tempicaPose"].tolist() == ["hidden"]
    assert not [name for name in columns if ("Angle" in name and "Defocus" not in name) or "Origin" in name]
    assert "rlnDefocusU" in columns


def test_an_odd_box_is_refused(movie, tmp_path):
    with pytest.raises(StoreError, match="63 × 63 pixels, and RELION needs an even box"):
        particles.write_particles(movie.isel(y=slice(63), x=slice(63)), tmp_path, quiet())


@pytest.mark.parametrize(("target", "ending"), [("dcd", "dcd"), ("mdtraj-hdf5", "h5")])
def test_mdtraj_reads_the_trajectory(target, ending, small_run, tmp_path, monkeypatch):
    if ending == "h5":
        pytest.importorskip("tables")
    monkeypatch.setattr(trajectories, "BLOCK_FRAMES", 37)
    out = exporting.export(small_run, target, tmp_path / "out", progress=quiet())
    truth = reading.open_store(small_run / "trajectory.zarr", "trajectory")
    assert len(list(out.glob(f"*.{ending}"))) == truth.sizes["replica"]
    for replica in range(truth.sizes["replica"]):
        path = str(out / f"replica{replica:05d}.{ending}")
        found = mdtraj.load(path, top=str(out / "topology.pdb")) if ending == "dcd" else mdtraj.load(path)
        position = truth["position"][replica].values
        np.testing.assert_allclose(found.xyz, position, rtol=0, atol=0 if ending == "h5" else 1e-6)
        assert [r.resSeq for r in found.topology.residues] == list(range(1, 215))
        if ending == "h5":
            np.testing.assert_allclose(found.time, truth["time"].values, rtol=1e-6)


def test_nothing_is_overwritten(small_run, tmp_path):
    for out in (tmp_path / "folder", tmp_path / "file"):
        out.mkdir() if out.name == "folder" else out.write_text("mine")
        with pytest.raises(StoreError, match=r"exists already. Nothing was changed"):
            exporting.export(small_run, "relion", out, progress=quiet())
    assert not list((tmp_path / "folder").iterdir())
    assert (tmp_path / "file").read_text() == "mine"


def test_what_breaks_off_leaves_nothing(small_run, tmp_path, monkeypatch):
    def breaks(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(particles, "write_block", breaks)
    with pytest.raises(KeyboardInterrupt):
        exporting.export(small_run, "relion", tmp_path / "out", progress=quiet())
    assert not list(tmp_path.iterdir())


def test_what_a_killed_export_left_is_taken_away_and_nothing_else(small_run, tmp_path):
    left, mine, busy = (tmp_path / f"out.{name}.new" for name in ("0" * 32, "mine", "1" * 32))
    for folder in (left, mine, busy):
        folder.mkdir()
        (folder / "particles.mrcs").write_text("half")
    held = exporting._lock(busy)  # as another export does that is still at work
    exporting.export(small_run, "dcd", tmp_path / "out", progress=quiet())
    os.close(held)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["out", mine.name, busy.name])


def test_a_damaged_store_is_told(small_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    chunk = max((run / "movie.zarr" / "image").rglob("c/*/*/*/*"), key=lambda path: path.stat().st_size)
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 255
    chunk.write_bytes(content)
    with pytest.raises(StoreError, match=r"movie.zarr is damaged: its variable 'image' cannot be read"):
        exporting.export(run, "relion", tmp_path / "out", progress=quiet())
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_full_disk_is_the_machines_fault(small_run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(particles, "write_block", full)
    with pytest.raises(OSError, match="No space left") as error:
        exporting.export(small_run, "relion", tmp_path / "out", progress=quiet())
    assert not isinstance(error.value, StoreError)
    assert not list(tmp_path.iterdir())


def test_a_run_without_the_store_is_told(tmp_path):
    with pytest.raises(StoreError, match="is no tempica run"):
        exporting.export(tmp_path, "relion", tmp_path / "out", progress=quiet())
    (tmp_path / ".tempica").mkdir()
    (tmp_path / ".tempica" / "run.json").write_text("{}")
    with pytest.raises(StoreError, match=r"There is no store .*movie.zarr. Run the stage that makes it"):
        exporting.export(tmp_path, "relion", tmp_path / "out", progress=quiet())
    assert not (tmp_path / "out").exists()


def test_the_verb_knows_every_target():
    assert set(EXPORTS) == {*exporting.TARGETS, "models"}  # models of sources are made above the exchange, by unmix
