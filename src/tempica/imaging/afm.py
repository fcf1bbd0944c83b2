"""Heights that the tip of an atomic force microscope reports of a molecule on a flat support.

The tip comes down until it touches: for an apex of radius R on a cone of half-angle α (from its axis) and an atom of
radius r at lateral distance d and height z, its apex then stands at

    h(d) = z + √((R + r)² − d²) − R                        d ≤ (R + r) cos α
    h(d) = z + (R + r − d cos α) / sin α − R               beyond

and the image is max(0, max over atoms h), the grey-scale dilation of the molecule by the tip. For derivatives the
maximum is softened, (1/β) ln(1 + Σ exp(β h)): each atom has its share of a pixel.

Pixel i of D lies at (i − D // 2) pixels; images are [y, x] and lines run along x. Lengths are in nm.

Shape legend: F frame, S time within a frame, N atom, P parameter, D pixels along an edge.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from tempica.errors import DataError
from tempica.imaging import kernels_afm, kernels_afm_hard, kernels_afm_soft
from tempica.imaging.composition import composition
from tempica.imaging.projection import on_gpu

VAN_DER_WAALS_NM = {"H": 0.120, "C": 0.170, "N": 0.155, "O": 0.152, "S": 0.180, "P": 0.180, "Se": 0.190}  # Bondi 1964
OTHER_NM = 0.17
MASS = {"H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "S": 32.06, "P": 30.974, "Se": 78.97}
NM3_PER_DALTON = 1.212e-3  # of a protein: partial specific volume 0.73 cm³/g


@dataclass(frozen=True)
class Probe:
    """Tip, pixels and feedback: what an image depends on besides the molecule.

    Parameters:
        radius_nm: of the spherical end, R ≥ 0.
        half_angle: of the cone, from its axis, in rad, 0 ≤ α < π/2; 0 is an upright wall.
        n_pixels: edge of the square image.
        pixel_nm: edge of a pixel.
        fall_nm: height that the tip can lose from one pixel of a line to the next; inf for a perfect feedback.
        fast_axis: axis along which lines run, "x" or "y".
        sharpness_per_nm: β of the soft maximum, for derivatives; inf for those of the maximum itself.
        tip: heights (v, u) in nm of a tip given as an array, instead of radius and half-angle: 0 at the apex, which is
            the highest, and negative elsewhere; on the grid of the pixels. None for a cone.
    """

    radius_nm: float
    half_angle: float
    n_pixels: int
    pixel_nm: float
    fall_nm: float = math.inf
    fast_axis: str = "x"
    sharpness_per_nm: float = 20.0
    tip: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        if not (self.radius_nm >= 0 and math.isfinite(self.radius_nm)):
            raise DataError(f"radius_nm = {self.radius_nm:g} of the tip must be 0 or more.")
        if not 0 <= self.half_angle < math.pi / 2:
            raise DataError(f"half_angle = {self.half_angle:g} rad of the tip must be from 0 to below π/2.")
        if not self.sharpness_per_nm > 0:
            raise DataError(f"sharpness_per_nm = {self.sharpness_per_nm:g} of the soft maximum must be above 0.")

    def images(self, position: np.ndarray, radius: np.ndarray, device: str = "cpu") -> np.ndarray:
        """Heights (F, D, D) in nm without noise, float32.

        Parameters:
            position: (F, S, N, 3) in nm at S times evenly spaced from the start of the first line to the end of the
                last; S = 1 for a frame that is taken at once. The support is at z = 0.
            radius: (N,) of the atoms, nm.
            device: "cpu" or "cuda".
        Raises DataError for shapes that do not fit and positions that are not numbers, and DeviceError without a GPU.

        Example:
            >>> import numpy as np
            >>> probe = Probe(radius_nm=0.5, half_angle=0.2, n_pixels=16, pixel_nm=0.3)
            >>> round(float(probe.images(np.array([[[[0.0, 0.0, 1.0]]]]), np.array([0.2]))[0, 8, 8]), 3)
            1.2
        """
        xyz = self._checked(position, radius)
        image = np.empty((len(xyz), self.n_pixels, self.n_pixels), np.float32)
        small = np.ascontiguousarray(radius, dtype=np.float32)
        if on_gpu(device):
            from tempica.imaging.kernels_afm_gpu import heights
        else:
            heights = kernels_afm.heights
        if self.tip is None:
            probe = kernels_afm.probe_of(self.radius_nm, self.half_angle, self.pixel_nm)
            heights(xyz, small, probe, self.fall_nm, image)
        else:
            bare = kernels_afm.probe_of(0.0, 0.0, self.pixel_nm)
            heights(xyz, small, bare, math.inf, image)
            image = fallen(dilate(image, np.array(self.tip).T if self.fast_axis == "y" else self.tip), self.fall_nm)
        return image.swapaxes(1, 2) if self.fast_axis == "y" else image

    def soft_images(
        self, position: np.ndarray, velocity: np.ndarray, radius: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Heights (F, D, D) of the soft maximum and its derivatives (F, D, D, 1 + P), float32.

        Parameters:
            position: as of `images`.
            velocity: (F, P, N, 3) change of positions with P parameters, nm; the first column is for the tip's radius.
            radius: (N,) nm.
        Raises DataError as `images` does, and for a tip that is an array.
        """
        xyz = self._checked(position, radius)
        if velocity.shape[:1] + velocity.shape[2:] != (len(xyz), *xyz.shape[2:]):
            raise DataError(f"velocity {velocity.shape} must be (F, P, N, 3) for positions {position.shape}.")
        still, upright = np.zeros((len(xyz), *xyz.shape[2:])), np.broadcast_to(np.eye(3), (len(xyz), 3, 3))
        motion = self._motion(velocity, upright, still, np.full(len(xyz), -1), pose=False)
        image = np.empty((len(xyz), self.n_pixels, self.n_pixels), np.float32)
        column = np.empty((*image.shape, 1 + velocity.shape[1]), np.float32)
        kernels_afm_soft.soft_heights(xyz, motion, self._tip(radius), False, image, column)
        if self.fast_axis == "y":
            return image.swapaxes(1, 2), column.swapaxes(1, 2)
        return image, column

    def expansions(
        self,
        seen: np.ndarray,
        position: np.ndarray,
        turned: np.ndarray,
        rotation: np.ndarray,
        shape: np.ndarray,
        radius: np.ndarray,
        *,
        pose: bool,
        share: float = 1.0,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """JᵀJ (F, C, C), Jᵀr (F, C) and |r|² (F,) of heights that were seen, of a molecule that rests on the support.

        r = seen − heights of the maximum itself, J the derivatives of the soft one. Columns: the tip's radius, K
        displacements, five of the pose if asked for (`likelihood`), a lift in nm, an offset, and slopes of a plane.

        Parameters:
            seen: (F, D, D) nm.
            position: (F, S, N, 3) as of `images`; the molecule rests on the atom that is lowest at first.
            turned: (F, N, 3) nm, the atoms about the centre of rotation, in the view.
            rotation: (F, 3, 3) that displacements take part in.
            shape: (K, N, 3) or (F, K, N, 3) displacements in nm for one unit of each amplitude, in the molecule.
            radius: (N,) nm.
            share: of the mean of each line, in r and J, that remains; 1 for all of it.
        Raises DataError as `images` does, and for a tip that is an array.
        """
        xyz = self._checked(position, radius)
        lowest = (xyz[:, 0, :, 2] - radius).argmin(1)
        each = shape if shape.ndim == 4 else shape[None]
        motion = self._motion(each, rotation, turned, lowest, pose=pose)
        swapped = seen.swapaxes(1, 2) if self.fast_axis == "y" else seen
        n_columns = 5 + each.shape[1] + 5 * pose
        information = np.empty((len(xyz), n_columns, n_columns), np.float32)
        evidence, misfit = np.empty((len(xyz), n_columns), np.float32), np.empty(len(xyz))
        data = np.ascontiguousarray(swapped, dtype=np.float32)
        kernel = kernels_afm_hard if math.isinf(self.sharpness_per_nm) else kernels_afm_soft
        kernel.expansions(xyz, motion, self._tip(radius), data, share, information, evidence, misfit)
        return information, evidence, misfit

    def _tip(self, radius: np.ndarray) -> kernels_afm_soft.Tip:
        if self.tip is not None:
            raise DataError("a tip given as an array has no derivatives: take radius and half-angle of a cone.")
        probe = kernels_afm.probe_of(self.radius_nm, self.half_angle, self.pixel_nm)
        small = np.ascontiguousarray(radius, dtype=np.float32)
        return kernels_afm_soft.Tip(small, probe, np.float32(self.fall_nm), np.float32(self.sharpness_per_nm))

    def _motion(
        self, shape: np.ndarray, rotation: np.ndarray, turned: np.ndarray, lowest: np.ndarray, *, pose: bool
    ) -> kernels_afm_soft.Motion:  # fmt: skip
        parts = (shape.swapaxes(1, 2), rotation, turned)
        shape, rotation, turned = (np.ascontiguousarray(part, dtype=np.float32) for part in parts)
        return kernels_afm_soft.Motion(shape, rotation, turned, lowest, pose, self.fast_axis == "y")

    def _along(self, xyz: np.ndarray) -> np.ndarray:
        return xyz[..., [1, 0, 2]] if self.fast_axis == "y" else xyz

    def _checked(self, position: np.ndarray, radius: np.ndarray) -> np.ndarray:
        if position.ndim != 4 or position.shape[2:] != (len(radius), 3):
            raise DataError(f"position {position.shape} must be (F, S, N, 3) for {len(radius)} radii.")
        if not np.isfinite(position).all():
            raise DataError("position must hold numbers; make the trajectory again.")
        return np.ascontiguousarray(self._along(position), dtype=np.float32)


def dilate(surface: np.ndarray, tip: Any) -> np.ndarray:
    """Images (…, y, x) that a tip makes of surfaces: h(p) = max over q of surface(p + q) + tip(q), in float32.

    Parameters:
        surface: (…, y, x) heights; beyond the edge nothing is touched.
        tip: (v, u) on the same grid, highest at its apex, where q = 0.
    Source: Villarrubia, J. Res. Natl. Inst. Stand. Technol. 102, 425 (1997).

    Example:
        >>> import numpy as np
        >>> dilate(np.array([[0.0, 0.0, 2.0, 0.0]]), [[-1.0, 0.0, -1.0]]).tolist()
        [[0.0, 1.0, 2.0, 1.0]]
    """
    shape = np.asarray(tip, dtype=np.float32)
    if shape.ndim != 2 or not shape.size or not np.isfinite(shape).all():
        raise DataError(f"a tip must be a table of heights, all numbers; this one has the shape {shape.shape}.")
    apex = np.unravel_index(shape.argmax(), shape.shape)
    size = [2 * max(a, n - 1 - a) + 1 for a, n in zip(apex, shape.shape, strict=True)]
    whole = np.full(size, np.nan, np.float32)  # odd, with the apex in the middle
    first = [n // 2 - a for a, n in zip(apex, size, strict=True)]
    whole[first[0] : first[0] + shape.shape[0], first[1] : first[1] + shape.shape[1]] = shape
    flipped = whole[::-1, ::-1]  # scipy looks at p − q
    there = np.isfinite(flipped)
    lead = (1,) * (surface.ndim - 2)
    found: np.ndarray = ndimage.grey_dilation(
        surface.astype(np.float32),
        footprint=there.reshape(*lead, *size),
        structure=np.where(there, flipped - shape.max(), 0).reshape(*lead, *size),
        mode="constant",
        cval=np.float32(-1e30),
    )
    return found


def fallen(image: np.ndarray, fall_nm: float) -> np.ndarray:
    """Images (…, y, x) by a tip that loses at most `fall_nm` from one pixel of a line to the next, in float32."""
    if math.isinf(fall_nm):
        return image
    slope = np.float32(fall_nm) * np.arange(image.shape[-1], dtype=np.float32)
    return np.maximum.accumulate(image + slope, -1) - slope


def radii_nm(formula: Any, kind: str = "auto") -> np.ndarray:
    """Radii (N,) of beads by the atoms they stand for, as chemical formulas.

    One heavy atom has its van der Waals radius (Bondi 1964), hydrogens not counted. A bead of several is a ball of
    their volume, r = (3 V / 4π)^{1/3}, V = 1.212e-3 nm³ a dalton, as proteins have.

    Example:
        >>> radii_nm(["C", "C3H5NO"]).round(3).tolist()
        [0.17, 0.274]
    """
    cache = {text: _radius(text) for text in set(map(str, formula))}
    return np.array([cache[str(text)] for text in formula])


def _radius(text: str) -> float:
    counts = composition(text)
    heavy = {element: number for element, number in counts.items() if element != "H"}
    if sum(heavy.values()) <= 1:
        return VAN_DER_WAALS_NM.get(next(iter(heavy), "H"), OTHER_NM)
    volume = NM3_PER_DALTON * sum(MASS.get(element, 12.0) * number for element, number in counts.items())
    return float((3 * volume / (4 * math.pi)) ** (1 / 3))


def flat_faces(position: np.ndarray) -> np.ndarray:
    """The two rotations (2, 3, 3) that lay a structure (N, 3) flat: its shortest principal axis up, or down."""
    axes = np.linalg.svd(position - position.mean(0), full_matrices=False)[2]
    axes[2] *= np.sign(np.linalg.det(axes))
    return np.stack([axes, np.diag([1.0, -1.0, -1.0]) @ axes])


def attributes_of(probe: Probe) -> dict[str, Any]:
    """A probe as attributes of a store; `probe_of` makes it again."""
    return {
        "radius_nm": probe.radius_nm,
        "half_angle_deg": math.degrees(probe.half_angle),
        "pixel_size_nm": probe.pixel_nm,
        "fall_nm": probe.fall_nm if math.isfinite(probe.fall_nm) else 0.0,
        "fast_axis": probe.fast_axis,
        "sharpness_per_nm": probe.sharpness_per_nm,
        "tip": json.dumps(probe.tip) if probe.tip is not None else "",
    }


def probe_of(attributes: Mapping[str, Any], n_pixels: int) -> Probe:
    """The probe that `attributes_of` took apart."""
    return Probe(
        radius_nm=attributes["radius_nm"],
        half_angle=math.radians(attributes["half_angle_deg"]),
        n_pixels=n_pixels,
        pixel_nm=attributes["pixel_size_nm"],
        fall_nm=attributes["fall_nm"] or math.inf,
        fast_axis=attributes["fast_axis"],
        sharpness_per_nm=attributes["sharpness_per_nm"],
        tip=tuple(map(tuple, json.loads(attributes["tip"]))) if attributes["tip"] else None,
    )
