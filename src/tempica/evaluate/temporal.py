"""The temporal ceiling: how well any estimator could read the collective variables off whole movies.

Each collective variable is a function of its normal score z (its rank among training frames, as a quantile of the
normal distribution), and z a stationary autoregression, z_t = ρ z_{t−1} + √(1 − ρ²) e_t, with ρ of the true series.
Images speak through the likelihoods of `ceilings`. Forward–backward on a grid of z gives the posterior of every frame
given all of its molecule's, exactly, and the estimate is the posterior mean of the variable.

A smoother that knows more than this of the dynamics, their heavy tails for one, could do better; the gain is small.

Shape legend: F frame, V collective variable, N training frame, G node of a variable's grid, C node of its coarse one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempica import grid_smoother
from tempica.evaluate.ceilings import Likelihoods, Prior
from tempica.series import pairs

MOST_VARIABLES = 2  # grids grow as a power of their number
N_COARSE = {1: 15, 2: 11}  # nodes a variable of the grid on which likelihoods are corrected
FINE = 1.25  # step of the grid, in conditional posterior deviations; sums over the nodes then err by 1e-5
MOST_NODES = 161  # of a variable
REACH = grid_smoother.REACH


@dataclass(frozen=True)
class Dynamics:
    """Collective variables as functions of normal scores, and their memory."""

    quantile: np.ndarray  # (N, V) values in increasing order
    rho: np.ndarray  # (V,) autocorrelation of the scores from one frame to the next

    def variable(self, v: int, score: np.ndarray) -> np.ndarray:
        """Values of one variable at its normal scores, of any shape."""
        return np.interp(score, _normal_quantiles(len(self.quantile)), self.quantile[:, v])

    def score(self, variable: np.ndarray) -> np.ndarray:
        """Normal scores (F, V) of values (F, V), within ± REACH."""
        normal = _normal_quantiles(len(self.quantile))
        columns = [np.interp(x, q, normal) for x, q in zip(variable.T, self.quantile.T, strict=True)]
        return np.clip(np.stack(columns, 1), -REACH, REACH)

    def coarse(self) -> list[np.ndarray]:
        """Normal scores (C,) of each variable at which likelihoods are corrected; empty for too many variables."""
        n = N_COARSE.get(len(self.rho), 0)
        return [np.linspace(-REACH, REACH, n) for _ in self.rho] if n else []

    def coarse_values(self) -> np.ndarray:
        """The variables (node, V) at the products of the coarse nodes, the last one fastest."""
        return self.values(self.coarse()) if self.coarse() else np.empty((0, len(self.rho)))

    def values(self, nodes: list[np.ndarray]) -> np.ndarray:
        """The variables (node, V) at all products of nodes, the last one fastest."""
        axes = [self.variable(v, z) for v, z in enumerate(nodes)]
        return np.stack([each.ravel() for each in np.meshgrid(*axes, indexing="ij")], 1)

    def interpolation(self, score: np.ndarray) -> np.ndarray | None:
        """Weights (F, node) that carry what is known at the coarse nodes to normal scores (F, V): cubic splines."""
        if not self.coarse():
            return None
        weight = np.ones((len(score), 1))
        for nodes, z in zip(self.coarse(), score.T, strict=True):
            weight = (weight[:, :, None] * _splines(nodes, z)[:, None]).reshape(len(score), -1)
        return weight


def learn_dynamics(variable: np.ndarray, molecule: np.ndarray) -> Dynamics:
    """From true collective variables (N, V) of training frames; labels (N,) of contiguous molecules in time order.

    Molecules that are each seen once have no memory: ρ = 0.
    """
    score = np.empty(variable.shape)
    normal = _normal_quantiles(len(variable))
    np.put_along_axis(score, variable.argsort(0, kind="stable"), normal[:, None], 0)
    rho = np.zeros(variable.shape[1])
    if (np.diff(molecule) == 0).any():
        first = pairs(molecule, 1)
        rho = (score[first] * score[first + 1]).mean(0) / (score**2).mean(0)
    return Dynamics(np.sort(variable, 0).astype(np.float64), np.clip(rho, 0.0, 0.9999))


def smoothed_estimate(
    prior: Prior, dynamics: Dynamics, frames: Likelihoods, truth: np.ndarray, molecule: np.ndarray
) -> np.ndarray | str:
    """Posterior means (F, V) of the collective variables given all frames of each molecule; or why there are none.

    Parameters:
        truth: (F, V) true values, by which the step of the grid is chosen.
        molecule: (F,) labels of contiguous stretches of one molecule in order of time.
    """
    n_variables = len(dynamics.rho)
    if n_variables > MOST_VARIABLES:
        return f"{n_variables} collective variables: a grid of more than {MOST_VARIABLES} is too large"
    nodes = [_nodes(rho, step) for rho, step in zip(dynamics.rho, _steps(prior, dynamics, frames, truth), strict=True)]
    if max(map(len, nodes)) > MOST_NODES:
        return (
            f"a grid of {max(map(len, nodes))} nodes would be needed, above {MOST_NODES}: the images tell each frame so"
            " well, or change so little from one to the next"
        )
    rho = dynamics.rho
    if n_variables == 1:  # beside a second one that no image tells anything of
        nodes, rho = [*nodes, np.array([-0.5, 0.5])], np.append(rho, 0.0)
    shape, splines = tuple(map(len, nodes)), [_splines(c, z) for c, z in zip(dynamics.coarse(), nodes, strict=False)]
    expected = prior.expected(dynamics.values(nodes[:n_variables]))
    estimate = np.empty(truth.shape)
    for label in np.unique(molecule):
        at = np.flatnonzero(molecule == label)
        part = Likelihoods(frames.linear[at], frames.quadratic[at], frames.correction[at])
        value = part.at(expected).reshape(len(at), *shape[:n_variables])
        value += _carried(part.correction, splines)
        value = np.broadcast_to(value.reshape(len(at), shape[0], -1), (len(at), *shape))
        p, _ = grid_smoother.grid_posterior(value, nodes[0], nodes[1], rho)
        for v in range(n_variables):
            estimate[at, v] = p.sum(2 - v) @ dynamics.variable(v, nodes[v])
    return estimate


def _carried(correction: np.ndarray, splines: list[np.ndarray]) -> np.ndarray:
    """Corrections (F, node) at the products of finer nodes, (F, G₁, …)."""
    value = correction.reshape(len(correction), *(weight.shape[1] for weight in splines))
    for axis, weight in enumerate(splines):
        value = np.moveaxis(np.tensordot(value, weight, (axis + 1, 1)), -1, axis + 1)
    return value


def _steps(prior: Prior, dynamics: Dynamics, frames: Likelihoods, truth: np.ndarray) -> np.ndarray:
    """Steps (V,) of the grid in normal scores, from what images and neighbours tell of each variable."""
    score, steps, h = dynamics.score(truth), [], 0.05
    rho = dynamics.rho
    for v in range(len(rho)):
        ends = []
        for sign in (h, -h):
            at = truth.copy()
            at[:, v] = dynamics.variable(v, np.clip(score[:, v], h - REACH, REACH - h) + sign)
            ends.append(prior.expected(at))
        slope = (ends[0] - ends[1]) / (2 * h)
        information = np.einsum("fk,fkl,fl->f", slope, frames.quadratic, slope, optimize=True)
        neighbours = (1 + rho[v] ** 2) / (1 - rho[v] ** 2)
        steps.append(FINE / np.sqrt(np.quantile(information, 0.9) + neighbours))
    return np.array(steps)


def _nodes(rho: float, step: float) -> np.ndarray:
    return grid_smoother.grid_nodes(rho, REACH, min(1.0, step / np.sqrt(1 - rho**2)))


def _splines(nodes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values (F, C) at places (F,) of the cubic splines that are one at a node and nil at the others."""
    from scipy.interpolate import make_interp_spline

    return np.asarray(make_interp_spline(nodes, np.eye(len(nodes)), k=3)(at))


def _normal_quantiles(n: int) -> np.ndarray:
    from scipy.special import ndtri

    return np.asarray(ndtri((np.arange(n) + 0.5) / n))
