"""Time-contrastive learning."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tempica.errors import DataError, IdentifiabilityWarning
from tempica.ica.base import TemporalEstimator, check_n_components, whitening
from tempica.ica.contrast import standard_error
from tempica.ica.dimension import count_sources
from tempica.ica.labelled import Labelled, last_fifth, number_segments
from tempica.ica.networks import Features
from tempica.ica.second_stage import Stage, check_stage, fit_stage
from tempica.ica.trainer import Checkpoint, Progress, Training, fingerprint

LEAST = {"n_restarts": 1, "n_layers": 1, "width": 1, "max_steps": 1, "batch_size": 2}
BATCH = 512  # frames


class TCL(TemporalEstimator):
    """Time-contrastive learning: features that tell of which segment a frame is.

    For sources that are independent given the segment u, with log p(s_i | u) = q_i0(s_i) + λ_i(u) q_i(s_i) − log Z,
    and frames x = f(s), multinomial logistic regression of the segment on features |h(x)| finds
    q(s) = A |h(x)| + d, if the modulations λ(u) − λ(1) have full rank, hence at least n + 1 segments. Linear ICA then
    finds each q_i(s_i) (Hyvärinen & Morioka 2016, theorem 1). For sources whose scale is modulated, q_i = −|s_i|: signs
    are not identified, and what is returned is |s_i| up to scale and offset, oriented so that its long tail is above.

    Twice as many features as sources are trained, which keeps the classifier from losing a source for good; the
    n directions that its logits use most are kept. A linear h and a network are trained, the network from several
    starts of which the one with the lowest held-out loss goes on; it is kept if it gains more than the standard error.

    Parameters: `n_components`, all that vary when None, as many as `count_sources` finds when "auto" (then kept as
    `n_components_`); `width` of the maxout layers (4 per component, at least 16) and their number
    `n_layers`; `n_restarts`; `max_steps` and `batch_size`, chosen from the data when None; `learning_rate`;
    `second_stage`: auto (which is fastica), none, fastica; `random_state`.
    Attributes: `ambiguity_`: none, linear, subspace (the modulations have too low a rank) or all (segments cannot be
    told apart), with `ambiguity_why_`, `rank_` of the modulations and `rank_loss_`, the held-out loss with 0, 1 …
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
        """Fit to frames X (frame, feature) of segments y (frame,), any labels.

        `validation` (frame,) marks frames that give no gradients: the last fifth of each segment when None.
        `callback(run, step, loss)` hears of progress; `checkpoint` names a file from which an interrupted fit goes on;
        `log` one that gets a line of JSON at each check (`Progress`).
        Raises DataError for fewer than two segments, constant features or impossible parameters.
        """
        X = self._frames(X, fitting=True)
        names, segments = number_segments(y, len(X))
        if "sobi" in check_stage(self.second_stage) and self.second_stage != "auto":
            raise DataError("second_stage = 'sobi' needs series; frames of segments have none. Take fastica.")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise DataError(f"{name} = {value} must be at least {least}.")
        held_out = last_fifth(segments) if validation is None else np.asarray(validation, dtype=bool)
        if held_out.shape != segments.shape or held_out.all() or not held_out.any():
            raise DataError(
                f"validation has shape {held_out.shape}; it must mark some of the {len(X)} frames, not all."
            )
        self._mean, self._white = whitening(X[~held_out])
        self.n_components_ = check_n_components(
            self.n_components,
            len(self._white),
            X.shape[1],
            lambda: count_sources(X[~held_out], segments=segments[~held_out]).n,
        )
        data = Labelled(self._whitened(X), torch.as_tensor(segments), held_out, len(names))
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=self.n_restarts + 1)
        saved = Checkpoint(checkpoint, fingerprint(self.get_params(), seeds, X, segments, held_out))
        self._select(data, self._ladder(data, seeds, Progress(saved, log, callback)))
        self._settle(X, data)
        return self

    def _ladder(
        self,
        data: Labelled,
        seeds: np.ndarray,
        progress: Progress,
    ) -> dict[str, tuple[nn.ModuleList, Training]]:
        n_inputs, n_features = data.Z.shape[1], 2 * self.n_components_

        def begin(run: int, name: str, model: nn.ModuleList, max_steps: int | None) -> Training:
            options: dict[str, Any] = {
                "batch_size": self.batch_size or BATCH,
                "max_steps": max_steps,
                "seed": int(seeds[run]),
            }
            options["learning_rate"] = self.learning_rate
            return progress.begin(run, name, lambda on_check: data.training(model, on_check=on_check, **options))

        def model(run: int, width: int, n_layers: int) -> Any:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(seeds[run]))
                start = torch.randn(n_features, n_inputs) / math.sqrt(n_inputs)
                head = nn.Linear(n_features, data.n_segments)
                nn.init.zeros_(head.weight)
                nn.init.zeros_(head.bias)
                return nn.ModuleList([Features(n_inputs, n_features, width, n_layers, start), head])

        linear = model(0, 0, 0)
        short = min(self.max_steps or 800, 800)
        fitted = {"linear": (linear, begin(0, "linear", linear, short).advance())}
        width, pilots = self.width or max(16, 4 * self.n_components_), []
        pilot = max(1, (self.max_steps or int(np.clip(data.n_train // 10, 1500, 6000))) // 4)
        for run in range(1, self.n_restarts + 1):
            network = model(run, width, self.n_layers)
            if run == 1:
                network[0].linear.data.copy_(linear[0].linear.data)
                network[1].load_state_dict(copy.deepcopy(linear[1].state_dict()))
            training = begin(run, f"network {run}", network, self.max_steps)
            pilots.append((training.advance(pilot if self.n_restarts > 1 else None), network))
        self.validation_loss_ = [training.best for training, _ in pilots]
        training, network = pilots[int(np.argmin(self.validation_loss_))]
        fitted["network"] = (network, training.advance())
        return fitted

    def _select(self, data: Labelled, fitted: dict[str, tuple[Any, Training]]) -> None:
        losses = {name: data.losses(model) for name, (model, _) in fitted.items()}
        self.candidates_ = {name: float(loss.mean()) for name, loss in losses.items()}
        gain = losses["linear"] - losses["network"]
        self.model_ = "network" if gain.mean() > standard_error(gain) else "linear"
        model, training = fitted[self.model_]
        self._features, self._head = model
        self.loss_curve_, self.n_iter_ = training.curve, training.best_step

    def _settle(self, X: np.ndarray, data: Labelled) -> None:
        """Reduce to the directions that the logits use, unmix them, and judge their number."""
        every = self._absolute(X)
        train = every[data.train.numpy()]
        mean = train.mean(0)
        # logits have columns of covariance CᵀWᵀWC with C the root of the features' covariance
        value, vector = np.linalg.eigh(np.cov(train.T))
        root = vector * np.sqrt(np.maximum(value, 0))
        W = self._head.weight.detach().double().numpy()
        W = W - W.mean(0)
        _, strength, right = np.linalg.svd(W @ root, full_matrices=False)
        back = vector / np.sqrt(np.maximum(value, 1e-9 * value.max()))
        directions = right @ back.T  # uncorrelated, of unit variance, those that move the logits most first
        self._reduce = (mean, directions[: self.n_components_])
        self.rank_loss_, self.rank_ = data.rank(every, mean, directions, strength, right, root, self._head, W)
        self.second_stage_ = "fastica" if self.second_stage == "auto" else self.second_stage
        features = self._reduced(X)
        stage = fit_stage(self.second_stage_, features[data.train.numpy()], np.zeros(data.n_train, dtype=int))
        # |s| has its long tail above
        S = stage(features[data.train.numpy()])
        sign = np.where((S**3).mean(0) < 0, -1.0, 1.0)
        self._stage = Stage(stage.name, stage.mean, sign[:, None] * stage.matrix)
        alike = np.abs(np.corrcoef(S.T, train.T)[: self.n_components_, self.n_components_ :])
        self._signed = linear_sum_assignment(-np.nan_to_num(alike))[1]
        self._deviation = np.maximum(np.sqrt((train**2).mean(0)[self._signed]), 1e-12)
        self._judge()

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
            warnings.warn(self.ambiguity_why_, IdentifiabilityWarning, stacklevel=4)

    def transform(self, X: Any, *, stage: str = "sources") -> np.ndarray:
        """Sources (frame, component), |s_i| up to scale and offset, of unit variance on the training frames.

        `stage` "features" gives the directions that the classifier uses, before the second stage; "signed" the
        activations h before the absolute value that go best with each source, in units of their root mean square:
        s_i itself where h changes sign with it. That it does is what a smooth h is inclined to, no theorem.
        """
        check_is_fitted(self)
        if stage not in ("sources", "features", "signed"):
            raise DataError(f"stage = {stage!r} must be sources, features or signed.")
        X = self._frames(X, fitting=False)
        if stage == "signed":
            with torch.no_grad():
                h = self._features(self._whitened(X)).double().numpy()
            return h[:, self._signed] / self._deviation
        features = self._reduced(X)
        return features if stage == "features" else self._stage(features)

    def transform_covariance(self, X: Any, covariance: np.ndarray, *, stage: str = "sources") -> np.ndarray:
        """Covariance J Σ Jᵀ (frame, component, component) of the sources (or "signed"), J their Jacobian."""
        check_is_fitted(self)
        Z = self._whitened(self._frames(X, fitting=False))
        with torch.no_grad():
            jacobian = self._features.jacobian(Z).double().numpy() @ self._white
            sign = torch.sign(self._features(Z)).double().numpy()[..., None]
        if stage == "signed":
            J = jacobian[:, self._signed] / self._deviation[:, None]
        else:
            J = self._stage.matrix @ self._reduce[1] @ (sign * jacobian)
        return J @ np.asarray(covariance) @ J.transpose(0, 2, 1)

    def score(self, X: Any, y: Any = None) -> float:
        """Information (nats) that a frame of X is found to give about its segment, less that of guessing.

        `y` (frame,) must be segments of the fit, in the order in which numpy sorts their labels.
        """
        check_is_fitted(self)
        X = self._frames(X, fitting=False)
        segments = number_segments(y, len(X))[1]
        with torch.no_grad():
            logits = self._head(self._features(self._whitened(X)).abs())
            loss = nn.functional.cross_entropy(logits, torch.as_tensor(segments))
        return math.log(logits.shape[1]) - float(loss)

    def _whitened(self, X: np.ndarray) -> Tensor:
        return torch.as_tensor((X - self._mean) @ self._white.T, dtype=torch.float32)

    def _absolute(self, X: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self._features(self._whitened(X)).abs().double().numpy()

    def _reduced(self, X: np.ndarray) -> np.ndarray:
        mean, directions = self._reduce
        return (self._absolute(X) - mean) @ directions.T

    @property
    def _n_features_out(self) -> int:
        return self.n_components_
