"""MRC stacks: the bytes of the standard, images of any mode and byte order, and files that are cut off."""

import struct

import numpy as np
import pytest

from tempica.errors import FormatError
from tempica.exchange.mrc import HEADER_BYTES, StackWriter, open_stack


def written(path, images, pixel_A=1.5):
    with path.open("wb") as file:
        writer = StackWriter(file, images.shape[-1], pixel_A)
        for part in np.array_split(images, 3):
            if len(part):
                writer.append(part)
        writer.finish()
    return path


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(3, 2, (7, 6, 6)).astype(np.float32)


def test_the_header_is_that_of_the_standard(images, tmp_path):
    content = written(tmp_path / "a.mrcs", images).read_bytes()
    words = struct.unpack("<256i", content[:1024])
    floats = struct.unpack("<256f", content[:1024])
    assert words[:10] == (6, 6, 7, 2, 0, 0, 0, 6, 6, 1)  # word 10, mz: one section, hence a stack and not a volume
    assert floats[10:16] == (9.0, 9.0, 1.5, 90.0, 90.0, 90.0)
    assert words[16:19] == (1, 2, 3)
    assert floats[19:22] == pytest.approx((images.min(), images.max(), images.mean()), rel=1e-6)
    assert words[22:24] == (0, 0)  # image stack; no extended header
    assert words[27] == 20140
    assert content[208:212] == b"MAP "
    assert content[212:216] == b"\x44\x44\x00\x00"
    assert floats[54] == pytest.approx(images.std(), rel=1e-6)
    assert words[55] == 1
    assert content[1024:] == images.astype("<f4").tobytes()


def test_images_come_back_in_any_order(images, tmp_path):
    stack = open_stack(written(tmp_path / "a.mrcs", images))
    assert (stack.n_images, stack.n_pixels, stack.pixel_A) == (7, 6, 1.5)
    order = np.array([6, 0, 3, 3])
    np.testing.assert_array_equal(stack.read(order), images[order])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("mode", "kind"), [(0, "i1"), (1, "i2"), (2, "f4"), (6, "u2"), (12, "f2")])
def test_every_mode_and_byte_order(mode, kind, order, tmp_path):
    values = np.random.default_rng(1).integers(0, 100, (4, 5, 5)).astype(order + kind)
    header = struct.pack(f"{order}10i", 5, 5, 4, mode, 0, 0, 0, 5, 5, 1) + struct.pack(f"{order}3f", 10, 10, 2)
    header += bytes(92 - len(header)) + struct.pack(f"{order}i", 80)  # an extended header
    header += bytes(208 - len(header)) + b"MAP "
    path = tmp_path / "a.mrcs"
    path.write_bytes(header.ljust(HEADER_BYTES, b"\0") + bytes(80) + values.tobytes())
    stack = open_stack(path)
    assert stack.pixel_A == 2.0
    np.testing.assert_array_equal(stack.read(np.arange(4)), values.astype(np.float32))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("stamp", "flags", "least", "most", "kind"),
    [
        (0, 0, 0.0, 0.0, "i1"),
        (0, 0, -128.0, 127.0, "i1"),
        (0, 0, 0.0, 255.0, "u1"),  # which signed bytes cannot have
        (0, 0, 0.0, 100.0, "i1"),
        (1146047817, 0, 0.0, 255.0, "u1"),
        (1146047817, 0, 0.0, 0.0, "u1"),
        (1146047817, 1, -128.0, 127.0, "i1"),
        (1146047817, 1 + 4, 0.0, 255.0, "i1"),  # extremes may be of the numbers before they were shifted
        (1146047817, 4, 0.0, 0.0, "u1"),
    ],
)
def test_bytes_have_the_sign_that_the_header_tells(stamp, flags, least, most, kind, order, tmp_path):
    values = np.arange(256, dtype="u1").reshape(1, 16, 16).view(kind)
    header = bytearray(HEADER_BYTES)
    struct.pack_into(f"{order}10i", header, 0, 16, 16, 1, 0, 0, 0, 0, 16, 16, 1)
    struct.pack_into(f"{order}2f", header, 76, least, most)
    struct.pack_into(f"{order}2i", header, 152, stamp, flags)
    header[208:212] = b"MAP "
    path = tmp_path / "a.mrcs"
    path.write_bytes(bytes(header) + values.tobytes())
    np.testing.assert_array_equal(open_stack(path).read(np.array([0])), values.astype(np.float32))
    struct.pack_into(f"{order}2i", header, 152, 1146047817, flags | 16)
    path.write_bytes(bytes(header) + values.tobytes())
    with pytest.raises(FormatError, match="packs two pixels into a byte"):
        open_stack(path)


def changed(content, where, value):
    return content[: 4 * where] + struct.pack("<i", value) + content[4 * where + 4 :]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda c: c[:-1], "is cut off: it has 2031 bytes, and 7 images of 6 × 6 pixels need 2032"),
        (lambda c: c[:100], "is no MRC file: it has 100 bytes"),
        (lambda c: b"", "is no MRC file: it has 0 bytes"),
        (lambda c: changed(c, 3, 4), "has mode 4; read are 0, 1, 2, 6, 12"),
        (lambda c: changed(c, 1, 5), "have 6 × 5 pixels; particles must be square"),
        (lambda c: changed(c, 2, 0), "is no MRC file"),
        (lambda c: bytes(range(256)) * 8, "is no MRC file"),
        (lambda c: b"PK" * 1000, "is no MRC file"),
    ],
)
def test_damage_is_told(damage, told, images, tmp_path):
    path = written(tmp_path / "a.mrcs", images)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FormatError, match=told):
        open_stack(path)


def test_a_stack_that_is_not_there(tmp_path):
    with pytest.raises(FormatError, match=r"none.mrcs cannot be read: No such file"):
        open_stack(tmp_path / "none.mrcs")


def test_pixels_that_are_not_finite_are_told_with_their_image(images, tmp_path):
    images[4, 1, 2] = np.nan
    stack = open_stack(written(tmp_path / "a.mrcs", images))
    np.testing.assert_array_equal(stack.read(np.array([3, 5])), images[[3, 5]])
    with pytest.raises(FormatError, match=r"Image 5 of the stack .* not finite"):
        stack.read(np.array([3, 4]))
