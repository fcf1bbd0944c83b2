"""Projection of Gaussian beads along the view, with derivatives.

Shape legend of the kernels: F frame, N atom, K Gaussian of an atom, P parameter, D pixels along an edge.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from tempica.errors import DataError
from tempica.imaging.windows import CUTOFF, Pairs, pairs_of

__all__ = ["CUTOFF", "project", "project_with_jacobian"]


def project(
    xy: np.ndarray, amplitude: np.ndarray, width_A: np.ndarray, n_pixels: int, pixel_A: float, *, device: str = "cpu"
) -> np.ndarray:
    """Projected potential (F, D, D) in 1/Å, float32, of atoms or beads that are sums of Gaussians.

    U(x, y) = Σ_n Σ_k a_nk / (2π s_nk²) exp(−|r − r_n|² / 2 s_nk²), sampled at pixel centres.

    Parameters: `xy` (F, N, 2) pixel coordinates; `amplitude` a in Å and `width_A` s in Å, (N,) or (N, K), as
    `gaussians` gives them. Each Gaussian is cut off at five standard deviations (relative L2 error below 1e-5).
    Raises DataError for positions that are not numbers and for shapes that do not fit.
    Source: Peng 1996, equation 1, in real space.
    """
    xy, pairs = _checked(xy, amplitude, width_A, pixel_A)
    image = np.empty((len(xy), n_pixels, n_pixels), dtype=np.float32)
    _kernels(device).project(xy, pairs, image)
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
    xy, pairs = _checked(xy, amplitude, width_A, pixel_A)
    if velocity.shape[:1] + velocity.shape[2:] != xy.shape:
        raise DataError(f"velocity has the shape {velocity.shape}; for xy {xy.shape} it must be (F, P, N, 2).")
    columns = np.empty((len(xy), 1 + velocity.shape[1], n_pixels, n_pixels), dtype=np.float32)
    _kernels(device).project_with_jacobian(xy, np.ascontiguousarray(velocity, dtype=np.float64), pairs, columns)
    return columns


def _checked(xy: np.ndarray, amplitude: np.ndarray, width_A: np.ndarray, pixel_A: float) -> tuple[np.ndarray, Pairs]:
    """Contiguous coordinates, and the Gaussians in pixels."""
    amplitude, width = np.asarray(amplitude, dtype=np.float64), np.asarray(width_A, dtype=np.float64)
    if amplitude.shape != width.shape or amplitude.ndim not in (1, 2) or amplitude.shape[:1] != xy.shape[1:2]:
        raise DataError(
            f"amplitude {amplitude.shape} and width {width.shape} must both be (N,) or (N, K), with the N of xy"
            f" {xy.shape}, which is (F, N, 2)."
        )
    if not np.isfinite(xy.sum()) and not np.isfinite(xy).all():  # the sum alone is four times as fast
        frame, atom = np.argwhere(~np.isfinite(xy))[0, :2]
        raise DataError(
            f"Atom {atom} of frame {frame} is at {xy[frame, atom]} pixels: positions must be numbers. Look for the"
            " frame in the trajectory where the simulation broke down, and leave it out."
        )
    if not (np.isfinite(width).all() and (width > 0).all() and np.isfinite(amplitude).all()):
        raise DataError("A Gaussian's amplitude must be a number, and its width a positive one.")
    amplitude, width = (v.reshape(xy.shape[1], -1) for v in (amplitude, width))
    return np.ascontiguousarray(xy, dtype=np.float64), pairs_of(amplitude, width, pixel_A)


def _kernels(device: str) -> ModuleType:
    """The module that holds the kernels of a device."""
    if on_gpu(device):
        from tempica.imaging import kernels_gpu

        return kernels_gpu
    from tempica.imaging import kernels_cpu

    return kernels_cpu


def on_gpu(device: str) -> bool:
    """Whether a device is the GPU. Raises DataError for one that there is not, and DeviceError without a GPU."""
    if device not in ("cpu", "cuda"):
        raise DataError(f"device = {device!r}: images are made on the 'cpu' or on 'cuda'.")
    if device == "cuda":
        from tempica.imaging import kernels_gpu

        kernels_gpu.check()
    return device == "cuda"
