"""What PCL, TCL and GCL share: frames or images, the model that is kept, and the way from frames to sources."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from tempica.errors import DataError, IdentifiabilityWarning
from tempica.ica.base import check_transform_stage, transformed
from tempica.ica.contrastive.image_networks import (
    PAIRS,
    RATE,
    RESTARTS,
    ImageFeatures,
    Restart,
    encode,
    train_image_networks,
)
from tempica.ica.contrastive.images import Images, Pixels, as_images
from tempica.ica.contrastive.second_stage import Stage, fit_stage, matched, matching
from tempica.ica.training.estimator import NetworkEstimator
from tempica.ica.training.ladder import Plan, Rung, climb
from tempica.ica.training.networks import in_precision
from tempica.ica.training.progress import Progress
from tempica.ica.training.trainer import Trainer

# None: chosen for the data, or for the number of components
OWN_TRAINING = {"batch_size": None, "learning_rate": 8e-3, "width": None, "n_layers": None, "precision": "float32"}
DEPTH = 3  # hidden layers, where none are asked for
BLOCK = 65536  # frames that go through a network at a time, which bounds the memory
P = TypeVar("P", bound=Plan)


class ContrastiveEstimator(NetworkEstimator):
    """Base of estimators of latents (frame, feature) or images (frame, y, x), whose features a contrast has taught.

    `_pixels` is None after a fit to latents; `_features` is a network of whitened latents, or of images.
    """

    _pixels: Pixels | None = None
    _features: Any
    _stage: Stage
    n_components: Any
    n_components_: int
    n_restarts: int
    max_steps: int | None
    device: str

    def _given(self, X: Any) -> tuple[Images | None, Any]:
        """Images if X is that, and the frames of a fit. Raises DataError for images without a number of components."""
        images = as_images(X)
        if images is not None and self.n_components is None:
            raise DataError(
                "n_components = None takes every direction that varies, and images vary in as many as they have"
                " pixels. Give a number, or 'auto'."
            )
        return images, self._frames(X, fitting=True) if images is None else images

    def _learn_pixels(self, images: Images | None, X: Any, chosen: np.ndarray) -> np.ndarray:
        """Latents (frame, feature) of the frames of a fit: themselves, or principal components of pixels."""
        self._pixels = None if images is None else Pixels.of(images, chosen)
        return X if images is None or self._pixels is None else self._pixels(images)

    def _plan(self, kind: type[P], units: int, batch: int, seeds: np.ndarray, **more: Any) -> P:
        """What is to be trained, with so many units a component and so large a batch where none are asked for."""
        options = self._options()
        return kind(
            n=self.n_components_,
            width=options.width or max(16, units * self.n_components_),
            n_layers=options.n_layers or DEPTH,
            n_restarts=self.n_restarts,
            max_steps=self.max_steps,
            options={"batch_size": options.batch_size or batch, "learning_rate": options.learning_rate},
            precise=partial(in_precision, device=self.device, precision=options.precision),
            seeds=seeds,
            **more,
        )

    def _image_network(
        self,
        progress: Progress,
        seeds: np.ndarray,
        start: Tensor,
        some: Tensor,
        n_train: int,
        network_of: Callable[[Restart], Any],
        training: Callable[..., Trainer],
        kinds: tuple[tuple[float, bool], ...] = RESTARTS,
    ) -> tuple[Any, Trainer, list[float]]:
        """The best of several convolutional networks, its trainer, and the held-out losses of all.

        They begin at a linear map (N, K), or at random and settled on `some` images; `training(network, noise, …)`
        makes a trainer of `network_of(restart)`.
        """
        options, white = self._options(), (self._mean, self._white)
        given = {"batch_size": options.batch_size or PAIRS, "learning_rate": RATE * options.learning_rate}

        def restart(run: int) -> Restart:
            return Restart.of(run, len(start), self._pixels, white, start, some, int(seeds[run]), kinds)

        def make(network: Any, begun: Restart, on_check: Callable[[Trainer], None]) -> Trainer:
            seed = begun.noise.seed
            return training(network, begun.noise, max_steps=self.max_steps, seed=seed, on_check=on_check, **given)

        return train_image_networks(progress, restart, network_of, make, self.n_restarts, n_train, self.max_steps)

    def _take(self, rungs: Mapping[str, Rung], judge: Callable[[Any], np.ndarray] | None = None) -> Rung:
        """The rung that is worth it, of models from simple to rich; what is known of all is kept.

        `judge(features)` gives held-out losses by which it has to be worth it as well.
        """
        judged = None if judge is None else cache(lambda name: judge(rungs[name].model[0].cpu()))
        self.model_ = climb({name: rung.losses for name, rung in rungs.items()}, judged)
        self.candidates_ = {name: float(rung.losses.mean()) for name, rung in rungs.items()}
        self.validation_loss_ = rungs["network"].restarts
        rung = rungs[self.model_]
        self._features = rung.model.cpu()[0]
        self.loss_curve_, self.n_iter_ = rung.trainer.curve, rung.trainer.best_step
        self._information = -rung.losses
        return rung

    def _raw(self, X: Any) -> np.ndarray:
        """What the model's features (frame, N) make of frames that a user gives."""
        images = as_images(X, None if self._pixels is None else self._pixels.mean.shape)
        if (images is None) != (self._pixels is None):
            raise DataError("Frames must be of the kind of the fit: latents (frame, feature), or images (frame, y, x).")
        return self._through(self._frames(X, fitting=False) if images is None else images)

    def _through(self, X: Any, features: Any = None) -> np.ndarray:
        """What features (frame, N), the model's own when None, make of checked latents (frame, feature), or images."""
        features = self._features if features is None else features
        if isinstance(X, Images) and isinstance(features, ImageFeatures):
            return encode(features, X)
        latents = self._pixels(X) if self._pixels is not None else X
        # in double precision, so that a frame's sources do not depend on which others it comes with
        exact = copy.deepcopy(features).double()
        with torch.no_grad():
            white = self._whitened(latents, torch.float64).split(BLOCK)
            return torch.cat([exact(some) for some in white]).numpy()

    def transform(self, X: Any, *, stage: str = "sources") -> np.ndarray:
        """Sources (frame, component), of unit variance on the training frames.

        `stage` "features" gives them as the contrast left them, before the second stage; "signed" is "sources".
        """
        check_is_fitted(self)
        check_transform_stage(stage)
        features = self._raw(X)
        return features if stage == "features" else self._stage(features)

    def transform_covariance(self, X: Any, covariance: np.ndarray, *, stage: str = "sources") -> np.ndarray:
        """Covariance J Σ Jᵀ (frame, component, component) of what `transform` gives, J its Jacobian (delta method)."""
        _, jacobian = self._with_jacobian(X, stage)
        J = (jacobian if stage == "features" else self._stage.matrix @ jacobian) @ self._white
        return transformed(J, covariance)

    def _with_jacobian(self, X: Any, stage: str) -> tuple[Tensor, np.ndarray]:
        """Whitened latents of X, checked, and the Jacobian (frame, N, K) of their features."""
        check_is_fitted(self)
        check_transform_stage(stage)
        if self._pixels is not None:
            raise DataError(f"Covariances are of latents; this {type(self).__name__} was fitted to images.")
        Z = self._whitened(self._frames(X, fitting=False))
        with torch.no_grad():
            return Z, self._features.jacobian(Z).double().numpy()

    def _stability(
        self, X: Any, sources: np.ndarray, rung: Rung, train: np.ndarray, labels: np.ndarray, held_out: np.ndarray
    ) -> np.ndarray:
        """Correlation (component,) of sources with those of the next best network, on held-out frames; NaN without.

        The rival's second stage is fitted on the frames that `train` marks; `labels` are their runs. Where the sources
        are a mean of both networks, it is the best one's own that are compared, in the order of the sources.
        """
        if rung.rival is None or self.model_ != "network":
            return np.full(self.n_components_, np.nan)

        def sources_of(model: Any) -> np.ndarray:
            features = self._through(X, model[0].cpu())
            return fit_stage(self.second_stage_, features[train], labels)(features)[held_out]

        other = sources_of(rung.rival)
        if rung.alone is None:
            return matched(sources[held_out], other)
        own = sources_of(rung.alone)
        return matched(own[:, matching(sources[held_out], own)], other)

    def _say(self, kind: str, why: str, warn: bool = True) -> None:
        """Keep what is left unidentified, and warn of it."""
        self.ambiguity_, self.ambiguity_why_ = kind, why
        if warn:
            warnings.warn(why, IdentifiabilityWarning, stacklevel=5)

    @property
    def _n_features_out(self) -> int:
        return self.n_components_
