"""Time-contrastive learning."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tempica.errors import DataError, IdentifiabilityWarning
from tempica.ica.base import check_n_components, check_numbers, transformed, whitening
from tempica.ica.contrastive.images import (
    OF_LABELLED,
    PAIRS,
    RATE,
    Classifier,
    FramesOrImages,
    Images,
    Noise,
    Restart,
    best_restart,
)
from tempica.ica.contrastive.labelled import Labelled
from tempica.ica.contrastive.ladder import finish, pilot_steps
from tempica.ica.contrastive.second_stage import Stage, check_stage, fit_stage, matched
from tempica.ica.labels import check_segments, last_fifth, number_segments
from tempica.ica.linear.dimension import count_sources
from tempica.ica.training.networks import Features, check_device, in_precision
from tempica.ica.training.progress import Checkpoint, Progress, fingerprint
from tempica.ica.training.restarts import Restarts
from tempica.ica.training.trainer import Trainer
from tempica.series import standard_error

LEAST = {"n_restarts": 1, "n_layers": 1, "width": 1, "max_steps": 1, "batch_size": 2}
BATCH = 512  # frames


class TCL(FramesOrImages):
    """Time-contrastive learning: features that tell of which segment a frame is.

    For sources that are independent given the segment u, with log p(s_i | u) = q_i0(s_i) + λ_i(u) q_i(s_i) − log Z,
    and frames x = f(s), multinomial logistic regression of the segment on features |h(x)| finds
    q(s) = A |h(x)| + d, if the modulations λ(u) − λ(1) have full rank, hence at least n + 1 segments. Linear ICA then
    finds each q_i(s_i) (Hyvärinen & Morioka 2016, theorem 1). For sources whose scale is modulated, q_i = −|s_i|: signs
    are not identified, and what is returned is |s_i| up to scale and offset, oriented so that its long tail is above.

    Twice as many features as sources are trained, which keeps the classifier from losing a source for good; the
    n directions that its logits use most are kept. A linear h and a network are trained, the network from several
    starts side by side, of which the two with the lowest held-out losses go on to the end; the better is kept if it
    gains more than the standard error, and the other tells how far each source can be relied on.

    Frames may be images (frame, y, x), in memory or in a memory map: the linear h is then of principal components of
    their pixels, and the network a small convolutional one, as in `PCL`.

    Parameters: `n_components`, all that vary when None, as many as `count_sources` finds when "auto" (then kept as
    `n_components_`); `width` of the maxout layers (4 per component, at least 16) and their number
    `n_layers`; `n_restarts`; `max_steps` and `batch_size`, chosen from the data when None; `learning_rate`;
    `second_stage`: auto (which is fastica), none, fastica; `device`: cpu or cuda; `precision`: float32, float64, or
    bfloat16 for the network alone; `random_state`.
    Attributes: `segments_`, the labels; `stability_` (component,), the absolute correlation of each source with
    that of the second best restart on held-out frames, NaN where no second network was trained to the end;
    `ambiguity_`: none, linear, subspace (the modulations have too low a rank) or all (segments cannot be told
    apart), with `ambiguity_why_`, `rank_` of the modulations and `rank_loss_`, the held-out loss with 0, 1 …
    directions; `model_`, `candidates_`, `second_stage_`, `validation_loss_` of each restart (nats, the log of the
    number of segments subtracted), `loss_curve_`, `n_iter_`.
    """

    def __init__(
        self,
        n_components: int | str | None = 2,
        *,
        width: int | None = None,
        n_layers: int = 2,
        n_restarts: int = 3,
        max_steps: int | None = None,
        batch_size: int | None = None,
        learning_rate: float = 8e-3,
        second_stage: str = "auto",
        device: str = "cpu",
        precision: str = "float32",
        random_state: Any = 0,
    ) -> None:
        self.n_components = n_components
        self.width = width
        self.n_layers = n_layers
        self.n_restarts = n_restarts
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.second_stage = second_stage
        self.device = device
        self.precision = precision
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        validation: Any = None,
        callback: Callable[[int, int, float], None] | None = None,
        checkpoint: Any = None,
        log: Any = None,
    ) -> TCL:
        """Fit to frames X (frame, feature), or to images (frame, y, x), of segments y (frame,), any labels.

        `validation` (frame,) marks frames that give no gradients: the last fifth of each segment when None.
        `callback(run, step, loss)` hears of progress; `checkpoint` names a file from which an interrupted fit goes on;
        `log` one that gets a line of JSON at each check (`Progress`).
        Raises DataError for fewer than two segments, constant features or impossible parameters.
        """
        images, X = self._given(X)
        dtype = check_device(self.device, self.precision)
        self.segments_, segments = number_segments(y, len(X))
        if "sobi" in check_stage(self.second_stage) and self.second_stage != "auto":
            raise DataError("second_stage = 'sobi' needs series; frames of segments have none. Take fastica.")
        check_numbers(self, LEAST)
        held_out = last_fifth(segments) if validation is None else np.asarray(validation, dtype=bool)
        if held_out.shape != segments.shape or held_out.all() or not held_out.any():
            raise DataError(
                f"validation has shape {held_out.shape}; it must mark some of the {len(X)} frames, not all."
            )
        latents = self._learn_pixels(images, X, ~held_out)
        self._mean, self._white = whitening(latents[~held_out])
        self.n_components_ = check_n_components(
            self.n_components,
            len(self._white),
            latents.shape[1],
            lambda: count_sources(latents[~held_out], labels=segments[~held_out]).n,
        )
        Z = self._whitened(latents).to(self.device, dtype)
        data = Labelled(Z, torch.as_tensor(segments).to(self.device), held_out, len(self.segments_))
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=self.n_restarts + 1)
        saved = Checkpoint(checkpoint, fingerprint(self.get_params(), seeds, latents, segments, held_out))
        rival = self._select(data, images, *self._ladder(data, images, seeds, Progress(saved, log, callback)))
        train = data.train.numpy()
        self._reduce, self._stage, *rank = self._unmix(X, train, self._features, self._head)
        self.rank_loss_, self.rank_ = data.rank(*rank)
        self._sign(X, train)
        self.stability_ = np.full(self.n_components_, np.nan)
        if rival is not None:
            reduce, stage, *_ = self._unmix(X, train, *rival)
            others = stage((self._absolute(X, rival[0])[held_out] - reduce[0]) @ reduce[1].T)
            self.stability_ = matched(self.transform(X)[held_out], others)
        self._judge()
        return self

    def _ladder(
        self, data: Labelled, images: Images | None, seeds: np.ndarray, progress: Progress
    ) -> tuple[Any, Any, Any]:
        """A linear model and the best network, each [features, head]; and the next best network, if any."""
        n_inputs, n_features = data.Z.shape[1], 2 * self.n_components_
        given: dict[str, Any] = {"batch_size": self.batch_size or BATCH, "learning_rate": self.learning_rate}
        given["precise"] = partial(in_precision, device=self.device, precision=self.precision)

        def begin(
            run: int, name: str, models: list[nn.ModuleList], max_steps: int | None, augment: Any = None
        ) -> tuple[Restarts, Trainer]:
            together = Restarts(models).to(data.Z.device, data.Z.dtype)
            own = given | {"max_steps": max_steps, "seed": int(seeds[run]), "augment": augment}
            return together, progress.begin(run, name, lambda told: data.training(together, on_check=told, **own))

        def model(run: int, width: int, n_layers: int) -> Any:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(seeds[run]))
                start = torch.randn(n_features, n_inputs) / math.sqrt(n_inputs)
                head = nn.Linear(n_features, data.n_segments)
                nn.init.zeros_(head.weight)
                nn.init.zeros_(head.bias)
                return nn.ModuleList([Features(n_inputs, n_features, width, n_layers, start), head])

        noise = None
        if images is not None:
            noise = Noise(1.0, int(seeds[0]), torch.as_tensor(self._white, dtype=torch.float32))
        together, training = begin(0, "linear", [model(0, 0, 0)], min(self.max_steps or 800, 800), noise)
        training.advance()
        linear = together.model(0), training
        if images is not None:
            return linear, self._of_images(data.of(images), images, linear[0], seeds, progress), None
        width = self.width or max(16, 4 * self.n_components_)
        models = [model(run, width, self.n_layers) for run in range(1, self.n_restarts + 1)]
        models[0][0].linear.data.copy_(linear[0][0].linear.data)
        models[0][1].load_state_dict(linear[0][1].state_dict())
        together, training = begin(1, "network", models, self.max_steps)
        pilot = pilot_steps(data.n_train, self.max_steps)
        ranked = finish(training, pilot)
        self.validation_loss_ = training.every
        rival = together.model(ranked[1]) if len(ranked) > 1 else None
        return linear, (together.model(ranked[0]), training), rival

    def _of_images(self, data: Labelled, images: Images, linear: Any, seeds: np.ndarray, progress: Progress) -> Any:
        """The best of several convolutional networks, and its training."""
        start = linear[0].linear.detach().cpu().float()
        some = images[data.train[:: max(1, data.n_train // BATCH)]]
        own: dict[str, Any] = {"batch_size": self.batch_size or PAIRS, "max_steps": self.max_steps}

        def begin(run: int) -> tuple[Any, Trainer]:
            seed, white = int(seeds[run]), (self._mean, self._white)
            restart = Restart.of(run, len(start), self._pixels, white, start, some, seed, OF_LABELLED)
            network = Classifier(restart.features, data.n_segments, linear[1] if restart.from_linear else None)
            given: dict[str, Any] = {
                **own,
                "learning_rate": RATE * self.learning_rate,
                "seed": seed,
                "augment": restart.noise,
            }
            make = partial(data.training, network, lambda features: features, **given)
            return network, progress.begin(run, f"network {run}", lambda told: make(on_check=told))

        pilot = pilot_steps(data.n_train, self.max_steps)
        network, training, self.validation_loss_ = best_restart(begin, self.n_restarts, pilot)
        return network.model, training

    def _select(self, data: Labelled, images: Images | None, linear: Any, network: Any, rival: Any) -> Any:
        found = {"linear": linear, "network": network}
        losses = {
            name: (data if images is None or name == "linear" else data.of(images)).losses(
                features, (head.weight, head.bias)
            )
            for name, ((features, head), _) in found.items()
        }
        self.candidates_ = {name: float(loss.mean()) for name, loss in losses.items()}
        gain = losses["linear"] - losses["network"]
        self.model_ = "network" if gain.mean() > standard_error(gain) else "linear"
        model, training = found[self.model_]
        self._features, self._head = model.cpu()
        self.loss_curve_, self.n_iter_ = training.curve, training.best_step
        return rival.cpu() if rival is not None and self.model_ == "network" else None

    def _unmix(self, X: np.ndarray, chosen: np.ndarray, features: Any, head: nn.Linear) -> tuple[Any, ...]:
        """The directions that the logits use most, and what unmixes them; then what `Labelled.rank` asks for."""
        every = self._absolute(X, features)
        train = every[chosen]
        mean = train.mean(0)
        # logits have columns of covariance CᵀWᵀWC with C the root of the features' covariance
        value, vector = np.linalg.eigh(np.cov(train.T))
        root = vector * np.sqrt(np.maximum(value, 0))
        W = head.weight.detach().double().numpy()
        W = W - W.mean(0)
        _, strength, right = np.linalg.svd(W @ root, full_matrices=False)
        back = vector / np.sqrt(np.maximum(value, 1e-9 * value.max()))
        directions = right @ back.T  # uncorrelated, of unit variance, those that move the logits most first
        kept = directions[: self.n_components_]
        self.second_stage_ = "fastica" if self.second_stage == "auto" else self.second_stage
        reduced = (train - mean) @ kept.T
        stage = fit_stage(self.second_stage_, reduced, np.zeros(len(reduced), dtype=int))
        # |s| has its long tail above
        sign = np.where((stage(reduced) ** 3).mean(0) < 0, -1.0, 1.0)
        stage = Stage(stage.name, stage.mean, sign[:, None] * stage.matrix)
        return (mean, kept), stage, every, mean, directions, strength, right, root, head, W

    def _sign(self, X: np.ndarray, chosen: np.ndarray) -> None:
        """Which activation goes best with each source, and its deviation."""
        train = self._absolute(X)[chosen]
        S = self._stage((train - self._reduce[0]) @ self._reduce[1].T)
        alike = np.abs(np.corrcoef(S.T, train.T)[: self.n_components_, self.n_components_ :])
        self._signed = linear_sum_assignment(-np.nan_to_num(alike))[1]
        self._deviation = np.maximum(np.sqrt((train**2).mean(0)[self._signed]), 1e-12)

    def _judge(self) -> None:
        n, rank = self.n_components_, self.rank_
        if rank == 0:
            self.ambiguity_ = "all"
            self.ambiguity_why_ = (
                "Nothing is identifiable: segments cannot be told apart on held-out frames. Take longer segments, or"
                " conditions that change the sources' distributions more."
            )
        elif rank < n:
            self.ambiguity_ = "subspace"
            self.ambiguity_why_ = (
                f"{n} sources are not identifiable from modulations of rank {rank}: the segments move them together."
                " Take conditions that change every source separately, or fewer components."
            )
        elif self.second_stage_ == "none" and n > 1:
            self.ambiguity_ = "linear"
            self.ambiguity_why_ = (
                "The contrast leaves the sources mixed linearly, not identifiable without a second stage."
                " Set second_stage to auto."
            )
        else:
            self.ambiguity_, self.ambiguity_why_ = "none", "The modulations have full rank."
        if self.ambiguity_ != "none":
            warnings.warn(self.ambiguity_why_, IdentifiabilityWarning, stacklevel=3)

    def transform(self, X: Any, *, stage: str = "sources") -> np.ndarray:
        """Sources (frame, component), |s_i| up to scale and offset, of unit variance on the training frames.

        `stage` "features" gives the directions that the classifier uses, before the second stage; "signed" the
        activations h before the absolute value that go best with each source, in units of their root mean square:
        s_i itself where h changes sign with it. That it does is what a smooth h is inclined to, no theorem.
        """
        check_is_fitted(self)
        if stage not in ("sources", "features", "signed"):
            raise DataError(f"stage = {stage!r} must be sources, features or signed.")
        if stage == "signed":
            return self._raw(X)[:, self._signed] / self._deviation
        features = self._reduced(X)
        return features if stage == "features" else self._stage(features)

    def transform_covariance(self, X: Any, covariance: np.ndarray, *, stage: str = "sources") -> np.ndarray:
        """Covariance J Σ Jᵀ (frame, component, component) of the sources (or "signed"), J their Jacobian."""
        check_is_fitted(self)
        Z = self._whitened(self._check_latents(X))
        with torch.no_grad():
            jacobian = self._features.jacobian(Z).double().numpy() @ self._white
            sign = torch.sign(self._features(Z)).double().numpy()[..., None]
        if stage == "signed":
            J = jacobian[:, self._signed] / self._deviation[:, None]
        else:
            J = self._stage.matrix @ self._reduce[1] @ (sign * jacobian)
        return transformed(J, covariance)

    def score(self, X: Any, y: Any = None) -> float:
        """Information (nats) that a frame of X is found to give about its segment, less that of guessing.

        `y` (frame,) are segments of the fit. Raises DataError for others.
        """
        check_is_fitted(self)
        absolute = self._absolute(X)
        names = check_segments(y, len(absolute))
        if not np.isin(names, self.segments_).all():
            raise DataError("Some frames are of segments that were not fitted. Give labels of the fit.")
        segments = np.searchsorted(self.segments_, names)
        with torch.no_grad():
            logits = self._head(torch.as_tensor(absolute, dtype=self._head.weight.dtype))
            loss = nn.functional.cross_entropy(logits, torch.as_tensor(segments))
        return math.log(logits.shape[1]) - float(loss)

    def _whitened(self, X: np.ndarray) -> Tensor:
        dtype = torch.float64 if self.precision == "float64" else torch.float32
        return torch.as_tensor((X - self._mean) @ self._white.T, dtype=dtype)

    def _absolute(self, X: np.ndarray, features: Any = None) -> np.ndarray:
        return np.abs(self._raw(X, features))

    def _reduced(self, X: np.ndarray) -> np.ndarray:
        mean, directions = self._reduce
        return (self._absolute(X) - mean) @ directions.T

    @property
    def _n_features_out(self) -> int:
        return self.n_components_
