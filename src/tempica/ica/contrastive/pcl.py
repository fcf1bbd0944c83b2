"""Permutation-contrastive learning."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import nn

from tempica.errors import DataError
from tempica.ica.base import check_lags, check_n_components, check_validation, transformed
from tempica.ica.contrastive import pair_models
from tempica.ica.contrastive.contrast import Contrast, split_pairs
from tempica.ica.contrastive.estimator import OWN_TRAINING, ContrastiveEstimator
from tempica.ica.contrastive.image_networks import LINEAR_STEPS, Noise, Restart
from tempica.ica.contrastive.images import Images
from tempica.ica.contrastive.pair_models import PairPlan
from tempica.ica.contrastive.second_stage import (
    check_stage,
    choose_stage,
    find_ambiguity,
    fit_stage,
    gaussian_sources,
    without_noise,
)
from tempica.ica.contrastive.within import WithinReplicas
from tempica.ica.labels import last_share
from tempica.ica.linear.cumulants import noise_of_means
from tempica.ica.linear.dimension import count_sources
from tempica.ica.linear.linear import TICA
from tempica.ica.options import Training
from tempica.ica.training.ladder import Rung, gains
from tempica.ica.training.networks import check_device
from tempica.ica.training.progress import Progress
from tempica.ica.training.trainer import Trainer
from tempica.series import check_replicas, runs

SCORES = ("auto", "reference", "free")
BATCH = 512  # pairs
SCORE_STEPS = 400  # in which a score is fitted to given sources
ALTERNATIVES, FEW = 128, 10  # of a pair in a batch, as long as few sources hold less information than their number


class PCL(ContrastiveEstimator):
    """Permutation-contrastive learning: features that tell true pairs of frames from shuffled ones.

    For stationary, independent, temporally dependent sources s and frames x = f(s), features h and a separable
    score r = Σ_i B_i(h_i(x_t), h_i(x_{t+τ})) are trained so that each frame finds its own successor among those
    of the batch: the loss is the cross-entropy of softmax_j r(x_t, x_{j+τ}), whose optimum has
    r = log p(x_{t+τ} | x_t) − log p(x_{t+τ}) up to terms of x_t. If every source is uniformly dependent and not
    quasi-Gaussian, h_i is then a function of one source; if quasi-Gaussian, a linear mixture remains
    (Hyvärinen & Morioka 2017, theorems 1 and 2), and so a second, linear stage follows: none, FastICA or SOBI on
    the features, whichever gives the best separable contrast on held-out pairs. What no stage can tell apart is
    warned of (`IdentifiabilityWarning`) and kept in `ambiguity_`.

    Noise that is correlated between sources draws the contrast's axes aside, for what it makes independent is source
    plus noise. Sources are therefore turned by their cumulants (curvatures of the generating function) and covariances
    at a lag, which Gaussian noise does not change (behind a network, to first order), if those tell the axes apart and
    differ by more than their errors: `second_stage_` is then "cumulants". Without a covariance,
    noise is what has no memory, of whatever law, and only statistics at a lag are used.

    Frames are whitened by TICA. Three models are trained, each from the one before: the score alone on TICA's
    sources, a linear map, and the network, whose restarts are trained side by side; the two with the lowest held-out
    losses go on to the end, the better is kept, and the other tells how far each source can be relied on. Where the
    two have found different features, up to an affine map, a deeper network is trained in the same way, for longer. The
    mean of the two, aligned by an affine map, takes the place of the better one if it is better still: they err apart
    where frames are few or noisy. A richer model is kept only if the held-out contrast gains more than its standard
    error: under strong noise a network would otherwise be chosen by chance. With score_function "auto", its sources
    after the best second stage must gain as much under the score that suits them: a network that only bends sources to
    suit a score is left.

    B_i is the score of an autoregression whose innovations are Laplace, normal or between (`PairScore`), with
    parameters of each component; or free, any function of two numbers, where the sources change in another way: when
    a variance has a memory, say.

    Frames may be images (frame, y, x), in memory or in a memory map: the first two models then see principal
    components of their pixels, and the network is a small convolutional one, which refines the linear map or begins
    at random. All learn from images to which noise was added, of a strength that differs between restarts, or they
    would memorise their own; the held-out loss decides. Batches come from one replica, since what a replica keeps all
    along tells it from others (`WithinReplicas`). Where poses vary or noise is strong, embed first and unmix the
    latents.

    Parameters:
        n_components: number of sources; all directions that vary when None (for images a number has to be given), as
            many as `count_sources` finds when "auto".
        lag: τ in frames, one or several (the mean of their contrasts).
        n_restarts: networks that begin at different maps.
        max_steps: of each training; chosen from the data when None.
        score_function: "reference", "free", or "auto", which takes free if it finds 15 % more information in the
            linear map.
        second_stage: "auto", "none", "fastica" or "sobi".
        training: `Training`. batch_size, pairs of a step: 512 (images: 256). learning_rate: 8e-3 (networks of images
            take a quarter of it). width of the maxout layers: 8 a component, at least 16. n_layers: 3, then 5 if
            needed. precision: float32.
        device: "cpu" or "cuda".
        random_state: whole number from which everything drawn follows.

    Attributes:
        n_components_: number of sources.
        stability_: (component,) absolute correlation of each source with that of the second best restart on held-out
            frames; NaN where no second network was trained to the end, as with images.
        score_function_: reference or free.
        ambiguity_: "none", "linear" (resolved by the second stage, if there is one), "subspace" or "all".
        ambiguity_why_: the same in words.
        subspaces_: lists of sources among which rotations are free, the last one of those without a memory, if any.
        model_: "tica", "linear" or "network", the one that was kept.
        candidates_: held-out loss of each.
        second_stage_: the one that was chosen.
        second_stage_loss_: held-out loss of each.
        validation_loss_: of each restart (nats; the log of the number of candidates subtracted, so that it estimates
            minus the information that one frame has about the next).
        loss_curve_: (step, training loss, held-out loss) at each check.
        n_iter_: step from which the weights are.

    Example:
        >>> from tempica.ica.synthetic import autoregressive
        >>> problem = autoregressive(2, 1000, n_layers=1, seed=0)
        >>> pcl = PCL(n_restarts=1, max_steps=20).fit(problem.X)
        >>> pcl.transform(problem.X).shape
        (1000, 2)
    """

    own_training: ClassVar[Mapping[str, Any]] = OWN_TRAINING

    def __init__(
        self,
        n_components: int | Literal["auto"] | None = None,
        *,
        lag: int | tuple[int, ...] = 1,
        n_restarts: int = 3,
        max_steps: int | None = None,
        second_stage: Literal["auto", "none", "fastica", "sobi"] = "auto",
        score_function: Literal["auto", "reference", "free"] = "auto",
        training: Training | Mapping[str, Any] | None = None,
        device: str = "cpu",
        random_state: Any = 0,
    ) -> None:
        self.n_components, self.lag = n_components, lag
        self.n_restarts, self.max_steps = n_restarts, max_steps
        self.second_stage, self.score_function = second_stage, score_function
        self.training, self.device, self.random_state = training, device, random_state

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        replicas: Any = None,
        validation: Any = None,
        covariance: Any = None,
        callback: Callable[[int, int, float], None] | None = None,
        checkpoint: Any = None,
        log: Any = None,
    ) -> PCL:
        """Fit to frames X (frame, feature), or to images (frame, y, x).

        Parameters:
            y: not used.
            replicas: label (frame,) of the series of each frame; all are one series when None.
            validation: mask (frame,) of frames that give no gradients: when None, about a fifth of them, the last
                replicas or the end of a long one.
            covariance: (frame, feature, feature) of each frame, or one for all, where X are posterior means.
            callback: called as callback(run, step, loss) at each check.
            checkpoint: file from which a fit that was interrupted goes on, to the same result.
            log: file that gets a line of JSON at each check, or a function, or a SummaryWriter (`Progress`).

        Raises DataError for too short series, constant features or impossible parameters.
        """
        images, X = self._given(X)
        noise = _noise(images, X, covariance)
        replicas, lags = check_replicas(replicas, len(X)), check_lags(self.lag)
        stages = check_stage(self.second_stage)
        dtype = check_device(self.device, self._options().precision)
        if self.score_function not in SCORES:
            raise DataError(f"score_function = {self.score_function!r} must be {', '.join(SCORES)}.")
        mask = check_validation(validation, len(X))
        held_out = last_share(replicas, max(lags)) if mask is None else mask
        split_pairs(replicas, held_out, lags[0])
        latents = self._learn_pixels(images, X, ~held_out)
        learned = runs(replicas, ~held_out)
        tica = TICA(lag=lags).fit(latents[~held_out], replicas=learned)
        self._mean, self._white = tica.mean_, tica.components_
        asked, n_given = self.n_components, latents.shape[1]
        self.n_components_ = check_n_components(
            asked, len(self._white), n_given, lambda: count_sources(latents[~held_out], replicas=learned, lag=lags).n
        )
        Z = self._whitened(latents).to(self.device, dtype)
        alternatives = ALTERNATIVES if self.n_components_ <= FEW else None
        contrast = (Contrast if images is None else WithinReplicas)(Z, replicas, held_out, lags, alternatives)
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=self.n_restarts + 1)
        plan = self._plan(PairPlan, 8, BATCH, seeds, score_function=self.score_function)
        progress = self._progress(checkpoint, log, callback, seeds, latents, replicas, held_out)
        losses = _remembered(partial(self._losses_of, contrast))
        after = partial(self._losses_after, stages, X, ~held_out, learned, losses)
        judge = after if self.score_function == "auto" else None
        rung = self._take(self._rungs(contrast, images, plan, progress), judge)
        if self.model_ == "network":
            rung = self._averaged(contrast, rung, judge)
        self.score_function_ = pair_models.score_function(rung.model[1])
        self._unmix(X, held_out, replicas, lags[0], stages, losses, rung, noise)
        return self

    def _rungs(self, contrast: Contrast, images: Images | None, plan: PairPlan, progress: Progress) -> dict[str, Rung]:
        """Models from the simplest to the richest, each trained from the one before."""
        if images is not None and isinstance(contrast, WithinReplicas):
            noise = Noise(1.0, int(plan.seeds[0]), torch.as_tensor(self._white, dtype=torch.float32))
            rungs = pair_models.simple(contrast, plan, progress, contrast.choose(plan.n), LINEAR_STEPS, noise)
            return rungs | {"network": self._of_images(contrast, images, plan, progress, rungs["linear"].model)}
        rungs = pair_models.simple(contrast, plan, progress)
        network = pair_models.network(contrast, plan, progress, rungs["linear"])
        if self._options().n_layers is None:
            network = pair_models.deeper(contrast, plan, progress, rungs["linear"], network)
        return rungs | {"network": network}

    def _averaged(self, contrast: Contrast, rung: Rung, judge: Callable[[Any], np.ndarray] | None) -> Rung:
        """The mean of the network that was taken and its rival, if it is better and loses nothing by the judge."""
        mean = pair_models.averaged(contrast, rung)
        if mean is rung:
            return rung
        own, features = rung.model[0].cpu(), mean.model[0].cpu()
        if judge is not None and not gains(judge(own), judge(features), errors=0.0):
            return rung
        self._features, self._information = features, -mean.losses
        self.candidates_["network"] = float(mean.losses.mean())
        return mean

    def _of_images(self, contrast: Contrast, images: Images, plan: PairPlan, progress: Progress, linear: Any) -> Rung:
        """The best of several convolutional networks."""
        of_images, start = contrast.of(images), linear[0].linear.detach().cpu().float()
        some = images[contrast.starts[:: max(1, len(contrast.starts) // BATCH)]]

        def network_of(restart: Restart) -> Any:
            scores = pair_models.scores(plan, contrast, plan.score_function == "free")
            if restart.from_linear:
                scores.load_state_dict(linear[1].state_dict())
            return nn.ModuleList([restart.features, scores])

        def training(network: Any, noise: Noise, **given: Any) -> Trainer:
            return of_images.training(network, network[0], network[1], noise, **given)

        network, trainer, losses = self._image_network(
            progress, plan.seeds, start, some, contrast.n_train, network_of, training
        )
        return Rung(network, trainer, of_images.held_out(network), losses)

    def _losses_after(
        self,
        stages: tuple[str, ...],
        X: Any,
        train: np.ndarray,
        labels: np.ndarray,
        losses: Callable[[np.ndarray], np.ndarray],
        features: Any,
    ) -> np.ndarray:
        """Held-out losses of what features make of X, after the best of the stages."""
        h = self._through(X, features)
        sources = (fit_stage(stage, h[train], labels)(h) for stage in stages)
        return min(map(losses, sources), key=np.mean)

    def _losses_of(self, contrast: Contrast, sources: np.ndarray) -> np.ndarray:
        """Held-out losses of sources (frame, N) under the score that suits them: the better of the two when "auto".

        Sources are identified up to a function of each, so that what another score can express is no gain of a model or
        a stage. A score too simple for the dynamics rewards those that bend or mix the sources to suit it: of double
        wells, a network that tells the wells apart and forgets what lies within.
        """
        steps = min(SCORE_STEPS, self.max_steps or SCORE_STEPS)
        kinds = (False, True) if self.score_function == "auto" else (self.score_function == "free",)
        return min((contrast.losses_of(sources, steps, free=free) for free in kinds), key=np.mean)

    def _unmix(
        self,
        X: Any,
        held_out: np.ndarray,
        replicas: np.ndarray,
        lag: int,
        stages: tuple[str, ...],
        losses: Callable[[np.ndarray], np.ndarray],
        rung: Rung,
        noise: np.ndarray | None,
    ) -> None:
        """Choose and fit the second stage, then say what is left unidentified, and what another seed would find."""
        features, train = self._through(X), ~held_out
        series, gaussian = runs(replicas, train), len(gaussian_sources(features, replicas, lag)) > 1
        chosen = choose_stage(stages, features, train, series, losses, gaussian=gaussian)
        self._stage, self.second_stage_loss_ = chosen
        apart = False
        if len(stages) > 1:
            if noise is not None:
                noise = transformed(self._with_jacobian(X[train], "features")[1] @ self._white, noise).mean(0)
            self._stage, apart = without_noise(self._stage, features[train], noise, series, lag)
        self.second_stage_ = self._stage.name
        sources = self._stage(features)
        self.stability_ = self._stability(X, sources, rung, train, series, held_out)
        of_stage = (lag, self.second_stage_, self._information)
        found = find_ambiguity(sources, replicas, *of_stage, apart=apart, held_out=held_out)
        self.subspaces_ = found.subspaces
        self._say(found.kind, found.why, bool(found.subspaces))

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

    @classmethod
    def _from_format_1(cls, state: dict[str, Any]) -> dict[str, Any]:
        if "_white" in state:
            state["_mean"], state["_white"] = state["_white"].mean_, state["_white"].components_
        return super()._from_format_1(state)


def _noise(images: Images | None, X: Any, covariance: Any) -> np.ndarray | None:
    """Covariance (feature, feature) of the noise in latents X, if it is known. Raises DataError for images."""
    if covariance is None:
        return None
    if images is not None:
        raise DataError("covariance is of latents; these frames are images. Leave it out.")
    return noise_of_means(X, covariance)


def _remembered(losses: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """The same function, which does not train a score again for sources that it has seen."""
    known: dict[bytes, np.ndarray] = {}

    def of(sources: np.ndarray) -> np.ndarray:
        key = hashlib.blake2b(sources.tobytes()).digest()
        if key not in known:
            known[key] = losses(sources)
        return known[key]

    return of
