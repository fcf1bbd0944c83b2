"""Permutation-contrastive learning."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import FastICA
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tempica.errors import DataError
from tempica.ica.base import TemporalEstimator, check_replicas, pairs
from tempica.ica.linear import TICA
from tempica.ica.networks import Features, PairScore
from tempica.ica.trainer import Trained, train

SECOND_STAGES = ("none", "fastica", "tica")
VALIDATION_PAIRS = 1024  # the contrast needs all pairs of pairs: its cost grows with the square


class PCL(TemporalEstimator):
    """Permutation-contrastive learning: features that tell true pairs of frames from shuffled ones.

    For stationary, independent, temporally dependent sources s and frames x = f(s), features h and a separable
    score r = Σ_i B_i(h_i(x_t), h_i(x_{t+τ})) are trained so that each frame finds its own successor among those
    of the batch: the loss is the cross-entropy of softmax_j r(x_t, x_{j+τ}), whose optimum has
    r = log p(x_{t+τ} | x_t) − log p(x_{t+τ}) up to terms of x_t. If every source is uniformly dependent and not
    quasi-Gaussian, h_i is then a function of one source; if quasi-Gaussian, a linear mixture remains
    (Hyvärinen & Morioka 2017, theorems 1 and 2), and so a second, linear stage follows: none, FastICA or TICA on
    the features, whichever gives the best separable contrast on held-out pairs.

    Frames are whitened by TICA. The first restart starts from the slowest linear components, the others from
    random ones; the one with the lowest held-out loss is kept.

    Parameters: `n_components`; `lag` τ in frames; `width` of the maxout layers (8 per component, at least 16) and
    their number `n_layers`; `n_restarts`; `max_steps`, `batch_size` (chosen from the number of frames when None);
    `learning_rate`; `second_stage`: auto, none, fastica or tica; `random_state`.
    Attributes: `second_stage_`, `validation_loss_` of each restart (nats; log of the number of candidates
    subtracted, so that it estimates minus the information that one frame has about the next), `loss_curve_`,
    `n_iter_`.
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        lag: int = 1,
        width: int | None = None,
        n_layers: int = 2,
        n_restarts: int = 3,
        max_steps: int | None = None,
        batch_size: int | None = None,
        learning_rate: float = 3e-3,
        second_stage: str = "auto",
        random_state: Any = 0,
    ) -> None:
        self.n_components = n_components
        self.lag = lag
        self.width = width
        self.n_layers = n_layers
        self.n_restarts = n_restarts
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.second_stage = second_stage
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        replicas: Any = None,
        validation: Any = None,
        callback: Callable[[int, int, float], None] | None = None,
    ) -> PCL:
        """Fit to frames X (frame, feature).

        `replicas` (frame,) labels the series; `validation` (frame,) marks frames that give no gradients: the last
        replica, or the last fifth of a single one, when None. `callback(restart, step, loss)` hears of progress.
        Raises DataError for too short series, constant features or impossible parameters.
        """
        X = self._frames(X, fitting=True)
        labels = check_replicas(replicas, len(X))
        held_out = _validation_mask(validation, labels)
        if self.second_stage not in ("auto", *SECOND_STAGES):
            raise DataError(f"second_stage = {self.second_stage!r} must be auto, {', '.join(SECOND_STAGES)}.")
        self._white = TICA(lag=self.lag).fit(X[~held_out], replicas=labels[~held_out])
        n_inputs = len(self._white.components_)
        if not 1 <= self.n_components <= n_inputs:
            raise DataError(
                f"n_components = {self.n_components} must be from 1 to {n_inputs}, the directions in which X varies."
            )
        Z = torch.as_tensor(self._white.transform(X), dtype=torch.float32)
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=self.n_restarts)
        runs = []
        for restart, seed in enumerate(seeds):
            contrast = _Contrast(Z, labels, held_out, self.lag, int(seed))
            features, fitted = self._restart(contrast, restart, callback)
            runs.append((fitted.validation_loss, restart, features, fitted, contrast))
        self.validation_loss_ = [run[0] for run in runs]
        _, _, self._features, fitted, contrast = min(runs, key=lambda run: run[:2])
        self.loss_curve_, self.n_iter_ = fitted.curve, fitted.step
        self._settle(X, held_out, labels, contrast)
        return self

    def _restart(
        self, contrast: _Contrast, restart: int, callback: Callable[[int, int, float], None] | None
    ) -> tuple[Features, Trained]:
        n_inputs, n = contrast.Z.shape[1], self.n_components
        torch_rng = contrast.generator
        linear = torch.eye(n, n_inputs)
        if restart > 0:
            linear = torch.linalg.qr(torch.randn(n_inputs, n, generator=torch_rng)).Q.T.contiguous()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31 - 1, (1,), generator=torch_rng)))
            features = Features(n_inputs, n, self.width or max(16, 8 * n), self.n_layers, linear)
            score = PairScore(n)
        fitted = contrast.fit(
            nn.ModuleList([features, score]),
            features,
            score,
            batch_size=self.batch_size or (256 if contrast.n_train < 20_000 else 512),
            max_steps=self.max_steps or int(np.clip(contrast.n_train // 2, 2000, 20_000)),
            learning_rate=self.learning_rate,
            on_step=None if callback is None else lambda step, total, loss: callback(restart, step, loss),
        )
        return features, fitted

    def _settle(self, X: np.ndarray, held_out: np.ndarray, labels: np.ndarray, contrast: _Contrast) -> None:
        """Choose and fit the second stage, then scale to unit variance on the training frames."""
        raw = self._raw(X)
        train_raw = raw[~held_out]
        names = SECOND_STAGES if self.second_stage == "auto" else (self.second_stage,)
        candidates = {}
        for name in names:
            mean, matrix = _second_stage(name, train_raw, labels[~held_out], self.lag)
            loss = (
                contrast.score_of(torch.as_tensor((raw - mean) @ matrix.T, dtype=torch.float32))
                if len(names) > 1
                else 0.0
            )
            candidates[name] = (loss, mean, matrix)
        self.second_stage_ = min(candidates, key=lambda name: candidates[name][0])
        self.second_stage_loss_ = {name: value[0] for name, value in candidates.items()}
        _, self._mean, matrix = candidates[self.second_stage_]
        deviation = ((train_raw - self._mean) @ matrix.T).std(0)
        self._matrix = matrix / np.where(deviation > 0, deviation, 1.0)[:, None]

    def transform_raw(self, X: Any) -> np.ndarray:
        """Features (frame, component) as the contrast left them, before the second stage."""
        check_is_fitted(self)
        return self._raw(self._frames(X, fitting=False))

    def transform(self, X: Any) -> np.ndarray:
        """Sources (frame, component), of unit variance on the training frames."""
        return (self.transform_raw(X) - self._mean) @ self._matrix.T

    def transform_covariance(self, X: Any, covariance: np.ndarray) -> np.ndarray:
        """Covariance J Σ Jᵀ (frame, component, component) of the sources, J their Jacobian (delta method)."""
        check_is_fitted(self)
        Z = torch.as_tensor(self._white.transform(X), dtype=torch.float32)
        jacobian = torch.func.vmap(torch.func.jacrev(lambda z: self._features(z[None])[0]))(Z)
        J = self._matrix @ jacobian.detach().numpy().astype(np.float64) @ self._white.components_
        return J @ np.asarray(covariance) @ J.transpose(0, 2, 1)

    def score(self, X: Any, y: Any = None, *, replicas: Any = None) -> float:
        """Information (nats) that a frame's features are found to have about the next: higher is better.

        The mean of log softmax plus the log of the number of candidates, with a score function fitted to X's
        first half of pairs and asked on the second.
        """
        S = torch.as_tensor(self.transform(X), dtype=torch.float32)
        labels = check_replicas(replicas, len(S))
        held_out = np.arange(len(S)) >= len(S) // 2
        return -_Contrast(S, labels, held_out, self.lag, 0).score_of(S)

    def _raw(self, X: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self._features(torch.as_tensor(self._white.transform(X), dtype=torch.float32)).double().numpy()

    @property
    def _n_features_out(self) -> int:
        return self.n_components


class _Contrast:
    """Training and held-out pairs of one data set, and the loss over them."""

    def __init__(self, Z: Tensor, labels: np.ndarray, held_out: np.ndarray, lag: int, seed: int) -> None:
        first = pairs(labels, lag)
        both = held_out[first] & held_out[first + lag]
        neither = ~held_out[first] & ~held_out[first + lag]
        if both.sum() < 2 or neither.sum() < 2:
            raise DataError(
                f"There are {neither.sum()} training and {both.sum()} validation pairs {lag} frames apart; 2 are the"
                " least. Give more frames, or another validation mask."
            )
        self.Z, self.lag, self.n_train = Z, lag, int(neither.sum())
        self.generator = torch.Generator().manual_seed(seed)
        self.first = torch.as_tensor(first[neither])
        asked = first[both]
        if len(asked) > VALIDATION_PAIRS:
            asked = asked[np.linspace(0, len(asked) - 1, VALIDATION_PAIRS).astype(int)]
        self.asked = torch.as_tensor(asked)

    def fit(self, module: nn.Module, features: nn.Module, score: PairScore, **options: Any) -> Trained:
        def loss(items: Tensor) -> Tensor:
            at = self.first[items]
            return _cross_entropy(score, features(self.Z[at]), features(self.Z[at + self.lag]))

        def validate() -> float:
            with torch.no_grad():
                here, there = features(self.Z[self.asked]), features(self.Z[self.asked + self.lag])
                return float(_cross_entropy(score, here, there))

        return train(module, loss, validate, self.n_train, generator=self.generator, **options)

    def score_of(self, S: Tensor) -> float:
        """Held-out loss of given sources (frame, n) under the best separable score."""
        inner = _Contrast.__new__(_Contrast)
        inner.__dict__ = {
            **self.__dict__,
            "Z": S / S.std(0).clamp_min(1e-12),
            "generator": torch.Generator().manual_seed(0),
        }
        score = PairScore(S.shape[1])
        options = {"batch_size": 256, "max_steps": 600, "learning_rate": 3e-2, "check_every": 50}
        return inner.fit(score, nn.Identity(), score, **options).validation_loss


def _cross_entropy(score: PairScore, here: Tensor, there: Tensor) -> Tensor:
    r = score(here, there)
    return nn.functional.cross_entropy(r, torch.arange(len(r))) - math.log(len(r))


def _second_stage(name: str, raw: np.ndarray, labels: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n,) and matrix (n, n) of a linear stage on raw features."""
    if name == "tica":
        tica = TICA(lag=lag).fit(raw, replicas=labels)
        if len(tica.components_) == raw.shape[1]:
            return tica.mean_, tica.components_
    if name == "fastica":
        ica = FastICA(whiten="unit-variance", random_state=0, max_iter=1000, tol=1e-3)
        try:
            ica.fit(raw)
            return ica.mean_, ica.components_
        except (ValueError, np.linalg.LinAlgError):
            pass  # degenerate features: nothing to rotate
    return raw.mean(0), np.eye(raw.shape[1])


def _validation_mask(validation: Any, labels: np.ndarray) -> np.ndarray:
    if validation is not None:
        mask = np.asarray(validation, dtype=bool)
        if mask.shape != labels.shape:
            raise DataError(f"validation has shape {mask.shape}; it must mark each of the {len(labels)} frames.")
        return mask
    if labels[-1] > 0:
        return labels == labels[-1]
    return np.arange(len(labels)) >= len(labels) - max(2, len(labels) // 5)
