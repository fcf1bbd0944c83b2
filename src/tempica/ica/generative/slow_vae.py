"""SlowVAE: an autoencoder whose latents mostly stay, and change one at a time.

Shape legend: R restart, B frame of a batch, N component.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from tempica.errors import DataError
from tempica.ica.base import check_validation
from tempica.ica.generative.autoencoding import AutoencodingEstimator, Task
from tempica.ica.generative.vae import GeneralNormal
from tempica.ica.linear.fastica import FastICA, fastica_directions
from tempica.ica.training.options import Training
from tempica.series import check_replicas, pairs

HELD_OUT_BLOCK = 50  # frames; one block in ten gives no gradients


class SlowVAE(AutoencodingEstimator):
    """Variational autoencoder with sparse transitions: latents that mostly stay, and change one at a time.

    x_t = d(z_t) + noise, z_t,i of law exp(−|(z_t,i − ρ_i z_{t−τ},i) / a_i|^α_i) with ρ, a and ½ < α < 2 learned, the
    first of each pair normal; trained by the evidence lower bound of pairs (Klindt et al. 2021, whose ρ is 1 and α
    1). Sources are found up to order and sign, if their transitions are sparser than normal (α < 2). Encoder, decoder
    and their training are IVAE's; it begins at FastICA's answer on the frames' changes. The second stage, none or
    linear (FastICA on the latents' changes), is the one with the more independent changes on held-out pairs.

    Parameters:
        n_components: number of sources; all directions that vary when None.
        lag: τ in frames.
        n_restarts: flows that are trained side by side.
        max_steps: of each of the two trainings.
        second_stage: "auto", "none" or "linear".
        training: `Training`. batch_size, pairs of a step: 256. learning_rate: 4e-3. width and n_layers of the
            decoder's hidden layers: 64, 2. precision: float32 or float64.
        device: "cpu" or "cuda".
        random_state: whole number from which everything drawn follows.

    Attributes:
        stability_: (component,) absolute correlation of each source with that of the second of the two models, on
            held-out frames.
        start_loss_, start_curve_: held-out loss of each restart of the flow, in nats up to a constant, and the lowest
            so far at each check, (step, loss).
        validation_loss_, loss_curve_: the same of the bound, from the linear answer and from the flow.
        second_stage_, second_stage_scores_: the stage taken, and the held-out score of each.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        lag: int = 1,
        n_restarts: int = 4,
        max_steps: int = 5000,
        second_stage: str = "auto",
        training: Training | dict[str, Any] | None = None,
        device: str = "cpu",
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.lag = lag
        self.n_restarts = n_restarts
        self.max_steps = max_steps
        self.second_stage = second_stage
        self.training = training
        self.device = device
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        replicas: Any = None,
        validation: Any = None,
        callback: Callable[[int, int, float], None] | None = None,
        checkpoint: Any = None,
        log: Any = None,
    ) -> SlowVAE:
        """Fit to frames X (frame, feature).

        Parameters:
            replicas: label (frame,) of the series of each frame; one series when None.
            validation: mask (frame,) of frames that give no gradients; one block of 50 frames in ten when None.
            callback: called as callback(run, step, loss) at each check.
            checkpoint: file from which a fit that was interrupted goes on, to the same result.
            log: file that gets a line of JSON at each check, or a function, or a SummaryWriter (`Progress`).

        Raises DataError for too short series, constant features or impossible parameters.
        """
        X, Z, n, generator = self._begin(X)
        series = check_replicas(replicas, len(X))
        first, held = self._pairs(series, check_validation(validation, len(X)))
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
        progress = self._progress(checkpoint, log, callback, X, series, first, held)
        rival = self._train(task, progress, generator)

        def stage(name: str, raw: np.ndarray) -> tuple[np.ndarray, float]:
            changes = raw[first + self.lag] - raw[first]
            matrix = np.eye(n) if name == "none" else fastica_directions(changes[~held], n)
            judge = FastICA()
            judge.mean_, judge.components_, judge.n_features_in_ = np.zeros(n), matrix, n
            return matrix, judge.score(changes[held])

        self._settle(Z, first[held], rival, stage)
        return self

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
