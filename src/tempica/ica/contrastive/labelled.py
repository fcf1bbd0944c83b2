"""Labelled frames of one data set, and the loss of telling their labels from features.

Shape legend: B frame of a batch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tempica.ica.contrastive.second_stage import Stage, fit_stage
from tempica.ica.training import parallel
from tempica.ica.training.restarts import Restarts
from tempica.ica.training.schedules import Plateau
from tempica.ica.training.steps import labels_step
from tempica.ica.training.trainer import Trainer
from tempica.series import standard_error

VALIDATION_FRAMES = 20_000


class Labelled:
    """Training and held-out frames of one data set, and the loss over them."""

    def __init__(self, Z: Tensor, segments: Tensor, held_out: np.ndarray, n_segments: int) -> None:
        self.Z, self.segments, self.n_segments = Z, segments, n_segments
        self.train = torch.as_tensor(np.flatnonzero(~held_out))
        asked = np.flatnonzero(held_out)
        if len(asked) > VALIDATION_FRAMES:
            asked = asked[np.linspace(0, len(asked) - 1, VALIDATION_FRAMES).astype(int)]
        self.asked, self.n_train = torch.as_tensor(asked), len(self.train)
        self.base = math.log(n_segments)

    def of(self, Z: Any) -> Labelled:
        """The same labels of other frames, of anything that a tensor of frame numbers can index."""
        other = copy.copy(self)
        other.Z, other.segments = Z, self.segments.to(Z.device)
        return other

    def training(
        self,
        together: Restarts | Any,
        precise: Callable[..., Any],
        augment: Callable[[Tensor, Tensor], Tensor] | None = None,
        *,
        max_steps: int | None,
        **options: Any,
    ) -> Trainer:
        """A training of restarts whose heads (R, segment, feature) tell the segment from |h|.

        `augment(frames, items)` changes the frames of a batch that gives gradients, randomly, seeded by the items.
        """
        features = precise(together.features)

        def loss(items: Tensor) -> Tensor:
            at = self.train[items]
            frames = self.Z[at.to(self.Z.device)]
            frames = frames if augment is None else augment(frames, items)
            return self._each(features(frames), together.head, at).mean(-1)

        step: Callable[[Tensor], Tensor] = loss
        is_plain = augment is None and isinstance(together, Restarts) and features == together.features
        if is_plain and self._compiles(together):
            step = labels_step(self.Z, self.segments, self.train, together.network, together.head)
        hidden = together.hidden
        return Trainer(
            together,
            step,
            lambda: self.losses(features, together.head).mean(-1),
            self.n_train,
            schedule=Plateau(max_steps),
            hidden=hidden,
            **options,
        )

    def _compiles(self, together: Restarts) -> bool:
        """Whether a step can be compiled as one: frames in memory, in single precision, and no other process."""
        plain = self.Z.device.type == "cpu" and self.Z.dtype is torch.float32
        return plain and len(together.network) >= 7 and parallel.world()[1] == 1

    def losses(self, features: Callable[[Tensor], Tensor], head: Sequence[Tensor]) -> np.ndarray:
        """Of every held-out frame (frame,), or (R, frame)."""
        with torch.no_grad():
            h = features(self.Z[self.asked.to(self.Z.device)])
            return self._each(h, head, self.asked).double().cpu().numpy()

    def _each(self, h: Tensor, head: Sequence[Tensor], at: Tensor) -> Tensor:
        weight, bias = head
        at = at.to(self.Z.device)
        logits = torch.matmul(h.abs(), weight.mT) + bias[..., None, :]
        segments = self.segments[at].expand(logits.shape[:-1])
        found = nn.functional.cross_entropy(logits.flatten(0, -2), segments.flatten(), reduction="none")
        return found.unflatten(0, logits.shape[:-1]) - self.base

    def held_out(self, model: Any) -> np.ndarray:
        """Loss of every held-out frame, of a model [features, head]."""
        features, head = model
        return self.losses(features, (head.weight, head.bias))

    def losses_of(self, logits: np.ndarray) -> np.ndarray:
        """Of every held-out frame (frame,), from logits (frame, segment)."""
        segments = self.segments.cpu()[self.asked]
        each = nn.functional.cross_entropy(torch.as_tensor(logits), segments, reduction="none")
        return each.double().numpy() - self.base


@dataclass(frozen=True)
class LogitDirections:
    """Directions (direction, feature) of features about their mean that a head uses, those that move logits most first.

    What the features have along them is uncorrelated and of unit variance; `gains` (segment, direction) is what the
    logits make of it.
    """

    mean: np.ndarray
    directions: np.ndarray
    gains: np.ndarray

    def unmixed(self, train: np.ndarray, n: int, name: str) -> Stage:
        """The second stage of the first n directions of training features (frame, feature); long tails are above."""
        reduced = (train - self.mean) @ self.directions[:n].T
        stage = fit_stage(name, reduced, np.zeros(len(reduced), dtype=int))
        sign = np.where((stage(reduced) ** 3).mean(0) < 0, -1.0, 1.0)
        return Stage(stage.name, stage.mean, sign[:, None] * stage.matrix)

    def rank(self, data: Labelled, features: np.ndarray, head: nn.Linear) -> tuple[list[float], int]:
        """Held-out loss with the first 0, 1 … directions, and the number after which none gains 2 standard errors."""
        asked = (features[data.asked.numpy()] - self.mean) @ self.directions.T
        offset = head.bias.detach().double().numpy() + _centred(head) @ self.mean
        losses = [data.losses_of(asked[:, :k] @ self.gains[:, :k].T + offset) for k in range(len(self.directions) + 1)]
        losses[0] = np.zeros(len(asked))
        rank = 0
        for k in range(1, len(losses)):
            gain = losses[rank] - losses[k]
            if gain.mean() > 2 * standard_error(gain):
                rank = k
        return [float(loss.mean()) for loss in losses], rank


def logit_directions(train: np.ndarray, head: nn.Linear) -> LogitDirections:
    """Of training features (frame, feature)."""
    # logits have columns of covariance CᵀWᵀWC with C the root of the features' covariance
    value, vector = np.linalg.eigh(np.cov(train.T))
    root = vector * np.sqrt(np.maximum(value, 0))
    W = _centred(head)
    _, _, right = np.linalg.svd(W @ root, full_matrices=False)
    back = vector / np.sqrt(np.maximum(value, 1e-9 * value.max()))
    return LogitDirections(train.mean(0), right @ back.T, W @ root @ right.T)


def _centred(head: nn.Linear) -> np.ndarray:
    weight = head.weight.detach().double().numpy()
    return weight - weight.mean(0)
