"""Coherent diffraction of single particles: what an X-ray laser's pulse leaves on a flat detector behind them.

In the far field, in one scattering event, and before the pulse has moved or stripped the atoms.

Shape legend of the kernel: F frame, N bead, S kind of bead, P pixel of a quadrant, D pixels along an edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

from tempica.imaging.xray import Scatterers

if TYPE_CHECKING:
    import xarray

ELECTRON_RADIUS_UM = 2.8179403e-9  # classical, r_e
KEV_A = 12.39841984  # h c
TABLE = 2**16  # entries of the scattering factors that are kept at hand, a fast cache's worth


@dataclass(frozen=True)
class Beamline:
    """What is the same for all patterns: a square detector across the beam, which meets it in its middle.

    Pixel i of D lies at (i − (D − 1)/2)·pixel, images are [y, x] and seen as the projections of the electron
    microscope: x, y, z right-handed, the light travels along +z.
    """

    n_pixels: int
    pixel_size_um: float
    detector_distance_mm: float
    photon_energy_eV: float
    beam_stop_radius_mm: float
    polarisation: str  # x, y or none
    b_factor_A2: float

    @property
    def wavelength_A(self) -> float:
        return KEV_A / (1e-3 * self.photon_energy_eV)

    @property
    def place(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x (1, D), y (D, 1) of the pixels' centres and their distance (D, D) from the particle, in mm."""
        axis = 1e-3 * self.pixel_size_um * (np.arange(self.n_pixels) - (self.n_pixels - 1) / 2)
        x, y = axis[None, :], axis[:, None]
        return x, y, np.sqrt(x**2 + y**2 + self.detector_distance_mm**2)

    @property
    def q(self) -> np.ndarray:
        """Scattering vectors (D, D, 3) in 1/Å, on the Ewald sphere: q = (r/|r| − z)/λ, |q| = 2 sin θ / λ."""
        x, y, r = self.place
        direction = np.stack(np.broadcast_arrays(x / r, y / r, self.detector_distance_mm / r), -1)
        # r̂_z − 1 loses digits at small angles: −sin² / (1 + cos)
        direction[..., 2] = -(x**2 + y**2) / r**2 / (1 + direction[..., 2])
        return direction / self.wavelength_A

    @property
    def mask(self) -> np.ndarray:
        """Pixels (D, D) that see the light: their centres are outside the beam stop's shadow."""
        x, y, _ = self.place
        return np.hypot(x, y) >= self.beam_stop_radius_mm

    @property
    def photons_per_intensity(self) -> np.ndarray:
        """Photons (D, D) in a pixel per |F|² and per photon/µm² of the focus: r_e² P ΔΩ, in µm².

        ΔΩ = A z / r³; P = 1 − (x/r)² for light polarised along x, 1 − (x² + y²)/2r² for light that is not.
        """
        x, y, r = self.place
        along = {"x": x**2 + 0 * y, "y": y**2 + 0 * x, "none": (x**2 + y**2) / 2}[self.polarisation]
        angle = (1e-3 * self.pixel_size_um) ** 2 * self.detector_distance_mm / r**3
        return ELECTRON_RADIUS_UM**2 * (1 - along / r**2) * angle


def beamline_of(patterns: xarray.Dataset) -> Beamline:
    """The beamline that a diffraction store's attributes state."""
    names = [name for name in Beamline.__dataclass_fields__ if name != "n_pixels"]
    return Beamline(patterns.sizes["x"], **{name: patterns.attrs[name] for name in names})


