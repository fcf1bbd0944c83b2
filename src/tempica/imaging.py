"""The deterministic camera: beads of a molecule to projections, and projections through the optics.

Used by `render` to make movies and by `embed` and `evaluate` to explain them; noise is added elsewhere.
Conventions are those of RELION: pixel i of D lies at (i − D//2)·pixel size, images are [y, x], the
projection runs along z of the view, r_view = A r + shift.

Shape legend of the kernels: F frame, N atom, P parameter, D pixels along an edge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np
from scipy import fft

if TYPE_CHECKING:
    import xarray

# F(0) in Å of the electron scattering factors of Peng et al., Acta Cryst. A52, 257 (1996)
SCATTERING_LENGTH_A = {"H": 0.5288, "C": 2.5088, "N": 2.2135, "O": 1.9834, "S": 5.1604}

CUTOFF = 5.0  # in standard deviations; what is left out is 4e-6 of a Gaussian's peak


def rotation_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrices (…, 3, 3) of unit quaternions (…, 4) in the order x, y, z, w (scipy's)."""
    x, y, z, w = np.moveaxis(np.asarray(quaternion, dtype=np.float64), -1, 0)
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], -1),
            np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], -1),
            np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], -1),
        ],
        -2,
    )


def to_pixels(
    position: np.ndarray, rotation: np.ndarray, shift_A: np.ndarray, n_pixels: int, pixel_A: float
) -> np.ndarray:
    """Pixel coordinates (F, N, 2), order x, y, of positions (F, N, 3) in nm, pose (F, 3, 3) and (F, 2)."""
    view_A = 10.0 * np.einsum("fij,fnj->fni", rotation[:, :2], position, dtype=np.float64)
    return (view_A + shift_A[:, None, :]) / pixel_A + n_pixels // 2


def project(
    xy: np.ndarray, scattering_length: np.ndarray, width_A: np.ndarray, n_pixels: int, pixel_A: float
) -> np.ndarray:
    """Projected potential (F, D, D) in 1/Å, float32, of Gaussian beads.

    U(x, y) = Σ_n f_n / (2π s_n²) exp(−|r − r_n|² / 2 s_n²), sampled at pixel centres.

    Parameters: `xy` (F, N, 2) pixel coordinates; `scattering_length` f (N,) in Å; `width_A` s (N,) in Å.
    Each bead is cut off at five standard deviations (relative L2 error below 1e-5).
    Source: Peng 1996, equation 1, in real space.
    """
    image = np.zeros((len(xy), n_pixels, n_pixels), dtype=np.float32)
    _project(np.ascontiguousarray(xy), *_bead_constants(scattering_length, width_A, pixel_A), image)
    return image


def project_with_jacobian(
    xy: np.ndarray,
    velocity: np.ndarray,
    scattering_length: np.ndarray,
    width_A: np.ndarray,
    n_pixels: int,
    pixel_A: float,
) -> np.ndarray:
    """Projected potential and its derivatives, (F, 1 + P, D, D) float32; [:, 0] is `project`.

    ∂U/∂θ_p = Σ_n f_n (v_x g_y ⊗ g_x′ + v_y g_y′ ⊗ g_x) with `velocity` v = ∂(x, y)/∂θ, (F, P, N, 2), in
    pixels per unit of the parameter; g_x, g_y are the factors of the separable Gaussian, ′ the derivative
    with respect to the bead's position. All columns come from one pass over the beads.
    """
    columns = np.zeros((len(xy), 1 + velocity.shape[1], n_pixels, n_pixels), dtype=np.float32)
    constants = _bead_constants(scattering_length, width_A, pixel_A)
    _project_with_jacobian(np.ascontiguousarray(xy), np.ascontiguousarray(velocity), *constants, columns)
    return columns


