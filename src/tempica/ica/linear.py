"""Linear unmixing by temporal structure."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from tempica.errors import DataError
from tempica.ica.base import TemporalEstimator, check_replicas, pairs, whitening


class TICA(TemporalEstimator):
    """Time-lagged independent component analysis: the slowest uncorrelated directions.

    With C₀ the covariance of the frames and C_τ = ½ (⟨x_t x_{t+τ}ᵀ⟩ + ⟨x_{t+τ} x_tᵀ⟩), the components w solve
    C_τ w = λ C₀ w; λ is the source's autocorrelation at the lag. Several lags are used together by averaging
    their C_τ. Identifies linearly mixed sources whose autocorrelations differ, and only those (Molgedey &
    Schuster 1994; Pérez-Hernández et al. 2013).

    Parameters: `n_components`, all that vary when None; `lag`, one or several numbers of frames.
    Attributes: `components_` (component, feature), `mean_` (feature,), `autocorrelation_` (component,),
    `timescales_` = −τ / ln λ in frames, from λ at the first lag alone (0 where λ ≤ 0).

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> slow = np.convolve(rng.normal(size=3000), np.ones(50) / 50, mode="same")
        >>> X = np.stack([slow + rng.normal(size=3000), slow - rng.normal(size=3000)], axis=1)
        >>> S = TICA(n_components=1).fit_transform(X)
        >>> bool(abs(np.corrcoef(S[:, 0], slow)[0, 1]) > abs(np.corrcoef(X[:, 0], slow)[0, 1]))
        True
    """

    def __init__(self, n_components: int | None = None, *, lag: int | tuple[int, ...] = 1) -> None:
        self.n_components = n_components
        self.lag = lag

    def fit(self, X: Any, y: Any = None, *, replicas: Any = None) -> TICA:
        """Fit to frames X (frame, feature); `replicas` (frame,) labels which series each belongs to.

        Raises DataError for too short series, constant features or more components than directions that vary.
        """
        X = self._frames(X, fitting=True)
        labels = check_replicas(replicas, len(X))
        lags = (self.lag,) if isinstance(self.lag, Integral) else tuple(self.lag)  # type: ignore[arg-type]
        if not (lags and all(isinstance(lag, Integral) for lag in lags)):
            raise DataError(f"lag = {self.lag!r} must be a whole number of frames, or several.")
        mean, white = whitening(X)
        n_components = len(white) if self.n_components is None else self.n_components
        if not 1 <= n_components <= len(white):
            raise DataError(
                f"n_components = {n_components} must be from 1 to {len(white)}, the number of directions in which"
                f" the {X.shape[1]} features vary."
            )
        Z = (X - mean) @ white.T
        lagged = np.array([_lagged_covariance(Z, labels, int(lag)) for lag in lags])
        value, vector = np.linalg.eigh(lagged.mean(0))
        value, vector = value[::-1][:n_components], vector[:, ::-1][:, :n_components]
        unmixing = vector.T @ white
        unmixing *= np.sign(unmixing[np.arange(n_components), np.abs(unmixing).argmax(1)])[:, None]
        self.mean_, self.components_, self.autocorrelation_ = mean, unmixing, value
        at_first = np.einsum("zc,zy,yc->c", vector, lagged[0], vector)
        positive = np.clip(at_first, 1e-300, 1 - 1e-12)
        self.timescales_ = np.where(at_first > 0, -lags[0] / np.log(positive), 0.0)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Sources (frame, component), uncorrelated and of unit variance on the frames of the fit."""
        check_is_fitted(self)
        return (self._frames(X, fitting=False) - self.mean_) @ self.components_.T

    def transform_covariance(self, X: Any, covariance: np.ndarray) -> np.ndarray:
        """Covariance W Σ Wᵀ (frame, component, component) of the sources of frames with covariance Σ."""
        check_is_fitted(self)
        return self.components_ @ np.asarray(covariance) @ self.components_.T

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)


def _lagged_covariance(Z: np.ndarray, labels: np.ndarray, lag: int) -> np.ndarray:
    first = pairs(labels, lag)
    product = Z[first].T @ Z[first + lag] / len(first)
    return 0.5 * (product + product.T)