def diffract(position: np.ndarray, rotation: np.ndarray, scatterers: Scatterers, beamline: Beamline) -> np.ndarray:
    """Intensity |F|² (F, D, D), float32, in electrons², of beads at positions (F, N, 3) in nm, turned by (F, 3, 3).

    F(q) = Σ_n f_n(q) exp(2πi q·A r_n), q on the Ewald sphere (`Beamline.q`), f_n of `Scatterers.factors`.

    The sum as it stands, in float32, about the centroid. The detector's four quadrants share their sines and cosines:
    of q_x x, q_y y and q_z z, which only change sign. Relative L2 error of the intensities against float64: below
    1e-5 for molecules of 10 nm to 4 Å resolution, in proportion to the largest phase.
    """
    centred = position - position.mean(1, keepdims=True, dtype=np.float64)
    view = np.ascontiguousarray(10 * np.einsum("fij,fnj->fni", rotation, centred), dtype=np.float32)
    n_pixels = beamline.n_pixels
    half = n_pixels // 2
    q = beamline.q[half:, half:].reshape(-1, 3)
    size = np.linalg.norm(q, axis=1)
    intensity = np.empty((len(view), n_pixels, n_pixels), dtype=np.float32)
    step = max(32, min(512, TABLE // len(scatterers.width_A)))
    for first in range(0, len(q), step):
        part = slice(first, first + step)
        factors = scatterers.factors(size[part], beamline.b_factor_A2)
        across = np.ascontiguousarray(q[part].T, dtype=np.float32)
        _diffract(view, scatterers.kind, factors, across, first, intensity)
    return intensity


# sin 2πt and cos 2πt for |t| ≤ ½ within 1e-7 and 2e-8: minimax polynomials in t²
_SIN = [np.float32(a) for a in (6.28318282, -41.3414214, 81.59618388, -76.58010058, 41.20539508, -12.27126265)]
_COS = [
    np.float32(a) for a in (0.99999999, -19.73920453, 64.93911898, -85.45016555, 60.16783173, -25.96831329, 6.52961039)
]
_S0, _S1, _S2, _S3, _S4, _S5 = _SIN
_C0, _C1, _C2, _C3, _C4, _C5, _C6 = _COS
_ROUND = np.float32(1.5 * 2**23)  # what is added to it and taken away again is rounded to a whole number

# not "fast": reordering would undo the rounding
_CONTRACT = {"contract"}


@numba.njit(cache=True, fastmath=_CONTRACT, inline="always")
def _turn(t):
    """cos 2πt and sin 2πt of a float32, |t| < 2²¹."""
    t = t - ((t + _ROUND) - _ROUND)
    u = t * t
    c = _C0 + u * (_C1 + u * (_C2 + u * (_C3 + u * (_C4 + u * (_C5 + u * _C6)))))
    s = t * (_S0 + u * (_S1 + u * (_S2 + u * (_S3 + u * (_S4 + u * _S5)))))
    return c, s


@numba.njit(cache=True, nogil=True, fastmath=_CONTRACT)
def _diffract(view_FN3, kind_N, factor_SP, q_3P, first, intensity_FDD):
    """Pixels first … first + P − 1 of the quadrant x, y ≥ 0, and their mirror images in the other three."""
    n_pixels = intensity_FDD.shape[1]
    half = n_pixels // 2
    edge = n_pixels - half
    n = q_3P.shape[1]
    qx, qy, qz = q_3P[0], q_3P[1], q_3P[2]
    sums = np.empty((8, n), dtype=np.float32)
    for f in range(view_FN3.shape[0]):
        sums[:] = 0
        for a in range(view_FN3.shape[1]):
            x, y, z = view_FN3[f, a, 0], view_FN3[f, a, 1], view_FN3[f, a, 2]
            weight = factor_SP[kind_N[a]]
            for p in range(n):
                cx, sx = _turn(x * qx[p])
                cy, sy = _turn(y * qy[p])
                cz, sz = _turn(z * qz[p])
                cz *= weight[p]
                sz *= weight[p]
                cc, ss, sc, cs = cx * cy, sx * sy, sx * cy, cx * sy
                sums[0, p] += cc * cz
                sums[1, p] += ss * cz
                sums[2, p] += sc * cz
                sums[3, p] += cs * cz
                sums[4, p] += cc * sz
                sums[5, p] += ss * sz
                sums[6, p] += sc * sz
                sums[7, p] += cs * sz
        for p in range(n):
            j, i = divmod(first + p, edge)
            for right in range(2):
                for below in range(2):
                    h, v = np.float32(2 * right - 1), np.float32(2 * below - 1)  # signs of q_x and q_y
                    real = sums[0, p] - h * v * sums[1, p] - h * sums[6, p] - v * sums[7, p]
                    imaginary = sums[4, p] - h * v * sums[5, p] + h * sums[2, p] + v * sums[3, p]
                    row = half + j if below else edge - 1 - j
                    column = half + i if right else edge - 1 - i
                    intensity_FDD[f, row, column] = real * real + imaginary * imaginary
