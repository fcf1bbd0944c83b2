"""What the dynamics of single sources are: Gaussian or not, how fast, stationary or not."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import norm

from tempica.audit.given import Given
from tempica.audit.independence import innovations
from tempica.audit.results import Test
from tempica.series import pairs

N_BLOCKS = 16
SIGMAS = 3.0
N_FUNCTIONS = 14  # that span the transfer operator of one source
N_PERMUTED = 199


def gaussianity_test(S: np.ndarray, data: Given) -> Test:
    """Which sources have values, and which have innovations, of other than normal shape: what FastICA and PCL need."""
    values = [_shape(column) for column in S.T]
    told: dict[str, list[Any]] = {"values": [value for value, _ in values], "errors": [error for _, error in values]}
    gaussian = [i for i, (value, error) in enumerate(values) if not value > SIGMAS * error]
    words = f"Sources with values of normal shape: {_listed(gaussian)}"
    if data.timed:
        moves = [_shape(column) for column in innovations(S, data).T]
        told |= {"innovations": [value for value, _ in moves], "innovation_errors": [error for _, error in moves]}
        normal = [i for i, (value, error) in enumerate(moves) if not value > SIGMAS * error]
        words += f"; with innovations of normal shape: {_listed(normal)}"
        told |= {"normal_innovations": normal}
    return Test(
        "gaussianity",
        "At most one source is Gaussian",
        len(gaussian) < 2,
        f"{words}. Linear ICA of single frames needs at most one of the first kind, the contrast of pairs at most one"
        " of the second.",
        float(max(value for value, _ in values)),
        details=told | {"normal_values": gaussian},
    )


def rate_ratio_test(S: np.ndarray, data: Given) -> Test:
    """κ₃/κ₂ of each source's transfer operator: exactly 2 for an Ornstein–Uhlenbeck process, more for several wells."""
    ratios = [rate_ratio(column, data.replicas, data.lag) for column in S.T]
    told = [f"{value:.2f} ± {error:.2f}" if np.isfinite(value) else "unknown" for value, error in ratios]
    known = [value for value, _ in ratios if np.isfinite(value)]
    like_ou = [i for i, (value, error) in enumerate(ratios) if abs(value - 2) < max(SIGMAS * error, 0.2)]
    return Test(
        "rate_ratio",
        "Relaxation of each source",
        None,
        f"Ratio of the second to the first relaxation rate, by source: {', '.join(told)}. A harmonic mode in a bath has"
        f" 2, motion between wells more; as a harmonic mode relax: {_listed(like_ou)}.",
        min(known, default=None),
        2.0,
        details={"ratios": [value for value, _ in ratios], "errors": [error for _, error in ratios]},
    )


def rate_ratio(s: np.ndarray, replicas: np.ndarray, lag: int = 1) -> tuple[float, float]:
    """κ₃/κ₂ of a series (frame,) and its standard error, where κ_k = −ln λ_k / τ of its transfer operator.

    λ are generalised eigenvalues of the symmetrised covariances of 14 functions of two frames τ apart (variational
    principle of conformation dynamics, Noé & Nüske 2013); the error is a jackknife over 16 blocks. NaN where λ₃
    cannot be told from noise.
    """
    first = pairs(replicas, lag)
    phi = _basis(s)
    blocks = np.array_split(np.arange(len(first)), N_BLOCKS)
    instant, lagged = [], []
    for block in blocks:
        a, b = phi[first[block]], phi[first[block] + lag]
        instant.append(a.T @ a + b.T @ b)
        lagged.append(a.T @ b + b.T @ a)
    all_instant, all_lagged = np.sum(instant, axis=0), np.sum(lagged, axis=0)
    value, small = _ratio(all_instant, all_lagged)
    if small < 3 / np.sqrt(len(first)):  # of noise alone, λ are of this size
        return float("nan"), float("nan")
    without = [_ratio(all_instant - i, all_lagged - c)[0] for i, c in zip(instant, lagged, strict=True)]
    error = np.sqrt((N_BLOCKS - 1) * np.nanvar(without))
    return value, float(error)


def _ratio(instant: np.ndarray, lagged: np.ndarray) -> tuple[float, float]:
    value, vector = np.linalg.eigh(instant)
    keep = value > 1e-8 * value[-1]
    white = vector[:, keep] / np.sqrt(value[keep])
    found = np.linalg.eigvalsh(white.T @ lagged @ white)[::-1]
    one, two = found[1], found[2]  # found[0] is the stationary one, 1
    if not 0 < two < one < 1:
        return float("nan"), float(two)
    return float(np.log(two) / np.log(one)), float(two)


def _basis(s: np.ndarray) -> np.ndarray:
    """1, s, s², s³ of values drawn in to four deviations, and hats between quantiles (frame, 14)."""
    z = (s - s.mean()) / max(s.std(), 1e-300)
    z = np.clip(z, -5, 5)
    knots = np.quantile(z, np.linspace(0.02, 0.98, N_FUNCTIONS - 4))
    bends = np.maximum(z[:, None] - knots, 0)
    phi = np.concatenate([np.stack([np.ones_like(z), z, z**2, z**3], axis=1), bends], axis=1)
    phi[:, 1:] /= np.maximum(phi[:, 1:].std(0), 1e-12)  # hats beyond all of a few values are 0
    return phi


