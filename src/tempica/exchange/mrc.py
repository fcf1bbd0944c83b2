"""MRC image stacks, written and read piece by piece.

Source: Cheng et al., J. Struct. Biol. 192, 146 (2015), the MRC2014 format: 1,024 bytes of header, an extended
header that is passed over, then sections [y, x] without padding.

Bytes (mode 0) are signed, as MRC2014 has it. They are unsigned where IMOD wrote the file and its flags do not say
signed, as it did before version 4.2.23, or where the header's extremes, from 0 to more than 127, leave nothing else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tempica.errors import FormatError

HEADER_BYTES = 1024
IMOD_STAMP, IMOD_SIGNED, IMOD_HALF_BYTES = 1146047817, 1, 16  # of a file that IMOD wrote, and bits of its flags
MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
HEADER = np.dtype(
    [
        ("n", "<i4", 3),  # columns, rows, sections
        ("mode", "<i4"),
        ("start", "<i4", 3),
        ("m", "<i4", 3),  # sampling of a unit cell; 1 section marks a stack
        ("cell_A", "<f4", 3),
        ("angles", "<f4", 3),
        ("axes", "<i4", 3),
        ("least", "<f4"),
        ("most", "<f4"),
        ("mean", "<f4"),
        ("space_group", "<i4"),  # 0: images
        ("extended_bytes", "<i4"),
        ("extra_1", "V8"),
        ("extended_kind", "S4"),
        ("version", "<i4"),
        ("extra_2", "V40"),
        ("imod_stamp", "<i4"),
        ("imod_flags", "<i4"),
        ("extra_3", "V36"),
        ("origin", "<f4", 3),
        ("map", "S4"),
        ("machine", "u1", 4),
        ("deviation", "<f4"),
        ("n_labels", "<i4"),
        ("labels", "S80", 10),
    ]
)
assert HEADER.itemsize == HEADER_BYTES


class StackWriter:
    """Appends images to a stack of 32-bit floats (mode 2); the header follows when all are there."""

    def __init__(self, file: BinaryIO, n_pixels: int, pixel_A: float) -> None:
        self.file, self.n_pixels, self.pixel_A = file, n_pixels, pixel_A
        self.n_images = 0
        self.least, self.most, self.total, self.squares = np.inf, -np.inf, 0.0, 0.0
        file.write(bytes(HEADER_BYTES))

    def append(self, image: np.ndarray) -> None:
        """Add images (frame, y, x)."""
        assert image.shape[1:] == (self.n_pixels, self.n_pixels), image.shape
        image = np.ascontiguousarray(image, dtype="<f4")
        self.file.write(image.data)
        self.n_images += len(image)
        self.least, self.most = min(self.least, float(image.min())), max(self.most, float(image.max()))
        self.total += float(image.sum(dtype=np.float64))
        self.squares += float(np.square(image, dtype=np.float64).sum())

    def finish(self) -> None:
        """Write the header."""
        header = np.zeros((), HEADER)
        n, mean = self.n_images * self.n_pixels**2, self.total / (self.n_images * self.n_pixels**2)
        header["n"] = self.n_pixels, self.n_pixels, self.n_images
        header["mode"] = 2
        header["m"] = self.n_pixels, self.n_pixels, 1
        header["cell_A"] = np.array([self.n_pixels, self.n_pixels, 1]) * self.pixel_A
        header["angles"] = 90.0
        header["axes"] = 1, 2, 3
        header["least"], header["most"], header["mean"] = self.least, self.most, mean
        header["deviation"] = np.sqrt(max(0.0, self.squares / n - mean**2))
        header["version"] = 20140
        header["map"], header["machine"] = b"MAP ", (0x44, 0x44, 0, 0)
        header["n_labels"] = 1
        header["labels"][0] = b"tempica: image stack, protein positive, 1/angstrom"
        self.file.seek(0)
        self.file.write(header.tobytes())
        self.file.seek(0, os.SEEK_END)


@dataclass(frozen=True)
class Stack:
    """An image stack on disk, whose header has been checked against its size."""

    path: Path
    n_images: int
    n_pixels: int
    pixel_A: float  # 0 where the header does not say
    dtype: np.dtype
    first_byte: int

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Images (frame, y, x), float32, by number from 0. Raises FormatError where one is not finite."""
        size = self.n_pixels**2
        images = np.empty((len(numbers), self.n_pixels, self.n_pixels), np.float32)
        with self.path.open("rb") as file:
            for row, number in enumerate(numbers.tolist()):
                file.seek(self.first_byte + number * size * self.dtype.itemsize)
                pixels = np.fromfile(file, self.dtype, size)
                if len(pixels) < size:
                    raise FormatError(f"The image stack {self.path} ends within image {number + 1}: it was cut off.")
                images[row] = pixels.reshape(self.n_pixels, self.n_pixels)
        bad = np.flatnonzero(~np.isfinite(images).all((1, 2)))
        if len(bad):
            raise FormatError(
                f"Image {numbers[bad[0]] + 1} of the stack {self.path} has pixels that are not finite. Leave it out"
                " of the STAR file, or make the stack again."
            )
        return images


