"""Motion that the learned modes leave out: how strong it is in the directions of the basis, and its displacements.

Beside c = μ + W s the amplitudes have a rest z ~ N(0, α² I) that is new in each frame. Without it posteriors would be
too narrow: what it does to an image would count as if the modes had done it.

Shape legend: F frame, B basis, K source, L direction of the rest, N bead.
"""

from __future__ import annotations

import numpy as np

STEPS = 12  # of EM
FEWEST = 1e-3  # share of the strongest direction's displacement below which another is left out


def rest_scale(information: np.ndarray, evidence: np.ndarray, amplitude: np.ndarray) -> float:
    """α of the rest by EM, at amplitudes (F, B) of c that the modes explain; shapes of H and u are those of `learn`."""
    pull = evidence - (information.astype(float) @ amplitude[..., None])[..., 0]
    value, vector = np.linalg.eigh(information.astype(float))
    along = (vector.swapaxes(1, 2) @ pull[..., None])[..., 0] ** 2
    value = np.maximum(value, 0.0)
    variance = 0.1
    for _ in range(STEPS):
        spread = 1 / (value + 1 / variance)
        variance = float((spread + spread**2 * along).mean())
    return float(np.sqrt(variance))


def rest_shapes(basis: np.ndarray, shape: np.ndarray, scale: float) -> np.ndarray:
    """Displacements (L, N, 3) of amplitudes ~ N(0, 1) for a rest of strength α in a basis (B, N, 3).

    Those of modes (K, N, 3) are taken out of them.
    """
    flat, modes = basis.reshape(len(basis), -1), shape.reshape(len(shape), -1)
    inside, _ = np.linalg.qr(modes.T)
    outside = scale * (flat - (flat @ inside) @ inside.T)
    _, size, direction = np.linalg.svd(outside, full_matrices=False)
    kept = size > FEWEST * size[0]
    return (size[kept, None] * direction[kept]).reshape(-1, *basis.shape[1:])
