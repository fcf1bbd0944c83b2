"""Time-contrastive learning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from tempica.errors import DataError
from tempica.ica.base import (
    check_n_components,
    check_transform_stage,
    check_validation,
    tells_nothing,
    transformed,
    whitening,
)
from tempica.ica.contrastive.estimator import OWN_TRAINING, ContrastiveEstimator
from tempica.ica.contrastive.image_networks import OF_LABELLED, Classifier, Noise, Restart
from tempica.ica.contrastive.images import Images
from tempica.ica.contrastive.labelled import Labelled, logit_directions
from tempica.ica.contrastive.second_stage import check_stage, matched
from tempica.ica.labels import check_labels, either, last_of_each, numbered
from tempica.ica.linear.dimension import count_sources
from tempica.ica.options import Training
from tempica.ica.training.ladder import Plan, Rung, pilot_steps, train_together
from tempica.ica.training.networks import Features, check_device
from tempica.ica.training.progress import Progress
from tempica.ica.training.restarts import Restarts
from tempica.ica.training.trainer import Trainer

BATCH = 512  # frames
LINEAR_STEPS = 800  # of the linear model, at most


class TCL(ContrastiveEstimator):
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

    Parameters:
        n_components: number of sources; all directions that vary when None (for images a number has to be given), as
            many as `count_sources` finds when "auto".
        n_restarts: networks that begin at different maps.
        max_steps: of each training; chosen from the data when None.
        second_stage: "auto" (which is fastica), "none" or "fastica".
        training: `Training`. batch_size, frames of a step: 512 (images: 256). learning_rate: 8e-3 (networks of images
            take a quarter of it). width of the maxout layers: 4 a component, at least 16. n_layers: 2. precision:
            float32.
        device: "cpu" or "cuda".
        random_state: whole number from which everything drawn follows.

    Attributes:
        n_components_: number of sources.
        labels_: the labels of the fit, sorted.
        stability_: (component,) absolute correlation of each source with that of the second best restart on held-out
            frames; NaN where no second network was trained to the end, as with images.
        ambiguity_: "none", "linear", "subspace" (the modulations have too low a rank) or "all" (segments cannot be
            told apart).
        ambiguity_why_: the same in words.
        rank_: of the modulations.
        rank_loss_: held-out loss with 0, 1 … directions.
        model_: "linear" or "network", the one that was kept.
        candidates_: held-out loss of each.
        second_stage_: the one that was used.
        validation_loss_: of each restart (nats, the log of the number of segments subtracted).
        loss_curve_: (step, training loss, held-out loss) at each check.
        n_iter_: step from which the weights are.

    Example:
        >>> from tempica.ica.synthetic import modulated
        >>> problem = modulated(2, 20, 50, n_layers=1, seed=0)
        >>> tcl = TCL(n_restarts=1, max_steps=60).fit(problem.X, problem.labels)
        >>> tcl.transform(problem.X).shape
        (1000, 2)
    """

    own_training: ClassVar[Mapping[str, Any]] = OWN_TRAINING | {"n_layers": 2}

    def __init__(
        self,
        n_components: int | Literal["auto"] | None = None,
        *,
        n_restarts: int = 3,
        max_steps: int | None = None,
        second_stage: Literal["auto", "none", "fastica"] = "auto",
        training: Training | Mapping[str, Any] | None = None,
        device: str = "cpu",
        random_state: Any = 0,
    ) -> None:
        self.n_components, self.second_stage = n_components, second_stage
        self.n_restarts, self.max_steps = n_restarts, max_steps
        self.training, self.device, self.random_state = training, device, random_state

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        labels: Any = None,
        validation: Any = None,
        callback: Callable[[int, int, float], None] | None = None,
        checkpoint: Any = None,
        log: Any = None,
    ) -> TCL:
        """Fit to frames X (frame, feature), or to images (frame, y, x).

        Parameters:
            labels: (frame,) the segment of each frame, numbers or text; also as the second argument, y.
            validation: mask (frame,) of frames that give no gradients: the last fifth of each segment when None.
            callback: called as callback(run, step, loss) at each check.
            checkpoint: file from which a fit that was interrupted goes on, to the same result.
            log: file that gets a line of JSON at each check, or a function, or a SummaryWriter (`Progress`).

        Raises DataError for fewer than two segments, constant features or impossible parameters.
        """
        images, X = self._given(X)
        dtype = check_device(self.device, self._options().precision)
        self.labels_, segments = _check_segments(either(y, labels), len(X))
        if "sobi" in check_stage(self.second_stage) and self.second_stage != "auto":
            raise DataError("second_stage = 'sobi' needs series; frames of segments have none. Use 'fastica'.")
        self.second_stage_ = "fastica" if self.second_stage == "auto" else self.second_stage
        mask = check_validation(validation, len(X))
        held_out = last_of_each(segments) if mask is None else mask
        if held_out.all() or not held_out.any():
            raise DataError(f"validation must mark some of the {len(X)} frames, not all or none.")
        latents = self._learn_pixels(images, X, ~held_out)
        self._mean, self._white = whitening(latents[~held_out])
        self.n_components_ = check_n_components(
            self.n_components,
            len(self._white),
            latents.shape[1],
            lambda: count_sources(latents[~held_out], labels=segments[~held_out]).n,
        )
        Z = self._whitened(latents).to(self.device, dtype)
        data = Labelled(Z, torch.as_tensor(segments).to(self.device), held_out, len(self.labels_))
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=self.n_restarts + 1)
        progress = self._progress(checkpoint, log, callback, seeds, latents, segments, held_out)
        rung = self._take(self._rungs(data, images, self._plan(Plan, 4, BATCH, seeds), progress))
        self._head = rung.model[1]
        self._unmix(X, data, held_out, rung)
        self._judge()
        return self

    def _rungs(self, data: Labelled, images: Images | None, plan: Plan, progress: Progress) -> dict[str, Rung]:
        """A linear model and the best network, each [features, head]."""
        noise = None
        if images is not None:
            noise = Noise(1.0, int(plan.seeds[0]), torch.as_tensor(self._white, dtype=torch.float32))
        few = min(self.max_steps or LINEAR_STEPS, LINEAR_STEPS)
        linear = _train(data, plan, progress, 0, "linear", [_model(data, plan, 0)], few, noise)
        if images is not None:
            return {"linear": linear, "network": self._of_images(data, images, plan, progress, linear.model)}
        models = [_model(data, plan, run) for run in range(1, plan.n_restarts + 1)]
        models[0][0].linear.data.copy_(linear.model[0].linear.data)
        models[0][1].load_state_dict(linear.model[1].state_dict())
        return {"linear": linear, "network": _train(data, plan, progress, 1, "network", models, self.max_steps)}

    def _of_images(self, data: Labelled, images: Images, plan: Plan, progress: Progress, linear: Any) -> Rung:
        """The best of several convolutional networks."""
        of_images, start = data.of(images), linear[0].linear.detach().cpu().float()
        some = images[data.train[:: max(1, data.n_train // BATCH)]]

        def network_of(restart: Restart) -> Classifier:
            return Classifier(restart.features, data.n_segments, linear[1] if restart.from_linear else None)

        def training(network: Classifier, noise: Noise, **given: Any) -> Trainer:
            return of_images.training(network, lambda features: features, noise, **given)

        network, trainer, losses = self._image_network(
            progress, plan.seeds, start, some, data.n_train, network_of, training, OF_LABELLED
        )
        return Rung(network.model, trainer, of_images.held_out(network.model), losses)

    def _unmix(self, X: Any, data: Labelled, held_out: np.ndarray, rung: Rung) -> None:
        """The second stage, the rank of the modulations, signs, and what another seed would find."""
        n, train = self.n_components_, data.train.numpy()
        absolute = np.abs(self._through(X))
        used = logit_directions(absolute[train], self._head)
        self._reduce = used.mean, used.directions[:n]
        self._stage = used.unmixed(absolute[train], n, self.second_stage_)
        self.rank_loss_, rank = used.rank(data, absolute, self._head)
        # a direction may pass for one by chance, of as many as are tried
        self.rank_ = 0 if tells_nothing(self._information) else rank
        # which activation goes best with each source, and its deviation
        sources = self._stage(self._reduced(absolute))
        alike = np.abs(np.corrcoef(sources[train].T, absolute[train].T)[:n, n:])
        self._signed = linear_sum_assignment(-np.nan_to_num(alike))[1]
        self._deviation = np.maximum(np.sqrt((absolute[train] ** 2).mean(0)[self._signed]), 1e-12)
        self.stability_ = np.full(n, np.nan)
        if rung.rival is not None and self.model_ == "network":
            features, head = rung.rival.cpu()
            absolute = np.abs(self._through(X, features))
            used = logit_directions(absolute[train], head)
            stage = used.unmixed(absolute[train], n, self.second_stage_)
            others = stage((absolute[held_out] - used.mean) @ used.directions[:n].T)
            self.stability_ = matched(sources[held_out], others)

    def _judge(self) -> None:
        n, rank = self.n_components_, self.rank_
        if rank == 0:
            why = (
                "Nothing is identifiable: segments cannot be told apart on held-out frames. Take longer segments, or"
                " conditions that change the sources' distributions more."
            )
            self._say("all", why)
        elif rank < n:
            why = (
                f"{n} sources are not identifiable from modulations of rank {rank}: the segments move them together."
                " Take conditions that change every source separately, or fewer components."
            )
            self._say("subspace", why)
        elif self.second_stage_ == "none" and n > 1:
            why = (
                "The contrast leaves the sources mixed linearly, not identifiable without a second stage."
                " Set second_stage to 'auto'."
            )
            self._say("linear", why)
        else:
            self._say("none", "The modulations have full rank.", warn=False)

    def transform(self, X: Any, *, stage: str = "sources") -> np.ndarray:
        """Sources (frame, component), |s_i| up to scale and offset, of unit variance on the training frames.

        `stage` "features" gives the directions that the classifier uses, before the second stage; "signed" the
        activations h before the absolute value that go best with each source, in units of their root mean square:
        s_i itself where h changes sign with it. That it does is what a smooth h is inclined to, no theorem.
        """
        check_is_fitted(self)
        check_transform_stage(stage)
        if stage == "signed":
            return self._raw(X)[:, self._signed] / self._deviation
        features = self._reduced(self._absolute(X))
        return features if stage == "features" else self._stage(features)

    def transform_covariance(self, X: Any, covariance: np.ndarray, *, stage: str = "sources") -> np.ndarray:
        """Covariance J Σ Jᵀ (frame, component, component) of what `transform` gives, J its Jacobian (delta method)."""
        Z, jacobian = self._with_jacobian(X, stage)
        jacobian = jacobian @ self._white
        with torch.no_grad():
            sign = torch.sign(self._features(Z)).double().numpy()[..., None]
        if stage == "signed":
            J = jacobian[:, self._signed] / self._deviation[:, None]
        else:
            directions = self._reduce[1]
            J = (directions if stage == "features" else self._stage.matrix @ directions) @ (sign * jacobian)
        return transformed(J, covariance)

    def score(self, X: Any, y: Any = None, *, labels: Any = None) -> float:
        """Information (nats) that a frame of X is found to give about its segment, less that of guessing.

        `labels` (also y) (frame,) are segments of the fit. Raises DataError for others.
        """
        check_is_fitted(self)
        absolute = self._absolute(X)
        segments = numbered(either(y, labels), self.labels_, len(absolute))
        with torch.no_grad():
            logits = self._head(torch.as_tensor(absolute, dtype=self._head.weight.dtype))
            loss = nn.functional.cross_entropy(logits, torch.as_tensor(segments))
        return math.log(logits.shape[1]) - float(loss)

    def _absolute(self, X: Any) -> np.ndarray:
        return np.abs(self._raw(X))

    def _reduced(self, absolute: np.ndarray) -> np.ndarray:
        mean, directions = self._reduce
        return (absolute - mean) @ directions.T


def _train(
    data: Labelled,
    plan: Plan,
    progress: Progress,
    run: int,
    name: str,
    models: list[Any],
    max_steps: int | None,
    augment: Any = None,
) -> Rung:
    """Restarts side by side, the best of them."""

    def make(together: Restarts, on_check: Callable[[Trainer], None]) -> Trainer:
        return data.training(together, plan.precise, augment, on_check=on_check, **plan.given(run, max_steps))

    pilot = pilot_steps(data.n_train, plan.max_steps)
    best, rival, trainer = train_together(progress, run, name, models, data.Z, make, pilot)
    return Rung(best, trainer, data.held_out(best), trainer.every, rival)


def _model(data: Labelled, plan: Plan, run: int) -> Any:
    """Features that begin at a random map, and a head at zero; linear ones for run 0."""
    n_inputs, n_features = data.Z.shape[1], 2 * plan.n
    width, n_layers = (plan.width, plan.n_layers) if run else (0, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(plan.seeds[run]))
        start = torch.randn(n_features, n_inputs) / math.sqrt(n_inputs)
        head = nn.Linear(n_features, data.n_segments)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return nn.ModuleList([Features(n_inputs, n_features, width, n_layers, start), head])


def _check_segments(labels: Any, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Names and numbers (frame,) of segments. Raises DataError if there are fewer than two, or not one a frame."""
    if labels is None:
        raise DataError("TCL needs the segment of each frame: fit(X, labels).")
    names, numbers, counts = np.unique(check_labels(labels, n_frames), return_inverse=True, return_counts=True)
    if len(names) < 2 or counts.min() < 2:
        raise DataError(
            f"There are {len(names)} segments, the shortest of {counts.min()} frames; TCL tells segments apart, and"
            " needs two of two frames at least. Cut the series into more segments, or take PCL."
        )
    return names, numbers
