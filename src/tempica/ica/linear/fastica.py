"""Linear unmixing by non-Gaussian marginals."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.utils.validation import check_is_fitted

from tempica.errors import DataError
from tempica.ica.base import LinearUnmixing, check_n_components, covariance_about, whitening
from tempica.series import check_replicas


class FastICA(LinearUnmixing):
    """Independent component analysis of frames without their order: scikit-learn's FastICA, with the room's API.

    Identifies linearly mixed sources of which one at most is Gaussian (Hyvärinen 1999). Time is not used: `replicas`
    is taken and checked so that all estimators can be called alike.

    Parameters:
        n_components: number of sources: so many leading principal components are unmixed; all directions that vary
            when None.
        fun: contrast function, "logcosh", "exp" or "cube".
        max_iter: iterations at most. scikit-learn's ConvergenceWarning comes through; Gaussian sources cause it.
        tol: change of a direction below which it is taken as settled.
        random_state: seed of the start.

    Attributes:
        components_: (component, feature) W, least Gaussian first.
        mean_: (feature,) of the frames.
        negentropy_: (component,) in nats.
        n_iter_: iterations made.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        fun: Literal["logcosh", "exp", "cube"] = "logcosh",
        max_iter: int = 1000,
        tol: float = 1e-4,
        random_state: Any = 0,
    ) -> None:
        self.n_components = n_components
        self.fun = fun
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, *, replicas: Any = None) -> FastICA:
        """Fit to frames X (frame, feature); `replicas` (frame,) are checked and not used.

        Raises DataError for constant features, fewer frames than features or more components than directions.
        """
        from sklearn.decomposition import FastICA as Rotation

        X = self._frames(X, fitting=True)
        check_replicas(replicas, len(X))
        mean, white = whitening(X)
        n_components = check_n_components(self.n_components, len(white), X.shape[1])
        if len(X) <= X.shape[1]:
            raise DataError(f"{len(X)} frames are too few to unmix {X.shape[1]} features. Give more frames.")
        white = white[:n_components]
        rotation = Rotation(
            whiten=False, fun=self.fun, max_iter=self.max_iter, tol=self.tol, random_state=self.random_state
        )
        Z = (X - mean) @ white.T
        rotation.fit(Z)
        self.n_iter_ = rotation.n_iter_
        negentropy = _negentropy(Z @ rotation.components_.T)
        order = np.argsort(-negentropy, kind="stable")
        self.negentropy_ = negentropy[order]
        self._settle(mean, rotation.components_[order] @ white)
        return self

    def score(self, X: Any, y: Any = None, *, replicas: Any = None) -> float:
        """Σ_i J(s_i) + ½ ln det corr(s) in nats: minus the mutual information of the sources of X, up to a constant.

        J is the negentropy in Hyvärinen's approximation (NIPS 1998). Ask it of frames that were not fitted; higher
        is better, and only scores of equally many components of the same frames compare.
        """
        check_is_fitted(self)
        S = self.transform(X).astype(np.float64)
        S -= S.mean(0)
        S /= np.maximum(S.std(0), 1e-300)
        return float(_negentropy(S).sum() + 0.5 * np.linalg.slogdet(covariance_about(S, S.mean(0)))[1])


def fastica_directions(changes: np.ndarray, n: int) -> np.ndarray:
    """Rows (n, K) of the most independent directions of changes (pair, K)."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a start only, or judged by its held-out score
        try:
            found = FastICA(n, max_iter=300, tol=1e-3).fit(changes).components_
        except DataError:  # fewer directions change than frames have
            return np.eye(n, changes.shape[1])
    return found


def _negentropy(S: np.ndarray) -> np.ndarray:
    """J ≈ k₁ ⟨s exp(−s²/2)⟩² + k₂ (⟨exp(−s²/2)⟩ − √½)² of standardised columns (frame, component)."""
    bell = np.exp(-0.5 * S**2)
    odd = 36 / (8 * np.sqrt(3) - 9) * (S * bell).mean(0) ** 2
    return odd + 24 / (16 * np.sqrt(3) - 27) * (bell.mean(0) - np.sqrt(0.5)) ** 2
