"""Posterior of mode amplitudes, frame by frame, through the differentiable image formation.

Model of an image: `imaging.linearise` with structures x̄ + Σ_k a_k m_k and the prior a ~ N(0, I). The maximum of the
posterior is found by damped Gauss–Newton steps, and the posterior is taken as normal around it (Laplace): covariance
(JᵀJ/σ² + I)⁻¹, with J whitened.

Shape legend: F frame, K mode, N atom, D pixels along an edge, H half plane of a real FFT.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempica.imaging.linearise import Images, Scatterers, Whitened
from tempica.imaging.modes import Modes


@dataclass(frozen=True)
class Posterior:
    mean: np.ndarray  # (frame, mode)
    covariance: np.ndarray  # (frame, mode, mode)
    residual_variance: np.ndarray  # (frame,) mean over pixels of (image − model)², whitened


def posterior(
    images: Images, modes: Modes, scatterers: Scatterers, pixel_A: float, noise_variance: float, n_iterations: int
) -> Posterior:
    """Laplace posterior of mode amplitudes for every image.

    Each frame's step solves (JᵀJ/σ² + (1 + μ) I) δ = Jᵀr/σ² − a. A step that does not lower
    |r|²/σ² + |a|² is taken back and its damping μ raised; a step that does lowers μ.
    """
    n_frames, n_modes = len(images.image), len(modes.shape)
    whitened = Whitened(images, modes.shape, scatterers, pixel_A, noise_variance, np.float32)

    def linearise(amplitude: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        place = modes.mean + np.einsum("fk,knj->fnj", amplitude, modes.shape)
        residual, jacobian = (_real(wave) for wave in whitened.linearise(place, which))
        # matmul and not einsum, whose products round in another way where there is one frame alone
        curvature = (jacobian @ jacobian.swapaxes(1, 2)).astype(np.float64)
        slope = (jacobian @ residual[..., None])[..., 0].astype(np.float64)
        return curvature, slope, np.einsum("fp,fp->f", residual, residual).astype(np.float64)

    amplitude = np.zeros((n_frames, n_modes))
    everything = np.arange(n_frames)
    curvature, slope, misfit = linearise(amplitude, everything)
    damping = np.zeros(n_frames)
    active = everything
    identity = np.eye(n_modes)
    for _ in range(n_iterations):
        left = curvature[active] + (1 + damping[active])[:, None, None] * identity
        step = np.linalg.solve(left, (slope[active] - amplitude[active])[..., None])[..., 0]
        trial = amplitude[active] + step
        c, s, m = linearise(trial, active)
        better = m + (trial**2).sum(1) <= misfit[active] + (amplitude[active] ** 2).sum(1)
        kept = active[better]
        amplitude[kept], curvature[kept], slope[kept], misfit[kept] = (
            trial[better],
            c[better],
            s[better],
            m[better],
        )
        damping[active] = np.where(better, damping[active] / 4, np.maximum(1.0, 8 * damping[active]))
        active = active[~better | (np.abs(step).max(1) > 1e-3)]
        if len(active) == 0:
            break
    covariance = np.linalg.inv(curvature + identity)
    return Posterior(amplitude, covariance, misfit * noise_variance / images.image.shape[-1] ** 2)


def estimate_noise(images: Images, modes: Modes, scatterers: Scatterers, pixel_A: float, n_iterations: int) -> float:
    """Noise variance of the images, learned from what the model leaves over.

    Fixed point of σ² ← mean residual, started at the images' own variance. Besides the camera's noise it holds
    what the modes cannot express, so that noise-free images do not make the posterior overconfident.
    """
    variance = float(images.image.var())
    for _ in range(20):
        found = posterior(images, modes, scatterers, pixel_A, variance, n_iterations).residual_variance.mean()
        if abs(found - variance) < 1e-3 * variance:
            break
        variance = float(found)
    return variance


def _real(wave: np.ndarray) -> np.ndarray:
    """Complex half planes (…, D, H) as real vectors (…, 2 D H) with the same inner products."""
    flat = np.ascontiguousarray(wave.reshape(*wave.shape[:-2], -1))
    return flat.view(np.float32 if flat.dtype == np.complex64 else np.float64)
