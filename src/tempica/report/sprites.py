"""Many small gray images as one PNG inside the page."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from PIL import Image

MOST_PIXELS = 96  # edge of a frame in the page; larger frames are binned
MOST_BYTES = 1_000_000  # of all pixels of a page, in 8 bits
FEWEST, MOST = 60, 120  # frames


def n_shown(n_frames: int, n_pixels: int, kinds: int) -> int:
    """How many frames of `n_pixels` edge, each in `kinds` images, fit the page."""
    edge = n_pixels // binning(n_pixels)
    return min(n_frames, max(FEWEST, min(MOST, MOST_BYTES // (kinds * edge * edge))))


def binning(n_pixels: int) -> int:
    """Pixels along an edge that become one."""
    return -(-n_pixels // MOST_PIXELS)


def binned(images: np.ndarray) -> np.ndarray:
    """Images (frame, y, x) of which none is larger than MOST_PIXELS."""
    return means(images, binning(max(images.shape[1:])))


def means(images: np.ndarray, b: int) -> np.ndarray:
    """Means of blocks of `b` by `b` pixels of images (frame, y, x); edges that fill none go."""
    F, Y, X = len(images), images.shape[1] // b, images.shape[2] // b
    return images[:, : Y * b, : X * b].reshape(F, Y, b, X, b).mean((2, 4))


def to_gray(images: np.ndarray, tail: float) -> np.ndarray:
    """8-bit levels of images (frame, y, x), one scale for all, which cuts `tail` percent at either end."""
    low, high = np.percentile(images, [tail, 100 - tail])
    return np.round(255 * np.clip((images - low) / ((high - low) or 1.0), 0, 1)).astype(np.uint8)


def sprite(levels: np.ndarray) -> tuple[str, int]:
    """A data URI with all frames (frame, y, x) row after row, and how many there are in a row; y points up."""
    F, Y, X = levels.shape
    columns = math.ceil(math.sqrt(F))
    sheet = np.zeros((math.ceil(F / columns) * Y, columns * X), dtype=np.uint8)
    for i, frame in enumerate(levels):
        y, x = i // columns * Y, i % columns * X
        sheet[y : y + Y, x : x + X] = frame[::-1]
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), columns
