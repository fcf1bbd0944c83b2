"""HMNLICA: nonlinear ICA by a hidden Markov state, where nobody has labelled the frames.

Shape legend: R restart, C chunk, T frame of a chunk, B = C T, K feature of the whitened frames, N component, S state.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tempica.errors import IdentifiabilityWarning
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
from tempica.ica.generative.forward_backward import chain_likelihood, forward_backward
from tempica.ica.generative.vae import LEAST_NOISE, GeneralNormal, keep_restart, starts, train_restarts
from tempica.ica.labels import cut_into_segments
from tempica.ica.linear.nonstationary import NonstationaryICA
from tempica.series import check_replicas, chunks, pairs, standard_error

LEAST = {"n_restarts": 1, "n_layers": 1, "max_steps": 1, "batch_size": 2, "n_states": 1}
CHUNK = 64  # frames; where a chunk begins, its past is forgotten
WINDOW = 8  # frames, whose means and sizes tell states apart at the start
STAY = 0.9  # probability at the start
BLOCK = 2**16  # frames whose likelihoods are computed at once
RARE = 0.01  # share of the frames below which a state does not count as found


class HMNLICA(TemporalEstimator):
    """Hidden Markov nonlinear ICA: sources whose laws change with a state that is not observed.

    x = f(s) with f invertible, s_i of law p(s_i | c) ∝ exp(−|(s_i − m_ic) / a_ic|^α_i), 1 < α_i < 2 learned (Laplace 1,
    normal 2), independent given the state c_t of a Markov chain. Up to order and a function of each, the sources are
    identified if the states change them in enough ways: 2n + 1 states of normal laws suffice, whatever f (Hälvä &
    Hyvärinen 2020, theorem 1). The encoder is an invertible flow, so that the likelihood Σ ln |det ∂s/∂x| + ln p(s) is
    exact, the sum over paths of states by the forward–backward algorithm; all is trained by its gradient. Features
    beyond the components follow laws that no state changes.

    Training begins at NonstationaryICA's answer on short segments and at random rotations of it, with states that
    cluster the means and sizes of short windows; of the restarts, the one with the best held-out likelihood is kept.

    Parameters: `n_components`, all that vary when None; `n_states`, 2 n + 1 when None; `n_layers` of the flow;
    `n_restarts`, trained side by side; `max_steps`, `batch_size` in frames, `learning_rate`; `random_state`.
    Attributes: `transition_` (state, state), `share_` (state,) of the frames, most frequent first; `means_` and
    `deviations_` (state, component) of the latents, and `shape_` α (component,); `validation_loss_` of each restart
    (nats a frame), `loss_curve_`; `ambiguity_`: none, subspace (too few states) or all, with `ambiguity_why_`.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        n_states: int | None = None,
        n_layers: int = 12,
        n_restarts: int = 4,
        max_steps: int = 3000,
        batch_size: int = 512,
        learning_rate: float = 2e-2,
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.n_states = n_states
        self.n_layers = n_layers
        self.n_restarts = n_restarts
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, *, replicas: Any = None) -> HMNLICA:
        """Fit to frames X (frame, feature); `replicas` (frame,) labels which series each belongs to.

        Warns if the states found do not identify the sources. Raises DataError for too short series, constant
        features or impossible parameters.
        """
        X = self._frames(X, fitting=True)
        labels = check_replicas(replicas, len(X))
        check_numbers(self, LEAST)
        pairs(labels, 1)
        self._mean, self._white = whitening(X)
        n = check_n_components(self.n_components, len(self._white), X.shape[1])
        Z = self._whitened(X)
        first, n_frames = chunks(labels, CHUNK)
        held = np.arange(len(first)) % 10 == 9 if len(first) >= 10 else np.arange(len(first)) == len(first) - 1
        information = self._train(Z, labels, first, n_frames, held, n)
        self._settle(Z, labels)
        self._judge(information)
        return self

    def _train(
        self, Z: Tensor, labels: np.ndarray, first: np.ndarray, n_frames: int, held: np.ndarray, n: int
    ) -> np.ndarray:
        """Fit restarts, keep the best, and return what its chain tells of held-out chunks (chunk,), nats a frame."""
        generator, n_states = torch.Generator().manual_seed(check_seed(self.random_state)), self.n_states or 2 * n + 1
        at_CT = torch.as_tensor(first[:, None] + np.arange(n_frames))
        learned, asked = (torch.as_tensor(np.flatnonzero(mask)) for mask in (~held, held))
        linear = _linear_start(np.asarray(Z, dtype=np.float64), labels, n)
        flow = Flow(completed(starts(linear, self.n_restarts, generator)), generator, self.n_layers)
        chain = Chain(self.n_restarts, n_states, n, Z.shape[1] - n)
        seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
        with torch.no_grad():
            z = flow(Z[at_CT[learned]].flatten(0, 1).expand(self.n_restarts, -1, -1))[..., :n]
            chain.begin(z.unflatten(1, (len(learned), n_frames)), seed)

        def losses(items: Tensor, draw: torch.Generator) -> Tensor:
            x = Z[at_CT[items]]
            if Z.shape[1] > n:  # frames on a curved sheet have no density; with noise they have
                x = x + LEAST_NOISE**0.5 * torch.randn(x.shape, generator=draw)
            return -chain(flow, x) / n_frames

        def validate() -> Tensor:
            with torch.no_grad():
                return losses(asked, torch.Generator().manual_seed(0)).mean(1)

        found, self.loss_curve_ = train_restarts(
            nn.ModuleList([flow, chain]),
            lambda items: losses(items, generator).mean(1),
            validate,
            len(learned),
            batch_size=max(1, self.batch_size // n_frames),
            max_steps=self.max_steps,
            learning_rate=self.learning_rate,
            generator=generator,
        )
        self.validation_loss_, best = found.tolist(), int(found.nan_to_num(torch.inf).argmin())
        keep_restart(flow, best)
        keep_restart(chain, best)
        self._flow, self._chain = flow, chain
        with torch.no_grad():
            x = Z[at_CT[asked]]
            return ((chain(flow, x) - chain(flow, x, chained=False))[0] / n_frames).double().numpy()

    def _settle(self, Z: Tensor, labels: np.ndarray) -> None:
        """Scale, order of the sources (those that states change most first) and of the states."""
        raw, law = self._latents(Z), self._chain.law
        self._offset, deviation = raw.mean(0), raw.std(0)
        self._deviation = np.where(deviation > 0, deviation, 1.0)
        share = self._posterior(Z, labels)[1].mean(0)
        states = np.argsort(-share, kind="stable")
        alpha = law.alpha.detach().double().numpy()[0, 0]
        size = np.exp(law.log_scale.detach().double().numpy()[0])
        spread = size * np.sqrt(np.exp([math.lgamma(3 / a) - math.lgamma(1 / a) for a in alpha]))
        place = law.mean.detach().double().numpy()[0]
        centre = share @ place
        between = share @ (place - centre) ** 2 / (share @ spread**2) + share @ (np.log(spread) ** 2)
        between -= (share @ np.log(spread)) ** 2
        self._order = np.argsort(-between, kind="stable")
        self._states, self.share_ = states, share[states]
        self.transition_ = self._chain.log_transition.detach().double().exp().numpy()[0][np.ix_(states, states)]
        self.means_ = ((place - self._offset) / self._deviation)[states][:, self._order]
        self.deviations_ = (spread / self._deviation)[states][:, self._order]
        self.shape_ = alpha[self._order]

    def _judge(self, information: np.ndarray) -> None:
        n, found = len(self._order), int((self.share_ > RARE).sum())
        self.ambiguity_, self.ambiguity_why_ = "none", f"{found} states change the sources."
        gain = information.mean()
        if found < 2 or len(information) < 2 or gain < 4 * standard_error(information):
            self.ambiguity_ = "all"
            self.ambiguity_why_ = (
                f"Nothing is identifiable: {found} states were found, and that they last tells nothing of held-out"
                f" frames ({gain:.4f} nats). Take longer series, more states, or data whose sources' laws change."
            )
        elif found < n + 1:
            self.ambiguity_ = "subspace"
            self.ambiguity_why_ = (
                f"{n} sources are not identifiable from the {found} states that were found: n + 1 = {n + 1} are the"
                f" least, and 2 n + 1 = {2 * n + 1} where means and variances change. Take more states, longer"
                " series, or fewer components."
            )
        if self.ambiguity_ != "none":
            warnings.warn(self.ambiguity_why_, IdentifiabilityWarning, stacklevel=3)

    def transform(self, X: Any) -> np.ndarray:
        """Sources (frame, component), of unit variance on the frames of the fit."""
        check_is_fitted(self)
        raw = self._latents(self._whitened(self._frames(X, fitting=False)))
        return ((raw - self._offset) / self._deviation)[:, self._order]

    def transform_covariance(self, X: Any, covariance: Any) -> np.ndarray:
        """Covariance J Σ Jᵀ (frame, component, component) of the sources, J their Jacobian (delta method)."""
        check_is_fitted(self)
        Z, n = self._whitened(self._frames(X, fitting=False)), len(self._order)
        jacobian = torch.func.vmap(torch.func.jacrev(lambda z: self._flow(z[None, None])[0, 0, :n]))(Z)
        J = jacobian.detach().double().numpy()[:, self._order] / self._deviation[self._order, None] @ self._white
        return transformed(J, covariance)

    def states(self, X: Any, *, replicas: Any = None) -> np.ndarray:
        """Probability (frame, state) of each state given the whole replica, the most frequent state first."""
        check_is_fitted(self)
        Z = self._whitened(self._frames(X, fitting=False))
        return self._posterior(Z, check_replicas(replicas, len(Z)))[1][:, self._states]

    def score(self, X: Any, y: Any = None, *, replicas: Any = None) -> float:
        """Log-likelihood (nats a frame) of whitened frames X: higher is better."""
        check_is_fitted(self)
        Z = self._whitened(self._frames(X, fitting=False))
        return self._posterior(Z, check_replicas(replicas, len(Z)))[0] / len(Z)

    def _posterior(self, Z: Tensor, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """ln p of all series, and probabilities (frame, S) of the states."""
        with torch.no_grad():
            blocks = [self._chain.emission(self._flow, block) for block in Z.split(BLOCK)]
            emission = torch.cat(blocks, 1).double().numpy()
        first, transition = (
            x.detach().double().exp().numpy() for x in (self._chain.log_first, self._chain.log_transition)
        )
        found, total = np.empty(emission.shape[1:]), 0.0
        for start, size in zip(*np.unique(labels, return_index=True, return_counts=True)[1:], strict=True):
            part = np.ascontiguousarray(emission[:, None, start : start + size])
            likelihood, state, _ = forward_backward(part, first, transition)
            total, found[start : start + size] = total + float(likelihood[0, 0]), state[0, 0]
        return total, found

    def _whitened(self, X: np.ndarray) -> Tensor:
        return torch.as_tensor(linear_map(X, self._mean, self._white), dtype=torch.float32)

    def _latents(self, Z: Tensor) -> np.ndarray:
        with torch.no_grad():
            return self._flow(Z[None])[0, :, : self._chain.law.mean.shape[-1]].double().numpy()

    @property
    def _n_features_out(self) -> int:
        return len(self._order)


class Chain(nn.Module):
    """Markov chain of states, the laws of the sources in each, and of other latents in all."""

    def __init__(self, n_restarts: int, n_states: int, n: int, n_others: int) -> None:
        super().__init__()
        self.law, self.others = GeneralNormal(n_restarts, n_states, n), GeneralNormal(n_restarts, 1, n_others)
        stay = torch.eye(n_states) * math.log(STAY * max(n_states - 1, 1) / (1 - STAY))
        self.first = nn.Parameter(torch.zeros(n_restarts, n_states))
        self.transition = nn.Parameter(stay.repeat(n_restarts, 1, 1))

    @property
    def log_first(self) -> Tensor:
        return torch.log_softmax(self.first, -1)

    @property
    def log_transition(self) -> Tensor:
        return torch.log_softmax(self.transition, -1)

    def begin(self, z_RCTN: Tensor, seed: int) -> None:
        """Laws of states that cluster the means and log sizes of windows, each restart with its own seed."""
        n_states, size = self.first.shape[1], min(WINDOW, z_RCTN.shape[2])
        for r, z in enumerate(z_RCTN.double().numpy()):
            windows = z[:, : z.shape[1] // size * size].reshape(-1, size, z.shape[-1])
            place, spread = windows.mean(1), windows.std(1) + 0.05 * z.std((0, 1)) + 1e-9
            seen = np.column_stack([place / z.std((0, 1)).clip(1e-9), np.log(spread)])
            state = KMeans(min(n_states, len(seen)), n_init=1, random_state=(seed + r) % 2**31).fit_predict(seen)
            for k in range(n_states):  # a state that gets no window has the law of all
                inside = windows[state == k] if (state == k).any() else windows
                self.law.mean[r, k] = torch.as_tensor(inside.mean((0, 1)))
                self.law.log_scale[r, k] = torch.as_tensor(np.log(inside.std((0, 1)) + 1e-3))

    def emission(self, flow: Flow, x_BK: Tensor) -> Tensor:
        """ln p(x | state) (R, B, S)"""
        (n_restarts, n_states), n = self.first.shape, self.law.mean.shape[-1]
        z, volume = flow.with_log_det(x_BK.expand(n_restarts, -1, -1))
        label = torch.arange(n_states).repeat(len(x_BK))
        each = self.law(z[..., :n].repeat_interleave(n_states, 1), label).unflatten(1, (-1, n_states))
        common = volume + self.others(z[..., n:], torch.zeros(len(x_BK), dtype=torch.int64))
        return each + (common - z.shape[-1] * math.log(2))[..., None]  # the law leaves out the factor ½

    def forward(self, flow: Flow, x_CTK: Tensor, chained: bool = True) -> Tensor:
        """ln p (R, C) of chunks; if not chained, of states drawn anew in each frame, as often as the chain has them."""
        emission = self.emission(flow, x_CTK.flatten(0, 1)).unflatten(1, x_CTK.shape[:2])
        if chained:
            return chain_likelihood(emission, self.log_first, self.log_transition)
        share = torch.matrix_power(self.log_transition.double().exp(), 4096).mean(1).log().to(emission.dtype)
        return torch.logsumexp(emission + share[:, None, None], -1).sum(-1)


def _linear_start(Z: np.ndarray, labels: np.ndarray, n: int) -> Tensor:
    """Rows (N, K) of NonstationaryICA on segments of about 10 frames a feature, at most 512."""
    n_segments = int(np.clip(len(Z) // (10 * Z.shape[1]), 2, min(512, len(Z))))
    found = NonstationaryICA(n).fit(Z, cut_into_segments(labels, n_segments))
    return torch.as_tensor(found.components_, dtype=torch.float32)
