"""Projection of Gaussian beads along the view, with derivatives.

Shape legend of the kernels: F frame, N atom, K Gaussian of an atom, P parameter, D pixels along an edge.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from tempica.errors import DataError

CUTOFF = 5.0  # in standard deviations; what is left out is 4e-6 of a Gaussian's peak


def project(
    xy: np.ndarray,
    amplitude: np.ndarray,
    width_A: np.ndarray,
    n_pixels: int,
    pixel_A: float,
    *,
    device: str = "cpu",
) -> np.ndarray:
    """Projected potential (F, D, D) in 1/Å, float32, of atoms or beads that are sums of Gaussians.

    U(x, y) = Σ_n Σ_k a_nk / (2π s_nk²) exp(−|r − r_n|² / 2 s_nk²), sampled at pixel centres.

    Parameters: `xy` (F, N, 2) pixel coordinates; `amplitude` a in Å and `width_A` s in Å, (N,) or (N, K), as
    `gaussians` gives them. Each Gaussian is cut off at five standard deviations (relative L2 error below 1e-5).
    Raises DataError for positions that are not numbers and for shapes that do not fit.
    Source: Peng 1996, equation 1, in real space.
    """
    xy, peak, width = _checked(xy, amplitude, width_A, pixel_A, device)
    image = np.zeros((len(xy), n_pixels, n_pixels), dtype=np.float32)
    _project(xy, peak, width, image)
    return image


def project_with_jacobian(
    xy: np.ndarray,
    velocity: np.ndarray,
    amplitude: np.ndarray,
    width_A: np.ndarray,
    n_pixels: int,
    pixel_A: float,
    *,
    device: str = "cpu",
) -> np.ndarray:
    """Projected potential and its derivatives, (F, 1 + P, D, D) float32; [:, 0] is `project`.

    ∂U/∂θ_p = Σ_n f_n (v_x g_y ⊗ g_x′ + v_y g_y′ ⊗ g_x) with `velocity` v = ∂(x, y)/∂θ, (F, P, N, 2), in
    pixels per unit of the parameter; g_x, g_y are the factors of the separable Gaussian, ′ the derivative
    with respect to the atom's position. All columns come from one pass over the atoms.
    """
    xy, peak, width = _checked(xy, amplitude, width_A, pixel_A, device)
    if velocity.shape[:1] + velocity.shape[2:] != xy.shape:
        raise DataError(f"velocity has the shape {velocity.shape}; for xy {xy.shape} it must be (F, P, N, 2).")
    columns = np.zeros((len(xy), 1 + velocity.shape[1], n_pixels, n_pixels), dtype=np.float32)
    _project_with_jacobian(xy, np.ascontiguousarray(velocity), peak, width, columns)
    return columns


def _checked(
    xy: np.ndarray, amplitude: np.ndarray, width_A: np.ndarray, pixel_A: float, device: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Contiguous coordinates, and peak (N, K) in 1/Å and standard deviation (N, K) in pixels of every Gaussian."""
    if device != "cpu":
        raise DataError(f"device = {device!r}: images are made on the 'cpu'.")
    amplitude, width = np.asarray(amplitude, dtype=np.float64), np.asarray(width_A, dtype=np.float64)
    if amplitude.shape != width.shape or amplitude.ndim not in (1, 2) or amplitude.shape[:1] != xy.shape[1:2]:
        raise DataError(
            f"amplitude {amplitude.shape} and width {width.shape} must both be (N,) or (N, K), with the N of xy"
            f" {xy.shape}, which is (F, N, 2)."
        )
    if not np.isfinite(xy).all():
        frame, atom = np.argwhere(~np.isfinite(xy))[0, :2]
        raise DataError(
            f"Atom {atom} of frame {frame} is at {xy[frame, atom]} pixels: positions must be numbers. Look for the"
            " frame in the trajectory where the simulation broke down, and leave it out."
        )
    if not (np.isfinite(width).all() and (width > 0).all() and np.isfinite(amplitude).all()):
        raise DataError("A Gaussian's amplitude must be a number, and its width a positive one.")
    amplitude, width = (np.ascontiguousarray(v.reshape(len(v), -1)) for v in (amplitude, width))
    return np.ascontiguousarray(xy), amplitude / (2 * np.pi * width**2), width / pixel_A


@numba.njit(cache=True, inline="always")
def _window(centre, radius, n_pixels):
    first = max(0, math.ceil(centre - radius))
    last = min(n_pixels, math.floor(centre + radius) + 1)
    return first, max(first, last)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _project(xy_FN2, peak_NK, width_NK, image_FDD):
    n_pixels = image_FDD.shape[1]
    gx = np.empty(n_pixels, dtype=np.float32)
    for f in range(xy_FN2.shape[0]):
        for m in range(width_NK.size):
            n = m // width_NK.shape[1]
            x, y, s, peak = xy_FN2[f, n, 0], xy_FN2[f, n, 1], width_NK.flat[m], peak_NK.flat[m]
            x0, x1 = _window(x, CUTOFF * s, n_pixels)
            y0, y1 = _window(y, CUTOFF * s, n_pixels)
            inv = 1.0 / s
            for i in range(x0, x1):
                gx[i] = math.exp(-0.5 * ((i - x) * inv) ** 2)
            for j in range(y0, y1):
                gy = np.float32(peak * math.exp(-0.5 * ((j - y) * inv) ** 2))
                row = image_FDD[f, j]
                for i in range(x0, x1):
                    row[i] += gy * gx[i]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _project_with_jacobian(xy_FN2, velocity_FPN2, peak_NK, width_NK, column_FPDD):
    n_pixels = column_FPDD.shape[2]
    gx = np.empty(n_pixels, dtype=np.float32)
    dgx = np.empty(n_pixels, dtype=np.float32)
    for f in range(xy_FN2.shape[0]):
        for m in range(width_NK.size):
            n = m // width_NK.shape[1]
            x, y, s, peak = xy_FN2[f, n, 0], xy_FN2[f, n, 1], width_NK.flat[m], peak_NK.flat[m]
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
                g = peak * math.exp(-0.5 * u * u)
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
