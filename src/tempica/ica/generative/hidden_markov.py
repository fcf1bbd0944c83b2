"""HMNLICA: nonlinear ICA by a hidden Markov state, where nobody has labelled the frames.

Shape legend: R restart, C chunk, T frame of a chunk, B = C T, K feature of the whitened frames, N component, S state.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tempica.errors import IdentifiabilityWarning
from tempica.ica.base import (
    check_n_components,
    check_transform_stage,
    tells_nothing,
    transformed,
    whitening,
)
from tempica.ica.contrastive.second_stage import matched
from tempica.ica.generative.estimator import GenerativeEstimator, best_and_rival, lowest_so_far, split_chunks
from tempica.ica.generative.flow import Flow, completed
from tempica.ica.generative.forward_backward import forward_backward
from tempica.ica.generative.markov import Chain
from tempica.ica.generative.vae import LEAST_NOISE, noise_like
from tempica.ica.labels import cut_into_segments
from tempica.ica.linear.nonstationary import NonstationaryICA
from tempica.ica.options import Training
from tempica.ica.training.batched import starts
from tempica.ica.training.progress import Progress
from tempica.series import check_replicas, pairs

CHUNK = 64  # frames; where a chunk begins, its past is forgotten
BLOCK = 2**16  # frames whose likelihoods are computed at once
RARE = 0.01  # share of the frames below which a state does not count as found


class HMNLICA(GenerativeEstimator):
    """Hidden Markov nonlinear ICA: sources whose laws change with a state that is not observed.

    x = f(s) with f invertible, s_i of law p(s_i | c) ∝ exp(−|(s_i − m_ic) / a_ic|^α_i), 1 < α_i < 2 learned (Laplace 1,
    normal 2), independent given the state c_t of a Markov chain. Up to order and a function of each, the sources are
    identified if the states change them in enough ways: 2n + 1 states of normal laws suffice, whatever f (Hälvä &
    Hyvärinen 2020, theorem 1). The encoder is an invertible flow, so that the likelihood Σ ln |det ∂s/∂x| + ln p(s) is
    exact, the sum over paths of states by the forward–backward algorithm; all is trained by its gradient. Features
    beyond the components follow laws that no state changes.

    Training begins at NonstationaryICA's answer on short segments and at random rotations of it, with states that
    cluster the means and sizes of short windows; of the restarts, the one with the best held-out likelihood is kept.
    Held out is one chunk of 64 frames in ten. `fit` warns if the states found do not identify the sources.

    Parameters:
        n_components: number of sources; all directions that vary when None.
        n_states: number of hidden states; 2 n + 1 when None.
        n_restarts: flows and chains that are trained side by side.
        max_steps: of the training.
        training: `Training`. batch_size, frames of a step: 512. learning_rate: 2e-2. n_layers of the flow: 12.
            precision: float32 or float64.
        device: "cpu" or "cuda"; the sum over paths of states is always done on the CPU.
        random_state: whole number from which everything drawn follows.

    Attributes:
        transition_: (state, state) probabilities of the next state.
        share_: (state,) of the frames, most frequent first.
        means_, deviations_: (state, component) of the sources.
        shape_: (component,) α.
        stability_: (component,) absolute correlation of each source with that of the second best restart on held-out
            frames; NaN where there was one restart.
        validation_loss_: held-out loss of each restart, nats a frame.
        loss_curve_: the lowest so far at each check, (step, loss).
        ambiguity_, ambiguity_why_: "none", "subspace" (too few states) or "all", and why.
    """

    own_training: ClassVar[Mapping[str, Any]] = {
        "batch_size": 512,
        "learning_rate": 2e-2,
        "n_layers": 12,
        "precision": "float32",
    }
    least: ClassVar[Mapping[str, int]] = {"n_restarts": 1, "max_steps": 1, "n_states": 1}

    def __init__(
        self,
        n_components: int | None = None,
        *,
        n_states: int | None = None,
        n_restarts: int = 4,
        max_steps: int = 3000,
        training: Training | Mapping[str, Any] | None = None,
        device: str = "cpu",
        random_state: int = 0,
    ) -> None:
        self.n_components, self.n_states, self.n_restarts = n_components, n_states, n_restarts
        self.max_steps, self.training, self.device, self.random_state = max_steps, training, device, random_state

    def _learn(
        self, X: np.ndarray, series: np.ndarray, held_out: np.ndarray | None, progress: Callable[..., Progress]
    ) -> None:
        generator = self._generator()
        pairs(series, 1)
        self._mean, self._white = whitening(X)
        n = check_n_components(self.n_components, len(self._white), X.shape[1])
        Z = self._whitened(X)
        first, n_frames, held = split_chunks(series, CHUNK, held_out)
        at_CT = first[:, None] + np.arange(n_frames)
        linear = _linear_start(np.asarray(Z, dtype=np.float64), series, n)
        told = progress(X, series, first, held)
        rival = self._train(Z.to(self.device), linear, at_CT, held, told, generator)
        self._settle(Z, series)
        asked = at_CT[held].reshape(-1)
        self.stability_ = np.full(n, np.nan)
        if rival is not None:
            raw, other = self._latents(Z, self._flow), self._latents(Z, rival[0])
            self.stability_ = matched(raw[asked], other[asked])[self._order]
        self._judge(self._information(Z[torch.as_tensor(at_CT[held])]))

    def _train(
        self,
        Z: Tensor,
        linear: Tensor,
        at_CT: np.ndarray,
        held: np.ndarray,
        progress: Progress,
        generator: torch.Generator,
    ) -> list[Any] | None:
        """Fit restarts to frames (frame, K) in chunks (C, T) and keep the best; returns the second best, or None."""
        n, at, n_frames = len(linear), torch.as_tensor(at_CT), at_CT.shape[1]
        learned, asked = (torch.as_tensor(np.flatnonzero(mask)) for mask in (~held, held))
        n_layers = self._options().n_layers or 0
        flow = Flow(completed(starts(linear, self.n_restarts, generator)), generator, n_layers)
        chain = Chain(self.n_restarts, self.n_states or 2 * n + 1, n, Z.shape[1] - n)
        seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
        both = nn.ModuleList([flow, chain]).to(Z)
        with torch.no_grad():
            z = flow(Z[at[learned]].flatten(0, 1).expand(self.n_restarts, -1, -1))[..., :n]
            chain.begin(z.unflatten(1, (len(learned), n_frames)), seed)

        def losses(items: Tensor, draw: torch.Generator) -> Tensor:
            x = Z[at[items]]
            if Z.shape[1] > n:  # frames on a curved sheet have no density; with noise they have
                x = x + LEAST_NOISE**0.5 * noise_like(x, draw)
            return -(chain(flow, x) / n_frames).mean(1)

        trainer = self._trained(progress, "flow", both, losses, learned, asked, generator, per_item=n_frames)
        self.validation_loss_, self.loss_curve_ = list(trainer.bests), lowest_so_far(trainer)
        (self._flow, self._chain), rival = best_and_rival(trainer, flow, chain)
        return rival

    def _information(self, x_CTK: Tensor) -> np.ndarray:
        """What the chain tells of held-out chunks (chunk,), beyond the shares of its states, in nats a frame."""
        with torch.no_grad():
            gain = self._chain(self._flow, x_CTK) - self._chain(self._flow, x_CTK, chained=False)
            return (gain[0] / x_CTK.shape[1]).double().numpy()

    def _settle(self, Z: Tensor, labels: np.ndarray) -> None:
        """Scale, order of the sources (those that states change most first) and of the states."""
        raw, law = self._latents(Z, self._flow), self._chain.law
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
        transition = self._chain.log_transition.detach().double().exp().numpy()[0][np.ix_(states, states)]
        self.transition_ = transition / transition.sum(1, keepdims=True)  # which single precision rounds
        self.means_ = ((place - self._offset) / self._deviation)[states][:, self._order]
        self.deviations_ = (spread / self._deviation)[states][:, self._order]
        self.shape_ = alpha[self._order]

    def _judge(self, information: np.ndarray) -> None:
        n, found = len(self._order), int((self.share_ > RARE).sum())
        self.ambiguity_, self.ambiguity_why_ = "none", f"{found} states change the sources."
        gain = information.mean()
        if found < 2 or len(information) < 2 or tells_nothing(information):
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
            warnings.warn(self.ambiguity_why_, IdentifiabilityWarning, stacklevel=5)

    def transform(self, X: Any, *, stage: str = "sources") -> np.ndarray:
        """Sources (frame, component), of unit variance on the frames of the fit; the same at every `stage`."""
        check_is_fitted(self)
        check_transform_stage(stage)
        raw = self._latents(self._whitened(self._frames(X, fitting=False)), self._flow)
        return ((raw - self._offset) / self._deviation)[:, self._order]

    def transform_covariance(self, X: Any, covariance: Any, *, stage: str = "sources") -> np.ndarray:
        """Covariance J Σ Jᵀ (frame, component, component) of the sources, J their Jacobian (delta method)."""
        check_is_fitted(self)
        check_transform_stage(stage)
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

    def _latents(self, Z: Tensor, flow: Flow) -> np.ndarray:
        with torch.no_grad():
            return flow(Z[None])[0, :, : self._chain.law.mean.shape[-1]].double().numpy()

    @property
    def _n_features_out(self) -> int:
        return len(self._order)


def _linear_start(Z: np.ndarray, labels: np.ndarray, n: int) -> Tensor:
    """Rows (N, K) of NonstationaryICA on segments of about 10 frames a feature, at most 512."""
    n_segments = int(np.clip(len(Z) // (10 * Z.shape[1]), 2, min(512, len(Z))))
    found = NonstationaryICA(n).fit(Z, cut_into_segments(labels, n_segments))
    return torch.as_tensor(found.components_, dtype=torch.float32)
