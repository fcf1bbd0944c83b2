"""What iVAE and SlowVAE share: training of an autoencoder whose encoder is a flow, and the linear stage behind it.

Shape legend: R restart, B frame of a batch, K feature of the whitened frames, N component.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tempica.errors import DataError
from tempica.ica.base import check_n_components, check_transform_stage, transformed, whitening
from tempica.ica.contrastive.second_stage import matched
from tempica.ica.generative.estimator import GenerativeEstimator, best_and_rival, lowest_so_far
from tempica.ica.generative.flow import Flow, completed
from tempica.ica.generative.vae import LEAST_NOISE, Autoencoder, GeneralNormal, log_likelihood, noise_like
from tempica.ica.options import Training
from tempica.ica.training.batched import starts
from tempica.ica.training.progress import Progress

FLOW_RATE = 5  # learning rate of the flow, in units of the bound's


@dataclass(frozen=True)
class Task:
    """What is fitted: items of one frame or more each, and the law of their latents."""

    linear: np.ndarray  # (N, K) from which training begins
    law_of: Callable[[int], GeneralNormal]  # of the latents of so many restarts
    frames: Callable[[Tensor], Tensor]  # of items, all first ones before all second ones: (B, K)
    law: Callable[[Any, Tensor, Tensor], Tensor]  # of the law, latents (R, B, N) and items: ln p (R, item)
    train: np.ndarray  # items
    held_out: np.ndarray  # items


class AutoencodingEstimator(GenerativeEstimator):
    """Base of iVAE and SlowVAE."""

    least_training: ClassVar[Mapping[str, int]] = {"batch_size": 2, "width": 2, "n_layers": 1}

    def __init__(
        self,
        n_components: int | None = None,
        *,
        n_restarts: int = 4,
        max_steps: int = 5000,
        second_stage: Literal["auto", "none", "linear"] = "auto",
        training: Training | Mapping[str, Any] | None = None,
        device: str = "cpu",
        random_state: int = 0,
    ) -> None:
        self.second_stage = second_stage
        self.n_components, self.n_restarts, self.max_steps = n_components, n_restarts, max_steps
        self.training, self.device, self.random_state = training, device, random_state

    def _begin(self, X: np.ndarray) -> tuple[Tensor, int, torch.Generator]:
        """Whitened frames (frame, K), the number of components, and what draws."""
        generator = self._generator()
        if self.second_stage not in ("auto", "none", "linear"):
            raise DataError(f"second_stage = {self.second_stage!r} must be auto, none or linear.")
        self._mean, self._white = whitening(X)
        n = check_n_components(self.n_components, len(self._white), X.shape[1])
        return self._whitened(X).to(self.device), n, generator

    def _train(self, task: Task, progress: Progress, generator: torch.Generator) -> list[Any] | None:
        """Fit a flow by its likelihood, then the bound from the linear start and from the most likely flow.

        Returns the model and the law of the second best, or None.
        """
        flow, prior, rest = self._flows(task, progress, generator)
        options, learned = self._options(), torch.as_tensor(task.train)
        _to_unit_variance(flow, [prior, rest], task.frames(learned))
        model: Any = Autoencoder(flow, rest, options.width or 0, options.n_layers or 0, generator)
        model.to(flow.offsets[0])

        def losses(items: Tensor, draw: torch.Generator) -> Tensor:
            law = lambda z: task.law(prior, z, items)  # noqa: E731
            return -model.bound(task.frames(items), law, len(items), draw).mean(1)

        both, asked = nn.ModuleList([model, prior]), torch.as_tensor(task.held_out)
        trainer = self._trained(progress, "bound", both, losses, learned, asked, generator, run=1)
        self.loss_curve_, self.validation_loss_ = lowest_so_far(trainer), list(trainer.bests)
        (self._model, self._prior), rival = best_and_rival(trainer, model, prior)
        return rival

    def _flows(
        self, task: Task, progress: Progress, generator: torch.Generator
    ) -> tuple[Flow, GeneralNormal, GeneralNormal]:
        """Two flows with the laws of their latents: the linear start, and the most likely of all restarts."""
        n, first = len(task.linear), torch.as_tensor(task.linear, dtype=torch.float32)
        flow = Flow(completed(starts(first, self.n_restarts, generator)), generator)
        k = len(flow.matrices[0][0])
        prior, rest = task.law_of(self.n_restarts), GeneralNormal(self.n_restarts, 1, k - n)
        whole = nn.ModuleList([flow, prior, rest]).to(self._tensor(0.0))
        before = [p.detach().clone() for p in whole.parameters()]

        def losses(items: Tensor, draw: torch.Generator) -> Tensor:
            x = task.frames(items)
            if k > n:  # frames on a curved sheet have no density; with noise they have
                x = x + LEAST_NOISE**0.5 * noise_like(x, draw)
            return -log_likelihood(flow, rest, x, lambda z: task.law(prior, z, items), len(items)).mean(1)

        learned, asked = torch.as_tensor(task.train), torch.as_tensor(task.held_out)
        trainer = self._trained(progress, "flow", whole, losses, learned, asked, generator, rate=FLOW_RATE)
        self.start_curve_, self.start_loss_ = lowest_so_far(trainer), list(trainer.bests)
        best = trainer.leader
        for parameter, old in zip(whole.parameters(), before, strict=True):
            parameter.data = torch.cat([old[:1], parameter.data[best : best + 1]])
        return flow, prior, rest

    def _settle(
        self,
        Z: Tensor,
        held_out: np.ndarray,
        rival: list[Any] | None,
        fit_stage: Callable[[str, np.ndarray], tuple[np.ndarray, float]],
    ) -> None:
        """Take the second stage with the best held-out score, and scale to unit variance.

        `fit_stage(name, latents)` gives a stage's matrix (n, n) and its score. The second best model, given the same
        stage, tells how far each source can be relied on.
        """
        raw = self._latents(Z, self._model)
        names = ("none", "linear") if self.second_stage == "auto" else (self.second_stage,)
        found = {name: fit_stage(name, raw) for name in names}
        self.second_stage_scores_ = {name: score for name, (_, score) in found.items()}
        self.second_stage_ = max(names, key=lambda name: self.second_stage_scores_[name])
        matrix = found[self.second_stage_][0]
        self._offset = raw.mean(0)
        spread = ((raw - self._offset) @ matrix.T).std(0)
        self._matrix = matrix / np.where(spread > 0, spread, 1.0)[:, None]
        self.stability_ = np.full(len(matrix), np.nan)
        if rival is not None:
            other = self._latents(Z, rival[0])
            other = other @ fit_stage(self.second_stage_, other)[0].T
            self.stability_ = matched(((raw - self._offset) @ self._matrix.T)[held_out], other[held_out])

    def transform(self, X: Any, *, stage: str = "sources") -> np.ndarray:
        """Sources (frame, component), of unit variance on the frames of the fit.

        At stage "features", posterior means of the latents, before the second stage.
        """
        check_is_fitted(self)
        check_transform_stage(stage)
        raw = self._latents(self._whitened(self._frames(X, fitting=False)), self._model)
        return raw if stage == "features" else (raw - self._offset) @ self._matrix.T

    def transform_covariance(self, X: Any, covariance: Any, *, stage: str = "sources") -> np.ndarray:
        """Covariance J Σ Jᵀ (frame, component, component) of the sources, J their Jacobian (delta method)."""
        check_is_fitted(self)
        check_transform_stage(stage)
        Z, n = self._whitened(self._frames(X, fitting=False)), len(self._matrix)
        jacobian = torch.func.vmap(torch.func.jacrev(lambda z: self._model.encoder(z[None, None])[0, 0, :n]))(Z)
        matrix = np.eye(n) if stage == "features" else self._matrix
        return transformed(matrix @ jacobian.detach().double().numpy() @ self._white, covariance)

    def _latents(self, Z: Tensor, model: Any) -> np.ndarray:
        with torch.no_grad():
            n = self._prior.mean.shape[-1]
            return model.encoder(Z.cpu()[None])[0, :, :n].double().numpy()

    @property
    def _n_features_out(self) -> int:
        return len(self._matrix)


def _to_unit_variance(flow: Flow, laws: list[GeneralNormal], x_BK: Tensor) -> None:
    """Scale the flow's coordinates, and their laws with them, so that charts beside it begin at a fair scale."""
    with torch.no_grad():
        deviation = flow(x_BK.expand(len(flow.offsets[0]), -1, -1)).std(1).clamp(min=1e-6)
        flow.rescale(deviation)
        for law, size in zip(laws, deviation.split([law.mean.shape[-1] for law in laws], 1), strict=True):
            law.mean.div_(size[:, None])
            law.log_scale.sub_(size[:, None].log())
