"""Estimators that model how frames arise: iVAE, whose sources depend on a label, and SlowVAE, on the frame before.

Shape legend: R restart, B frame of a batch, K feature of the whitened frames, N component.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tempica.errors import DataError
from tempica.ica.base import (
    TemporalEstimator,
    check_n_components,
    check_numbers,
    check_seed,
    linear_map,
    transformed,
    whitening,
)
from tempica.ica.generative.flow import Flow, completed
from tempica.ica.generative.vae import (
    LEAST_NOISE,
    Autoencoder,
    GeneralNormal,
    keep_restart,
    log_likelihood,
    starts,
    train_restarts,
)
from tempica.ica.labels import check_segments, cut_into_segments, either
from tempica.ica.linear.fastica import FastICA, fastica_directions
from tempica.ica.linear.nonstationary import NonstationaryICA
from tempica.series import check_replicas, pairs

LEAST = {"n_restarts": 1, "n_layers": 1, "width": 2, "max_steps": 1, "batch_size": 2}
FLOW_RATE = 5  # learning rate of the flow, in units of the bound's
HELD_OUT_BLOCK = 50  # frames; one block in ten gives no gradients


class _Generative(TemporalEstimator):
    """What both share: parameters, training of restarts, the second stage, the way back to sources."""

    def __init__(
        self,
        n_components: int | None = None,
        *,
        width: int = 64,
        n_layers: int = 2,
        n_restarts: int = 4,
        max_steps: int = 5000,
        batch_size: int = 256,
        learning_rate: float = 4e-3,
        second_stage: str = "auto",
        random_state: int = 0,
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

    def _begin(self, X: Any) -> tuple[np.ndarray, Tensor, int]:
        """Checked frames, the same whitened as (frame, K), and the number of components."""
        X = self._frames(X, fitting=True)
        check_numbers(self, LEAST)
        if self.second_stage not in ("auto", "none", "linear"):
            raise DataError(f"second_stage = {self.second_stage!r} must be auto, none or linear.")
        self._mean, self._white = whitening(X)
        n = check_n_components(self.n_components, len(self._white), X.shape[1])
        return X, self._whitened(X), n

    def _whitened(self, X: np.ndarray) -> Tensor:
        return torch.as_tensor(linear_map(X, self._mean, self._white), dtype=torch.float32)

    def _train(
        self,
        linear: np.ndarray,
        law_of: Callable[[int], GeneralNormal],
        frames: Callable[[Tensor], Tensor],
        law: Callable[[Any, Tensor, Tensor], Tensor],
        train: np.ndarray,
        held_out: np.ndarray,
    ) -> None:
        """Fit by gradients on items of `train`, keep the best on `held_out`: a flow by its likelihood, then the bound.

        `frames(items)` are the frames (B, K) of items, one or more each, and `law(prior, z, items)` ln p (R, item) of
        their latents. The bound is fitted from the linear start and from the most likely flow.
        """
        generator = torch.Generator().manual_seed(check_seed(self.random_state))
        learned, asked, n = torch.as_tensor(train), torch.as_tensor(held_out), len(linear)
        first = starts(torch.as_tensor(linear, dtype=torch.float32), self.n_restarts, generator)
        flow = Flow(completed(first), generator)
        k = len(flow.matrices[0][0])
        prior, rest = law_of(self.n_restarts), GeneralNormal(self.n_restarts, 1, k - n)
        whole = nn.ModuleList([flow, prior, rest])
        before = [p.detach().clone() for p in whole.parameters()]

        def likelihood(items: Tensor, draw: torch.Generator) -> Tensor:
            x = frames(items)
            if k > n:  # frames on a curved sheet have no density; with noise they have
                x = x + LEAST_NOISE**0.5 * torch.randn(x.shape, generator=draw)
            return -log_likelihood(flow, rest, x, lambda z: law(prior, z, items), len(items)).mean(1)

        def bound(items: Tensor, draw: torch.Generator) -> Tensor:
            return -model.bound(frames(items), lambda z: law(prior, z, items), len(items), draw).mean(1)

        def fitted(module: nn.Module, loss: Callable[[Tensor, torch.Generator], Tensor], rate: float) -> Any:
            def validate() -> Tensor:
                with torch.no_grad():
                    return loss(asked, torch.Generator().manual_seed(0))

            return train_restarts(
                module,
                lambda items: loss(items, generator),
                validate,
                len(train),
                batch_size=self.batch_size,
                max_steps=self.max_steps,
                learning_rate=rate,
                generator=generator,
            )

        found, self.start_curve_ = fitted(whole, likelihood, FLOW_RATE * self.learning_rate)
        self.start_loss_, best = found.tolist(), int(found.nan_to_num(torch.inf).argmin())
        for parameter, old in zip(whole.parameters(), before, strict=True):
            parameter.data = torch.cat([old[:1], parameter.data[best : best + 1]])
        _to_unit_variance(flow, [prior, rest], frames(learned))
        model = Autoencoder(flow, rest, self.width, self.n_layers, generator)
        found, self.loss_curve_ = fitted(nn.ModuleList([model, prior]), bound, self.learning_rate)
        self.validation_loss_ = found.tolist()
        for part in (model, prior):
            keep_restart(part, int(found.argmin()))
        self._model, self._prior = model, prior

    def _settle(self, matrices: dict[str, np.ndarray], scores: dict[str, float], raw: np.ndarray) -> None:
        """Take the second stage with the best held-out score, and scale to unit variance."""
        self.second_stage_scores_ = scores
        self.second_stage_ = max(scores, key=lambda name: scores[name])
        matrix = matrices[self.second_stage_]
        self._offset = raw.mean(0)
        spread = ((raw - self._offset) @ matrix.T).std(0)
        self._matrix = matrix / np.where(spread > 0, spread, 1.0)[:, None]

    def _names(self) -> tuple[str, ...]:
        return ("none", "linear") if self.second_stage == "auto" else (self.second_stage,)

    def transform_raw(self, X: Any) -> np.ndarray:
        """Posterior means (frame, component) of the latents, before the second stage."""
        check_is_fitted(self)
        return self._raw(self._whitened(self._frames(X, fitting=False)))

    def _raw(self, Z: Tensor) -> np.ndarray:
        with torch.no_grad():
            return self._sources(Z[None])[0].double().numpy()

    def _sources(self, Z_RBK: Tensor) -> Tensor:
        return self._model.encoder(Z_RBK)[..., : self._prior.mean.shape[-1]]

    def transform(self, X: Any) -> np.ndarray:
        """Sources (frame, component), of unit variance on the frames of the fit."""
        return (self.transform_raw(X) - self._offset) @ self._matrix.T

    def transform_covariance(self, X: Any, covariance: Any) -> np.ndarray:
        """Covariance J Σ Jᵀ (frame, component, component) of the sources, J their Jacobian (delta method)."""
        check_is_fitted(self)
        Z = self._whitened(self._frames(X, fitting=False))
        jacobian = torch.func.vmap(torch.func.jacrev(lambda z: self._sources(z[None, None])[0, 0]))(Z)
        J = self._matrix @ jacobian.detach().double().numpy() @ self._white
        return transformed(J, covariance)

    @property
    def _n_features_out(self) -> int:
        return len(self._matrix)


class IVAE(_Generative):
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

    Parameters: `n_components`, all that vary when None; `width` and number `n_layers` of the decoder's hidden layers;
    `n_restarts` of the flow, side by side; `max_steps` of either training, `batch_size`, `learning_rate`;
    `second_stage`: auto, none or linear; `random_state`.
    Attributes: `segments_` the labels; `start_loss_` of each restart of the flow and `start_curve_`, `validation_loss_`
    of the bound from the linear answer and from the flow, and `loss_curve_`, all held out, in nats up to a constant;
    `second_stage_`.
    """

    def fit(self, X: Any, y: Any = None, *, segments: Any = None, replicas: Any = None) -> IVAE:
        """Fit to frames X (frame, feature) with the label `segments` (also `y`) of each frame.

        Without labels, `replicas` are cut into segments as NonstationaryICA does. Raises DataError for one segment
        only, constant features, too few frames or impossible parameters.
        """
        X, Z, n = self._begin(X)
        labels = either(y, segments)
        if labels is None:
            labels = cut_into_segments(check_replicas(replicas, len(X)), int(np.clip(len(X) // (20 * n), 2, 256)))
        self.segments_, number = np.unique(check_segments(labels, len(X)), return_inverse=True)
        white = np.asarray(Z)
        linear = NonstationaryICA(n).fit(white, number)
        held = _last_of_each(number)
        u = torch.as_tensor(number)
        self._train(
            linear.components_,
            lambda n_restarts: GeneralNormal(n_restarts, len(self.segments_), n),
            lambda items: Z[items],
            lambda prior, z, items: prior(z, u[items]),
            np.flatnonzero(~held),
            np.flatnonzero(held),
        )
        raw = self._raw(Z)
        matrices, scores = {}, {}
        for name in self._names():
            stage = NonstationaryICA().fit(raw[~held], number[~held])
            if name == "none" or len(stage.components_) < n:
                stage.components_ = np.eye(n)
            matrices[name], scores[name] = stage.components_, stage.score(raw[held], number[held])
        self._settle(matrices, scores, raw)
        return self

    def score(self, X: Any, y: Any = None, *, segments: Any = None) -> float:
        """Evidence lower bound (nats a frame, up to a constant) of frames X: higher is better.

        Without labels, the law of the latents is the mixture of all segments'. Raises DataError for unknown labels.
        """
        check_is_fitted(self)
        Z, labels = self._whitened(self._frames(X, fitting=False)), either(y, segments)
        if labels is not None:
            names = check_segments(labels, len(Z))
            if not np.isin(names, self.segments_).all():
                raise DataError("Some frames are of segments that were not fitted. Give labels of the fit, or none.")
            u = torch.as_tensor(np.searchsorted(self.segments_, names))
            law = lambda z: self._prior(z, u)  # noqa: E731
        else:
            every = torch.arange(len(self.segments_))

            def law(z: Tensor) -> Tensor:
                each = torch.stack([self._prior(z, k.expand(z.shape[1])) for k in every])
                return torch.logsumexp(each, 0) - float(np.log(len(every)))

        with torch.no_grad():
            return float(self._model.bound(Z, law, len(Z), torch.Generator().manual_seed(0)).mean())


class SlowVAE(_Generative):
    """Variational autoencoder with sparse transitions: latents that mostly stay, and change one at a time.

    x_t = d(z_t) + noise, z_t,i of law exp(−|(z_t,i − ρ_i z_{t−τ},i) / a_i|^α_i) with ρ, a and ½ < α < 2 learned, the
    first of each pair normal; trained by the evidence lower bound of pairs (Klindt et al. 2021, whose ρ is 1 and α
    1). Sources are found up to order and sign, if their transitions are sparser than normal (α < 2). Encoder, decoder
    and their training are IVAE's; it begins at FastICA's answer on the frames' changes. The second stage, none or
    linear (FastICA on the latents' changes), is the one with the more independent changes on held-out pairs.

    Parameters as IVAE's, and `lag` τ in frames. Attributes as IVAE's, but for `segments_`.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        lag: int = 1,
        width: int = 64,
        n_layers: int = 2,
        n_restarts: int = 4,
        max_steps: int = 5000,
        batch_size: int = 256,
        learning_rate: float = 4e-3,
        second_stage: str = "auto",
        random_state: int = 0,
    ) -> None:
        super().__init__(
            n_components,
            width=width,
            n_layers=n_layers,
            n_restarts=n_restarts,
            max_steps=max_steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            second_stage=second_stage,
            random_state=random_state,
        )
        self.lag = lag

    def fit(self, X: Any, y: Any = None, *, replicas: Any = None) -> SlowVAE:
        """Fit to frames X (frame, feature); `replicas` (frame,) labels which series each belongs to.

        Raises DataError for too short series, constant features or impossible parameters.
        """
        X, Z, n = self._begin(X)
        first, held = self._pairs(check_replicas(replicas, len(X)))
        white = np.asarray(Z, dtype=np.float64)
        changes = white[first + self.lag] - white[first]

        self._train(
            fastica_directions(changes[~held], n),
            lambda n_restarts: GeneralNormal(n_restarts, 1, n, least=0.5),
            lambda items: torch.cat([Z[items], Z[items + self.lag]]),
            lambda prior, z, _: _pair_law(prior, z),
            first[~held],
            first[held],
        )
        raw = self._raw(Z)
        changes = raw[first + self.lag] - raw[first]
        matrices, scores = {}, {}
        for name in self._names():
            matrix = np.eye(n) if name == "none" else fastica_directions(changes[~held], n)
            stage = FastICA()
            stage.mean_, stage.components_, stage.n_features_in_ = np.zeros(n), matrix, n
            matrices[name], scores[name] = matrix, stage.score(changes[held])
        self._settle(matrices, scores, raw)
        return self

    def score(self, X: Any, y: Any = None, *, replicas: Any = None) -> float:
        """Evidence lower bound (nats a pair, up to a constant) of the pairs of frames X: higher is better."""
        check_is_fitted(self)
        Z = self._whitened(self._frames(X, fitting=False))
        first = torch.as_tensor(pairs(check_replicas(replicas, len(Z)), self.lag))
        with torch.no_grad():
            x, generator = torch.cat([Z[first], Z[first + self.lag]]), torch.Generator().manual_seed(0)
            return float(self._model.bound(x, lambda z: _pair_law(self._prior, z), len(first), generator).mean())

    def _pairs(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First frames (pair,) of pairs, and which are held out; pairs of one frame of each kind are left out."""
        first, n_blocks = pairs(labels, self.lag), min(10, len(labels) // (2 * self.lag + 2))
        # blocks in which whole pairs find room; a series too short for ten is cut in two
        size = max(min(HELD_OUT_BLOCK, len(labels) // 10), 2 * self.lag + 2) if n_blocks == 10 else len(labels) // 2 + 1
        held = np.arange(len(labels)) // size % (10 if n_blocks == 10 else 2) == (9 if n_blocks == 10 else 1)
        kept = first[held[first] == held[first + self.lag]]
        if held[kept].all() or not held[kept].any():
            raise DataError(f"There are too few pairs {self.lag} frames apart to hold some out. Give more frames.")
        return kept, held[kept]


def _last_of_each(number: np.ndarray) -> np.ndarray:
    """The last tenth of the frames (frame,) of each segment, at least one. Raises DataError if all are of one frame."""
    order, count = np.argsort(number, kind="stable"), np.bincount(number)
    rank = np.empty(len(number), dtype=int)
    rank[order] = np.arange(len(number)) - np.repeat(np.cumsum(count) - count, count)
    held = (rank >= count[number] - np.maximum(1, count[number] // 10)) & (count[number] > 1)
    if np.count_nonzero(np.bincount(number[held])) < 2:
        raise DataError("Fewer than two segments have two frames; none can be held out. Give longer segments.")
    return held


def _pair_law(prior: Any, z_RBN: Tensor) -> Tensor:
    """ln p (R, pair) of pairs, first frames before second ones: the first normal, the second given the first."""
    a, b = z_RBN.chunk(2, 1)
    zero = torch.zeros(a.shape[1], dtype=torch.int64)
    return prior(b, zero, a) - 0.5 * (a**2).sum(-1)


def _to_unit_variance(flow: Flow, laws: list[GeneralNormal], x_BK: Tensor) -> None:
    """Scale the flow's coordinates, and their laws with them, so that charts beside it begin at a fair scale."""
    with torch.no_grad():
        deviation = flow(x_BK.expand(len(flow.offsets[0]), -1, -1)).std(1).clamp(min=1e-6)
        flow.rescale(deviation)
        for law, size in zip(laws, deviation.split([law.mean.shape[-1] for law in laws], 1), strict=True):
            law.mean.div_(size[:, None])
            law.log_scale.sub_(size[:, None].log())
