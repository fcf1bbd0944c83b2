"""At which lag pairs of frames tell the sources apart best."""

from __future__ import annotations

import numpy as np

from tempica.audit.given import Given
from tempica.audit.results import Test
from tempica.series import pairs

SCANNED = (1, 2, 3, 5, 8, 12, 20, 30, 50)  # times the lag of the audit
N_BLOCKS = 16


def lag_test(S: np.ndarray, data: Given, finder: str) -> Test:
    """Scan of lags: what a pair tells of each source, and how far apart autocorrelations are, with a lag to use.

    A pair tells −½ ln(1 − ρ²) nats of a Gaussian source, with ρ the correlation of normal scores. Where the
    autocorrelations have given the axes, that lag is best at which the closest two are most standard errors apart;
    elsewhere, the longest at which a pair still tells half of what the shortest does, since frames closer than that
    repeat one another.
    """
    longest = int(np.bincount(data.replicas).max())
    lags = [data.lag * k for k in SCANNED if data.lag * k < longest / 4] or [data.lag]
    rows = [_at(S, data, lag) for lag in lags]
    told = np.array([row[0] for row in rows])  # (lag,)
    apart = np.array([row[1] for row in rows])
    if finder == "spectra" and S.shape[1] > 1:
        best = int(apart.argmax())
        why = f"the closest two autocorrelations are {apart[best]:.1f} standard errors apart there"
    else:
        enough = np.flatnonzero(told >= 0.5 * told[0])
        best = int(enough.max())
        why = f"a pair still tells {told[best]:.2f} nats there, of {told[0]:.2f} at lag {lags[0]}"
    low, high = rows[best][2]
    return Test(
        "lags",
        "Lag",
        None,
        f"Of lags {', '.join(map(str, lags))}, take {lags[best]}: {why}.",
        float(lags[best]),
        interval=(low, high),
        details={"lags": lags, "information": told, "apart": apart, "recommended": lags[best]},
    )


def _at(S: np.ndarray, data: Given, lag: int) -> tuple[float, float, tuple[float, float]]:
    """Mean information of a pair, separation of the closest two in standard errors, and the interval of the former."""
    first = pairs(data.replicas, lag)
    z = (S - S.mean(0)) / np.maximum(S.std(0), 1e-300)
    blocks = [block for block in np.array_split(first, N_BLOCKS) if len(block)]
    scale = np.array([0.5 * (z[block] ** 2 + z[block + lag] ** 2).mean(0) for block in blocks])
    rho = np.array([(z[block] * z[block + lag]).mean(0) for block in blocks]) / np.maximum(scale, 1e-300)
    mean, error = rho.mean(0), rho.std(0, ddof=1) / np.sqrt(len(rho))
    told = _nats(mean)
    n = len(mean)
    gap = np.abs(mean[:, None] - mean) / np.maximum(np.hypot(error[:, None], error), 1e-12)
    closest = float(gap[np.triu_indices(n, 1)].min()) if n > 1 else float("nan")
    return float(told.mean()), closest, (float(_nats(mean - 2 * error).mean()), float(_nats(mean + 2 * error).mean()))


def _nats(rho: np.ndarray) -> np.ndarray:
    return -0.5 * np.log1p(-(np.clip(rho, 0, 0.999999) ** 2))
