"""Counted diffraction patterns as likelihoods of structures and orientations: the X-ray camera of `likelihood`.

Photons of a pixel are Poisson with the mean

    λ = φ c (|F|² + g) + b,    F(q) = Σ_n f_n exp(−2π² v_n q²) exp(2πi q·R r_n),

c the photons of the average pulse per |F|² (`diffraction.Beamline`), φ the fluence of the shot over that of the average
one, b the background. Pixels in the beam stop's shadow are left out. Beads whose places have a variance v_n scatter
less with each other, and g = Σ_n f_n² (1 − exp(−4π² v_n q²)) by themselves: the mean over independent places.
No model is right to the last photon where it says darkness: a share of Σ f_n² is added to g.

Derivatives come from the same sums, ∂|F|² = 2 Re(F* ∂F). Steps are Fisher's: information Σ J Jᵀ/λ and score
Σ J (n − λ)/λ, J = ∂λ/∂θ. The fluence of a shot has a flat prior: it takes its maximum, and its column is eliminated.
A misfit is the deviance 2 Σ [λ − n + n ln(n/λ)], which is less than `n_values` where photons are few.

Translation leaves |F|² as it is, so that shifts have no information. So does inversion of the molecule: its hand is
that of the structure one begins with. On a flat Ewald sphere a turn of the view by 180° about the beam would do so too
(Friedel); the sphere's curvature tells these two apart, at angles where λ|q|² r/2 is not small.

Shape legend: F frame, N bead, P visible pixel, K displacement, G template.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tempica.errors import DataError
from tempica.imaging.diffraction import Beamline, beamline_of
from tempica.imaging.kernels_diffraction import expand_patterns, intensities
from tempica.imaging.likelihood import Expansion
from tempica.imaging.xray import Scatterers, scatterers_of

if TYPE_CHECKING:
    import xarray

DARKEST = 1e-3  # share of the incoherent sum Σ f² that is there where a model has no light
ROUGH_A = 20.0  # resolution of first steps
FEWEST_PIXELS = 40  # that first steps need


@dataclass(frozen=True)
class Patterns:
    """Patterns as `likelihood.Likelihood`; made by `patterns_of`."""

    count: np.ndarray  # (F, P) float32
    q: np.ndarray  # (3, P) float32, 1/Å
    factor: np.ndarray  # (N, P) float32, electrons
    variance_A2: np.ndarray  # (N,) of the beads' places along an axis
    scale: np.ndarray  # (P,) float32 photons of the average pulse per |F|²
    background: float  # photons in a pixel

    @property
    def n_values(self) -> int:
        return self.count.shape[1]

    @property
    def light(self) -> np.ndarray:
        """Photons (F,) of each pattern that are not background, on average."""
        return np.asarray(self.count.sum(1) - self.background * self.n_values)

    def __len__(self) -> int:
        return len(self.count)

    def __getitem__(self, frames: np.ndarray | slice) -> Patterns:
        return replace(self, count=self.count[frames])

    def expand(
        self, position: np.ndarray, rotation: np.ndarray, shift_A: np.ndarray, shape: np.ndarray, *, pose: bool
    ) -> Expansion:
        return self.expand_with_fluence(position, rotation, shape, pose=pose)[0]

    def expand_with_fluence(
        self, position: np.ndarray, rotation: np.ndarray, shape: np.ndarray, *, pose: bool
    ) -> tuple[Expansion, np.ndarray]:
        """The expansion, and the fluence (F,) of each shot over the average one that fits best."""
        if not np.isfinite(position.sum() + rotation.sum()):
            raise DataError("Positions or rotations are not numbers. Look for the frames in which they are not finite.")
        n_frames, n_modes = len(self.count), shape.shape[-3]
        n = n_modes + 3 * pose
        displacement = 10.0 * np.moveaxis(shape if shape.ndim == 4 else shape[None], 1, -1)
        expansion = Expansion(np.zeros((n_frames, n, n)), np.zeros((n_frames, n)), np.zeros(n_frames))
        fluence, (factor, diffuse) = np.zeros(n_frames), self._seen()
        expand_patterns(
            self._view(position, rotation),
            np.ascontiguousarray(rotation, dtype=np.float32),
            np.ascontiguousarray(displacement, dtype=np.float32),
            pose,
            self.q,
            factor,
            diffuse,
            self.scale,
            self.background,
            np.ascontiguousarray(self.count),
            (expansion.information, expansion.evidence, expansion.misfit, fluence),
        )
        if not pose:
            return expansion, fluence
        information, evidence = np.zeros((n_frames, n + 2, n + 2)), np.zeros((n_frames, n + 2))
        information[:, :n, :n], evidence[:, :n] = expansion.information, expansion.evidence
        return Expansion(information, evidence, expansion.misfit), fluence

    def expected(self, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """Mean photons (G, P) of the average pulse, of structures (G, N, 3) in nm at rotations (G, 3, 3)."""
        factor, diffuse = self._seen()
        view, mean = self._view(position, rotation), np.empty((len(rotation), self.n_values), dtype=np.float32)
        intensities(view, self.q, factor, mean)
        return self.scale * (mean + diffuse) + np.float32(self.background)

    def within(self, resolution_A: float) -> Patterns:
        kept = np.linalg.norm(self.q, axis=0) <= 1 / resolution_A
        if kept.all() or kept.sum() < FEWEST_PIXELS:
            return self
        return replace(
            self,
            count=np.ascontiguousarray(self.count[:, kept]),
            q=np.ascontiguousarray(self.q[:, kept]),
            factor=np.ascontiguousarray(self.factor[:, kept]),
            scale=self.scale[kept],
        )

    def rough(self) -> Patterns:
        return self.within(ROUGH_A)

    def widened(self, variance: np.ndarray) -> Patterns:
        return replace(self, variance_A2=self.variance_A2 + 100.0 * variance)

    def _seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Scattering factors (N, P) of beads whose places are not quite known, and g (P,).

        Both are functions of |q|, which many pixels share.
        """
        q2, first, shared = np.unique((self.q.astype(np.float64) ** 2).sum(0), return_index=True, return_inverse=True)
        factor = self.factor[:, first].astype(np.float64)
        blur = np.exp(-2 * np.pi**2 * self.variance_A2[:, None] * q2)
        alone = (factor**2 * (1 - blur**2 + DARKEST)).sum(0)
        return np.take((factor * blur).astype(np.float32), shared, 1), alone.astype(np.float32)[shared]

    @staticmethod
    def _view(position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """Places (F, N, 3) in Å about their centroid, in the view's frame."""
        centred = position - position.mean(1, keepdims=True, dtype=np.float64)
        return np.ascontiguousarray(10 * (centred @ rotation.swapaxes(1, 2)), dtype=np.float32)


def patterns_of(
    image: np.ndarray,
    mask: np.ndarray,
    beamline: Beamline,
    scatterers: Scatterers,
    photons_per_um2: float,
    background_photons: float,
) -> Patterns:
    """Patterns (F, D, D) of counted photons, of which the pixels of a mask (D, D) are seen.

    Raises DataError for counts that are negative or not whole numbers, and for a mask without a pixel.
    """
    seen = (mask > 0).ravel()
    if not seen.any():
        raise DataError(
            "The beam stop masks every pixel of the patterns, so that they say nothing. Use a smaller"
            " render.beam_stop_radius_mm, or patterns with a mask that leaves pixels free."
        )
    count = image.reshape(len(image), -1)[:, seen]
    wrong = ~np.isfinite(count) | (count < 0) | (count != np.rint(count))
    if wrong.any():
        frame, pixel = np.argwhere(wrong)[0]
        raise DataError(
            f"Frame {frame} counts {count[frame, pixel]:g} photons in a pixel; photons are whole numbers from 0. Give"
            " counts as the detector has them, before background is taken away or gains are applied."
        )
    q = beamline.q.reshape(-1, 3)[seen]
    factors = scatterers.factors(np.linalg.norm(q, axis=1), beamline.b_factor_A2)
    return Patterns(
        count.astype(np.float32),
        np.ascontiguousarray(q.T, dtype=np.float32),
        np.ascontiguousarray(factors[scatterers.kind]),
        np.zeros(len(scatterers.kind)),
        (beamline.photons_per_intensity.ravel()[seen] * photons_per_um2).astype(np.float32),
        float(background_photons),
    )


def patterns_in(movie: xarray.Dataset, image: np.ndarray) -> Patterns:
    """Patterns (F, D, D) of a diffraction store, whose attributes and beads make their model."""
    scatterers = _kinds(tuple(movie["formula"].values.tolist()), tuple(movie["bead_width"].values.tolist()))
    about = movie.attrs
    return patterns_of(
        image,
        movie["mask"].values,
        beamline_of(movie),
        scatterers,
        about["photons_per_um2"],
        about["background_photons"],
    )


@lru_cache(maxsize=2)
def _kinds(formula: tuple[str, ...], width: tuple[float, ...]) -> Scatterers:
    return scatterers_of(formula, np.array(width))


def joined(parts: list[Patterns]) -> Patterns:
    """Patterns of several, all of one beamline and molecule, one after the other."""
    return replace(parts[0], count=np.concatenate([part.count for part in parts]))
