"""iVAE: an autoencoder whose latents have a law that depends on a label.

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
from tempica.ica.labels import check_labels, cut_into_segments, either, last_of_each, numbered
from tempica.ica.linear.nonstationary import NonstationaryICA
from tempica.series import check_replicas


class IVAE(AutoencodingEstimator):
    """Identifiable variational autoencoder: latents whose law depends on a label.

    x = d(z) + noise, with independent z_i of law p(z_i | u) ∝ exp(−|(z_i − m_iu) / a_iu|^α_i), 1 < α < 2 learned, of
    which Laplace and normal are the ends, and as many more latents, whose law no label changes, as frames have
    further directions; all is trained by the evidence lower bound (Khemakhem et al. 2020). With enough labels (nk + 1
    for k statistics a source) the sources are found up to order and a function of each.

    The encoder is an invertible flow, and the posterior the law of what it makes of the frame plus noise; the decoder
    d begins as its inverse, with a network beside. A posterior of independent latents, which is usual, would favour
    decoders with orthogonal Jacobians over the true one. Training begins at NonstationaryICA's answer and at random
    rotations of it, from which the flow is first fitted by its likelihood, the bound's limit without noise. From the
    most likely, and from the linear answer itself, the bound is then trained; the better on held-out frames is kept.
    The second stage, none or linear (NonstationaryICA on the latents), is the one with less dependence left within
    segments, on held-out frames.

    Parameters:
        n_components: number of sources; all directions that vary when None.
        n_restarts: flows that are trained side by side.
        max_steps: of each of the two trainings.
        second_stage: "auto", "none" or "linear".
        training: `Training`. batch_size, frames of a step: 256. learning_rate: 4e-3. width and n_layers of the
            decoder's hidden layers: 64, 2. precision: float32 or float64.
        device: "cpu" or "cuda".
        random_state: whole number from which everything drawn follows.

    Attributes:
        labels_: the labels of the fit, sorted.
        stability_: (component,) absolute correlation of each source with that of the second of the two models, on
            held-out frames.
        start_loss_, start_curve_: held-out loss of each restart of the flow, in nats up to a constant, and the lowest
            so far at each check, (step, loss).
        validation_loss_, loss_curve_: the same of the bound, from the linear answer and from the flow.
        second_stage_, second_stage_scores_: the stage taken, and the held-out score of each.
    """

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        labels: Any = None,
        replicas: Any = None,
        validation: Any = None,
        callback: Callable[[int, int, float], None] | None = None,
        checkpoint: Any = None,
        log: Any = None,
    ) -> IVAE:
        """Fit to frames X (frame, feature) with the label of each.

        Parameters:
            labels: (frame,) numbers or text; also as the second argument, y. When None, `replicas` are cut into
                segments as NonstationaryICA does.
            replicas: label (frame,) of the series of each frame.
            validation: mask (frame,) of frames that give no gradients; the last tenth of each segment when None.
            callback, checkpoint, log: called or written at each check, and read to resume a fit; see `SlowVAE.fit`.

        Raises DataError for one segment only, constant features, too few frames or impossible parameters.
        """
        X = self._frames(X, fitting=True)
        Z, n, generator = self._begin(X)
        labels = either(y, labels)
        if labels is None:
            labels = cut_into_segments(check_replicas(replicas, len(X)), int(np.clip(len(X) // (20 * n), 2, 256)))
        self.labels_, number = np.unique(check_labels(labels, len(X)), return_inverse=True)
        white = np.asarray(Z.cpu())
        linear = NonstationaryICA(n).fit(white, number)
        held = check_validation(validation, len(X))
        held = _last_of_each(number) if held is None else held
        if held.all() or not held.any():
            raise DataError("validation must mark some of the frames, and leave some to learn from.")
        u = torch.as_tensor(number)
        task = Task(
            linear.components_,
            lambda n_restarts: GeneralNormal(n_restarts, len(self.labels_), n),
            lambda items: Z[items],
            lambda prior, z, items: prior(z, u[items]),
            np.flatnonzero(~held),
            np.flatnonzero(held),
        )
        progress = self._progress(checkpoint, log, callback, X, number, held)
        rival = self._train(task, progress, generator)

        def stage(name: str, raw: np.ndarray) -> tuple[np.ndarray, float]:
            found = NonstationaryICA().fit(raw[~held], number[~held])
            if name == "none" or len(found.components_) < n:
                found.components_ = np.eye(n)
            return found.components_, found.score(raw[held], number[held])

        self._settle(Z, held, rival, stage)
        return self

    def score(self, X: Any, y: Any = None, *, labels: Any = None) -> float:
        """Evidence lower bound (nats a frame, up to a constant) of frames X: higher is better.

        Without labels, the law of the latents is the mixture of all segments'. Raises DataError for unknown labels.
        """
        check_is_fitted(self)
        Z, labels = self._whitened(self._frames(X, fitting=False)), either(y, labels)
        if labels is not None:
            u = torch.as_tensor(numbered(labels, self.labels_, len(Z)))
            law = lambda z: self._prior(z, u)  # noqa: E731
        else:
            every = torch.arange(len(self.labels_))

            def law(z: Tensor) -> Tensor:
                each = torch.stack([self._prior(z, k.expand(z.shape[1])) for k in every])
                return torch.logsumexp(each, 0) - float(np.log(len(every)))

        with torch.no_grad():
            return float(self._model.bound(Z, law, len(Z), torch.Generator().manual_seed(0)).mean())


def _last_of_each(number: np.ndarray) -> np.ndarray:
    """The last tenth of the frames (frame,) of each segment, at least one. Raises DataError if all are of one frame."""
    held = last_of_each(number, 10)
    if np.count_nonzero(np.bincount(number[held])) < 2:
        raise DataError("Fewer than two segments have two frames; none can be held out. Give longer segments.")
    return held
