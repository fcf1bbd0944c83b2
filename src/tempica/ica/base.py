"""What all estimators share: checks of their input, and pairs of frames that never cross a replica."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from tempica.errors import DataError, ParameterError
from tempica.ica.joining import joining_lists, keeping_lists
from tempica.ica.options import FIELDS
from tempica.series import pairs, standard_error

FOUND = 4  # standard errors of held-out information that is no accident
TRANSFORM_STAGES = ("sources", "features", "signed")


class TemporalEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Base of estimators that read sources off series of frames.

    Frames are arrays, tensors or memory maps (frame, feature); float32 is kept, all else becomes float64. A list of
    them, as in `fit([X1, X2])`, is several replicas; `transform` gives a list for a list.

    Words that mean the same in all estimators:
        n_components: number of sources; None, the default, is every direction in which the frames vary.
        replicas: label (frame,) of the series that each frame belongs to; pairs of frames do not leave it.
        labels: label (frame,) of the segment or condition of each frame, the second argument of `fit` (also `y`).
        validation: mask (frame,) of frames that give no gradients.
        stage: what `transform` returns. "sources" are the estimate; "features" what the network found before a second,
            linear stage (the sources, where there is none); "signed" the sources with their signs, where "sources" has
            lost them (TCL's |s|), else the same.
    """

    __signature__: inspect.Signature

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, of_lists in (("fit", joining_lists), ("score", joining_lists), ("transform", keeping_lists)):
            if name in cls.__dict__:
                setattr(cls, name, of_lists(cls.__dict__[name]))
        # of a class that inherits its parameters, some versions of Python take that of __new__ below
        _, *parameters = inspect.signature(cls.__init__).parameters.values()
        cls.__signature__ = inspect.Signature(parameters)

    def __new__(cls, *args: Any, **parameters: Any) -> Any:
        # Python's own message would not say where an option of training has gone
        known = list(inspect.signature(cls.__init__).parameters)[1:]
        for name, value in parameters.items():
            if name not in known:
                raise ParameterError(_unknown(cls.__name__, name, value, known))
        return super().__new__(cls)

    def _frames(self, X: Any, *, fitting: bool) -> np.ndarray:
        if hasattr(X, "detach"):  # a tensor, whatever its device, without importing torch
            X = X.detach().cpu().numpy()
        return validate_data(
            self,
            X,
            reset=fitting,
            dtype=[np.float64, np.float32],
            ensure_min_samples=2 if fitting else 1,
            ensure_min_features=1,
        )


class LinearUnmixing(TemporalEstimator):
    """Base of estimators whose sources are (x − mean) Wᵀ: `mean_` (feature,), `components_` W (component, feature)."""

    mean_: np.ndarray
    components_: np.ndarray

    def transform(self, X: Any, *, stage: str = "sources") -> np.ndarray:
        """Sources (frame, component), of unit variance on the frames of the fit; float32 for float32 frames.

        They are the same at every `stage`.
        """
        check_is_fitted(self)
        check_transform_stage(stage)
        return linear_map(self._frames(X, fitting=False), self.mean_, self.components_)

    def transform_covariance(self, X: Any, covariance: Any, *, stage: str = "sources") -> np.ndarray:
        """Covariance W Σ Wᵀ (frame, component, component) of the sources of frames with covariance Σ."""
        check_is_fitted(self)
        check_transform_stage(stage)
        return transformed(self.components_, covariance)

    def _settle(self, mean: np.ndarray, unmixing: np.ndarray) -> None:
        """Keep the map; each component's largest weight is made positive."""
        largest = unmixing[np.arange(len(unmixing)), np.abs(unmixing).argmax(1)]
        self.mean_, self.components_ = mean, unmixing * np.sign(largest)[:, None]

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def check_transform_stage(stage: Any) -> None:
    """Raises DataError for a word that `transform` does not know."""
    if stage not in TRANSFORM_STAGES:
        raise DataError(f"stage = {stage!r} must be {', '.join(TRANSFORM_STAGES)}.")


def _unknown(estimator: str, name: str, value: Any, known: list[str]) -> str:
    """What to say of a keyword that a constructor does not have."""
    if name in FIELDS and "training" in known:
        where = f"give training=Training({name}={value!r})"
    else:
        where = f"it takes {', '.join(known)}"
    return f"{estimator} has no parameter {name}; {where}."


def check_n_components(
    n_components: Any, n_directions: int, n_features: int, count: Callable[[], int] | None = None
) -> int:
    """The number itself; every direction that varies when None; what `count` finds when "auto".

    Raises DataError when there are not as many, or when none is found.
    """
    found = n_directions if n_components is None else n_components
    if n_components == "auto" and count is not None:
        found = min(count(), n_directions)
        if found == 0:
            raise DataError(
                "No direction of the frames depends on time or label beyond chance; there is no source to find. Give"
                " more frames, another lag, or n_components."
            )
    if not isinstance(found, (int, np.integer)) or not 1 <= found <= n_directions:
        raise DataError(
            f"n_components = {found!r} must be from 1 to {n_directions}, the number of directions in which the"
            f" {n_features} features vary."
        )
    return int(found)


