"""Exact smoother of two slow sources on a grid, for likelihoods of any shape.

s_k are independent stationary autoregressions of unit variance, s_t = ρ s_{t−1} + √(1 − ρ²) e_t with normal e_t, each
on its own nodes. The kernel between nodes i and j is the stationary joint density N(x_i, x_j; ρ) w_i w_j, with w the
width of a node, scaled by d_i d_j so that the sums of its rows are the normal weights of the nodes: the chain is then
reversible and stationary on the grid too. The kernel of both sources is the product of theirs, so that a step of the
forward–backward recursion (Rabiner 1989) is two small matrix products.

Shape legend: F frame, G₁ and G₂ node of either source.
"""

from __future__ import annotations

import numpy as np

from tempica.errors import DataError
from tempica.series import check_replicas, spans

COARSEST = 1.5  # largest step between nodes, in deviations √(1 − ρ²) of what is new in a frame; where sums err by 3e-4
REACH = 3.5  # deviations of a source that nodes reach to
_TINY = 1e-300


def grid_nodes(rho: float, reach: float = REACH, step: float = 1.0) -> np.ndarray:
    """Evenly spaced nodes from −reach to reach, `step` deviations √(1 − ρ²) of a frame's news apart, or closer.

    Raises DataError for a ρ that is not between 0 and 1.
    """
    if not 0 <= rho < 1:
        raise DataError(f"rho = {rho} must be at least 0 and below 1.")
    return np.linspace(-reach, reach, 2 * int(np.ceil(reach / (step * np.sqrt(1 - rho**2)))) + 1)


