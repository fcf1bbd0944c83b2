"""Permutation-contrastive learning."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tempica.errors import DataError, IdentifiabilityWarning
from tempica.ica.base import check_n_components, check_replicas, runs
from tempica.ica.contrast import Contrast, split_pairs, standard_error
from tempica.ica.dimension import count_sources
from tempica.ica.images import PAIRS, RATE, FramesOrImages, Images, Noise, Restart
from tempica.ica.linear import TICA
from tempica.ica.networks import Features, PairScore
from tempica.ica.second_stage import check_stage, choose_stage, find_ambiguity, gaussian_sources
from tempica.ica.trainer import Checkpoint, Progress, Training, fingerprint
from tempica.ica.within import WithinReplicas

LEAST = {"n_restarts": 1, "n_layers": 1, "width": 1, "max_steps": 1, "batch_size": 2}
BATCH = 512  # pairs


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
    sources, a linear map, and the network, of whose restarts the one with the lowest held-out loss goes on. A
    richer model is kept only if the held-out contrast gains more than its standard error: under strong noise a
    network would otherwise be chosen by chance.

    Frames may be images (frame, y, x), in memory or in a memory map: the first two models then see principal
    components of their pixels, and the network is a small convolutional one. Its restarts add noise of different
    strengths to the images they learn from, or it would memorise their own; the held-out loss decides. Where poses
    vary or noise is strong, embed first and unmix the latents.

    Parameters: `n_components`, all that vary when None, as many as `count_sources` finds when "auto" (then kept as
    `n_components_`); `lag` τ in frames, one or several (the mean of their contrasts); `width` of the maxout
    layers (8 per component, at least 16) and their number `n_layers`; `n_restarts`; `max_steps` and `batch_size`,
    chosen from the data when None; `learning_rate`; `second_stage`: auto, none, fastica or sobi; `random_state`.
    Attributes: `ambiguity_`: none, linear (resolved by the second stage, if there is one), subspace or all, with
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
        n_layers: int = 2,
        n_restarts: int = 3,
        max_steps: int | None = None,
        batch_size: int | None = None,
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
        labels = check_replicas(replicas, len(X))
        lags = (self.lag,) if isinstance(self.lag, Integral) else tuple(self.lag)  # type: ignore[arg-type]
        stages = check_stage(self.second_stage)
        held_out = _validation_mask(validation, labels, max(lags))
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise DataError(f"{name} = {value} must be at least {least}.")
        split_pairs(labels, held_out, lags[0])
        latents = self._learn_pixels(images, X, ~held_out)
        self._white = TICA(lag=lags).fit(latents[~held_out], replicas=runs(labels, ~held_out))
        self.n_components_ = check_n_components(
            self.n_components,
            len(self._white.components_),
            latents.shape[1],
            lambda: count_sources(latents[~held_out], replicas=runs(labels, ~held_out), lag=lags).n,
        )
        Z = self._whitened(latents)
        contrast = (Contrast if images is None else WithinReplicas)(Z, labels, held_out, lags)
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=self.n_restarts + 1)
        saved = Checkpoint(checkpoint, fingerprint(self.get_params(), seeds, latents, labels, held_out))
        self._select(self._ladder(contrast, images, seeds, Progress(saved, log, callback)))
        self._settle(X, held_out, labels, lags[0], stages, contrast)
        return self

    def _ladder(
        self,
        contrast: Contrast,
        images: Images | None,
        seeds: np.ndarray,
        progress: Progress,
    ) -> dict[str, tuple[nn.ModuleList, Training, Contrast]]:
        """Models from the simplest to the richest, each trained from the one before; and what each was trained on."""
        n_inputs, n = contrast.Z.shape[1], self.n_components_
        of_images = contrast if images is None else contrast.of(images)

        def begin(
            run: int,
            name: str,
            model: nn.ModuleList,
            max_steps: int | None,
            learns: Any = None,
            data: Contrast = contrast,
            **own: Any,
        ) -> Training:
            features, scores = model
            own = {"batch_size": self.batch_size or BATCH, "learning_rate": self.learning_rate, **own}
            own |= {"max_steps": max_steps, "seed": int(seeds[run])}
            return progress.begin(
                run, name, lambda on_check: data.training(learns or model, features, scores, on_check=on_check, **own)
            )

        short = min(self.max_steps or 400, 400)
        chosen = contrast.choose(n) if isinstance(contrast, WithinReplicas) else list(range(n))
        tica = _model(n_inputs, n, 0, 0, torch.eye(n_inputs)[chosen], _scores(n, contrast), seeds[0])
        fitted = {"tica": (tica, begin(0, "tica", tica, short, tica[1]).advance(), contrast)}
        linear, noise = copy.deepcopy(tica), None
        if images is not None:
            short = min(self.max_steps or 4000, 4000)  # among so many directions
            noise = Noise(1.0, int(seeds[0]), _tensor(self._white.components_))
        fitted["linear"] = (linear, begin(0, "linear", linear, short, augment=noise).advance(), contrast)
        width, pilots = self.width or max(16, 8 * n), []
        pilot = max(1, (self.max_steps or int(np.clip(contrast.n_train // 10, 1500, 6000))) // 4)
        pilot *= 1 if images is None else 2  # convolutions take longer to show what they are worth
        for run in range(1, self.n_restarts + 1):
            if images is not None:
                network, noise = self._image_model(run, images, contrast, linear, int(seeds[run]))
                own = {"batch_size": self.batch_size or PAIRS, "learning_rate": RATE * self.learning_rate}
                training = begin(
                    run, f"network {run}", network, self.max_steps, data=of_images, augment=noise, **own
                )
                pilots.append((training.advance(pilot if self.n_restarts > 1 else None), network))
                continue
            rng = torch.Generator().manual_seed(int(seeds[run]))
            found, scores = copy.deepcopy(linear)
            start = found.get_parameter("linear").detach()
            if run > 1:
                start = torch.linalg.qr(torch.randn(n_inputs, n, generator=rng)).Q.T.contiguous()
                scores = _scores(n, contrast)
            network = _model(n_inputs, n, width, self.n_layers, start, scores, seeds[run])
            training = begin(run, f"network {run}", network, self.max_steps)
            pilots.append((training.advance(pilot if self.n_restarts > 1 else None), network))
        self.validation_loss_ = [training.best for training, _ in pilots]
        training, network = pilots[int(np.argmin(self.validation_loss_))]
        fitted["network"] = (network, training.advance(), of_images)
        return fitted

    def _image_model(
        self, run: int, images: Images, contrast: Contrast, linear: nn.ModuleList, seed: int
    ) -> tuple[nn.ModuleList, Noise]:
        some = contrast.starts[:: max(1, len(contrast.starts) // BATCH)]
        white, start = (self._white.mean_, self._white.components_), linear[0].get_parameter("linear").detach()
        restart = Restart.of(run, self.n_components_, self._pixels, white, start, images, some, seed)
        scores = copy.deepcopy(linear[1]) if restart.from_linear else _scores(self.n_components_, contrast)
        return nn.ModuleList([restart.features, scores]), restart.noise

    def _select(self, fitted: dict[str, tuple[Any, Training, Contrast]]) -> None:
        """Climb the ladder as long as the held-out contrast improves by more than its standard error."""
        losses = {name: own.losses(*model) for name, (model, _, own) in fitted.items()}
        self.model_ = "tica"
        self.candidates_ = {name: float(loss.mean()) for name, loss in losses.items()}
        for name in ("linear", "network"):
            gain = losses[self.model_] - losses[name]
            if gain.mean() > standard_error(gain):
                self.model_ = name
        model, training, _ = fitted[self.model_]
        self._features, self.loss_curve_, self.n_iter_ = model[0], training.curve, training.best_step
        self._information = -losses[self.model_]

    def _settle(
        self,
        X: Any,
        held_out: np.ndarray,
        labels: np.ndarray,
        lag: int,
        stages: tuple[str, ...],
        contrast: Contrast,
    ) -> None:
        """Choose and fit the second stage, then say what is left unidentified."""
        features, train = self._raw(X), ~held_out
        steps = min(400, self.max_steps or 400)
        self._stage, self.second_stage_loss_ = choose_stage(
            stages,
            features,
            train,
            runs(labels, train),
            lambda S: contrast.losses_of(S, steps),
            gaussian=len(gaussian_sources(features, labels, lag)) > 1,
        )
        self.second_stage_ = self._stage.name
        found = find_ambiguity(self._stage(features), labels, lag, self.second_stage_, self._information)
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
        return J @ np.asarray(covariance) @ J.transpose(0, 2, 1)

    def score(self, X: Any, y: Any = None, *, replicas: Any = None) -> float:
        """Information (nats) that a frame's features are found to have about the next: higher is better.

        The mean of log softmax plus the log of the number of candidates, with a score function fitted to X's
        first half of pairs and asked on the second.
        """
        S = self.transform(X)
        labels = check_replicas(replicas, len(S))
        held_out = np.arange(len(S)) >= len(S) // 2
        lags = (self.lag,) if isinstance(self.lag, Integral) else tuple(self.lag)  # type: ignore[arg-type]
        return -float(Contrast(torch.as_tensor(S), labels, held_out, lags).losses_of(S).mean())

    def _whitened(self, latents: np.ndarray) -> Tensor:
        return _tensor(self._white.transform(latents))

    @property
    def _n_features_out(self) -> int:
        return self.n_components_


def _scores(n: int, contrast: Contrast) -> nn.ModuleList:
    return nn.ModuleList(PairScore(n) for _ in contrast.lags)


def _model(
    n_inputs: int, n: int, width: int, n_layers: int, linear: Tensor, scores: nn.Module, seed: int
) -> nn.ModuleList:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        return nn.ModuleList([Features(n_inputs, n, width, n_layers, linear), scores])


def _tensor(array: np.ndarray) -> Tensor:
    return torch.as_tensor(array, dtype=torch.float32)


def _validation_mask(validation: Any, labels: np.ndarray, lag: int) -> np.ndarray:
    if validation is not None:
        mask = np.asarray(validation, dtype=bool)
        if mask.shape != labels.shape:
            raise DataError(f"validation has shape {mask.shape}; it must mark each of the {len(labels)} frames.")
        return mask
    if labels[-1] > 0:
        return labels == labels[-1]
    return np.arange(len(labels)) >= len(labels) - max(lag + 2, len(labels) // 5)
