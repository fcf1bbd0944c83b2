"""Motion that the learned modes leave out, and how far one knows where beads are.

Beside c = μ + W s the amplitudes have a rest z ~ N(0, α² I) that is new in each frame. Without it posteriors would be
too narrow: what it does to an image would count as if the modes had done it.

What is not known of a bead's place, of the rest and of a posterior, blurs the image that one expects: the mean of a
Gaussian over a normal distribution of its centre is a wider Gaussian. The derivative of that mean image is the mean of
the derivatives, so that an expansion about a posterior with widened beads is the statistical linearisation over it.
Sharp beads would promise detail that no one foresees: expansions overshoot, and modes of little motion grow on noise.
Sources: García-Fernández, Svensson, Morelande & Särkkä, IEEE Trans. Signal Process. 63, 5561 (2015) for the
linearisation; Read, Acta Cryst. A42, 140 (1986) for the same in crystals.

Shape legend: F frame, B basis, K source, L direction of the rest, N bead.
"""

from __future__ import annotations

import numpy as np

STEPS = 12  # of EM
STRONGEST = 1.0  # α: amplitudes of a basis are foreseen to be ~ N(0, 1)
FEWEST = 1e-3  # share of the strongest direction's displacement below which another is left out


def rest_scale(information: np.ndarray, evidence: np.ndarray, amplitude: np.ndarray) -> float:
    """α ≤ 1 of the rest by EM, at amplitudes (F, B) of c that the modes explain; shapes of H and u are as for `learn`.

    Bright frames pull at a structure that is still wrong by more than any motion explains. Taken for a rest, that pull
    would widen beads until nothing is seen of them, and rounds would never come back.
    """
    pull = evidence - (information.astype(float) @ amplitude[..., None])[..., 0]
    value, vector = np.linalg.eigh(information.astype(float))
    along = (vector.swapaxes(1, 2) @ pull[..., None])[..., 0] ** 2
    value = np.maximum(value, 0.0)
    variance = 0.1
    for _ in range(STEPS):
        spread = 1 / (value + 1 / variance)
        variance = float((spread + spread**2 * along).mean())
    return min(float(np.sqrt(variance)), STRONGEST)


def rest_shapes(basis: np.ndarray, shape: np.ndarray, scale: float) -> np.ndarray:
    """Displacements (L, N, 3) of amplitudes ~ N(0, 1) for a rest of strength α in a basis (B, N, 3).

    Those of modes (K, N, 3) are taken out of them.
    """
    outside = scale * _outside(basis, shape)
    _, size, direction = np.linalg.svd(outside, full_matrices=False)
    kept = size > FEWEST * size[0]
    return (size[kept, None] * direction[kept]).reshape(-1, *basis.shape[1:])


def place_variance(basis: np.ndarray, shape: np.ndarray, covariance: np.ndarray, scale: float) -> np.ndarray:
    """Variance (N,) in nm² along an axis, on average over axes, of where beads are.

    Of amplitudes of modes (K, N, 3) with a covariance (K, K), and of a rest of strength α in a basis (B, N, 3).
    """
    of_modes = np.einsum("kl,kni,lni->n", covariance, shape, shape)
    of_rest = scale**2 * (_outside(basis, shape) ** 2).reshape(len(basis), -1, 3).sum((0, 2))
    return np.asarray(of_modes + of_rest) / 3


def turn_variance(position: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Variance (N,) in nm² along an axis of the view of beads (N, 3) in nm whose pose has a covariance (5, 5).

    Averaged over views: turns about the axes of the view by w move a bead by w × x, and r² of its distance r from the
    origin falls to each axis alike.
    """
    about_x, about_y, about_z, along_x, along_y = np.diagonal(covariance)
    square = (position**2).sum(1) / 3
    return np.asarray(square * (about_x + about_y + 2 * about_z) / 2 + (along_x + along_y) / 200)


def _outside(basis: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Displacements (B, 3N) of a basis (B, N, 3) without the part that lies in the span of modes (K, N, 3)."""
    flat = basis.reshape(len(basis), -1)
    inside, _ = np.linalg.qr(shape.reshape(len(shape), -1).T)
    return np.asarray(flat - (flat @ inside) @ inside.T)
