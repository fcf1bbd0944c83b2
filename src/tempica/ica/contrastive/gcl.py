"""Generalised contrastive learning."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tempica.errors import DataError, IdentifiabilityWarning
from tempica.ica.base import (
    TemporalEstimator,
    check_lags,
    check_n_components,
    check_numbers,
    linear_map,
    transformed,
    whitening,
)
from tempica.ica.contrastive.auxiliary import Auxiliary
from tempica.ica.contrastive.second_stage import check_stage, choose_stage
from tempica.ica.labels import check_segments, either
from tempica.ica.linear.linear import TICA
from tempica.ica.linear.nonstationary import NonstationaryICA
from tempica.ica.training.networks import Features
from tempica.ica.training.trainer import Trainer
from tempica.series import check_replicas, runs, standard_error

LEAST = {"n_restarts": 1, "n_layers": 1, "width": 1, "max_steps": 1, "batch_size": 2}


class GCL(TemporalEstimator):
    """Generalised contrastive learning: features that tell which auxiliary variable u goes with a frame.

    For frames x = f(s) of sources that are independent given u, features h and a score r = Σ_i ψ_i(h_i(x), u) are
    trained so that each frame finds its own u: among all labels, or, where u is the frame's history x_{t−τ}, among
    those of the batch. The optimum has r = log p(u | x) up to a term of u, so that p(s_i | u) is told apart by any
    function of h_i, not by one as in TCL. Each h_i is then a function of one source, if at 2n + 1 values of u the
    vectors of first and second derivatives of log p(s_i | u) are linearly independent, differences taken to one of
    them (Hyvärinen, Sasaki & Turner 2019, theorem 1: no second stage). If every p(s_i | u) is of an exponential family
    with one statistic, as with scales modulated in a Laplace law, that fails, and n + 1 values leave a linear mixture
    of the statistics (theorem 3): FastICA follows. For a history the class is PCL's, with ψ_i free to depend on all of
    the frame before: stationary and conditionally heteroscedastic series alike; Gaussian autoregressions leave a
    linear mixture, which SOBI resolves. The second stage is chosen by the held-out contrast.

    The linear map is trained first (from NonstationaryICA or TICA), the network from it and from random rotations; the
    restart with the lowest held-out loss goes on, and is kept if it gains more than the standard error.

    Parameters: `n_components`; `lag` τ of the history, one or several numbers of frames; `width` of the maxout layers
    (8 per component, at least 16) and their number `n_layers`; `n_restarts`; `max_steps`, chosen from the data when
    None; `batch_size`, `learning_rate`; `second_stage`: auto, none, fastica or (for a history) sobi; `random_state`.
    Attributes: `auxiliary_`: label or history; `ambiguity_`: none, subspace (too few labels) or all (u says nothing of
    the frames), with `ambiguity_why_`; `model_`, `candidates_`; `second_stage_`, `second_stage_loss_`;
    `validation_loss_` of each restart (nats; minus the information found), `loss_curve_`, `n_iter_`.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        lag: int | tuple[int, ...] = 1,
        width: int | None = None,
        n_layers: int = 2,
        n_restarts: int = 2,
        max_steps: int | None = None,
        batch_size: int = 512,
        learning_rate: float = 8e-3,
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

    def fit(self, X: Any, y: Any = None, *, segments: Any = None, replicas: Any = None, validation: Any = None) -> GCL:
        """Fit to frames X (frame, feature) with the label `segments` (also `y`) of each, or else with their histories.

        `replicas` (frame,) labels the series that histories must not leave. `validation` (frame,) marks frames that
        give no gradients; when None, the last fifth of each label, the last replica, or the last fifth of a single one.
        Raises DataError for one label only, too short series, constant features or impossible parameters.
        """
        X = self._frames(X, fitting=True)
        check_numbers(self, LEAST)
        labels = either(y, segments)
        labels = None if labels is None else check_segments(labels, len(X))
        self.auxiliary_ = "history" if labels is None else "label"
        stages = tuple(s for s in check_stage(self.second_stage) if labels is None or s != "sobi")
        if not stages:
            raise DataError("second_stage = 'sobi' needs series; frames with labels have none. Take fastica.")
        series = check_replicas(replicas, len(X))
        at, whole = self._split(X, labels, series, validation)
        held, train = whole[at], np.flatnonzero(~whole)
        self._mean, self._white = whitening(X[train])
        n = check_n_components(self.n_components, len(self._white), X.shape[1])
        Z = self._whitened(X)
        if labels is None:
            u = torch.cat([Z[torch.as_tensor(at - lag)] for lag in check_lags(self.lag)], 1)
            linear = TICA(n, lag=self.lag).fit(Z.numpy()[train], replicas=runs(series, ~whole)).components_
        else:
            self.labels_, number = np.unique(labels, return_inverse=True)
            u = torch.as_tensor(number)
            linear = NonstationaryICA(n).fit(Z.numpy()[train], number[train]).components_
            share = np.bincount(number[train], minlength=len(self.labels_)) / len(train)
            self._log_share = torch.as_tensor(np.log(share + 1e-12), dtype=torch.float32)
        data = Auxiliary(Z, at, u, held, self._log_share if self.auxiliary_ == "label" else None)
        self._select(data, *self._ladder(data, linear, n))
        self._settle(X, data, at, held, series, stages)
        return self

    def _split(self, X: np.ndarray, labels: Any, series: np.ndarray, validation: Any) -> tuple[np.ndarray, np.ndarray]:
        """Frames (item,) that have an auxiliary variable, and which frames (frame,) are held out."""
        lags = check_lags(self.lag) if labels is None else ()
        held = None if validation is None else np.asarray(validation, dtype=bool)
        if held is not None and held.shape != series.shape:
            raise DataError(f"validation has shape {held.shape}; it must mark each of the {len(X)} frames.")
        if labels is None:
            at = _with_history(series, lags)
            if held is None:
                last = np.arange(len(X)) >= len(X) - max(max(lags) + 2, len(X) // 5)
                held = series == series[-1] if series[-1] > 0 else last
            # a frame and its history are on the same side
            sides = held[at] + sum(held[at - lag].astype(int) for lag in lags)
            at = at[(sides == 0) | (sides == len(lags) + 1)]
        else:
            at = np.arange(len(X))
            held = _last_fifth(labels) if held is None else held
            if len(np.unique(labels)) < 2:
                raise DataError("All frames have one label; GCL tells labels apart. Give two, or none: histories.")
        if min(np.count_nonzero(held[at]), np.count_nonzero(~held[at])) < 2:
            raise DataError(
                f"There are {np.count_nonzero(~held[at])} training and {np.count_nonzero(held[at])} validation frames"
                f" with a {self.auxiliary_}; 2 are the least. Give more frames, or another validation mask."
            )
        return at, held

    def _ladder(
        self, data: Auxiliary, linear: np.ndarray, n: int
    ) -> tuple[tuple[nn.ModuleList, Trainer], tuple[nn.ModuleList, Trainer]]:
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=self.n_restarts + 1)
        n_inputs, width = data.Z.shape[1], self.width or max(16, 8 * n)
        self._width = width

        def begin(model: nn.ModuleList, seed: int, max_steps: int | None) -> Trainer:
            options = {"batch_size": self.batch_size, "learning_rate": self.learning_rate, "seed": int(seed)}
            return data.training(model, model[0], model[1], max_steps=max_steps, **options)

        start = torch.as_tensor(linear, dtype=torch.float32)
        first = nn.ModuleList([Features(n_inputs, n, 0, 0, start), data.score_function(n, width, int(seeds[0]))])
        fitted = first, begin(first, seeds[0], min(self.max_steps or 800, 800)).advance()
        pilots = []
        pilot = max(1, (self.max_steps or int(np.clip(len(data.train) // 10, 1500, 6000))) // 4)
        for run, seed in enumerate(seeds[1:].tolist()):
            found, score = copy.deepcopy(first)
            begun = found.get_parameter("linear").detach()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                if run > 0:
                    begun = torch.linalg.qr(torch.randn(n, n)).Q @ start
                    score = data.score_function(n, width, seed)
                model = nn.ModuleList([Features(n_inputs, n, width, self.n_layers, begun), score])
            training = begin(model, seed, self.max_steps)
            pilots.append((model, training.advance(pilot if self.n_restarts > 1 else None)))
        self.validation_loss_ = [training.best for _, training in pilots]
        network, training = pilots[int(np.argmin(self.validation_loss_))]
        return fitted, (network, training.advance())

    def _select(self, data: Auxiliary, linear: Any, network: Any) -> None:
        losses = {name: data.losses(*model) for name, (model, _) in (("linear", linear), ("network", network))}
        self.candidates_ = {name: float(loss.mean()) for name, loss in losses.items()}
        gain = losses["linear"] - losses["network"]
        self.model_ = "network" if gain.mean() > standard_error(gain) else "linear"
        model, training = network if self.model_ == "network" else linear
        self._features, self._score = model
        self.loss_curve_, self.n_iter_ = training.curve, training.best_step
        self._information = -losses[self.model_]

    def _settle(
        self, X: np.ndarray, data: Auxiliary, at: np.ndarray, held: np.ndarray, series: np.ndarray, stages: tuple
    ) -> None:
        """Choose and fit the second stage, then say what is left unidentified."""
        features, train = self._raw(X), np.zeros(len(X), dtype=bool)
        train[at[~held]] = True
        steps = min(400, self.max_steps or 400)
        self._stage, self.second_stage_loss_ = choose_stage(
            stages, features, train, runs(series, train), lambda S: data.losses_of(S, self._width, steps)
        )
        self.second_stage_ = self._stage.name
        n, mean = features.shape[1], float(self._information.mean())
        self.ambiguity_, self.ambiguity_why_ = "none", "The auxiliary variable tells of the frames."
        if mean < 4 * standard_error(self._information):
            self.ambiguity_ = "all"
            self.ambiguity_why_ = (
                f"Nothing is identifiable: the {self.auxiliary_} tells nothing of held-out frames ({mean:.4f} nats)."
                " Take longer series, or labels under which the sources' distributions change more."
            )
        elif self.auxiliary_ == "label" and len(self.labels_) < n + 1:
            self.ambiguity_ = "subspace"
            self.ambiguity_why_ = (
                f"{n} sources are not identifiable from {len(self.labels_)} labels: n + 1 = {n + 1} are the least,"
                f" and 2 n + 1 = {2 * n + 1} where more than one statistic changes. Take more labels, or fewer"
                " components."
            )
        if self.ambiguity_ != "none":
            warnings.warn(self.ambiguity_why_, IdentifiabilityWarning, stacklevel=3)

    def transform(self, X: Any, *, stage: str = "sources") -> np.ndarray:
        """Sources (frame, component), of unit variance on the training frames.

        `stage` "features" gives them as the contrast left them, before the second stage.
        """
        check_is_fitted(self)
        if stage not in ("sources", "features"):
            raise DataError(f"stage = {stage!r} must be sources or features.")
        features = self._raw(self._frames(X, fitting=False))
        return features if stage == "features" else self._stage(features)

    def transform_covariance(self, X: Any, covariance: np.ndarray) -> np.ndarray:
        """Covariance J Σ Jᵀ (frame, component, component) of the sources, J their Jacobian (delta method)."""
        check_is_fitted(self)
        with torch.no_grad():
            jacobian = self._features.jacobian(self._whitened(self._frames(X, fitting=False))).double().numpy()
        J = self._stage.matrix @ jacobian @ self._white
        return transformed(J, covariance)

    def score(self, X: Any, y: Any = None, *, segments: Any = None, replicas: Any = None) -> float:
        """Information (nats) that frames of X are found to give about their auxiliary variable: higher is better.

        Of the kind that was fitted: labels of the fit, or histories, each among 1,024 or as many as there are. Raises
        DataError for unknown labels, or none where there should be.
        """
        check_is_fitted(self)
        X, labels = self._frames(X, fitting=False), either(y, segments)
        Z = self._whitened(X)
        if self.auxiliary_ == "label":
            names = check_segments(labels, len(X))
            if not np.isin(names, self.labels_).all():
                raise DataError("Some frames have labels that were not fitted. Give labels of the fit.")
            at, u = np.arange(len(X)), torch.as_tensor(np.searchsorted(self.labels_, names))
        else:
            at = _with_history(check_replicas(replicas, len(X)), check_lags(self.lag))
            u = torch.cat([Z[torch.as_tensor(at - lag)] for lag in check_lags(self.lag)], 1)
        share = self._log_share if self.auxiliary_ == "label" else None
        data = Auxiliary(Z, at, u, np.ones(len(at), dtype=bool), share)
        return -float(data.losses(self._features, self._score).mean())

    def _whitened(self, X: np.ndarray) -> Tensor:
        return torch.as_tensor(linear_map(X, self._mean, self._white), dtype=torch.float32)

    def _raw(self, X: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self._features(self._whitened(X)).double().numpy()

    @property
    def _n_features_out(self) -> int:
        return len(self._stage.matrix)


def _with_history(series: np.ndarray, lags: tuple[int, ...]) -> np.ndarray:
    """Frames (item,) that have frames at all lags before them in their series. Raises DataError when there are none."""
    if min(lags) < 1:
        raise DataError(f"lag = {lags} must be at least 1 frame.")
    at = np.arange(max(lags), len(series))
    at = at[series[at] == series[at - max(lags)]]
    if len(at) == 0:
        longest = np.bincount(series).max()
        raise DataError(
            f"No frame has a history of {max(lags)} frames: the longest replica has {longest}. Give longer replicas."
        )
    return at


def _last_fifth(labels: np.ndarray) -> np.ndarray:
    """Marks (frame,) the last fifth of each label's frames, one at least of two or more."""
    number = np.unique(labels, return_inverse=True)[1]
    order, count = np.argsort(number, kind="stable"), np.bincount(number)
    place = np.empty(len(number), dtype=int)
    place[order] = np.arange(len(number)) - np.repeat(np.cumsum(count) - count, count)
    return (place >= count[number] - np.maximum(1, count[number] // 5)) & (count[number] > 1)
