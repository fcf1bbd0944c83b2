"""Whether pairs of frames are more than quasi-Gaussian: what the contrast of pairs needs to fix axes by itself."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from tempica.audit.given import Given
from tempica.audit.results import Test
from tempica.series import pairs, standard_error

N_PAIRS, GROUP = 900, 300  # of the contrast, and how many are alternatives to one another
N_KNOTS = 6
STEPS = 60
ERRORS = 2.0  # standard errors that a free function must gain
RIDGE = 1e-3


def quasi_gaussianity_test(S: np.ndarray, data: Given) -> Test:
    """Held-out loss of a free B(a, b) less that of α(a) α(b) + β(b), for each source by itself.

    A process whose pairs have log p(a, b) of the second form is quasi-Gaussian, as every Gaussian one is: the contrast
    of pairs then leaves a linear mixture (Hyvärinen & Morioka 2017, theorem 2), and a second stage is needed.
    """
    gains = [quasi_gaussian_gain(column, data) for column in S.T]
    linear = [i for i, (gain, error) in enumerate(gains) if gain <= ERRORS * error]
    told = ", ".join(f"{gain:.4f} ± {error:.4f}" for gain, error in gains)
    which = ", ".join(map(str, linear)) or "none"
    more = " Two or more such leave a linear mixture, which a second stage must resolve." if len(linear) > 1 else ""
    least = min(gain for gain, _ in gains)
    return Test(
        "quasi_gaussianity",
        "Pairs are more than quasi-Gaussian",
        len(linear) < 2,
        f"What a free function of two frames tells beyond a quasi-Gaussian one, in nats a pair, by source: {told}."
        f" Quasi-Gaussian within {ERRORS:.0f} standard errors: {which}.{more}",
        least,
        0.0,
        details={"gain": [gain for gain, _ in gains], "error": [error for _, error in gains], "linear": linear},
    )


def quasi_gaussian_gain(s: np.ndarray, data: Given) -> tuple[float, float]:
    """Nats a held-out pair by which the free function is better, and the standard error.

    Both are fitted to 900 pairs, and compared on 900 others, by the cross-entropy of each frame's successor among 300.
    """
    first = pairs(data.replicas, data.lag)
    half = len(first) // 2
    phi = _functions(s)
    learn, held_out = ([_spread(part, k) for k in range(N_PAIRS // GROUP)] for part in (first[:half], first[half:]))
    learned = [(phi[rows], phi[rows + data.lag]) for rows in learn]
    asked = [(phi[rows], phi[rows + data.lag]) for rows in held_out]
    losses = [_fitted(learned, asked, free) for free in (False, True)]
    gain = losses[0] - losses[1]
    return float(gain.mean()), standard_error(gain)


def _spread(rows: np.ndarray, k: int) -> np.ndarray:
    """About 300 of the rows, spread evenly, others for each k."""
    step = max(1, len(rows) // N_PAIRS)
    return rows[k * step :: (N_PAIRS // GROUP) * step][:GROUP]


def _functions(s: np.ndarray) -> np.ndarray:
    """Values and bends at six quantiles (frame, 7), drawn in, standardised."""
    z = (s - s.mean()) / max(float(s.std()), 1e-300)
    z = z / np.sqrt(1 + (z / 4) ** 2)
    knots = np.quantile(z, np.linspace(0.1, 0.9, N_KNOTS))
    phi = np.concatenate([z[:, None], np.maximum(z[:, None] - knots, 0)], axis=1)
    return (phi - phi.mean(0)) / np.maximum(phi.std(0), 1e-12)  # bends beyond all of a few values are 0


Pairs = list[tuple[np.ndarray, np.ndarray]]


def _fitted(learned: Pairs, asked: Pairs, free: bool) -> np.ndarray:
    """Losses (pair,) of the pairs that are asked for."""
    J = learned[0][0].shape[1]
    start = np.zeros(J + (J * J if free else J))
    start[J] = 0.5  # of the first function, the value itself

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        total, gradient = 0.0, np.zeros_like(x)
        for a, b in learned:
            loss, slope = _contrast(a, b, _table(x, J, free) + 0.0, x[:J])
            total += loss.mean() / len(learned)
            dr = slope / len(learned)
            gradient[:J] += b.T @ dr.sum(0)
            inner = a.T @ dr @ b
            gradient[J:] += inner.ravel() if free else (inner + inner.T) @ x[J:]
        return total + RIDGE * float(x @ x), gradient + 2 * RIDGE * x

    x = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x
    return np.concatenate([_contrast(a, b, _table(x, J, free), x[:J])[0] for a, b in asked])


def _table(x: np.ndarray, J: int, free: bool) -> np.ndarray:
    """C (J, J) of the score φ(a)ᵀ C φ(b)."""
    return x[J:].reshape(J, J) if free else np.outer(x[J:], x[J:])


def _contrast(a: np.ndarray, b: np.ndarray, table: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy (pair,) of each pair's successor among all, and the gradient (pair, pair) of its mean."""
    r = a @ table @ b.T + b @ own
    r -= r.max(1, keepdims=True)
    weight = np.exp(r)
    total = weight.sum(1)
    loss = np.log(total) - np.diagonal(r)
    slope = weight / total[:, None]
    slope[np.diag_indices(len(a))] -= 1
    return loss, slope / len(a)
