"""Two slow sources that bend what they move: a quadratic decoder, learned and smoothed on a grid.

Where images are so noisy that a frame's source is known to little better than its own deviation, no expansion in s is
good all over its posterior. Here c(s) = D φ(s) with φ = (1, s₁, s₂, s₁² − 1, s₁s₂, s₂² − 1), and the posterior of
(s₁, s₂) is kept on a grid (`tempica.grid_smoother`). Other sources r are normal and independent in time; they are
integrated out.

E: ln p(y_t | s) at the nodes, from the frame's quadratic log-likelihood in c, or from the image itself.
M: D solves Σ_t H_t D ⟨φφᵀ⟩ + κ D = Σ_t u_t ⟨φ⟩ᵀ, as in `state_space`, with moments over the grid.

Shape legend: F frame, B basis, K source, R other source, G node, P feature (6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tempica.embed.modes.state_space import Learned
from tempica.errors import DataError
from tempica.grid_smoother import grid_nodes, grid_posterior

BLOCK = 2048  # frames of which products are in memory at once
STEPS = 6


@dataclass(frozen=True)
class TwoSources:
    """A decoder of two sources, and what it says about every frame."""

    decoder: np.ndarray  # (B, 6) D
    others: np.ndarray  # (B, R) weights of the other sources
    autocorrelation: np.ndarray  # (2,)
    mean: np.ndarray  # (F, 2) sources given all frames of their molecule
    variance: np.ndarray  # (F, 2)
    amplitude: np.ndarray  # (F, B) ⟨c(s_t)⟩, where to expand next
    log_evidence: float  # ln p(frames) − ln p(frames | c = 0)


def features(source: np.ndarray) -> np.ndarray:
    """φ (…, 6) of sources (…, 2), of mean (1, 0, …, 0) for independent sources of unit variance."""
    a, b = source[..., 0], source[..., 1]
    return np.stack([np.ones_like(a), a, b, a**2 - 1, a * b, b**2 - 1], -1)


def learn_two_sources(
    information: np.ndarray,
    evidence: np.ndarray,
    molecule: np.ndarray,
    start: Learned | TwoSources,
    *,
    which: tuple[int, int] = (0, 1),
    train: np.ndarray | None = None,
    n_steps: int = STEPS,
    ridge: float = 1.0,
    likelihood: Callable[[np.ndarray], np.ndarray] | None = None,
) -> TwoSources:
    """Decoder of two sources by EM on a grid, from a linear model or another decoder, and every frame's sources.

    Parameters:
        information, evidence, molecule, train, ridge: as for `state_space.learn`.
        start: its first two sources, or those that `which` names, are taken; dynamics stay as they are.
        which: sources of a linear start.
        n_steps: of EM; 0 smooths with the decoder of the start.
        likelihood: for amplitudes (G, B), ln p(images | c) of every frame (F, G) up to an offset of each frame; if
            none, the frames' quadratic log-likelihoods are used.

    Raises DataError for fewer than two sources, and what `grid_posterior` raises.
    """
    if isinstance(start, TwoSources):
        decoder, others, rho = start.decoder, start.others, start.autocorrelation
    else:
        decoder, others, rho = _from_linear(start, which)
    chosen = np.ones(len(evidence), dtype=bool) if train is None else np.asarray(train, dtype=bool)
    nodes = [grid_nodes(float(r)) for r in rho]
    place = features(np.stack(np.meshgrid(*nodes, indexing="ij"), -1)).reshape(-1, 6)
    shape = (len(evidence), *(len(x) for x in nodes))

    def posterior(decoder: np.ndarray) -> tuple[np.ndarray, float]:
        value = on_grid(information, evidence, decoder, others, place)
        if likelihood is not None:
            exact = likelihood(place @ decoder.T)
            none = np.zeros((len(decoder), 0))
            value = value - on_grid(information, evidence, decoder, none, place) + exact
        probability, total = grid_posterior(value.reshape(shape), nodes[0], nodes[1], rho, molecule)
        return probability.reshape(shape[0], -1), total

    for _ in range(n_steps):
        probability, _ = posterior(decoder)
        decoder = _regress(information[chosen], evidence[chosen], probability[chosen], place, ridge)
    probability, total = posterior(decoder)
    moment = probability @ place
    mean = moment[:, 1:3]
    variance = np.maximum(moment[:, [3, 5]] + 1 - mean**2, 0.0)
    return TwoSources(decoder, others, rho, mean, variance, moment @ decoder.T, total)


def on_grid(
    information: np.ndarray, evidence: np.ndarray, decoder: np.ndarray, others: np.ndarray, place: np.ndarray
) -> np.ndarray:
    """ln p(y_t | s) − ln p(y_t | c = 0) (F, G) at features (G, 6), the other sources integrated out."""
    n_other = others.shape[1]
    columns = np.column_stack([decoder, others])
    value = np.empty((len(evidence), len(place)))
    row, column = np.triu_indices(6)
    product = place[:, row] * place[:, column] * np.where(row == column, 0.5, 1.0)
    for part in _blocks(len(evidence)):
        lam = columns.T @ (information[part] @ columns.astype(information.dtype)).astype(float)
        eta = evidence[part] @ columns
        offset = np.zeros(len(eta))
        if n_other:
            inner = lam[:, 6:, 6:] + np.eye(n_other)
            gain = np.linalg.solve(inner, np.concatenate([lam[:, 6:, :6], eta[:, 6:, None]], 2))
            offset = 0.5 * (eta[:, 6:] * gain[..., 6]).sum(1) - 0.5 * np.linalg.slogdet(inner)[1]
            eta = eta[:, :6] - (lam[:, :6, 6:] @ gain[..., 6:])[..., 0]
            lam = lam[:, :6, :6] - lam[:, :6, 6:] @ gain[..., :6]
        value[part] = eta @ place.T - lam[:, row, column] @ product.T + offset[:, None]
    return value


def _from_linear(start: Learned, which: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decoder (B, 6), weights of the others (B, R) and ρ (2,) of a linear model."""
    n_sources = start.weight.shape[1]
    if len(set(which)) != 2 or not all(0 <= k < n_sources for k in which):
        raise DataError(f"which = {which} must name two of the {n_sources} sources that were learned.")
    flat = np.zeros((len(start.centre), 3))
    decoder = np.column_stack([start.centre, start.weight[:, which], flat])
    return decoder, np.delete(start.weight, which, axis=1), start.autocorrelation[list(which)]


def _regress(
    information: np.ndarray, evidence: np.ndarray, probability: np.ndarray, place: np.ndarray, ridge: float
) -> np.ndarray:
    """Decoder (B, 6) that maximises the expected log-posterior."""
    n_basis = evidence.shape[1]
    row, column = np.triu_indices(6)
    product = place[:, row] * place[:, column]
    total, right = np.zeros((len(row), n_basis**2)), np.zeros((6, n_basis))
    for part in _blocks(len(evidence)):
        flat = information[part].reshape(-1, n_basis**2)
        total += (probability[part] @ product).T.astype(flat.dtype) @ flat
        right += (probability[part] @ place).T @ evidence[part]
    left = np.empty((6, n_basis, 6, n_basis))
    left[row, :, column] = left[column, :, row] = total.reshape(-1, n_basis, n_basis)
    square = left.reshape(6 * n_basis, -1) + ridge * np.eye(6 * n_basis)
    return np.linalg.solve(square, right.ravel()).reshape(6, n_basis).T


def _blocks(n_frames: int) -> Iterator[slice]:
    return (slice(first, first + BLOCK) for first in range(0, n_frames, BLOCK))
