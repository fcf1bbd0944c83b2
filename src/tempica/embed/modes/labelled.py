"""Sources of labelled snapshots: frames of one label vary about a level of their own.

s_tk = b_{l(t) k} + e_tk, b ~ N(0, ρ_k), e ~ N(0, 1 − ρ_k): any two frames of a label are correlated by ρ_k, as two
frames of a molecule are in time. A frame says exp(ηᵀs − ½ sᵀΛs), and with D = diag(1 − ρ) about its level
exp(η̃ᵀb − ½ bᵀΛ̃b), Λ̃ = (1 + ΛD)⁻¹ Λ and η̃ = (1 + ΛD)⁻¹ η.

Shape legend: F frame, K source, L label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

START = 0.5  # ρ before it is known


@dataclass(frozen=True)
class Levels:
    """Posterior of all frames of all labels."""

    mean: np.ndarray  # (F, K) of sources
    covariance: np.ndarray  # (F, K, K)
    level: np.ndarray  # (L, K) b
    level_covariance: np.ndarray  # (L, K, K)
    count: np.ndarray  # (L,) frames of each


def levels(eta: np.ndarray, lam: np.ndarray, label: np.ndarray, rho: np.ndarray) -> Levels:
    """Posterior from evidence η (F, K) and Λ (F, K, K), labels (F,) and ρ (K,), each between 0 and 1."""
    names, label = np.unique(label, return_inverse=True)
    n_sources = len(rho)
    apart = np.diag(1 - rho)
    pass_on = np.linalg.inv(np.eye(n_sources) + lam @ apart)
    precision = np.zeros((len(names), n_sources, n_sources))
    pull = np.zeros((len(names), n_sources))
    np.add.at(precision, label, pass_on @ lam)
    np.add.at(pull, label, (pass_on @ eta[..., None])[..., 0])
    level_covariance = np.linalg.inv(0.5 * (precision + precision.swapaxes(1, 2)) + np.diag(1 / rho))
    level = (level_covariance @ pull[..., None])[..., 0]
    within = np.linalg.inv(lam + np.diag(1 / (1 - rho)))
    gain = within / (1 - rho)
    mean = (within @ eta[..., None] + gain @ level[label][..., None])[..., 0]
    covariance = within + gain @ level_covariance[label] @ gain.swapaxes(1, 2)
    return Levels(mean, covariance, level, level_covariance, np.bincount(label))


def moments(found: Levels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (K,) of the sources, their covariance (K, K), and the part of it that is between labels (K, K)."""
    shift = found.mean.mean(0)
    mean, level, share = found.mean - shift, found.level - shift, found.count / found.count.sum()
    whole = mean.T @ mean / len(mean) + found.covariance.mean(0)
    between = (level * share[:, None]).T @ level + np.tensordot(share, found.level_covariance, 1)
    return shift, whole, between
