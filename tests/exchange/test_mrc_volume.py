"""MRC maps: any mode, byte order and order of axes, and files that are no map."""

import struct

import numpy as np
import pytest

from tempica.errors import FormatError
from tempica.exchange.mrc_volume import read_volume, write_volume

DENSITY = np.random.default_rng(0).normal(size=(4, 6, 8)).astype(np.float32)  # z, y, x


def header(n, mode, axes=(1, 2, 3), cell=None, start=(0, 0, 0), origin=(0.0, 0.0, 0.0), order="<"):
    """`n` of columns, rows, sections; the unit cell is along x, y, z."""
    along = dict(zip(axes, n, strict=True))
    sampling = [along[axis] for axis in (1, 2, 3)]
    cell = [2.0 * size for size in sampling] if cell is None else cell
    content = struct.pack(f"{order}10i6f3i", *n, mode, *start, *sampling, *cell, 90, 90, 90, *axes)
    content = content.ljust(196, b"\0") + struct.pack(f"{order}3f", *origin) + b"MAP "
    return content.ljust(1024, b"\0")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("mode", "kind"), [(0, "i1"), (1, "i2"), (2, "f4"), (6, "u2"), (12, "f2")])
@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_every_mode_byte_order_and_order_of_axes(mode, kind, order, axes, tmp_path):
    values = np.random.default_rng(1).integers(0, 100, (4, 6, 8)).astype(order + kind)  # z, y, x
    dimension = {3: 0, 2: 1, 1: 2}
    kept = values.transpose([dimension[axis] for axis in axes[::-1]])  # section, row, column
    path = tmp_path / "map.mrc"
    path.write_bytes(header(kept.shape[::-1], mode, axes, start=(10, 20, 30), order=order) + kept.tobytes())
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.density, values.astype(np.float32))
    assert volume.pixel_A == 2.0
    start = dict(zip(axes, (20.0, 40.0, 60.0), strict=True))
    np.testing.assert_array_equal(volume.origin_A, [start[axis] for axis in (1, 2, 3)])


def test_a_map_comes_back(tmp_path):
    write_volume(tmp_path / "map.mrc", DENSITY, 1.7)
    volume = read_volume(tmp_path / "map.mrc")
    np.testing.assert_array_equal(volume.density, DENSITY)
    assert volume.pixel_A == pytest.approx(1.7)
    np.testing.assert_array_equal(volume.origin_A, 0)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (header((8, 6, 4), 2, cell=(16, 12, 4)) + DENSITY.tobytes(), "voxels .* are 2 × 2 × 1 Å; they must be cubes"),
        (header((8, 6, 4), 2, cell=(0, 0, 0)) + DENSITY.tobytes(), "does not say how large a voxel is"),
        (header((8, 6, 4), 2)[:-4] + DENSITY.tobytes(), "The map .* is cut off: it has 1788 bytes, and 8 × 6 × 4 vo"),
        (header((8, 8, 1), 2) + bytes(256), "is no map, .* but a stack: its header says 1 sections of 8 × 8"),
        (header((8, 6, 4), 4) + DENSITY.tobytes(), "The map .* has mode 4"),
        (header((8, 6, 4), 2)[:64] + struct.pack("<3i", 1, 1, 3) + header((8, 6, 4), 2)[76:] + DENSITY.tobytes(),
         r"has axes \[1, 1, 3\]"),
        (header((8, 6, 4), 2) + bytes(768), "is 0 in every voxel"),
        (header((8, 6, 4), 2) + np.full(192, np.nan, "<f4").tobytes(), "not finite"),
        (b"hello", "is no MRC file: it has 5 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_map_is_told(content, told, tmp_path):
    path = tmp_path / "map.mrc"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=told):
        read_volume(path)
