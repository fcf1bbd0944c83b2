"""Permutation-contrastive learning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from tempica.errors import DataError, IdentifiabilityWarning
from tempica.ica.base import check_lags, check_n_components, check_numbers, transformed
from tempica.ica.contrastive import ladder
from tempica.ica.contrastive.contrast import Contrast, split_pairs
from tempica.ica.contrastive.images import (
    LINEAR_STEPS,
    PAIRS,
    RATE,
    FramesOrImages,
    Images,
    Noise,
    Restart,
    best_restart,
)
from tempica.ica.contrastive.ladder import Plan, Rung
from tempica.ica.contrastive.second_stage import (
    check_stage,
    choose_stage,
    find_ambiguity,
    fit_stage,
    gaussian_sources,
    matched,
)
from tempica.ica.contrastive.within import WithinReplicas
from tempica.ica.linear.dimension import count_sources
from tempica.ica.linear.linear import TICA
from tempica.ica.training.networks import check_device, in_precision
from tempica.ica.training.progress import Checkpoint, Progress, fingerprint
from tempica.ica.training.trainer import Trainer
from tempica.series import check_replicas, runs, standard_error

SCORES = ("auto", "reference", "free")
LEAST = {"n_restarts": 1, "n_layers": 1, "width": 1, "max_steps": 1, "batch_size": 2}
BATCH = 512  # pairs
ALTERNATIVES, FEW = 128, 10  # of a pair in a batch, as long as few sources hold less information than their number


class PCL(FramesOrImages):
    """Permutation-contrastive learning: features that tell true pairs of frames from shuffled ones.

    For stationary, independent, temporally dependent sources s and frames x = f(s), features h and a separable
    score r = Σ_i B_i(h_i(x_t), h_i(x_{t+τ})) are trained so that each frame finds its own successor among those
    of the batch: the loss is the cross-entropy of softmax_j r(x_t, x_{j+τ}), whose optimum has
    r = log p(x_{t+τ} | x_t) − log p(x_{t+τ}) up to terms of x_t. If every source is uniformly dependent and not
    quasi-Gaussian, h_i is then a function of one source; if quasi-Gaussian, a linear mixture remains
    (Hyvärinen & Morioka 2017, theorems 1 and 2), and so a second, linear stage follows: none, FastICA or SOBI on
    the features, whichever gives the best separable contrast on held-out pairs. What no stage can tell apart is
    warned of (`IdentifiabilityWarning`) and kept in `ambiguity_`.

    Frames are whitened by TICA. Three models are trained, each from the one before: the score alone on TICA's
    sources, a linear map, and the network, whose restarts are trained side by side; the two with the lowest held-out
    losses go on to the end, the better is kept, and the other tells how far each source can be relied on. Where the
    two have found different features, up to an affine map, a deeper network is trained in the same way, for longer. A
    richer model is kept only if the held-out contrast gains more than its standard error: under strong noise a
    network would otherwise be chosen by chance.

    B_i is the score of an autoregression whose innovations are Laplace, normal or between (`PairScore`), with
    parameters of each component; or free, any function of two numbers, where the sources change in another way: when
    a variance has a memory, say.

    Frames may be images (frame, y, x), in memory or in a memory map: the first two models then see principal
    components of their pixels, and the network is a small convolutional one, which refines the linear map or begins
    at random. All learn from images to which noise was added, of a strength that differs between restarts, or they
    would memorise their own; the held-out loss decides. Batches come from one replica, since what a replica keeps all
    along tells it from others (`WithinReplicas`). Where poses vary or noise is strong, embed first and unmix the
    latents.

    Parameters: `n_components`, all that vary when None, as many as `count_sources` finds when "auto" (then kept as
    `n_components_`); `lag` τ in frames, one or several (the mean of their contrasts); `width` of the maxout
    layers (8 per component, at least 16) and their number `n_layers`, three, then five if needed, when None;
    `n_restarts`; `max_steps` and `batch_size`, chosen from the data when None; `learning_rate`; `score_function`:
    reference, free, or auto, which takes free if it finds 15 % more information in the linear map; `second_stage`:
    auto, none, fastica or sobi; `device`: cpu or cuda; `precision`: float32, float64, or bfloat16 for the network
    alone; `random_state`.
    Attributes: `stability_` (component,), the absolute correlation of each source with that of the second best
    restart on held-out frames, NaN where no second network was trained to the end; `score_function_`; `ambiguity_`:
    none, linear (resolved by the second stage, if there is one), subspace or all, with
    `subspaces_`, the sources among which rotations are free, and `ambiguity_why_`; `model_` (tica, linear or network)
    and `candidates_`, the held-out loss of each; `second_stage_` and `second_stage_loss_`; `validation_loss_` of each
    restart (nats; log of the number of candidates subtracted, so that it estimates minus the information that one
    frame has about the next), `loss_curve_`, `n_iter_`.
    """

    def __init__(
        self,
        n_components: int | str | None = 2,
        *,
        lag: int | tuple[int, ...] = 1,
        width: int | None = None,
        n_layers: int | None = None,
        n_restarts: int = 3,
        max_steps: int | None = None,
        batch_size: int | None = None,
        learning_rate: float = 8e-3,
        score_function: str = "auto",
        second_stage: str = "auto",
        device: str = "cpu",
        precision: str = "float32",
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
        self.score_function = score_function
        self.second_stage = second_stage
        self.device = device
        self.precision = precision
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        replicas: Any = None,
        validation: Any = None,
        callback: Callable[[int, int, float], None] | None = None,
        checkpoint: Any = None,
        log: Any = None,
    ) -> PCL:
        """Fit to frames X (frame, feature), or to images (frame, y, x).

        `replicas` (frame,) labels the series; `validation` (frame,) marks frames that give no gradients: the last
        replica, or the last fifth of a single one, when None. `callback(run, step, loss)` hears of progress.
        `checkpoint` names a file: a fit that was interrupted goes on from it, to the same result. `log` names a file
        that gets a line of JSON at each check (`Progress`).
        Raises DataError for too short series, constant features or impossible parameters.
        """
        images, X = self._given(X)
        labels, lags = check_replicas(replicas, len(X)), check_lags(self.lag)
        stages, dtype = check_stage(self.second_stage), check_device(self.device, self.precision)
        if self.score_function not in SCORES:
            raise DataError(f"score_function = {self.score_function!r} must be {', '.join(SCORES)}.")
        held_out = _validation_mask(validation, labels, max(lags))
        check_numbers(self, LEAST)
        split_pairs(labels, held_out, lags[0])
        latents = self._learn_pixels(images, X, ~held_out)
        self._white = TICA(lag=lags).fit(latents[~held_out], replicas=runs(labels, ~held_out))
        self.n_components_ = check_n_components(
            self.n_components,
            len(self._white.components_),
            latents.shape[1],
            lambda: count_sources(latents[~held_out], replicas=runs(labels, ~held_out), lag=lags).n,
        )
        Z = torch.as_tensor(self._white.transform(latents)).to(self.device, dtype)
        alternatives = ALTERNATIVES if self.n_components_ <= FEW else None
        contrast = (Contrast if images is None else WithinReplicas)(Z, labels, held_out, lags, alternatives)
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=self.n_restarts + 1)
        saved = Checkpoint(checkpoint, fingerprint(self.get_params(), seeds, latents, labels, held_out))
        rung = self._select(self._climb(contrast, images, seeds, Progress(saved, log, callback)))
        self._settle(X, held_out, labels, lags[0], stages, contrast, rung)
        return self

    def _climb(
        self, contrast: Contrast, images: Images | None, seeds: np.ndarray, progress: Progress
    ) -> dict[str, Rung]:
        """Models from the simplest to the richest, each trained from the one before."""
        n = self.n_components_
        plan = Plan(
            n=n,
            width=self.width or max(16, 8 * n),
            n_layers=self.n_layers or ladder.N_LAYERS,
            n_restarts=self.n_restarts,
            max_steps=self.max_steps,
            score_function=self.score_function,
            options={"batch_size": self.batch_size or BATCH, "learning_rate": self.learning_rate},
            precise=partial(in_precision, device=self.device, precision=self.precision),
            seeds=seeds,
        )
        if not isinstance(contrast, WithinReplicas) or images is None:
            rungs = ladder.climb(contrast, plan, progress)
            network = ladder.network(contrast, plan, progress, rungs["linear"])
            if self.n_layers is None:
                network = ladder.deeper(contrast, plan, progress, rungs["linear"], network)
            return rungs | {"network": network}
        noise = Noise(1.0, int(seeds[0]), torch.as_tensor(self._white.components_, dtype=torch.float32))
        rungs = ladder.climb(contrast, plan, progress, contrast.choose(n), LINEAR_STEPS, noise)
        return rungs | {"network": self._of_images(contrast, images, plan, progress, rungs["linear"].model)}

    def _of_images(self, contrast: Contrast, images: Images, plan: Plan, progress: Progress, linear: Any) -> Rung:
        """The best of several convolutional networks."""
        of_images = contrast.of(images)
        own: dict[str, Any] = {"batch_size": self.batch_size or PAIRS, "max_steps": self.max_steps}
        own["learning_rate"] = RATE * self.learning_rate
        white, start = (self._white.mean_, self._white.components_), linear[0].linear.detach().cpu().float()
        some = contrast.starts[:: max(1, len(contrast.starts) // BATCH)]

        def begin(run: int) -> tuple[Any, Trainer]:
            seed = int(plan.seeds[run])
            restart = Restart.of(run, plan.n, self._pixels, white, start, images[some], seed)
            scores = ladder.scores(plan, contrast, plan.score_function == "free")
            if restart.from_linear:
                scores.load_state_dict(linear[1].state_dict())
            network = nn.ModuleList([restart.features, scores])

            def make(on_check: Any) -> Trainer:
                given = {**own, "seed": seed, "augment": restart.noise, "on_check": on_check}
                return of_images.training(network, *network, **given)

            return network, progress.begin(run, f"network {run}", make)

        pilot = ladder.pilot_steps(contrast.n_train, self.max_steps)
        network, training, losses = best_restart(begin, self.n_restarts, pilot)
        return Rung(network, training, of_images, losses)

    def _select(self, rungs: dict[str, Rung]) -> Rung:
        """Climb the ladder as long as the held-out contrast improves by more than its standard error."""
        losses = {name: rung.losses() for name, rung in rungs.items()}
        self.model_ = "tica"
        self.candidates_ = {name: float(loss.mean()) for name, loss in losses.items()}
        for name in ("linear", "network"):
            gain = losses[self.model_] - losses[name]
            if gain.mean() > standard_error(gain):
                self.model_ = name
        self.validation_loss_ = rungs["network"].restarts
        rung = rungs[self.model_]
        self._features = rung.model[0].cpu()
        self.score_function_ = rung.score_function
        self.loss_curve_, self.n_iter_ = rung.training.curve, rung.training.best_step
        self._information = -losses[self.model_]
        return rung

    def _settle(
        self,
        X: Any,
        held_out: np.ndarray,
        labels: np.ndarray,
        lag: int,
        stages: tuple[str, ...],
        contrast: Contrast,
        rung: Rung,
    ) -> None:
        """Choose and fit the second stage, then say what is left unidentified, and what another seed would find."""
        features, train = self._raw(X), ~held_out
        steps, free = min(400, self.max_steps or 400), self.score_function_ == "free"
        self._stage, self.second_stage_loss_ = choose_stage(
            stages,
            features,
            train,
            runs(labels, train),
            lambda S: contrast.losses_of(S, steps, free=free),
            gaussian=len(gaussian_sources(features, labels, lag)) > 1,
        )
        self.second_stage_ = self._stage.name
        sources = self._stage(features)
        self.stability_ = np.full(self.n_components_, np.nan)
        if rung.rival is not None and self.model_ == "network":
            others = self._raw(X, rung.rival[0].cpu())
            other = fit_stage(self.second_stage_, others[train], runs(labels, train))
            self.stability_ = matched(sources[held_out], other(others)[held_out])
        found = find_ambiguity(sources, labels, lag, self.second_stage_, self._information)
        self.ambiguity_, self.subspaces_, self.ambiguity_why_ = found.kind, found.subspaces, found.why
        if found.subspaces:
            warnings.warn(found.why, IdentifiabilityWarning, stacklevel=3)

    def transform(self, X: Any, *, stage: str = "sources") -> np.ndarray:
        """Sources (frame, component), of unit variance on the training frames.

        `stage` "features" gives them as the contrast left them, before the second stage.
        """
        check_is_fitted(self)
        if stage not in ("sources", "features"):
            raise DataError(f"stage = {stage!r} must be sources or features.")
        features = self._raw(X)
        return features if stage == "features" else self._stage(features)

    def transform_covariance(self, X: Any, covariance: np.ndarray) -> np.ndarray:
        """Covariance J Σ Jᵀ (frame, component, component) of the sources, J their Jacobian (delta method)."""
        check_is_fitted(self)
        Z = self._whitened(self._check_latents(X))
        with torch.no_grad():
            jacobian = self._features.jacobian(Z).double().numpy()
        J = self._stage.matrix @ jacobian @ self._white.components_
        return transformed(J, covariance)

    def score(self, X: Any, y: Any = None, *, replicas: Any = None) -> float:
        """Information (nats) that a frame's features are found to have about the next: higher is better.

        The mean of log softmax plus the log of the number of candidates, with a score function fitted to X's
        first half of pairs and asked on the second.
        """
        S = self.transform(X)
        labels = check_replicas(replicas, len(S))
        held_out = np.arange(len(S)) >= len(S) // 2
        contrast = Contrast(torch.as_tensor(S), labels, held_out, check_lags(self.lag))
        return -float(contrast.losses_of(S, free=self.score_function_ == "free").mean())

    def _whitened(self, latents: np.ndarray) -> torch.Tensor:
        dtype = torch.float64 if self.precision == "float64" else torch.float32
        return torch.as_tensor(self._white.transform(latents), dtype=dtype)

    @property
    def _n_features_out(self) -> int:
        return self.n_components_


def _validation_mask(validation: Any, labels: np.ndarray, lag: int) -> np.ndarray:
    if validation is not None:
        mask = np.asarray(validation, dtype=bool)
        if mask.shape != labels.shape:
            raise DataError(f"validation has shape {mask.shape}; it must mark each of the {len(labels)} frames.")
        return mask
    if labels[-1] > 0:
        return labels == labels[-1]
    return np.arange(len(labels)) >= len(labels) - max(lag + 2, len(labels) // 5)
