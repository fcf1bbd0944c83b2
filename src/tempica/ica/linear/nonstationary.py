"""Linear unmixing by variances that change: from segment to segment, or from condition to condition."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.utils.validation import check_is_fitted

from tempica.errors import DataError
from tempica.ica.base import LinearUnmixing, check_n_components, covariance_about, whitening
from tempica.ica.labels import check_labels, cut_into_segments, either
from tempica.series import check_replicas


class NonstationaryICA(LinearUnmixing):
    """Rows W that make the covariances of all segments diagonal at once.

    W minimises Σ_k w_k ½ (ln det diag(W C_k Wᵀ) − ln det W C_k Wᵀ), C_k the covariance of segment k and w_k its share
    of the frames: the negative likelihood of independent normal sources whose variances change from segment to
    segment, and, whatever their distribution, a contrast that only true sources make zero (Pham & Cardoso, IEEE
    Trans. Signal Process. 49, 1837, 2001). Identifies linearly mixed sources no two of which keep the same ratio of
    variances throughout. W need not be a rotation. A covariance of N frames is drawn towards that of all frames by
    n/(N + n), so that segments of few frames do no harm.

    Parameters:
        n_components: number of sources, those with the largest `modulation_`; all directions that vary when None, as
            many as `count_sources` finds when "auto".
        n_segments: number of segments that are made when `fit` is given no labels; as many as leave 20 frames a
            feature, 256 at most, when None.

    Attributes:
        components_: (component, feature) W, most modulated first.
        mean_: (feature,) of the frames.
        labels_: the labels of the fit, sorted.
        variance_: (label, component) of the sources.
        modulation_: (component,) standard deviation of the logarithm of `variance_`, weighted by the frames.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> scale = np.repeat(rng.uniform(0.2, 2, size=(40, 2)), 100, axis=0)
        >>> sources = scale * rng.normal(size=(4000, 2))
        >>> S = NonstationaryICA().fit_transform(sources @ np.array([[1.0, 0.5], [0.3, 1.0]]))
        >>> np.abs(np.corrcoef(S.T, sources.T)[:2, 2:]).max(0).round(1).tolist()
        [1.0, 1.0]
    """

    def __init__(self, n_components: int | Literal["auto"] | None = None, *, n_segments: int | None = None) -> None:
        self.n_components = n_components
        self.n_segments = n_segments

    def fit(self, X: Any, y: Any = None, *, labels: Any = None, replicas: Any = None) -> NonstationaryICA:
        """Fit to frames X (frame, feature).

        Parameters:
            labels: (frame,) of the segment or condition of each frame; also as the second argument, y, so that they
                pass through a Pipeline. When None, each replica is cut into segments of equal length.
            replicas: label (frame,) of the series of each frame; one series when None.

        Raises DataError for one segment only, constant features or more components than directions that vary.
        """
        from tempica.ica.linear.joint import rotate, unmix

        X = self._frames(X, fitting=True)
        mean, white = whitening(X)
        names, number = self._numbers(either(y, labels), replicas, X)

        def count() -> int:
            from tempica.ica.linear.dimension import count_sources

            return count_sources(X, labels=number).n

        n_components = check_n_components(self.n_components, len(white), X.shape[1], count)
        share, covariance = _segment_covariances(X, mean, white, number)
        turn = np.eye(len(white))
        weighed = covariance * share[:, None, None]
        rotate(weighed, turn, 1e-6, 200)  # a start, from which the likelihood goes on
        if unmix(turn @ covariance @ turn.T, share, turn, 1e-14, 500) < 0:
            raise DataError(
                "Joint diagonalisation did not settle in 500 sweeps: some segments' covariances are nearly singular."
                " Give longer segments or fewer features."
            )
        turn /= np.linalg.norm(turn, axis=1, keepdims=True)
        variance = np.einsum("ci,kij,cj->kc", turn, covariance, turn)
        log = np.log(variance)
        modulation = np.sqrt(share @ (log - share @ log) ** 2)
        order = np.argsort(-modulation, kind="stable")[:n_components]
        self._settle(mean, turn[order] @ white)
        self.labels_, self.variance_, self.modulation_ = names, variance[:, order], modulation[order]
        return self

    def score(self, X: Any, y: Any = None, *, labels: Any = None, replicas: Any = None) -> float:
        """Minus the dependence (nats a frame) left between the components of X within segments: 0 at best.

        The criterion of the fit, for segments that may be others. Ask it of frames that were not fitted.
        """
        check_is_fitted(self)
        S = self.transform(X)
        mean, n = S.mean(0, dtype=np.float64), S.shape[1]
        share, covariance = _segment_covariances(S, mean, np.eye(n), self._numbers(either(y, labels), replicas, S)[1])
        diagonal = np.log(np.diagonal(covariance, axis1=1, axis2=2)).sum(1)
        return float(-0.5 * share @ (diagonal - np.linalg.slogdet(covariance)[1]))

    def _numbers(self, labels: Any, replicas: Any, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Names (segment,) of the segments, and the number of each frame's (frame,)."""
        if labels is None:
            n_segments = self.n_segments
            if n_segments is None:
                n_segments = int(np.clip(len(X) // (20 * X.shape[1]), 2, 256))
            labels = cut_into_segments(check_replicas(replicas, len(X)), n_segments)
        else:
            labels = check_labels(labels, len(X))
        names, number = np.unique(labels, return_inverse=True)
        if len(names) < 2:
            raise DataError(
                f"All {len(X)} frames are of one segment; variances that differ between segments are what tells"
                " sources apart. Give two or more, or none, so that they are made."
            )
        return names, number


def _segment_covariances(
    X: np.ndarray, mean: np.ndarray, white: np.ndarray, number: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share of frames (segment,) and covariance (segment, n, n) of each segment, about its own mean, shrunk."""
    order, count = np.argsort(number, kind="stable"), np.bincount(number)
    n, end = len(white), np.cumsum(count)
    pooled = white @ covariance_about(X, mean) @ white.T
    found = np.empty((len(count), n, n))
    for k, (start, stop) in enumerate(zip(end - count, end, strict=True)):
        Z = (X[order[start:stop]] - mean) @ white.T
        Z -= Z.mean(0)
        found[k] = (Z.T @ Z + n * pooled) / (count[k] + n)
    return count / len(number), found
