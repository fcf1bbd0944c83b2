"""SlowVAE: an autoencoder whose latents mostly stay, and change one at a time.

Shape legend: R restart, B frame of a batch, N component.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from tempica.errors import DataError
from tempica.ica.generative.autoencoding import AutoencodingEstimator, Task
from tempica.ica.generative.vae import GeneralNormal
from tempica.ica.linear.fastica import FastICA, fastica_directions
from tempica.ica.options import Training
from tempica.ica.training.progress import Progress
from tempica.series import check_replicas, pairs

HELD_OUT_BLOCK = 50  # frames; one block in ten gives no gradients


class SlowVAE(AutoencodingEstimator):
    """Variational autoencoder with sparse transitions: latents that mostly stay, and change one at a time.

    x_t = d(z_t) + noise, z_t,i of law exp(−|(z_t,i − ρ_i z_{t−τ},i) / a_i|^α_i) with ρ, a and ½ < α < 2 learned, the
    first of each pair normal; trained by the evidence lower bound of pairs (Klindt et al. 2021, whose ρ is 1 and α
    1). Sources are found up to order and sign, if their transitions are sparser than normal (α < 2). Encoder, decoder
    and their training are IVAE's; it begins at FastICA's answer on the frames' changes. The second stage, none or
    linear (FastICA on the latents' changes), is the one with the more independent changes on held-out pairs: those
    within one block of 50 frames in ten.

    Parameters:
        lag: τ in frames.

    The others are those of `IVAE`; items of a step are pairs. Attributes as `IVAE`'s, but for `labels_`.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        n_restarts: int = 4,
        max_steps: int = 5000,
        lag: int = 1,
        second_stage: Literal["auto", "none", "linear"] = "auto",
        training: Training | Mapping[str, Any] | None = None,
        device: str = "cpu",
        random_state: int = 0,
    ) -> None:
        super().__init__(n_components, n_restarts=n_restarts, max_steps=max_steps, second_stage=second_stage)
        self.lag, self.training, self.device, self.random_state = lag, training, device, random_state

    def _learn(
        self, X: np.ndarray, series: np.ndarray, held_out: np.ndarray | None, progress: Callable[..., Progress]
    ) -> None:
        Z, n, generator = self._begin(X)
        first, held = self._pairs(series, held_out)
        white = np.asarray(Z.cpu(), dtype=np.float64)
        changes = white[first + self.lag] - white[first]
        task = Task(
            fastica_directions(changes[~held], n),
            lambda n_restarts: GeneralNormal(n_restarts, 1, n, least=0.5),
            lambda items: torch.cat([Z[items], Z[items + self.lag]]),
            lambda prior, z, _: _pair_law(prior, z),
            first[~held],
            first[held],
        )
        rival = self._train(task, progress(X, series, first, held), generator)

        def stage(name: str, raw: np.ndarray) -> tuple[np.ndarray, float]:
            changes = raw[first + self.lag] - raw[first]
            matrix = np.eye(n) if name == "none" else fastica_directions(changes[~held], n)
            judge = FastICA()
            judge.mean_, judge.components_, judge.n_features_in_ = np.zeros(n), matrix, n
            return matrix, judge.score(changes[held])

        self._settle(Z, first[held], rival, stage)

    def score(self, X: Any, y: Any = None, *, replicas: Any = None) -> float:
        """Evidence lower bound (nats a pair, up to a constant) of the pairs of frames X: higher is better."""
        check_is_fitted(self)
        Z = self._whitened(self._frames(X, fitting=False))
        first = torch.as_tensor(pairs(check_replicas(replicas, len(Z)), self.lag))
        with torch.no_grad():
            x, generator = torch.cat([Z[first], Z[first + self.lag]]), torch.Generator().manual_seed(0)
            return float(self._model.bound(x, lambda z: _pair_law(self._prior, z), len(first), generator).mean())

    def _pairs(self, labels: np.ndarray, held: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """First frames (pair,) of pairs, and which are held out; pairs of one frame of each kind are left out."""
        first, n_blocks = pairs(labels, self.lag), min(10, len(labels) // (2 * self.lag + 2))
        if held is None:
            # blocks in which whole pairs find room; a series too short for ten is cut in two
            whole = n_blocks == 10
            size = max(min(HELD_OUT_BLOCK, len(labels) // 10), 2 * self.lag + 2) if whole else len(labels) // 2 + 1
            held = np.arange(len(labels)) // size % (10 if whole else 2) == (9 if whole else 1)
        kept = first[held[first] == held[first + self.lag]]
        if held[kept].all() or not held[kept].any():
            raise DataError(f"There are too few pairs {self.lag} frames apart to hold some out. Give more frames.")
        return kept, held[kept]


def _pair_law(prior: Any, z_RBN: Tensor) -> Tensor:
    """ln p (R, pair) of pairs, first frames before second ones: the first normal, the second given the first."""
    a, b = z_RBN.chunk(2, 1)
    zero = torch.zeros(a.shape[1], dtype=torch.int64)
    return prior(b, zero, a) - 0.5 * (a**2).sum(-1)
