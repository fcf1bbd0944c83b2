"""Heights by an atomic force microscope as a likelihood: frames, their noise, and what lifts or tilts them.

A frame is y = h(x) + plane + line offsets + noise, with h the dilation of `afm` of a molecule that rests on the support
with its lowest atom. Derivatives are those of the soft maximum, residuals those of the maximum itself: a soft one is
too high wherever several atoms are about as high, and modes would be bent to make up for it. How far a molecule is off
the support (its atoms are not quite where they are modelled), and the plane of the stage, are normal with the
deviations given, and are eliminated; offsets of lines are whitened away.

Shape legend: F frame, N bead, K displacement, P parameter (K amplitudes, then 3 rotations and 2 shifts), D pixels,
Q nuisance (lift, then offset and slopes of the plane).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tempica.errors import DataError
from tempica.imaging.afm import Probe, probe_of
from tempica.imaging.likelihood import Expansion

if TYPE_CHECKING:
    import xarray

USUAL_CONE = np.radians(15.0)  # half-angle that stands for a tip given as a table
LEAST_NOISE_NM = 0.03  # what a model cannot say even of heights without noise
NUISANCES = 4
ROUGH_PER_NM = 8.0  # sharpness of first steps
FEWEST_PIXELS = 24  # along an edge, of which half are enough to begin with


@dataclass(frozen=True)
class Heights:
    """Frames as `likelihood.Likelihood`.

    Parameters:
        image: (F, D, D) nm.
        radius: (N,) of the beads, nm.
        probe: tip and pixels; its sharpness is that of the soft maximum.
        noise_nm: standard deviation of a pixel, of the noise and of what the model cannot say.
        line_offset_nm: of the offset of a line; 0 for none.
        lift_nm: of the molecule's height over the support.
        offset_nm: of the height of the support, and of the plane at the edge of the frame along x and along y.
        scan_nm: (F, N, 3) how beads move in the view from the start of the scan to its end; none for frames taken at
            once.
    """

    image: np.ndarray
    radius: np.ndarray
    probe: Probe
    noise_nm: float
    line_offset_nm: float = 0.0
    lift_nm: float = 0.1
    offset_nm: float = 0.05
    scan_nm: np.ndarray | None = None

    @property
    def n_values(self) -> int:
        return self.probe.n_pixels**2

    @property
    def empty(self) -> np.ndarray:
        """Misfits (F,) of a model without a molecule."""
        flat = self._whitened(self.image).reshape(len(self), -1)
        return np.asarray(np.einsum("fm,fm->f", flat, flat, dtype=np.float64) / self.noise_nm**2)

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, frames: np.ndarray | slice) -> Heights:
        scan = None if self.scan_nm is None else self.scan_nm[frames]
        return replace(self, image=self.image[frames], scan_nm=scan)

    def expand(
        self, position: np.ndarray, rotation: np.ndarray, shift_A: np.ndarray, shape: np.ndarray, *, pose: bool
    ) -> Expansion:
        """As the protocol says; `shape` may be empty."""
        seen = self.blunted(position, rotation, shift_A, shape, pose=pose)
        return Expansion(
            seen.information[:, 1:, 1:], seen.evidence[:, 1:], seen.misfit
        )  # the radius of the tip is known

    def blunted(
        self, position: np.ndarray, rotation: np.ndarray, shift_A: np.ndarray, shape: np.ndarray, *, pose: bool = True
    ) -> Expansion:  # fmt: skip
        """The same with the radius of the tip, in nm, as a parameter before the amplitudes and the pose."""
        turned = self._turned(position, rotation)
        view = self._scanned(self._on_support(turned, shift_A))
        probe, share = self.probe, self._share
        found = probe.expansions(self.image, view, turned, rotation, shape, self.radius, pose=pose, share=share)
        return self._eliminated(*found)

    def within(self, resolution_A: float) -> Heights:
        return self

    def rough(self) -> Heights:
        return self._softer(ROUGH_PER_NM)

    def touched(self) -> Heights:
        """With derivatives of the maximum itself: those of the atom that the tip touches, in half the time."""
        return replace(self, probe=replace(self.probe, sharpness_per_nm=math.inf))

    def sparser(self) -> Heights:
        """Every other pixel of every other line, the middle one among them; a tiny frame as it is."""
        n = self.probe.n_pixels
        if n < FEWEST_PIXELS:
            return self
        first = n // 2 % 2
        image = self.image[:, first::2, first::2]
        probe = replace(self.probe, n_pixels=image.shape[1], pixel_nm=2 * self.probe.pixel_nm)
        return replace(self, image=image, probe=replace(probe, fall_nm=2 * self.probe.fall_nm))

    def widened(self, variance: np.ndarray) -> Heights:
        return self

    def model(self, position: np.ndarray, rotation: np.ndarray, shift_A: np.ndarray) -> np.ndarray:
        """Heights (F, D, D) of the maximum itself, not the soft one."""
        view = self._on_support(self._turned(position, rotation), shift_A)
        return self.probe.images(self._scanned(view), self.radius)

    def _softer(self, sharpness: float) -> Heights:
        if sharpness >= self.probe.sharpness_per_nm:
            return self
        return replace(self, probe=replace(self.probe, sharpness_per_nm=sharpness))

    def _turned(self, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        if not (np.isfinite(position).all() and np.isfinite(rotation).all()):
            raise DataError("positions and rotations must be numbers; a frame's are not. Look for it in the images.")
        return np.asarray(position.astype(np.float32) @ rotation.swapaxes(1, 2).astype(np.float32))

    def _on_support(self, turned: np.ndarray, shift_A: np.ndarray) -> np.ndarray:
        lowest = (turned[..., 2] - self.radius.astype(np.float32)).min(1)
        return np.asarray(turned + np.column_stack([0.1 * shift_A, -lowest]).astype(np.float32)[:, None])

    def _scanned(self, view: np.ndarray) -> np.ndarray:
        """Places (F, S, N, 3) in the course of the scan."""
        if self.scan_nm is None:
            return view[:, None]
        end = view + self.scan_nm
        end[..., 2] -= (end[..., 2] - self.radius).min(1, keepdims=True)
        return np.stack([view, end], 1)

    @property
    def _share(self) -> float:
        """Of a line's mean, squared, that is left when offsets of lines are whitened away."""
        n = self.probe.n_pixels
        return float(self.noise_nm**2 / (self.noise_nm**2 + n * self.line_offset_nm**2))

    def _whitened(self, image: np.ndarray) -> np.ndarray:
        """Images (F, D, D) whose lines have lost what their offsets may be."""
        if not self.line_offset_nm:
            return image
        line = 2 if self.probe.fast_axis == "x" else 1
        return np.asarray(image - np.float32(1 - np.sqrt(self._share)) * image.mean(line, keepdims=True))

    def _eliminated(self, information: np.ndarray, evidence: np.ndarray, misfit: np.ndarray) -> Expansion:
        """JᵀJ, Jᵀr and |r|² in units of the noise, without the last Q columns."""
        scale = self.noise_nm**-2
        information, evidence = scale * information.astype(np.float64), scale * evidence.astype(np.float64)
        n = information.shape[1] - NUISANCES
        inner = information[:, n:, n:] + np.diag([self.lift_nm**-2.0] + [self.offset_nm**-2.0] * 3)
        outer, pull = information[:, :n, n:], evidence[:, n:, None]
        gain = np.linalg.solve(inner, np.concatenate([outer.swapaxes(1, 2), pull], 2))
        return Expansion(
            information[:, :n, :n] - outer @ gain[..., :n],
            evidence[:, :n] - (outer @ gain[..., n:])[..., 0],
            scale * misfit - (pull * gain[..., n:]).sum((1, 2)),
        )


def heights_in(
    movie: xarray.Dataset,
    image: np.ndarray,
    tip_radius_nm: float | None = None,
    noise_nm: float | None = None,
    line_offset_nm: float | None = None,
) -> Heights:
    """Images (F, D, D) of a movie as its store says that it was taken; what is given takes precedence.

    A tip that the movie has as a table becomes a cone, for which a radius must be given.
    """
    about = movie.attrs
    probe = probe_of(about, image.shape[-1])
    radius = probe.radius_nm if tip_radius_nm is None else tip_radius_nm
    half_angle = probe.half_angle if probe.tip is None else USUAL_CONE
    return Heights(
        image,
        movie["bead_radius"].values,
        replace(probe, radius_nm=radius, half_angle=half_angle, tip=None),
        max(about["noise_nm"], LEAST_NOISE_NM) if noise_nm is None else noise_nm,
        about["line_offset_nm"] if line_offset_nm is None else line_offset_nm,
    )