def check_validation(validation: Any, n_frames: int) -> np.ndarray | None:
    """A mask (frame,) of held-out frames, or None. Raises DataError when it does not mark each frame."""
    if validation is None:
        return None
    mask = np.asarray(validation, dtype=bool)
    if mask.shape != (n_frames,):
        raise DataError(f"validation has shape {mask.shape}; it must mark each of the {n_frames} frames.")
    return mask


def check_seed(random_state: Any) -> int:
    """A whole number from which torch's generators start. Raises DataError for anything else."""
    if not (isinstance(random_state, Integral) and -(2**63) <= int(random_state) < 2**63):
        raise DataError(f"random_state = {random_state!r} must be a whole number, of 63 bits at most.")
    return int(random_state)


def check_lags(lag: Any) -> tuple[int, ...]:
    """One or several lags as a tuple. Raises DataError for what is no whole number."""
    lags = (lag,) if isinstance(lag, Integral) else tuple(lag) if np.iterable(lag) else ()
    if not (lags and all(isinstance(each, Integral) for each in lags)):
        raise DataError(f"lag = {lag!r} must be a whole number of frames, or several.")
    return tuple(int(each) for each in lags)


def tells_nothing(information: np.ndarray) -> bool:
    """Whether held-out information (item,) in nats is within four standard errors of none; exactly none is as well."""
    return not information.mean() > FOUND * standard_error(information)


def transformed(jacobian: np.ndarray, covariance: Any) -> np.ndarray:
    """J Σ Jᵀ (frame, component, component) of Σ (frame, feature, feature), or one for all; J of each frame, or one.

    Raises DataError for a covariance that does not fit.
    """
    covariance, n = np.asarray(covariance), jacobian.shape[-1]
    frames = ((), *([jacobian.shape[:-2]] if jacobian.ndim > 2 else [covariance.shape[:1]]))
    if covariance.shape[-2:] != (n, n) or covariance.shape[:-2] not in frames:
        wanted = f"({len(jacobian) if jacobian.ndim > 2 else 'frame'}, {n}, {n})"
        raise DataError(f"covariance has shape {covariance.shape}; these frames need {wanted}, or ({n}, {n}) for all.")
    return jacobian @ covariance @ np.swapaxes(jacobian, -1, -2)


def in_blocks(n_frames: int, n_features: int) -> Iterator[slice]:
    """Slices of about 32 MB of float64, so that a memory map is never copied as a whole."""
    size = max(1024, 4_000_000 // n_features)
    return (slice(start, start + size) for start in range(0, n_frames, size))


def linear_map(X: np.ndarray, mean: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(x − mean) Wᵀ of every frame, (frame, component), in X's own precision."""
    out = np.empty((len(X), len(matrix)), dtype=X.dtype)
    for block in in_blocks(*X.shape):
        out[block] = (X[block] - mean) @ matrix.T
    return out


def lagged_covariance(X: np.ndarray, mean: np.ndarray, labels: np.ndarray, lag: int) -> np.ndarray:
    """½ (⟨x_t x_{t+τ}ᵀ⟩ + ⟨x_{t+τ} x_tᵀ⟩) (feature, feature) over all pairs within a replica, means taken off.

    Raises DataError when there is no pair.
    """
    return _second_moment(X, mean, pairs(labels, lag), lag)


def covariance_about(X: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """⟨(x − mean)(x − mean)ᵀ⟩ (feature, feature) of all frames."""
    return _second_moment(X, mean, np.arange(len(X)), 0)


def _second_moment(X: np.ndarray, mean: np.ndarray, first: np.ndarray, lag: int) -> np.ndarray:
    total = np.zeros((X.shape[1], X.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        for block in in_blocks(len(first), X.shape[1]):
            total += (X[first[block]] - mean).T @ (X[first[block] + lag] - mean)
    if not np.isfinite(total).all():
        raise DataError(f"Values of up to {np.abs(X).max():g} have squares that are not finite. Change the unit.")
    return 0.5 * (total + total.T) / len(first)


def whitening(X: np.ndarray, relative_cutoff: float = 1e-10) -> tuple[np.ndarray, np.ndarray]:
    """Mean (feature,) and matrix (component, feature) to uncorrelated unit variance, without null directions.

    Raises DataError when no feature varies.
    """
    blocks = list(in_blocks(*X.shape))
    mean = sum(X[block].sum(0, dtype=np.float64) for block in blocks) / len(X)
    largest = np.max([np.abs(X[block]).max(0) for block in blocks], axis=0)
    covariance = covariance_about(X, mean)
    deviation = np.sqrt(np.diagonal(covariance))
    # rounding alone gives a constant feature a deviation of about 1e-16 of its mean
    varies = deviation > 1e-12 * largest
    if not varies.any():
        raise DataError(
            f"All {X.shape[1]} features are constant over {len(X)} frames; there is nothing to unmix."
            " Give features that vary."
        )
    # in units of each feature's own deviation, so that the cutoff does not depend on the features' units
    scale = np.where(varies, deviation, 1.0)
    value, vector = np.linalg.eigh(covariance / np.outer(scale, scale) * np.outer(varies, varies))
    value, vector = value[::-1], vector[:, ::-1]
    keep = value > relative_cutoff * value[0]
    return mean, (vector[:, keep] / np.sqrt(value[keep])).T * (varies / scale)
