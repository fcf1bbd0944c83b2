"""Patterns exported as CXI, read back by h5py alone."""

import numpy as np
import pytest
import xarray

from tempica.exchange import cxi
from tempica.imaging.diffraction import Beamline, diffract
from tempica.imaging.xray import scatterers_of
from tempica.progress import Progress

h5py = pytest.importorskip("h5py")
LINE = Beamline(13, 3000.0, 80.0, 6000.0, 5.0, "x", 0.0)
N_REPLICAS, N_FRAMES = 2, 5


@pytest.fixture(scope="module")
def patterns():
    rng = np.random.default_rng(0)
    shape = (N_REPLICAS, N_FRAMES)
    quaternion = rng.standard_normal((*shape, 4))
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    return xarray.Dataset(
        {
            "image": (("replica", "time", "y", "x"), rng.poisson(3.0, (*shape, 13, 13)).astype(np.uint8)),
            "mask": (("y", "x"), LINE.mask.astype(np.uint8)),
            "pose_quaternion": (("replica", "time", "quaternion"), quaternion),
            "fluence": (("replica", "time"), rng.uniform(1, 2, shape)),
            "label": (("replica", "time"), rng.integers(0, 3, shape)),
            "molecule": (("replica", "time"), np.stack([np.arange(N_FRAMES) // 2] * N_REPLICAS)),
        },
        coords={"replica": np.arange(N_REPLICAS), "time": 12.0 * np.arange(N_FRAMES)},
        attrs={"title": "test: diffraction", "pose": "known"}
        | {k: v for k, v in vars(LINE).items() if k != "n_pixels"},
    )


def exported(patterns, folder):
    cxi.write_cxi(patterns, folder, Progress(terminal=False))
    return h5py.File(folder / "patterns.cxi", "r")


def test_the_file_has_the_published_layout_in_si_units(patterns, tmp_path, monkeypatch):
    monkeypatch.setattr(cxi, "BLOCK_FRAMES", 2)
    with exported(patterns, tmp_path) as file:
        assert file["cxi_version"][()] == 150
        entry = file["entry_1"]
        np.testing.assert_array_equal(entry["data_1/data"], patterns["image"].values.reshape(-1, 13, 13))
        detector, source = entry["instrument_1/detector_1"], entry["instrument_1/source_1"]
        assert detector["data"].dtype == np.uint8
        assert detector["distance"][()] == pytest.approx(0.08)
        assert detector["x_pixel_size"][()] == detector["y_pixel_size"][()] == pytest.approx(0.003)
        assert source["energy"][()] == pytest.approx(9.6131e-16, rel=1e-4)
        assert detector["mask"].dtype == np.uint32
        np.testing.assert_array_equal(detector["mask"][()] == 0x10, ~LINE.mask)
        assert set(np.unique(detector["mask"])) == {0, 0x10}
        for place in ("data_1", "instrument_1/detector_1", "sample_1/geometry_1"):
            names = entry[place]["experiment_identifier"][()]
            assert names[N_FRAMES + 3] == b"replica00001/frame0000003"
            assert len(set(names)) == N_REPLICAS * N_FRAMES
        assert entry["data_1/data"].attrs["axes"] == "experiment_identifier:y:x"
        assert entry["sample_1/geometry_1/orientation"].attrs["axes"] == "experiment_identifier:dot_product"
        found = []
        file.visititems(lambda _, item: found.append(item))
        for item in (one for one in found if "axes" in one.attrs):  # each axis but those of CXI's own is there to see
            for size, axis in zip(item.shape, item.attrs["axes"].split(":"), strict=True):
                assert axis in ("y", "x", "dot_product") or item.parent[axis].shape == (size,)
        np.testing.assert_array_equal(file["tempica/molecule"], patterns["molecule"].values.ravel())
        np.testing.assert_array_equal(file["tempica/frame"], np.tile(np.arange(N_FRAMES), N_REPLICAS))
        np.testing.assert_array_equal(file["tempica/fluence"], patterns["fluence"].values.ravel())


def test_patterns_follow_from_the_files_own_geometry(patterns, tmp_path):
    """From corner, basis vectors, energy and direction cosines to the pattern that our own pose gives."""
    rng = np.random.default_rng(1)
    atoms = rng.normal(0, 1.0, (20, 3))
    carbon = scatterers_of(["C"] * 20, np.zeros(20))
    with exported(patterns, tmp_path) as file:
        detector = file["entry_1/instrument_1/detector_1"]
        down, right = detector["basis_vectors"][()]
        centre = detector["corner_position"][()] + 0.5 * (down + right)
        row, column = np.indices((13, 13))
        place = centre + row[..., None] * down + column[..., None] * right
        np.testing.assert_allclose(place.mean((0, 1)), [0, 0, 0.08], atol=1e-12)
        wave = file["entry_1/instrument_1/source_1/energy"][()] / 1.98644586e-25 * 1e-10  # 1/Å, energy / h c
        q = wave * (place / np.linalg.norm(place, axis=-1, keepdims=True) - [0, 0, 1])
        cosines = file["entry_1/sample_1/geometry_1/orientation"][3]
        x, y = cosines[:3], cosines[3:]
        lab = 10 * (atoms - atoms.mean(0)) @ np.stack([x, y, np.cross(x, y)])
        f = carbon.factors(np.linalg.norm(q, axis=-1).ravel()).reshape(13, 13)
        expected = np.abs(f * np.exp(2j * np.pi * (q @ lab.T)).sum(-1)) ** 2
        turn = cxi.rotation_matrix(patterns["pose_quaternion"].values[0, 3])
    made = diffract(atoms[None], turn[None], carbon, LINE)[0]
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-5 * expected.max())


def test_hidden_poses_stay_hidden(patterns, tmp_path):
    with exported(patterns.assign_attrs(pose="hidden"), tmp_path) as file:
        found = []
        file.visit(found.append)
    assert not [name for name in found if "orientation" in name or "quaternion" in name]
