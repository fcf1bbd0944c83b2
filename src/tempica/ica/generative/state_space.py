"""SNICA: a state-space model of noisy frames, whose sources come back smoothed in time.

Shape legend: R restart, C chunk, T frame of a chunk, K feature of the whitened frames, N component.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tempica.errors import DataError
from tempica.ica.base import TemporalEstimator, check_n_components, check_numbers, check_seed, linear_map, whitening
from tempica.ica.generative.chains import Emission, Innovations, bound
from tempica.ica.generative.vae import keep_restart, train_restarts
from tempica.ica.linear.fastica import fastica_directions
from tempica.ica.linear.linear import SOBI
from tempica.ica.smoothing import kalman
from tempica.ica.smoothing.evidence import without_prior
from tempica.ica.smoothing.smoothing import Smoothed
from tempica.series import check_replicas, chunks, pairs, standard_error

LEAST = {"n_restarts": 1, "n_layers": 1, "width": 1, "max_steps": 1, "batch_size": 2, "chunk": 2}
UNKNOWN = 1e-3  # least precision of a frame's evidence, in units of the common prior: what it does not tell
BLOCK = 4096  # frames whose Jacobians are in memory at once
LINEAR_STEPS = 600  # at most, before the network
MOST_PASSES = 20  # of the smoother, between the sizes of the innovations and the sources


class SNICA(TemporalEstimator):
    """Structured nonlinear ICA: independent autoregressions, a nonlinear emission, and noise, fitted together.

    s_t,i = ρ_i s_{t−1},i + e_t,i with e of law exp(−|e / a_i|^α_i), ½ < α_i < 2 learned (Laplace 1, normal 2, below 1
    sparse jumps), and frames x_t = d(s_t) + N(0, R + C_t): d a linear map plus a network, R learned, C_t
    the covariance that the frame comes with, if any. All is trained by the evidence lower bound of chunks of
    successive frames, under a posterior that is normal over a whole chunk, linearises d at an encoder's guess, and
    gives every innovation its own size. Without noise this would be a likelihood version of PCL. With noise, the
    signal of frames is what goes on from one to the next: mixtures of sources with such dynamics are identified
    whatever the noise's law, up to order and a function of each (Hälvä et al. 2021, theorems 1 and 2); sources of
    normal innovations (α near 2) and equal ρ are not.

    `smooth` gives each source from all frames of its replica, with covariances; `transform` from its own frame alone.
    Training begins at SOBI's answer, and at FastICA's on the changes of SOBI's sources: first with a linear emission,
    then with the network. Of the starts, the one with the best held-out bound is kept, and the network only if it
    gains more than the standard error. No second stage: the bound itself tells rotations apart.

    Parameters: `n_components`, all that vary when None; `width` and number `n_layers` of hidden layers; `chunk` in
    frames; `n_restarts`, trained side by side, from the third on at random rotations; `max_steps`, `batch_size` in
    frames, `learning_rate`; `random_state`.
    Attributes: `autocorrelation_` ρ and `shape_` α (component,), `noise_` R (K, K) of the whitened frames,
    `model_` (linear or network) and `candidates_`, the held-out loss of each (nats a frame); `validation_loss_` of each
    restart of the network, `loss_curve_`.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        width: int = 64,
        n_layers: int = 2,
        chunk: int = 16,
        n_restarts: int = 2,
        max_steps: int = 4000,
        batch_size: int = 256,
        learning_rate: float = 4e-3,
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.width = width
        self.n_layers = n_layers
        self.chunk = chunk
        self.n_restarts = n_restarts
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any = None, *, replicas: Any = None, covariance: Any = None, posterior: bool = True
    ) -> SNICA:
        """Fit to frames X (frame, feature); `replicas` (frame,) labels which series each belongs to.

        `covariance` (frame, feature, feature) is what is known of each frame's uncertainty. With `posterior`, frames
        are posterior means under a prior common to all, as `embed` gives them, and the prior is divided out; without,
        they are the signal plus noise of that covariance. Raises DataError for too short series, constant features,
        covariances that do not fit, or impossible parameters.
        """
        X = self._frames(X, fitting=True)
        labels = check_replicas(replicas, len(X))
        check_numbers(self, LEAST)
        pairs(labels, 1)
        self._mean, self._white = whitening(X)
        n = check_n_components(self.n_components, len(self._white), X.shape[1])
        Z = linear_map(X, self._mean, self._white).astype(np.float64)
        self._prior = (Z.mean(0), None) if covariance is None or not posterior else self._moments(Z, X, covariance)
        seen, spread = self._observations(Z, X, covariance)
        # what single frames are taken to know, where nothing is said of them
        self._typical = None if spread is None else np.linalg.inv(np.linalg.inv(spread).mean(0))
        self._train(Z, seen, spread, labels, n)
        found = self._guess(torch.as_tensor(Z, dtype=torch.float32))
        self._offset, deviation = found.mean(0), found.std(0)
        self._scale = 1 / np.where(deviation > 0, deviation, 1.0)
        # those that go on most from frame to frame first
        first = pairs(labels, 1)
        slow = ((found - self._offset)[first] * (found - self._offset)[first + 1]).mean(0) * self._scale**2
        self._order = np.argsort(-slow, kind="stable")
        self.autocorrelation_, self.shape_ = self._rho[self._order], self._alpha[self._order]
        return self

    def _train(self, Z: np.ndarray, seen: np.ndarray, spread: np.ndarray | None, labels: np.ndarray, n: int) -> None:
        first, n_frames = chunks(labels, self.chunk)
        held = np.arange(len(first)) % 10 == 9 if len(first) >= 10 else np.arange(len(first)) == len(first) - 1
        at_CT = torch.as_tensor(first[:, None] + np.arange(n_frames))
        tensor = lambda a: torch.as_tensor(a, dtype=torch.float32)  # noqa: E731
        x, y, noise = tensor(Z), tensor(seen), None if spread is None else tensor(spread)
        generator = torch.Generator().manual_seed(check_seed(self.random_state))
        start = self._starts(Z, labels, n, generator)
        learned, asked = (torch.as_tensor(np.flatnonzero(mask)) for mask in (~held, held))

        def bounds(model: Any, items: Tensor, draw: torch.Generator) -> Tensor:
            at = at_CT[items]
            emission, law = model
            return bound(emission, law, x[at], y[at], None if noise is None else noise[at], draw) / n_frames

        def held_out(model: Any) -> Tensor:
            with torch.no_grad():
                return bounds(model, asked, torch.Generator().manual_seed(0))

        def fitted(model: Any, max_steps: int) -> tuple[Tensor, list[tuple[int, float]]]:
            return train_restarts(
                model,
                lambda items: -bounds(model, learned[items], generator).mean(1),
                lambda: -held_out(model).mean(1),
                len(learned),
                batch_size=max(1, self.batch_size // n_frames),
                max_steps=max_steps,
                learning_rate=self.learning_rate,
                generator=generator,
            )

        law = Innovations(tensor(np.stack([_rates(Z @ each.T, labels) for each in start])))
        linear: Any = nn.ModuleList([Emission(tensor(start), 1, 0, generator), law])
        fitted(linear, max(1, min(LINEAR_STEPS, self.max_steps // 2)))
        network: Any = nn.ModuleList([linear[0].bent(self.width, self.n_layers, generator), copy.deepcopy(law)])
        losses, self.loss_curve_ = fitted(network, self.max_steps)
        self.validation_loss_, found = losses.tolist(), {}
        for name, model in (("linear", linear), ("network", network)):
            each = held_out(model)
            best = int(each.mean(1).argmax())
            found[name] = each[best].double().numpy()
            for part in model:
                keep_restart(part, best)
        gain = found["network"] - found["linear"]
        # a single chunk has no standard error, and then nothing speaks for the network
        self.model_ = "network" if len(gain) > 1 and gain.mean() > standard_error(gain) else "linear"
        self.candidates_ = {name: -float(each.mean()) for name, each in found.items()}
        self._emission, self._law = network if self.model_ == "network" else linear
        self._rho, self._alpha, self._square = (
            each.detach().double().numpy().reshape(n)
            for each in (self._law.rho, self._law.alpha, self._law.square_scale)
        )
        self.noise_ = self._emission.noise.detach().double().numpy()[0, 0]

    def _starts(self, Z: np.ndarray, labels: np.ndarray, n: int, generator: torch.Generator) -> np.ndarray:
        """Linear maps (R, N, K): SOBI's, FastICA's on the changes of those sources, then random rotations of it."""
        sobi = SOBI(n).fit(Z, replicas=labels).components_
        first = pairs(labels, 1)
        change = Z[first + 1] @ sobi.T - Z[first] @ sobi.T
        turns = [np.eye(n), fastica_directions(change, n)]
        for _ in range(self.n_restarts - 2):
            turns.append(torch.linalg.qr(torch.randn(n, n, generator=generator)).Q.double().numpy())
        found = np.stack([turn @ sobi for turn in turns[: self.n_restarts]])
        return found / (Z @ found.transpose(0, 2, 1)).std(1)[..., None]

    def _moments(self, Z: np.ndarray, X: np.ndarray, covariance: Any) -> tuple[np.ndarray, np.ndarray]:
        """Mean (K,) and covariance (K, K) of the prior that posteriors were made with (law of total variance)."""
        spread = self._spread(X, covariance).mean(0)
        return Z.mean(0), spread + np.cov(Z, rowvar=False, bias=True).reshape(spread.shape)

    def _spread(self, X: np.ndarray, covariance: Any) -> np.ndarray:
        covariance = np.asarray(covariance, dtype=np.float64)
        if covariance.shape != (*X.shape, X.shape[1]) or not np.isfinite(covariance).all():
            raise DataError(
                f"covariance has shape {covariance.shape}; frames {X.shape} need {(*X.shape, X.shape[1])}, all finite."
            )
        return self._white @ covariance @ self._white.T

    def _observations(self, Z: np.ndarray, X: np.ndarray, covariance: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """What was seen (frame, K) and the covariance of its noise (frame, K, K), any prior divided out."""
        if covariance is None:
            return Z, None
        spread = self._spread(X, covariance)
        mean, prior = self._prior
        if prior is None:
            return Z, spread
        eta, lam = without_prior(Z - mean, spread, prior)
        spread = np.linalg.inv(lam + UNKNOWN * np.linalg.inv(prior))
        return mean + (spread @ eta[..., None])[..., 0], spread

    def _as_fitted(self, Z: np.ndarray, X: np.ndarray, covariance: Any) -> tuple[np.ndarray, np.ndarray | None]:
        if (covariance is None) != (self._typical is None):
            here, there = ("without", "with") if covariance is None else ("with", "without")
            raise DataError(
                f"These frames come {here} covariances, those of the fit came {there}: the model's noise would be"
                " wrong. Give covariances to both or to neither."
            )
        return self._observations(Z, X, covariance)

    def _guess(self, Z: Tensor) -> np.ndarray:
        """Posterior means (frame, N) of single frames, as if each were the first of its series."""
        found = []
        with torch.no_grad():
            typical = None if self._typical is None else torch.as_tensor(self._typical[None], dtype=torch.float32)
            precision = self._emission.precision(typical)
            for x in Z.split(BLOCK):
                place, lam = self._emission.evidence(x[None], precision)
                one = torch.eye(place.shape[-1])
                found.append(torch.linalg.solve(one + lam, lam @ place[..., None])[0, ..., 0].double().numpy())
        return np.concatenate(found)

    def transform(self, X: Any) -> np.ndarray:
        """Sources (frame, component) of each frame alone, of unit variance on the frames of the fit."""
        check_is_fitted(self)
        Z = linear_map(self._frames(X, fitting=False), self._mean, self._white)
        found = (self._guess(torch.as_tensor(Z, dtype=torch.float32)) - self._offset) * self._scale
        return found[:, self._order]

    def smooth(self, X: Any, replicas: Any = None, covariance: Any = None) -> Smoothed:
        """Sources (frame, component) of frames given all frames of their replica, in the scale of `transform`.

        `covariance` as in `fit`, which it should be given to as well. The autocorrelation, the variance (1 in the
        model) and a noise factor of 1 are the model's own, not fitted to X.
        """
        check_is_fitted(self)
        X = self._frames(X, fitting=False)
        labels = check_replicas(replicas, len(X))
        Z = linear_map(X, self._mean, self._white).astype(np.float64)
        seen, noise = self._as_fitted(Z, X, covariance)
        mean, spread = self._smooth(*self._evidence(Z, seen, noise), labels)
        # the decoder linearised anew where the sources are now known to be
        mean, spread = self._smooth(*self._evidence(Z, seen, noise, mean), labels)
        o, scale = self._order, self._scale[self._order]
        mean, spread = (mean - self._offset)[:, o] * scale, spread[:, o[:, None], o] * np.outer(scale, scale)
        return Smoothed(mean, spread, self.autocorrelation_, scale**2, np.ones(len(o)))

    def _evidence(
        self, Z: np.ndarray, seen: np.ndarray, noise: np.ndarray | None, at: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Evidence (η, Λ) of frames, the decoder linearised at the encoder's guess, or at given sources."""
        tensor = lambda a: torch.as_tensor(a, dtype=torch.float32)[None]  # noqa: E731
        found = []
        with torch.no_grad():
            for start in range(0, len(Z), BLOCK):
                part = slice(start, start + BLOCK)
                precision = self._emission.precision(None if noise is None else tensor(noise[part])[0])
                if at is None:
                    place, lam = self._emission.evidence(tensor(Z[part]), precision)
                    eta = (lam @ place[..., None])[..., 0]
                else:
                    eta, lam = self._emission.evidence_at(tensor(seen[part]), tensor(at[part]), precision)
                found.append((eta[0].double().numpy(), lam[0].double().numpy()))
        return np.concatenate([eta for eta, _ in found]), np.concatenate([lam for _, lam in found])

    def _smooth(self, eta: np.ndarray, lam: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rho, alpha, square = self._rho, self._alpha, self._square
        starts = np.r_[True, labels[1:] != labels[:-1]]
        ratio = np.broadcast_to((1 - rho**2) / square, eta.shape)
        for _ in range(MOST_PASSES):
            process = np.where(starts[:, None], 1.0, square / alpha * (ratio + 1e-4) ** (1 - alpha / 2))
            mean, spread, cross = kalman.smooth(eta, lam, labels, rho, process)
            own = np.diagonal(spread, axis1=1, axis2=2)
            expected = np.ones_like(mean)
            expected[1:] = (mean[1:] - rho * mean[:-1]) ** 2 + own[1:] - 2 * rho * cross[1:] + rho**2 * own[:-1]
            before, ratio = ratio, expected / square
            if np.abs(np.log((ratio + 1e-4) / (before + 1e-4)))[~starts].max(initial=0) < 0.02:
                break
        return mean, spread

    def score(self, X: Any, y: Any = None, *, replicas: Any = None, covariance: Any = None) -> float:
        """Evidence lower bound (nats a frame, of the whitened frames) of chunks of X: higher is better."""
        check_is_fitted(self)
        X = self._frames(X, fitting=False)
        Z = linear_map(X, self._mean, self._white).astype(np.float64)
        seen, spread = self._as_fitted(Z, X, covariance)
        first, n_frames = chunks(check_replicas(replicas, len(X)), self.chunk, least=1)
        at = torch.as_tensor(first[:, None] + np.arange(n_frames))
        x, y_ = (torch.as_tensor(a, dtype=torch.float32) for a in (Z, seen))
        noise = None if spread is None else torch.as_tensor(spread, dtype=torch.float32)
        draw, found = torch.Generator().manual_seed(0), []
        with torch.no_grad():
            for part in at.split(max(1, BLOCK // n_frames)):
                own = None if noise is None else noise[part]
                found.append(bound(self._emission, self._law, x[part], y_[part], own, draw)[0])
        return float(torch.cat(found).double().mean()) / n_frames

    @property
    def _n_features_out(self) -> int:
        return len(self._scale)


def _rates(S: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Coefficient (n,) of autoregressions under white noise: correlation at lag 2 over that at lag 1."""
    one, two = (
        (S[first] * S[first + lag]).mean(0) if np.any(labels[lag:] == labels[:-lag]) else np.ones(S.shape[1])
        for lag in (1, 2)
        for first in [np.flatnonzero(labels[lag:] == labels[:-lag])]
    )
    return np.clip(np.where(one > 0, two / np.maximum(one, 1e-12), 0.1), 0.1, 0.98)