def contrast_transfer(
    n_pixels: int,
    pixel_A: float,
    *,
    voltage_kV: float,
    spherical_aberration_mm: float,
    amplitude_contrast: float,
    b_factor_A2: float,
    defocus_u_A: np.ndarray,
    defocus_v_A: np.ndarray,
    defocus_angle: np.ndarray,
) -> np.ndarray:
    """Contrast transfer function (F, D, D//2 + 1), float32, in the layout of a real FFT; protein is positive.

    `contrast_at` of the grid's frequencies; defocus (F,) in Å, angle (F,) in radians. Where D is even, the
    column of kx = Nyquist holds the mean of the values at ±kx, all that can act on a real image.
    """
    ky = fft.fftfreq(n_pixels, pixel_A)[:, None]
    kx = fft.rfftfreq(n_pixels, pixel_A)[None, :]
    per_frame = (defocus_u_A, defocus_v_A, defocus_angle)
    u, v, a = (np.asarray(x, dtype=np.float64)[:, None, None] for x in per_frame)
    transfer = contrast_at(
        np.hypot(kx, ky),
        np.arctan2(ky, kx),
        voltage_kV=voltage_kV,
        spherical_aberration_mm=spherical_aberration_mm,
        amplitude_contrast=amplitude_contrast,
        b_factor_A2=b_factor_A2,
        defocus_u_A=u,
        defocus_v_A=v,
        defocus_angle=a,
    )
    if n_pixels % 2 == 0:
        # kx = ±Nyquist share a column: a real image keeps their mean, and half-plane sums must see the same
        transfer[..., -1] = 0.5 * (transfer[..., -1] + np.roll(transfer[:, ::-1, -1], 1, axis=1))
    return transfer.astype(np.float32)


def contrast_at(
    k: np.ndarray,
    angle: np.ndarray,
    *,
    voltage_kV: float,
    spherical_aberration_mm: float,
    amplitude_contrast: float,
    b_factor_A2: float,
    defocus_u_A: np.ndarray,
    defocus_v_A: np.ndarray,
    defocus_angle: np.ndarray,
) -> np.ndarray:
    """Contrast transfer function at spatial frequency k (1/Å) in the direction α = `angle` (rad, from +x).

    CTF = sin γ · exp(−B k²/4), γ = π λ df k² − (π/2) Cs λ³ k⁴ + arcsin w,
    df(α) = ½ [u + v + (u − v) cos 2(α − defocus_angle)]; all arrays broadcast, defocus in Å.
    Source: Rohou & Grigorieff, J. Struct. Biol. 192, 216 (2015), equations 2 to 5, with the sign turned.
    """
    wavelength = electron_wavelength_A(voltage_kV)
    u, v, k2 = defocus_u_A, defocus_v_A, np.square(k)
    defocus = 0.5 * (u + v + (u - v) * np.cos(2 * (angle - defocus_angle)))
    gamma = (
        np.pi * wavelength * defocus * k2
        - 0.5 * np.pi * spherical_aberration_mm * 1e7 * wavelength**3 * k2**2
        + np.arcsin(amplitude_contrast)
    )
    return np.sin(gamma) * np.exp(-0.25 * b_factor_A2 * k2)


def electron_wavelength_A(voltage_kV: float) -> float:
    """Relativistic de Broglie wavelength of an electron in Å: λ = h / √(2 m e V (1 + e V / 2 m c²))."""
    volts = 1e3 * voltage_kV
    return 12.2642595 / math.sqrt(volts * (1 + 0.978475598e-6 * volts))


