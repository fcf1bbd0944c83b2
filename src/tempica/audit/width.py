"""How much a single frame tells of each source, and how much its neighbours add."""

from __future__ import annotations

import numpy as np

from tempica.audit.given import Given
from tempica.audit.results import RECOVERED, Test


def width_test(S: np.ndarray, data: Given) -> Test:
    """Posterior width of each source from the covariances of the frames, over its spread.

    The covariance Σ of a frame becomes wᵀ Σ w for the best linear map w of frames onto a source; a source of unit
    spread, of which v is noise, correlates at √(1 − v) with what was seen without. Neighbours help where frames are
    correlated: the share of noise that is left then is that of a Kalman smoother of the source's autocorrelation.
    """
    if data.covariance is None:
        return Test("width", "Frames tell the sources", None, "No covariance of the frames is known.")
    centred = data.X - data.X.mean(0)
    map_ = np.linalg.lstsq(centred, S - S.mean(0), rcond=None)[0]
    noise = np.mean(np.einsum("...ij,ik,jk->...k", data.covariance, map_, map_).reshape(-1, S.shape[1]), axis=0)
    share = np.clip(noise / np.maximum(S.var(0), 1e-300), 0, 1)
    ceiling = np.sqrt(1 - share)
    smoothed = np.sqrt(1 - _after_smoothing(S, share, data)) if data.timed else ceiling
    least = float(smoothed.min())
    told = ", ".join(f"{one:.2f}" for one in ceiling)
    more = f"; with their neighbours: {', '.join(f'{one:.2f}' for one in smoothed)}" if data.timed else ""
    return Test(
        "width",
        "Frames tell the sources",
        least > RECOVERED,
        f"By the covariances of the frames, single frames can tell the sources at a correlation of {told}{more}.",
        least,
        RECOVERED,
        details={"single": ceiling, "smoothed": smoothed, "noise": share},
    )


def _after_smoothing(S: np.ndarray, share: np.ndarray, data: Given) -> np.ndarray:
    """Share of noise (component,) left after smoothing an AR(1) of the clean source's correlation, over a long series.

    With r noise over signal and a the coefficient, the filter's error P solves P = Q r / (Q + r), Q = a² P + 1 − a²,
    and the smoother's is 1 / (2 / P − 1 / r − 1).
    """
    from tempica.audit.dynamics import autocorrelations

    level = autocorrelations(S, data)[0]
    signal = np.maximum(1 - share, 1e-6)
    a = np.clip(level / signal, 0, 0.9999)
    r = np.maximum(share / signal, 1e-9)
    P = r / (1 + r)
    for _ in range(500):
        Q = a**2 * P + 1 - a**2
        P = Q * r / (Q + r)
    # two filters, from before and after, share the frame itself and the prior
    after = 1 / (2 / P - 1 / r - 1)
    return np.clip(after, 0, 1)
