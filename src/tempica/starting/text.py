"""Pieces of a recipe's text."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial import ConvexHull, QhullError, distance

N_PIXELS = 64
ROOM = 1.6  # edge of the box over the molecule's largest extent: room for shifts, motion, and the rings of the CTF
LEAST_PIXEL_A, MOST_PIXEL_A = 0.25, 20.0


def quoted(text: str) -> str:
    """A string of TOML."""
    return json.dumps(text, ensure_ascii=False)


def list_of(values: Sequence[object]) -> str:
    """A list of TOML, of strings or of lists of strings.

    Example:
        >>> list_of([["a", "b"]])
        '[["a", "b"]]'
    """
    return json.dumps(values, ensure_ascii=False)


def table(values: Mapping[str, str]) -> str:
    """A table of strings in one line of TOML."""
    return "{ " + ", ".join(f"{key} = {quoted(value)}" for key, value in values.items()) + " }"


def extent_A(positions: np.ndarray) -> float:
    """Largest distance (Å) of two beads in any of some structures (F, N, 3) in nm."""
    return 10 * max(_extent(x) for x in positions)


def _extent(x: np.ndarray) -> float:
    with contextlib.suppress(QhullError, ValueError):  # beads in a plane or a line
        x = x[ConvexHull(x).vertices]
    return float(distance.pdist(x).max())


def pixel_A(positions: np.ndarray) -> float:
    """Pixel (Å) at which the molecule fits into a box of N_PIXELS."""
    edge = ROOM * (extent_A(positions) + 6.0)  # a residue is 6 Å wide
    return float(np.clip(np.ceil(edge / N_PIXELS * 20) / 20, LEAST_PIXEL_A, MOST_PIXEL_A))


def camera(positions: np.ndarray, modes_from: str = "ensemble", n_components: int = 2) -> str:
    """The sections after `simulate`, for a molecule of which there are structures (F, N, 3) in nm."""
    pixel = pixel_A(positions)
    small = pixel < 1.0
    fine = (
        "b_factor_A2 = 5.0       # a molecule so small shows only in detail, as no microscope of today would\n"
        "bead_b_factor_A2 = 5.0\nshift_deviation_A = 1.0\ndefocus_low_A = 500.0\ndefocus_high_A = 1500.0\n"
        "astigmatism_A = 20.0\n"
        if small
        else "defocus_low_A = 8000.0\ndefocus_high_A = 15000.0\n"
    )
    return f"""
[render]
n_pixels = {N_PIXELS}
pixel_size_A = {pixel:g}     # the molecule is {extent_A(positions):.0f} Å long, the image {N_PIXELS * pixel:.0f}
snr = 0.1               # of cryo-EM; inf for no noise
{fine}# poses = {{ knowledge = "hidden" }}  # a harder test: nobody tells how the molecule lies

[embed]
modes_from = {quoted(modes_from)}  # "structure": from one form alone, without a simulation of its motions
n_modes = {max(4, n_components)}

[train]
methods = ["tica", "pcl"]  # tempica methods
n_components = {n_components}
lag = 1
validation_replicas = 1
held_out_replicas = 2
"""