def through_optics(image: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    """Images (…, D, D) filtered by a transfer function (…, D, D//2 + 1): F⁻¹[CTF · F(image)]."""
    return fft.irfft2(fft.rfft2(image) * transfer, s=image.shape[-2:])


@dataclass(frozen=True)
class Optics:
    """What is the same for all images of a movie."""

    n_pixels: int
    pixel_size_A: float
    voltage_kV: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    b_factor_A2: float
    bead_b_factor_A2: float

    def width_A(self, bead_width: np.ndarray) -> np.ndarray:
        """Standard deviation (Å) of a bead's Gaussian: own mass (nm) and thermal motion, s² = w² + B/8π²."""
        return np.sqrt((10 * bead_width) ** 2 + self.bead_b_factor_A2 / (8 * np.pi**2))

    def transfer(self, defocus_u_A: np.ndarray, defocus_v_A: np.ndarray, defocus_angle: np.ndarray) -> np.ndarray:
        """`contrast_transfer` of frames."""
        return contrast_transfer(
            self.n_pixels,
            self.pixel_size_A,
            voltage_kV=self.voltage_kV,
            spherical_aberration_mm=self.spherical_aberration_mm,
            amplitude_contrast=self.amplitude_contrast,
            b_factor_A2=self.b_factor_A2,
            defocus_u_A=defocus_u_A,
            defocus_v_A=defocus_v_A,
            defocus_angle=defocus_angle,
        )


def optics_of(movie: xarray.Dataset) -> Optics:
    """The optics that a movie store's attributes state."""
    names = [name for name in Optics.__dataclass_fields__ if name != "n_pixels"]
    return Optics(movie.sizes["x"], **{name: float(movie.attrs[name]) for name in names})


def plane_weights(n_pixels: int) -> np.ndarray:
    """Weights (D//2 + 1,) with which half-plane sums give Σ_pixels a b = Σ_k w Re(â* b̂) (Parseval)."""
    weight = np.full(n_pixels // 2 + 1, 2.0)
    weight[0] = 1.0
    if n_pixels % 2 == 0:
        weight[-1] = 1.0
    return weight / n_pixels**2


def _bead_constants(length: np.ndarray, width_A: np.ndarray, pixel_A: float) -> tuple[np.ndarray, np.ndarray]:
    width = np.asarray(width_A, dtype=np.float64)
    return np.asarray(length, dtype=np.float64) / (2 * np.pi * width**2), width / pixel_A


@numba.njit(cache=True, inline="always")
def _window(centre, radius, n_pixels):
    first = max(0, math.ceil(centre - radius))
    last = min(n_pixels, math.floor(centre + radius) + 1)
    return first, max(first, last)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _project(xy_FN2, peak_N, width_N, image_FDD):
    n_pixels = image_FDD.shape[1]
    gx = np.empty(n_pixels, dtype=np.float32)
    for f in range(xy_FN2.shape[0]):
        for n in range(xy_FN2.shape[1]):
            x, y, s = xy_FN2[f, n, 0], xy_FN2[f, n, 1], width_N[n]
            x0, x1 = _window(x, CUTOFF * s, n_pixels)
            y0, y1 = _window(y, CUTOFF * s, n_pixels)
            inv = 1.0 / s
            for i in range(x0, x1):
                gx[i] = math.exp(-0.5 * ((i - x) * inv) ** 2)
            for j in range(y0, y1):
                gy = np.float32(peak_N[n] * math.exp(-0.5 * ((j - y) * inv) ** 2))
                row = image_FDD[f, j]
                for i in range(x0, x1):
                    row[i] += gy * gx[i]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _project_with_jacobian(xy_FN2, velocity_FPN2, peak_N, width_N, column_FPDD):
    n_pixels = column_FPDD.shape[2]
    gx = np.empty(n_pixels, dtype=np.float32)
    dgx = np.empty(n_pixels, dtype=np.float32)
    for f in range(xy_FN2.shape[0]):
        for n in range(xy_FN2.shape[1]):
            x, y, s = xy_FN2[f, n, 0], xy_FN2[f, n, 1], width_N[n]
            x0, x1 = _window(x, CUTOFF * s, n_pixels)
            y0, y1 = _window(y, CUTOFF * s, n_pixels)
            inv = 1.0 / s
            for i in range(x0, x1):
                u = (i - x) * inv
                g = math.exp(-0.5 * u * u)
                gx[i] = g
                dgx[i] = u * inv * g
            for j in range(y0, y1):
                u = (j - y) * inv
                g = peak_N[n] * math.exp(-0.5 * u * u)
                gy = np.float32(g)
                dgy = u * inv * g
                row = column_FPDD[f, 0, j]
                for i in range(x0, x1):
                    row[i] += gy * gx[i]
                for p in range(velocity_FPN2.shape[1]):
                    along = np.float32(velocity_FPN2[f, p, n, 0] * g)
                    across = np.float32(velocity_FPN2[f, p, n, 1] * dgy)
                    row = column_FPDD[f, p + 1, j]
                    for i in range(x0, x1):
                        row[i] += along * dgx[i] + across * gx[i]