def smooth_grid(
    log_likelihood: np.ndarray,
    nodes1: np.ndarray,
    nodes2: np.ndarray,
    rho: np.ndarray,
    molecule: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Posterior means (F, 2) and variances (F, 2) of two sources given all frames of their molecule, and ln p(frames).

    Parameters:
        log_likelihood: (F, G₁, G₂) of every frame at the nodes; an offset of a frame goes into ln p alone.
        nodes1: (G₁,) values of the first source, increasing; `grid_nodes` gives suitable ones.
        nodes2: (G₂,) of the second.
        rho: (2,) autocorrelations from one frame to the next.
        molecule: (F,) labels of contiguous stretches in order of time; one molecule when None.

    Raises DataError for shapes that do not fit, likelihoods that are NaN or nowhere finite, and nodes too far apart
    for ρ.
    """
    probability, log_evidence = grid_posterior(log_likelihood, nodes1, nodes2, rho, molecule)
    marginal = probability.sum(2), probability.sum(1)
    nodes = np.asarray(nodes1, dtype=float), np.asarray(nodes2, dtype=float)
    mean = np.stack([p @ x for p, x in zip(marginal, nodes, strict=True)], 1)
    square = np.stack([p @ x**2 for p, x in zip(marginal, nodes, strict=True)], 1)
    return mean, np.maximum(square - mean**2, 0.0), log_evidence


def grid_posterior(
    log_likelihood: np.ndarray,
    nodes1: np.ndarray,
    nodes2: np.ndarray,
    rho: np.ndarray,
    molecule: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """Probabilities (F, G₁, G₂) of the nodes in every frame, given all frames of its molecule, and ln p(frames).

    Parameters and errors are those of `smooth_grid`.
    """
    log_likelihood = np.asarray(log_likelihood, dtype=np.float64)
    rho = np.asarray(rho, dtype=float)
    nodes = [np.asarray(x, dtype=float) for x in (nodes1, nodes2)]
    expected = (len(log_likelihood), *(len(x) for x in nodes))
    if log_likelihood.shape != expected or rho.shape != (2,):
        raise DataError(
            f"log_likelihood {log_likelihood.shape} must be (F, G₁, G₂) = {expected}, and rho {rho.shape} be (2,)."
        )
    largest = log_likelihood.max((1, 2), initial=-np.inf)
    bad = np.flatnonzero(~np.isfinite(largest))
    if len(bad):
        raise DataError(
            f"Frame {bad[0]} has the log-likelihood {largest[bad[0]]} at its best node; it must be a finite number."
        )
    kernel = [transition(x, float(r)) for x, r in zip(nodes, rho, strict=True)]
    start = [stationary(x) for x in nodes]
    probability = np.empty_like(log_likelihood)
    total = float(largest.sum())
    for first, length in zip(*spans(check_replicas(molecule, len(log_likelihood))), strict=True):
        part = slice(first, first + length)
        likelihood = log_likelihood[part] - largest[part, None, None]
        total += _forward_backward(likelihood, np.outer(*start), kernel[0], kernel[1], probability[part])
    return probability, total


def stationary(nodes: np.ndarray) -> np.ndarray:
    """Normal weights (G,) of nodes: density N(0, 1) times width, with the sum 1."""
    weight = np.exp(-0.5 * nodes**2) * np.gradient(nodes)
    return weight / weight.sum()


def transition(nodes: np.ndarray, rho: float) -> np.ndarray:
    """Probability (G, G) of going from node i (row) to node j, stationary and reversible under `stationary`.

    Raises DataError for nodes that do not increase, too far apart for ρ, or ρ outside [0, 1).
    """
    if len(nodes) < 2 or not (np.diff(nodes) > 0).all():
        raise DataError("The nodes of a grid must increase, and be at least two.")
    if not 0 <= rho < 1:
        raise DataError(f"rho = {rho} must be at least 0 and below 1.")
    news, step = np.sqrt(1 - rho**2), np.diff(nodes).max()
    if step > COARSEST * news * (1 + 1e-9):
        raise DataError(
            f"Nodes are {step:.3g} apart; with ρ = {rho:.4g} they may be {COARSEST * news:.3g}. Use at least"
            f" {int(np.ceil(np.ptp(nodes) / (COARSEST * news))) + 1} nodes, as grid_nodes gives them."
        )
    width, weight = np.gradient(nodes), stationary(nodes)
    x, y = nodes[:, None], nodes[None]
    joint = np.exp(-0.5 * (x**2 - 2 * rho * x * y + y**2) / news**2) * np.outer(width, width)
    scale = np.ones(len(nodes))
    for _ in range(1000):  # the square root damps what a symmetric scaling would otherwise do to and fro
        rows = scale * (joint @ scale)
        scale = scale * np.sqrt(weight / rows)
        if np.abs(rows / weight - 1).max() < 1e-12:
            break
    joint = scale[:, None] * joint * scale
    return joint / joint.sum(1, keepdims=True)


def _forward_backward(
    log_likelihood: np.ndarray, start: np.ndarray, kernel1: np.ndarray, kernel2: np.ndarray, out: np.ndarray
) -> float:
    """Smoothed probabilities of one molecule into `out` (F, G₁, G₂); returns ln p of its frames."""
    total, ahead = 0.0, start
    predicted = np.empty_like(out)
    for t, value in enumerate(log_likelihood):
        predicted[t] = ahead
        # in logarithms, for a likelihood that is sharp far from what was expected
        log_joint = value + np.log(np.maximum(ahead, _TINY))
        peak = log_joint.max()
        joint = np.exp(log_joint - peak)
        evidence = joint.sum()
        total += peak + np.log(evidence)
        out[t] = joint / evidence
        ahead = kernel1.T @ out[t] @ kernel2
    for t in range(len(out) - 2, -1, -1):
        # p(s_t | all) = p(s_t | up to t) Σ p(s_{t+1} | s_t) p(s_{t+1} | all) / p(s_{t+1} | up to t)
        ratio = out[t + 1] / np.maximum(predicted[t + 1], _TINY)
        out[t] *= kernel1 @ ratio @ kernel2.T
        out[t] /= out[t].sum()
    return total