def separation_test(S: np.ndarray, data: Given) -> Test:
    """Whether any two sources differ in their autocorrelations, in level and in what does not depend on noise.

    White noise lowers all autocorrelations of a source by one factor, so that ρ(2τ)/ρ(τ) is free of it: where only
    levels differ, the axes may be those of the noise.
    """
    n = S.shape[1]
    level, shape, level_error, shape_error = autocorrelations(S, data)
    apart = np.abs(level[:, None] - level) / np.maximum(np.hypot(level_error[:, None], level_error), 1e-12)
    shaped = np.abs(shape[:, None] - shape) / np.maximum(np.hypot(shape_error[:, None], shape_error), 1e-12)
    upper = np.triu_indices(n, 1)
    if n < 2:
        return Test("separation", "Autocorrelations differ", None, "One source has none to differ from.")
    least = float(apart[upper].min())
    told = ", ".join(f"{value:.3f} ± {error:.3f}" for value, error in zip(level, level_error, strict=True))
    only_levels = bool(((apart > SIGMAS) & ~(shaped > SIGMAS))[upper].any())
    words = (
        " Some pairs differ in level alone, as unequal noise would make them." if only_levels and least > SIGMAS else ""
    )
    return Test(
        "separation",
        "Autocorrelations differ",
        least > SIGMAS,
        f"Autocorrelations at lag {data.lag}: {told}. The closest two differ by {least:.1f} standard errors; SOBI and"
        f" TICA need {SIGMAS:.0f}.{words}",
        least,
        SIGMAS,
        details={
            "autocorrelation": level, "error": level_error, "decay": shape, "decay_error": shape_error,
            "apart": apart, "decay_apart": shaped,
        },
    )  # fmt: skip


def autocorrelations(S: np.ndarray, data: Given) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """ρ(τ) and ρ(2τ)/ρ(τ) of each source (component,), then their standard errors by a jackknife over 16 blocks."""
    z = (S - S.mean(0)) / np.maximum(S.std(0), 1e-300)
    lags = [data.lag, 2 * data.lag] if np.bincount(data.replicas).max() > 2 * data.lag else [data.lag, data.lag]
    sums, scales = [], []
    for lag in lags:
        blocks = np.array_split(pairs(data.replicas, lag), N_BLOCKS)
        sums.append(np.array([(z[block] * z[block + lag]).sum(0) for block in blocks]))
        scales.append(np.array([0.5 * (z[block] ** 2 + z[block + lag] ** 2).sum(0) for block in blocks]))

    def of(keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        one, two = (total[keep].sum(0) / scale[keep].sum(0) for total, scale in zip(sums, scales, strict=True))
        return one, two / np.where(np.abs(one) > 1e-6, one, 1e-6)

    level, shape = of(np.ones(N_BLOCKS, dtype=bool))
    without = [of(np.arange(N_BLOCKS) != k) for k in range(N_BLOCKS)]
    errors = [np.sqrt((N_BLOCKS - 1) * np.var([each[i] for each in without], axis=0)) for i in (0, 1)]
    return level, shape, errors[0], errors[1]


def stationarity_test(S: np.ndarray, data: Given, rng: np.random.Generator) -> Test:
    """Whether mean and spread of each source stay the same over the data, against blocks in random order.

    Statistic: correlation of block means, and of block deviations, with their position; blocks of one replica follow
    one another, so that a drift within replicas shows too.
    """
    blocks = [np.flatnonzero(mask) for mask in data.parts(N_BLOCKS)]
    position = np.arange(len(blocks)) - (len(blocks) - 1) / 2
    summary = np.array([np.r_[S[block].mean(0), np.log(S[block].std(0) + 1e-12)] for block in blocks])
    summary -= summary.mean(0)

    def drift(order: np.ndarray) -> np.ndarray:
        spread = np.linalg.norm(summary, axis=0) * np.linalg.norm(position)
        return np.abs(position[order] @ summary) / np.maximum(spread, 1e-12)

    found = drift(np.arange(len(blocks)))
    null = np.array([drift(rng.permutation(len(blocks))).max() for _ in range(N_PERMUTED)])
    largest, threshold = float(found.max()), float(np.quantile(null, 0.95))
    p = float((1 + (null >= largest).sum()) / (1 + N_PERMUTED))
    which = int(found.argmax()) % S.shape[1]
    says = "drifts" if p < 0.05 else "shows no drift"
    return Test(
        "stationarity",
        "Sources are stationary",
        p >= 0.01,
        f"Source {which} {says}: mean or spread of {N_BLOCKS} blocks follow their order with correlation"
        f" {largest:.2f}, where blocks in random order reach {threshold:.2f} (p = {p:.3f}).",
        largest,
        threshold,
        p,
    )


def _shape(x: np.ndarray) -> tuple[float, float]:
    """How far a series is from normal shape, and the standard error: correlation lacking between x and normal scores.

    1 − corr(x, Φ⁻¹(rank))² over blocks, less what normal values of that length give.
    """
    blocks = np.array_split(x, N_BLOCKS)
    lacking = np.array([1 - np.corrcoef(np.sort(block), _scores(len(block)))[0, 1] ** 2 for block in blocks])
    lacking -= _normal_lacks(len(blocks[0]))
    return float(lacking.mean()), float(lacking.std(ddof=1) / np.sqrt(N_BLOCKS))


def _scores(n: int) -> np.ndarray:
    return norm.ppf((np.arange(n) + 0.5) / n)


def _normal_lacks(n: int) -> float:
    draws = np.sort(np.random.default_rng(0).normal(size=(50, n)), axis=1)
    return float(np.mean([1 - np.corrcoef(draw, _scores(n))[0, 1] ** 2 for draw in draws]))


def _listed(which: list[int]) -> str:
    return ", ".join(map(str, which)) if which else "none"
