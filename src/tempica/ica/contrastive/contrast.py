"""Pairs of frames of one data set, drawn in chunks, and the permutation contrast over them.

Shape legend: C chunk, J pair of a chunk, F frame of a chunk, N component.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from tempica.errors import DataError
from tempica.ica.training import parallel
from tempica.ica.training.networks import PairScore
from tempica.ica.training.restarts import Restarts, ScoreOf
from tempica.ica.training.schedules import WORTH, Plateau
from tempica.ica.training.steps import contrast_step
from tempica.ica.training.trainer import Trainer
from tempica.series import pairs

VALIDATION_PAIRS = 1024  # the contrast needs all pairs of pairs: its cost grows with the square
CHUNK = 8  # successive pairs share frames, which halves the rows that go through the network


class Contrast:
    """Training and held-out pairs (t, t + τ) of frames Z (frame, K), for one or several lags τ, and the loss over them.

    Training pairs come as chunks of successive ones, t, t + τ₁, t + 2τ₁ …, wherever replicas are long enough.
    Near the optimum the gradients of successive pairs are uncorrelated, so that chunks cost no information.
    `group` bounds the number of alternatives that a pair has in a batch.
    """

    def __init__(
        self, Z: Tensor, labels: np.ndarray, held_out: np.ndarray, lags: Sequence[int], group: int | None = None
    ) -> None:
        self.Z, self.lags, self.group = Z, tuple(lags), group
        splits = [split_pairs(labels, held_out, lag) for lag in lags]
        first = splits[0][0]
        for other, _ in splits[1:]:
            first = np.intersect1d(first, other)
        self.n_train = len(first)
        self.asked = [torch.as_tensor(_spread(asked)) for _, asked in splits]
        self.chunk = CHUNK
        while True:
            offsets = [j * self.lags[0] for j in range(self.chunk)]
            starts = _starts(first, len(labels), offsets)
            covered = np.unique(starts[:, None] + np.array(offsets))
            if self.chunk == 1 or (len(starts) > 1 and len(covered) > 0.95 * self.n_train):
                break
            self.chunk //= 2
        if len(starts) == 0:
            raise DataError(f"No frame has successors at all of the lags {self.lags}. Give longer replicas.")
        frames = np.unique([j + lag for j in offsets for lag in (0, *self.lags)])
        self.starts, self.offsets = torch.as_tensor(starts), torch.as_tensor(frames)
        self._here = _places(frames, offsets)
        self._there = [_places(frames, [j + lag for j in offsets]) for lag in self.lags]

    def training(
        self,
        module: nn.Module,
        features: Callable[[Tensor], Tensor],
        scores: Any,
        augment: Callable[[Tensor, Tensor], Tensor] | None = None,
        *,
        batch_size: int,
        max_steps: int | None,
        worth: float = WORTH,
        **options: Any,
    ) -> Trainer:
        """A training of `module`, which holds whichever of features and scores are to learn.

        Features may be (frame, N), or (R, frame, N) of several restarts, as the scores then are.
        `augment(frames, items)` changes the frames of a batch that gives gradients, randomly, seeded by the items.
        """

        own = [score if isinstance(score, ScoreOf) else ScoreOf(score.parameters()) for score in scores]

        def loss(items: Tensor) -> Tensor:
            at_CF = self.starts[items, None] + self.offsets
            frames = self._frames(at_CF.reshape(-1))
            h = features(frames if augment is None else augment(frames, items))
            h_CFN = h.unflatten(-2, at_CF.shape)
            here = _rows(h_CFN, self._here)
            each = []
            for score, there in zip(own, self._there, strict=True):
                successors, first = parallel.gather(_rows(h_CFN, there))
                each.append(score.run(here, successors, chunk=self.chunk, group=self.group, first=first))
            return sum(each) / len(each)  # type: ignore[return-value]

        step: Callable[[Tensor], Tensor] = loss
        is_plain = augment is None and isinstance(module, Restarts) and features == module.features
        if is_plain and self._compiles(cast(Restarts, module)):
            step = self._compiled(cast(Restarts, module))
        chunks = max(2, batch_size // self.chunk)  # pairs of one have no alternatives among themselves
        return Trainer(
            module,
            step,
            lambda: self.losses(features, scores).mean(-1),
            len(self.starts),
            batch_size=chunks,
            schedule=Plateau(max_steps, worth),
            hidden=list(module.hidden) if isinstance(module, Restarts) else [],
            **options,
        )

    def _compiles(self, together: Restarts) -> bool:
        """Whether a step can be compiled as one: frames in memory, in single precision, and no other process."""
        plain = isinstance(self.Z, Tensor) and self.Z.device.type == "cpu" and self.Z.dtype is torch.float32
        return plain and together.is_maxout_with_reference and parallel.world()[1] == 1

    def _compiled(self, together: Restarts) -> Callable[[Tensor], Tensor]:
        here, *there = (_numbers(places) for places in (self._here, *self._there))
        return contrast_step(
            self.Z,
            lambda items: self.starts[items, None] + self.offsets,
            here,
            there,
            together.network,
            [score.parameters[0] for score in together.scores],
            self.chunk,
            self.group,
        )

    def of(self, Z: Any) -> Contrast:
        """The same pairs of other frames, of anything that a tensor of frame numbers can index."""
        other = copy.copy(self)
        other.Z = Z
        return other

    def losses(self, features: Callable[[Tensor], Tensor], scores: Any) -> np.ndarray:
        """Loss (pair,) of every held-out pair, or (R, pair), the others' successors being the alternatives; the mean
        over lags."""
        with torch.no_grad():
            each = [
                score.each(features(self._frames(asked)), features(self._frames(asked + lag)))
                for score, asked, lag in zip(scores, self.asked, self.lags, strict=True)
            ]
        shortest = min(loss.shape[-1] for loss in each)
        return np.mean([loss[..., :shortest] for loss in each], axis=0)

    def held_out(self, model: Any) -> np.ndarray:
        """Loss (pair,) of every held-out pair, of a model [features, scores]."""
        with torch.no_grad():
            return self.losses(*model)

    def held_out_frames(self) -> Any:
        """Those that are the first of a held-out pair."""
        return self._frames(self.asked[0])

    def training_frames(self) -> Any:
        """Those with which chunks of training pairs begin."""
        return self._frames(self.starts)

    def _frames(self, at: Tensor) -> Tensor:
        return self.Z[at.to(self.Z.device) if isinstance(self.Z, Tensor) else at]

    def losses_of(self, S: np.ndarray, max_steps: int = 400, *, free: bool = False) -> np.ndarray:
        """Held-out losses of given sources (frame, n) under the best separable score, of the reference form or free."""
        inner = self.of(torch.as_tensor(S / np.maximum(S.std(0), 1e-12), dtype=torch.float32))
        scores = nn.ModuleList(PairScore(S.shape[1], free=free) for _ in self.lags)
        inner.training(
            scores, nn.Identity(), scores, batch_size=256, max_steps=max_steps, learning_rate=3e-2, seed=0
        ).advance()
        return inner.losses(nn.Identity(), scores)


def split_pairs(labels: np.ndarray, held_out: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """First frames of the training pairs and of the validation pairs; a pair of one of each is neither."""
    first = pairs(labels, lag)
    both = held_out[first] & held_out[first + lag]
    neither = ~held_out[first] & ~held_out[first + lag]
    if both.sum() < 2 or neither.sum() < 2:
        raise DataError(
            f"There are {neither.sum()} training and {both.sum()} validation pairs {lag} frames apart; 2 are the"
            " least. Give more frames, or another validation mask."
        )
    return first[neither], first[both]


def _spread(asked: np.ndarray) -> np.ndarray:
    if len(asked) <= VALIDATION_PAIRS:
        return asked
    return asked[np.linspace(0, len(asked) - 1, VALIDATION_PAIRS).astype(int)]


def _starts(first: np.ndarray, n_frames: int, offsets: Sequence[int]) -> np.ndarray:
    """Frames t from which every t + offset is the first frame of a training pair."""
    good = np.zeros(n_frames + max(offsets), dtype=bool)
    good[first] = True
    chained = np.logical_and.reduce([good[j : n_frames + j] for j in offsets])
    return np.flatnonzero(chained)


def _places(frames: np.ndarray, wanted: Sequence[int]) -> slice | Tensor:
    """Where the wanted ones are among the frames; a slice if it can be, whose gradient costs nothing."""
    found = np.searchsorted(frames, wanted)
    return slice(found[0], found[-1] + 1) if (np.diff(found) == 1).all() else torch.as_tensor(found)


def _numbers(places: slice | Tensor) -> np.ndarray:
    return np.arange(places.start, places.stop) if isinstance(places, slice) else places.numpy()


def _rows(h_CFN: Tensor, places: slice | Tensor) -> Tensor:
    """Frames at these places of every chunk, (…, pair, N)."""
    return h_CFN[..., places, :].flatten(-3, -2)
