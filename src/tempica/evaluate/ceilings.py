"""The ceiling: how well any estimator could read the collective variables off single frames.

The simulator knows its own likelihood, so the Bayes estimate of a collective variable from one frame can be
computed. Around the true structure x* an image is y = y(x*) + J (a − a*) + ε, with a the amplitudes of the
principal modes of the true trajectory. This gives the likelihood exp(ηᵀa − ½ aᵀΛa), Λ = JᵀJ/σ²,
η = Λ a* + Jᵀ(y − y(x*))/σ². The prior is what training replicas show: a = g(c) + r, g quadratic in the
collective variables c, r ~ N(0, R), and c itself one of the observed ones. Integrating r out leaves
log p(y | c) = bᵀ g(c) − ½ g(c)ᵀ A g(c), A = Λ (I + R Λ)⁻¹, b = (I + Λ R)⁻¹ η,
and the estimate is Σ_k w_k c_k with weights w_k ∝ p(y | c_k) over the observed c_k.

Shape legend: F frame, K mode, B observed value of the library, V collective variable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tempica import imaging
from tempica.imaging.linearise import Images, Scatterers, Whitened
from tempica.imaging.modes import principal_modes
from tempica.series import quadratic

N_MODES = 16  # beyond these, modes of a coarse-grained protein move less than a tenth of a pixel


@dataclass(frozen=True)
class Prior:
    """What a perfectly informed observer knows before the image."""

    mean: np.ndarray  # (atom, space) nm
    shape: np.ndarray  # (mode, atom, space) nm, unit variance
    library: np.ndarray  # (library, cv) observed collective variables
    expected: np.ndarray  # (library, mode) g(c)
    spread: np.ndarray  # (mode, mode) R

    def amplitude(self, position: np.ndarray) -> np.ndarray:
        """Mode amplitudes (frame, mode) of structures (frame, atom, space)."""
        shape = self.shape.reshape(len(self.shape), -1)
        flat = (position - self.mean).reshape(len(position), -1)
        return flat @ shape.T / (shape**2).sum(1)


def learn_prior(position: np.ndarray, collective_variable: np.ndarray, n_modes: int = N_MODES) -> Prior:
    """Prior from true structures (frame, atom, space) and collective variables (frame, cv) of training replicas."""
    n_modes = min(n_modes, len(position) - 1, position[0].size)
    modes = principal_modes(position, n_modes)
    draft = Prior(modes.mean, modes.shape, collective_variable, np.empty(0), np.empty(0))
    amplitude = draft.amplitude(position)
    terms = quadratic(_standardised(collective_variable))
    weight, *_ = np.linalg.lstsq(terms, amplitude, rcond=None)
    expected = terms @ weight
    residual = amplitude - expected
    return Prior(
        modes.mean,
        modes.shape,
        collective_variable.astype(np.float64),
        expected,
        residual.T @ residual / len(residual),
    )


def bayes_estimate(
    prior: Prior,
    camera: imaging.Camera,
    noise_variance: float,
    image: np.ndarray,
    position: np.ndarray,
    quaternion: np.ndarray,
    shift_A: np.ndarray,
    focus: Sequence[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means (F, V) of the collective variables, each from one frame, and the library's effective size (F,).

    `position` holds the true structures of the frames, around which the likelihood is expanded; `quaternion` and
    `shift_A` are their true poses, `focus` what imaging.FOCUS names.
    """
    images = Images(image, imaging.rotation_matrix(quaternion), shift_A, camera.transfer(*focus), camera.power())
    scatterers = Scatterers(camera.scatterer_amplitude_A, camera.scatterer_width_A)
    whitened = Whitened(images, prior.shape, scatterers, camera.optics.pixel_size_A, noise_variance, np.float64)
    n_frames, n_modes = len(image), len(prior.shape)
    residual, jacobian = whitened.linearise(position, slice(None))
    residual, jacobian = residual.reshape(n_frames, -1), jacobian.reshape(n_frames, n_modes, -1)
    information = np.einsum("fkp,flp->fkl", jacobian.conj(), jacobian, optimize=True).real
    evidence = np.einsum("fkp,fp->fk", jacobian.conj(), residual, optimize=True).real
    evidence += np.einsum("fkl,fl->fk", information, prior.amplitude(position))
    inner = np.eye(n_modes) + information @ prior.spread
    a = np.linalg.solve(inner, information)
    b = np.linalg.solve(inner, evidence[..., None])[..., 0]
    log_weight = b @ prior.expected.T - 0.5 * np.einsum(
        "bk,fkl,bl->fb", prior.expected, a, prior.expected, optimize=True
    )
    w = np.exp(log_weight - log_weight.max(1, keepdims=True))
    w /= w.sum(1, keepdims=True)
    return w @ prior.library, 1 / (w**2).sum(1)


def _standardised(variable: np.ndarray) -> np.ndarray:
    deviation = variable.std(0)
    return (variable - variable.mean(0)) / np.where(deviation > 0, deviation, 1.0)
