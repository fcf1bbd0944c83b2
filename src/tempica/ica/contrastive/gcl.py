"""Generalised contrastive learning."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from tempica.errors import DataError
from tempica.ica.base import check_lags, check_n_components, check_validation, tells_nothing, whitening
from tempica.ica.contrastive.auxiliary import Auxiliary
from tempica.ica.contrastive.estimator import OWN_TRAINING, ContrastiveEstimator
from tempica.ica.contrastive.second_stage import check_stage, choose_stage
from tempica.ica.labels import check_labels, either, last_of_each, last_share, numbered
from tempica.ica.linear.linear import TICA
from tempica.ica.linear.nonstationary import NonstationaryICA
from tempica.ica.options import Training
from tempica.ica.training.ladder import Plan, Rung, pilot_steps, train_apart
from tempica.ica.training.networks import Features, check_device
from tempica.ica.training.progress import Progress
from tempica.ica.training.trainer import Trainer
from tempica.series import check_replicas, runs

BATCH = 512  # frames
LINEAR_STEPS = 800  # of the linear map, at most


class GCL(ContrastiveEstimator):
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

    The linear map is trained first (from NonstationaryICA or TICA), the network from it and from random rotations. Of
    the restarts the one with the lowest held-out loss after a quarter of the steps is kept, if it gains more than the
    standard error; the next best goes on as well, and tells how far each source can be relied on.

    Parameters:
        n_components: number of sources; all directions that vary when None.
        lag: τ of the history in frames, one or several; not used where there are labels.
        n_restarts: networks that begin at different maps.
        max_steps: of each training; chosen from the data when None.
        second_stage: "auto", "none", "fastica" or (for a history) "sobi".
        training: `Training`. batch_size, frames of a step: 512. learning_rate: 8e-3. width of the maxout layers: 8 a
            component, at least 16. n_layers: 2. precision: float32.
        device: "cpu" or "cuda".
        random_state: whole number from which everything drawn follows.

    Attributes:
        n_components_: number of sources.
        auxiliary_: "label" or "history".
        labels_: the labels of the fit, sorted, if there were any.
        stability_: (component,) absolute correlation of each source with that of the second best restart on held-out
            frames; NaN where no second network was trained to the end.
        ambiguity_: "none", "subspace" (too few labels) or "all" (u says nothing of the frames).
        ambiguity_why_: the same in words.
        model_: "linear" or "network", the one that was kept.
        candidates_: held-out loss of each.
        second_stage_: the one that was chosen.
        second_stage_loss_: held-out loss of each.
        validation_loss_: of each restart (nats; minus the information found).
        loss_curve_: (step, training loss, held-out loss) at each check.
        n_iter_: step from which the weights are.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> labels = np.repeat(np.arange(8), 100)
        >>> sources = 3 * rng.normal(size=(8, 2))[labels] + rng.normal(size=(800, 2))
        >>> gcl = GCL(n_restarts=1, max_steps=40).fit(sources @ np.array([[1.0, 0.5], [0.3, 1.0]]), labels)
        >>> gcl.auxiliary_
        'label'
    """

    own_training: ClassVar[Mapping[str, Any]] = OWN_TRAINING | {"n_layers": 2}

    def __init__(
        self,
        n_components: int | None = None,
        *,
        n_restarts: int = 2,
        max_steps: int | None = None,
        lag: int | tuple[int, ...] = 1,
        second_stage: Literal["auto", "none", "fastica", "sobi"] = "auto",
        training: Training | Mapping[str, Any] | None = None,
        device: str = "cpu",
        random_state: Any = 0,
    ) -> None:
        self.n_restarts, self.max_steps = n_restarts, max_steps
        self.training, self.device, self.random_state = training, device, random_state
        self.n_components, self.lag, self.second_stage = n_components, lag, second_stage

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        validation: Any = None,
        replicas: Any = None,
        labels: Any = None,
        callback: Callable[[int, int, float], None] | None = None,
        checkpoint: Any = None,
        log: Any = None,
    ) -> GCL:
        """Fit to frames X (frame, feature) with the label of each, or else with their histories.

        Parameters:
            labels: (frame,) numbers or text; also as the second argument, y.
            replicas: label (frame,) of the series of each frame, which histories must not leave.
            validation: mask (frame,) of frames that give no gradients; when None, the last fifth of each label, or,
                for histories, about a fifth of all frames, the last replicas or the end of a long one.
            callback: called as callback(run, step, loss) at each check.
            checkpoint: file from which a fit that was interrupted goes on, to the same result.
            log: file that gets a line of JSON at each check, or a function, or a SummaryWriter (`Progress`).

        Raises DataError for one label only, too short series, constant features or impossible parameters.
        """
        X = self._frames(X, fitting=True)
        dtype = check_device(self.device, self._options().precision)
        labels = either(y, labels)
        labels = None if labels is None else check_labels(labels, len(X))
        self.auxiliary_ = "history" if labels is None else "label"
        stages = tuple(s for s in check_stage(self.second_stage) if labels is None or s != "sobi")
        if not stages:
            raise DataError("second_stage = 'sobi' needs series; frames with labels have none. Use 'fastica'.")
        series = check_replicas(replicas, len(X))
        at, whole = self._split(labels, series, check_validation(validation, len(X)))
        train = np.flatnonzero(~whole)
        self._mean, self._white = whitening(X[train])
        n = self.n_components_ = check_n_components(self.n_components, len(self._white), X.shape[1])
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
        log_share = None if labels is None else self._log_share.to(self.device, dtype)
        data = Auxiliary(Z.to(self.device), at, u.to(self.device), whole[at], log_share)
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=self.n_restarts + 1)
        progress = self._progress(checkpoint, log, callback, seeds, X, np.asarray(u), series, whole)
        plan = self._plan(Plan, 8, BATCH, seeds)
        rung = self._take(self._rungs(data, linear, plan, progress))
        self._score = rung.model[1]
        self._unmix(X, data, at, whole, series, stages, plan, rung)
        return self

    def _split(
        self, labels: np.ndarray | None, series: np.ndarray, held: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Frames (item,) that have an auxiliary variable, and which frames (frame,) are held out."""
        lags = check_lags(self.lag) if labels is None else ()
        if labels is None:
            at = _with_history(series, lags)
            held = last_share(series, max(lags)) if held is None else held
            # a frame and its history are on the same side
            sides = held[at] + sum(held[at - lag].astype(int) for lag in lags)
            at = at[(sides == 0) | (sides == len(lags) + 1)]
        else:
            at, names = np.arange(len(series)), np.unique(labels, return_inverse=True)
            held = last_of_each(names[1]) if held is None else held
            if len(names[0]) < 2:
                raise DataError("All frames have one label; GCL tells labels apart. Give two, or none: histories.")
        if min(np.count_nonzero(held[at]), np.count_nonzero(~held[at])) < 2:
            raise DataError(
                f"There are {np.count_nonzero(~held[at])} training and {np.count_nonzero(held[at])} validation frames"
                f" with a {self.auxiliary_}; 2 are the least. Give more frames, or another validation mask."
            )
        return at, held

    def _rungs(self, data: Auxiliary, linear: np.ndarray, plan: Plan, progress: Progress) -> dict[str, Rung]:
        """A linear model and the best network, each [features, score]."""
        n, n_inputs, start = plan.n, data.Z.shape[1], torch.as_tensor(linear, dtype=torch.float32)

        def trained(model: Any, run: int, name: str, max_steps: int | None) -> Trainer:
            def make(on_check: Callable[[Trainer], None]) -> Trainer:
                given = plan.given(run, max_steps)
                return data.training(model, model[0], model[1], plan.precise, on_check=on_check, **given)

            return progress.begin(run, name, make)

        def begin(run: int) -> tuple[Any, Trainer]:
            found, score = copy.deepcopy(first).cpu()
            begun, seed = found.get_parameter("linear").detach(), int(plan.seeds[run])
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                if run > 1:
                    begun = torch.linalg.qr(torch.randn(n, n)).Q @ start
                    score = data.score_function(n, plan.width, seed)
                model = nn.ModuleList([Features(n_inputs, n, plan.width, plan.n_layers, begun), score]).to(data.Z)
            return model, trained(model, run, f"network {run}", self.max_steps)

        score = data.score_function(n, plan.width, int(plan.seeds[0]))
        first: Any = nn.ModuleList([Features(n_inputs, n, 0, 0, start), score]).to(data.Z)
        trainer = trained(first, 0, "linear", min(self.max_steps or LINEAR_STEPS, LINEAR_STEPS)).advance()
        pilot = pilot_steps(len(data.train), self.max_steps)
        ((network, own), *rivals), losses = train_apart(begin, self.n_restarts, pilot)
        return {
            "linear": Rung(first, trainer, data.held_out(first), trainer.every),
            "network": Rung(network, own, data.held_out(network), losses, rivals[0][0] if rivals else None),
        }

    def _unmix(
        self,
        X: np.ndarray,
        data: Auxiliary,
        at: np.ndarray,
        held_out: np.ndarray,
        series: np.ndarray,
        stages: tuple[str, ...],
        plan: Plan,
        rung: Rung,
    ) -> None:
        """Choose and fit the second stage, then say what is left unidentified, and what another seed would find."""
        features, train, held = self._through(X), np.zeros(len(X), dtype=bool), held_out[at]
        train[at[~held]] = True
        if len(np.unique(runs(series, train))) == train.sum():  # histories alone make pairs of replicas this short
            train = ~held_out
        steps, labels = min(400, self.max_steps or 400), runs(series, train)
        self._stage, self.second_stage_loss_ = choose_stage(
            stages, features, train, labels, lambda S: data.losses_of(S, plan.width, steps)
        )
        self.second_stage_ = self._stage.name
        self.stability_ = self._stability(X, self._stage(features), rung, train, labels, at[held])
        n = features.shape[1]
        if tells_nothing(self._information):
            why = (
                f"Nothing is identifiable: the {self.auxiliary_} tells nothing of held-out frames"
                f" ({self._information.mean():.4f} nats)."
                " Take longer series, or labels under which the sources' distributions change more."
            )
            self._say("all", why)
        elif self.auxiliary_ == "label" and len(self.labels_) < n + 1:
            why = (
                f"{n} sources are not identifiable from {len(self.labels_)} labels: n + 1 = {n + 1} are the least,"
                f" and 2 n + 1 = {2 * n + 1} where more than one statistic changes. Take more labels, or fewer"
                " components."
            )
            self._say("subspace", why)
        else:
            self._say("none", "The auxiliary variable tells of the frames.", warn=False)

    def score(self, X: Any, y: Any = None, *, labels: Any = None, replicas: Any = None) -> float:
        """Information (nats) that frames of X are found to give about their auxiliary variable: higher is better.

        Of the kind that was fitted: labels of the fit, or histories, each among 1,024 or as many as there are. Raises
        DataError for unknown labels, or none where there should be.
        """
        check_is_fitted(self)
        X, labels, share = self._frames(X, fitting=False), either(y, labels), None
        Z = self._whitened(X)
        if self.auxiliary_ == "label":
            at, u = np.arange(len(X)), torch.as_tensor(numbered(labels, self.labels_, len(X)))
            share = self._log_share.to(Z.dtype)
        else:
            at = _with_history(check_replicas(replicas, len(X)), check_lags(self.lag))
            u = torch.cat([Z[torch.as_tensor(at - lag)] for lag in check_lags(self.lag)], 1)
        data = Auxiliary(Z, at, u, np.ones(len(at), dtype=bool), share)
        return -float(data.losses(self._features, self._score).mean())

    @classmethod
    def _from_format_1(cls, state: dict[str, Any]) -> dict[str, Any]:
        if "_stage" in state:
            state["n_components_"] = len(state["_stage"].matrix)
            del state["_width"]
        return super()._from_format_1(state)


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
