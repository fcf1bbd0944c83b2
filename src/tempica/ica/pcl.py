"""Permutation-contrastive learning."""

from __future__ import annotations

import copy
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
from tempica.ica.base import TemporalEstimator, check_replicas, pairs, runs
from tempica.ica.linear import TICA
from tempica.ica.networks import Features, PairScore
from tempica.ica.trainer import Trained, train

LEAST = {"n_restarts": 1, "n_layers": 1, "width": 1, "max_steps": 1, "batch_size": 2}
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

    Frames are whitened by TICA. Three models are trained, each from the one before: the score alone on TICA's
    sources, a linear map, and the network, whose restarts run a fifth of the steps before the best goes on. A
    richer model is kept only if the held-out contrast gains more than its standard error: under strong noise a
    network would otherwise be chosen by chance.

    Parameters: `n_components`; `lag` τ in frames; `width` of the maxout layers (8 per component, at least 16) and
    their number `n_layers`; `n_restarts`; `max_steps`, `batch_size` (chosen from the number of frames when None);
    `learning_rate`; `second_stage`: auto, none, fastica or tica; `random_state`.
    Attributes: `model_` (tica, linear or network) and `candidates_`, the held-out loss of each; `second_stage_`,
    `validation_loss_` of each restart (nats; log of the number of candidates
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
        replica, or the last fifth of a single one, when None. `callback(run, step, loss)` hears of progress.
        Raises DataError for too short series, constant features or impossible parameters.
        """
        X = self._frames(X, fitting=True)
        labels = check_replicas(replicas, len(X))
        held_out = _validation_mask(validation, labels, self.lag)
        if self.second_stage not in ("auto", *SECOND_STAGES):
            raise DataError(f"second_stage = {self.second_stage!r} must be auto, {', '.join(SECOND_STAGES)}.")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise DataError(f"{name} = {value} must be at least {least}.")
        _split_pairs(labels, held_out, self.lag)
        self._white = TICA(lag=self.lag).fit(X[~held_out], replicas=runs(labels, ~held_out))
        n_inputs = len(self._white.components_)
        if not 1 <= self.n_components <= n_inputs:
            raise DataError(
                f"n_components = {self.n_components} must be from 1 to {n_inputs}, the directions in which X varies."
            )
        Z = torch.as_tensor(self._white.transform(X), dtype=torch.float32)
        contrast = _Contrast(Z, labels, held_out, self.lag)
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=self.n_restarts + 1)
        self._select(contrast, self._ladder(contrast, seeds, callback))
        self._settle(X, held_out, labels, contrast)
        return self

    def _ladder(
        self, contrast: _Contrast, seeds: np.ndarray, callback: Callable[[int, int, float], None] | None
    ) -> dict[str, tuple[nn.ModuleList, Trained]]:
        """Models from the simplest to the richest, each trained from the one before."""
        n_inputs, n = contrast.Z.shape[1], self.n_components
        steps = self.max_steps or int(np.clip(contrast.n_train // 2, 1500, 4000))
        short = max(1, steps // 5)

        def fit(run: int, model: nn.ModuleList, n_steps: int, trained: Any = None) -> Trained:
            return contrast.fit(
                trained or model,
                *model,
                batch_size=self.batch_size or (256 if contrast.n_train < 20_000 else 512),
                max_steps=n_steps,
                learning_rate=self.learning_rate,
                generator=torch.Generator().manual_seed(int(seeds[run])),
                on_step=None if callback is None else lambda step, total, loss: callback(run, step, loss),
            )

        tica = _model(n_inputs, n, 0, 0, torch.eye(n, n_inputs), PairScore(n), seeds[0])
        fitted = {"tica": (tica, fit(0, tica, short, tica[1]))}
        linear = copy.deepcopy(tica)
        fitted["linear"] = (linear, fit(0, linear, short))
        width, pilots = self.width or max(16, 8 * n), []
        for run in range(1, self.n_restarts + 1):
            rng = torch.Generator().manual_seed(int(seeds[run]))
            found, score = copy.deepcopy(linear)
            start = found.get_parameter("linear").detach()
            if run > 1:
                start = torch.linalg.qr(torch.randn(n_inputs, n, generator=rng)).Q.T.contiguous()
                score = PairScore(n)
            network = _model(n_inputs, n, width, self.n_layers, start, score, seeds[run])
            pilots.append((fit(run, network, short).validation_loss, run, network))
        self.validation_loss_ = [pilot[0] for pilot in pilots]
        _, run, network = min(pilots, key=lambda pilot: pilot[:2])
        fitted["network"] = (network, fit(run, network, steps))
        return fitted

    def _select(self, contrast: _Contrast, fitted: dict[str, tuple[nn.ModuleList, Trained]]) -> None:
        """Climb the ladder as long as the held-out contrast improves by more than its standard error."""
        losses = {name: contrast.losses(*model) for name, (model, _) in fitted.items()}
        self.model_ = "tica"
        self.candidates_ = {name: float(loss.mean()) for name, loss in losses.items()}
        for name in ("linear", "network"):
            gain = losses[self.model_] - losses[name]
            if gain.mean() > _standard_error(gain):
                self.model_ = name
        model, trained = fitted[self.model_]
        self._features, self.loss_curve_, self.n_iter_ = model[0], trained.curve, trained.step

    def _settle(self, X: np.ndarray, held_out: np.ndarray, labels: np.ndarray, contrast: _Contrast) -> None:
        """Choose and fit the second stage, then scale to unit variance on the training frames."""
        raw = self._raw(X)
        train_raw = raw[~held_out]
        names = SECOND_STAGES if self.second_stage == "auto" else (self.second_stage,)
        candidates, steps = {}, min(400, self.max_steps or 400)
        for name in names:
            mean, matrix = _second_stage(name, train_raw, runs(labels, ~held_out), self.lag)
            loss = (
                contrast.score_of(torch.as_tensor((raw - mean) @ matrix.T, dtype=torch.float32), steps)
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
        Z = torch.as_tensor(self._white.transform(self._frames(X, fitting=False)), dtype=torch.float32)
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
        return -_Contrast(S, labels, held_out, self.lag).score_of(S)

    def _raw(self, X: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self._features(torch.as_tensor(self._white.transform(X), dtype=torch.float32)).double().numpy()

    @property
    def _n_features_out(self) -> int:
        return self.n_components


class _Contrast:
    """Training and held-out pairs of one data set, and the loss over them."""

    def __init__(self, Z: Tensor, labels: np.ndarray, held_out: np.ndarray, lag: int) -> None:
        first, asked = _split_pairs(labels, held_out, lag)
        self.Z, self.lag, self.n_train = Z, lag, len(first)
        self.first = torch.as_tensor(first)
        if len(asked) > VALIDATION_PAIRS:
            asked = asked[np.linspace(0, len(asked) - 1, VALIDATION_PAIRS).astype(int)]
        self.asked = torch.as_tensor(asked)

    def fit(self, module: nn.Module, features: nn.Module, score: PairScore, **options: Any) -> Trained:
        def loss(items: Tensor) -> Tensor:
            at = self.first[items]
            return _cross_entropy(score, features(self.Z[at]), features(self.Z[at + self.lag]))

        def validate() -> float:
            return float(self.losses(features, score).mean())

        return train(module, loss, validate, self.n_train, **options)

    def losses(self, features: nn.Module, score: PairScore) -> np.ndarray:
        """Loss of every held-out pair, the others' successors being the alternatives."""
        with torch.no_grad():
            r = score(features(self.Z[self.asked]), features(self.Z[self.asked + self.lag]))
        return (torch.logsumexp(r, 1) - r.diagonal() - math.log(len(r))).numpy()

    def score_of(self, S: Tensor, max_steps: int = 400) -> float:
        """Held-out loss of given sources (frame, n) under the best separable score."""
        inner = copy.copy(self)
        inner.Z = S / S.std(0).clamp_min(1e-12)
        score = PairScore(S.shape[1])
        options = {"batch_size": 256, "max_steps": max_steps, "learning_rate": 3e-2, "checks": 10}
        generator = torch.Generator().manual_seed(0)
        return inner.fit(score, nn.Identity(), score, generator=generator, **options).validation_loss


def _model(
    n_inputs: int, n: int, width: int, n_layers: int, linear: Tensor, score: nn.Module, seed: int
) -> nn.ModuleList:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        return nn.ModuleList([Features(n_inputs, n, width, n_layers, linear), score])


def _standard_error(gain: np.ndarray, n_blocks: int = 16) -> float:
    """Of the mean of a series whose neighbours are correlated: from the means of blocks."""
    blocks = [block.mean() for block in np.array_split(gain, min(n_blocks, len(gain)))]
    return float(np.std(blocks, ddof=1) / np.sqrt(len(blocks)))


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


def _split_pairs(labels: np.ndarray, held_out: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """First frames of the training pairs and of the validation pairs; a pair of one of each is neither."""
    first = pairs(labels, lag)
    both = held_out[first] & held_out[first + lag]
    neither = ~held_out[first] & ~held_out[first + lag]
    if both.sum() < 2 or neither.sum() < 2:
        raise DataError(
            f"There are {neither.sum()} training and {both.sum()} validation pairs {lag} frames apart; 2 are the"
            " least. Give more frames, or another validation mask."
        )
    return first[neither], first[both]


def _validation_mask(validation: Any, labels: np.ndarray, lag: int) -> np.ndarray:
    if validation is not None:
        mask = np.asarray(validation, dtype=bool)
        if mask.shape != labels.shape:
            raise DataError(f"validation has shape {mask.shape}; it must mark each of the {len(labels)} frames.")
        return mask
    if labels[-1] > 0:
        return labels == labels[-1]
    return np.arange(len(labels)) >= len(labels) - max(lag + 2, len(labels) // 5)