def open_stack(path: Path) -> Stack:
    """A stack of square images with modes 0, 1, 2, 6 or 12, of either byte order.

    Raises FormatError when it is missing, no MRC file, of another mode, or shorter than its header says.
    """
    header, dtype, first = read_header(path, "image stack")
    nx, ny, nz = map(int, header["n"])
    if nx != ny:
        raise FormatError(f"The images of {path} have {nx} × {ny} pixels; particles must be square.")
    check_size(path, "image stack", nx * ny * nz * dtype.itemsize + first, f"{nz} images of {nx} × {ny} pixels")
    cell, sampling = float(header["cell_A"][0]), int(header["m"][0])
    return Stack(path, nz, nx, cell / sampling if sampling > 0 and cell > 0 else 0.0, dtype, first)


def read_header(path: Path, what: str) -> tuple[np.void, np.dtype, int]:
    """Header of an MRC file, dtype of its pixels and number of its first byte of pixels.

    `what`: what messages call the file. Raises FormatError when it is missing, no MRC file, or of another mode.
    """
    try:
        with path.open("rb") as file:
            content = file.read(HEADER_BYTES)
    except OSError as error:
        raise FormatError(f"The {what} {path} cannot be read: {error.strerror}.") from None
    if len(content) < HEADER_BYTES:
        raise FormatError(f"{path} is no MRC file: it has {len(content)} bytes, and the header alone {HEADER_BYTES}.")
    header = np.frombuffer(content, HEADER)[0]
    order = "<"
    if not (0 <= header["mode"] < 2**16 and 0 < header["n"][0] < 2**16):
        header, order = np.frombuffer(content, HEADER.newbyteorder(">"))[0], ">"
    mode, (nx, ny, nz) = int(header["mode"]), map(int, header["n"])
    if min(nx, ny, nz) < 1 or (mode not in MODES and header["map"] != b"MAP "):
        raise FormatError(f"{path} is no MRC file: its header has {nx} × {ny} × {nz} pixels and mode {mode}.")
    if mode not in MODES:
        raise FormatError(f"The {what} {path} has mode {mode}; read are {', '.join(map(str, MODES))}.")
    if mode == 0 and header["imod_stamp"] == IMOD_STAMP and header["imod_flags"] & IMOD_HALF_BYTES:
        raise FormatError(f"The {what} {path} packs two pixels into a byte (IMOD). Convert it: newstack -mode 0.")
    dtype = np.dtype("u1" if mode == 0 and _is_unsigned(header) else order + MODES[mode])
    return header, dtype, HEADER_BYTES + max(0, int(header["extended_bytes"]))


def check_size(path: Path, what: str, needed: int, content: str) -> None:
    """Raise FormatError where a file has fewer bytes than its header says."""
    size = path.stat().st_size
    if size < needed:
        raise FormatError(
            f"The {what} {path} is cut off: it has {size} bytes, and {content} need {needed}. Copy or export it again."
        )


def _is_unsigned(header: np.void) -> bool:
    """Whether the bytes of mode 0 have no sign."""
    if header["imod_stamp"] == IMOD_STAMP:
        return not header["imod_flags"] & IMOD_SIGNED
    return bool(0 <= header["least"] < header["most"] and 127 < header["most"] <= 255)
