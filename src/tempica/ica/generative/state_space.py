"""SNICA: a state-space model of noisy frames, whose sources come back smoothed in time.

Shape legend: R restart, C chunk, T frame of a chunk, K feature of the whitened frames, N component.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tempica import kalman
from tempica.errors import DataError
from tempica.ica.base import check_n_components, check_transform_stage, check_validation, linear_map, whitening
from tempica.ica.contrastive.second_stage import matched
from tempica.ica.generative.chains import Emission, Innovations, bound
from tempica.ica.generative.estimator import GenerativeEstimator, best_and_rival, lowest_so_far, split_chunks
from tempica.ica.generative.observations import (
    common_prior,
    linear_starts,
    observations,
    rates,
    whitened_covariance,
)
from tempica.ica.options import Training
from tempica.ica.smoothing.smoothing import Smoothed
from tempica.ica.training.networks import PRECISIONS
from tempica.ica.training.progress import Progress
from tempica.series import check_replicas, chunks, pairs, standard_error

BLOCK = 4096  # frames whose Jacobians are in memory at once
LINEAR_STEPS = 600  # at most, before the network
MOST_PASSES = 20  # of the smoother, between the sizes of the innovations and the sources


class SNICA(GenerativeEstimator):
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

    Parameters:
        n_components: number of sources; all directions that vary when None.
        chunk: frames of a chunk, at most.
        n_restarts: trained side by side; from the third on they begin at random rotations.
        max_steps: of the training of the network; half as many, 600 at most, come before with a linear emission.
        training: `Training`. batch_size, frames of a step: 256. learning_rate: 4e-3. width and n_layers of the hidden
            layers of encoder and decoder: 64, 2. precision: float32 or float64.
        device: "cpu" or "cuda".
        random_state: whole number from which everything drawn follows.

    Attributes:
        autocorrelation_, shape_: (component,) ρ and α.
        noise_: (K, K) R, of the whitened frames.
        stability_: (component,) absolute correlation of each source with that of the second best restart on held-out
            frames; NaN where there was one restart.
        model_, candidates_: "linear" or "network", and the held-out loss of each, nats a frame.
        validation_loss_: held-out loss of each restart of the network.
        loss_curve_: the lowest so far at each check, (step, loss).
    """

    least: ClassVar[Mapping[str, int]] = {"n_restarts": 1, "max_steps": 1, "chunk": 2}

    def __init__(
        self,
        n_components: int | None = None,
        *,
        chunk: int = 16,
        n_restarts: int = 2,
        max_steps: int = 4000,
        training: Training | Mapping[str, Any] | None = None,
        device: str = "cpu",
        random_state: int = 0,
    ) -> None:
        self.chunk = chunk
        self.n_components, self.n_restarts, self.max_steps = n_components, n_restarts, max_steps
        self.training, self.device, self.random_state = training, device, random_state

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        covariance: Any = None,
        posterior: bool = True,
        replicas: Any = None,
        validation: Any = None,
        checkpoint: Any = None,
        log: Any = None,
        callback: Callable[[int, int, float], None] | None = None,
    ) -> SNICA:
        """Fit to frames X (frame, feature).

        Parameters:
            replicas: label (frame,) of the series of each frame; one series when None.
            covariance: (frame, feature, feature), what is known of each frame's uncertainty.
            posterior: whether frames are posterior means under a prior common to all, as `embed` gives them: the prior
                is then divided out. If not, they are the signal plus noise of that covariance.
            validation: mask (frame,) of frames that give no gradients; one chunk in ten when None.
            callback, checkpoint, log: called or written at each check, and read to resume a fit; see `SlowVAE.fit`.

        Raises DataError for too short series, constant features, covariances that do not fit, or impossible
        parameters.
        """
        X = self._frames(X, fitting=True)
        labels, generator = check_replicas(replicas, len(X)), self._generator()
        pairs(labels, 1)
        self._mean, self._white = whitening(X)
        n = check_n_components(self.n_components, len(self._white), X.shape[1])
        Z = linear_map(X, self._mean, self._white).astype(np.float64)
        spread = None if covariance is None else whitened_covariance(X, covariance, self._white)
        self._prior = common_prior(Z, spread if posterior else None)
        seen, spread = observations(Z, spread, self._prior)
        # what single frames are taken to know, where nothing is said of them
        self._typical = None if spread is None else np.linalg.inv(np.linalg.inv(spread).mean(0))
        first, n_frames, held = split_chunks(labels, self.chunk, check_validation(validation, len(X)))
        at_CT = first[:, None] + np.arange(n_frames)
        given = (Z, seen) if spread is None else (Z, seen, spread)
        progress = self._progress(checkpoint, log, callback, *given, labels, first, held)
        start = linear_starts(Z, labels, n, self.n_restarts, generator)
        rho = np.stack([rates(Z @ each.T, labels) for each in start])
        rival = self._train(given, start, rho, at_CT, held, progress, generator)
        self._settle(Z, pairs(labels, 1), at_CT[held].reshape(-1), rival)
        return self

    def _train(
        self,
        given: tuple[np.ndarray, ...],
        start: np.ndarray,
        rho: np.ndarray,
        at_CT: np.ndarray,
        held: np.ndarray,
        progress: Progress,
        generator: torch.Generator,
    ) -> Any:
        """Fit a linear emission and a network, restarts side by side; returns the second best emission, or None.

        `given` are frames, what was seen, and its noise, if known; `start` (R, N, K) the linear maps with which
        training begins, `rho` (R, N) the autocorrelations.
        """
        at, n_frames, given_ = torch.as_tensor(at_CT), at_CT.shape[1], [self._tensor(each) for each in given]
        learned, asked = (torch.as_tensor(np.flatnonzero(mask)) for mask in (~held, held))

        def bounds(model: Any, items: Tensor, draw: torch.Generator) -> Tensor:
            x, y, *noise = (each[at[items]] for each in given_)
            emission, law = model
            return bound(emission, law, x, y, noise[0] if noise else None, draw) / n_frames

        def trained(name: str, model: Any, run: int, max_steps: int) -> Any:
            return self._trained(
                progress,
                name,
                model,
                lambda items, draw: -bounds(model, items, draw).mean(1),
                learned,
                asked,
                generator,
                run=run,
                per_item=n_frames,
                max_steps=max_steps,
            )

        law = Innovations(torch.as_tensor(rho, dtype=torch.float32))
        emission = Emission(torch.as_tensor(start, dtype=torch.float32), 1, 0, generator)
        linear: Any = nn.ModuleList([emission, law]).to(given_[0])
        trainers = {"linear": trained("linear", linear, 0, max(1, min(LINEAR_STEPS, self.max_steps // 2)))}
        options = self._options()
        network: Any = nn.ModuleList(
            [linear[0].bent(options.width, options.n_layers, generator), copy.deepcopy(law)]
        ).to(given_[0])
        trainers["network"] = trained("network", network, 1, self.max_steps)
        self.loss_curve_ = lowest_so_far(trainers["network"])
        self.validation_loss_, losses = list(trainers["network"].bests), {}
        for name, model in (("linear", linear), ("network", network)):
            with torch.no_grad():
                each = -bounds(model, asked, torch.Generator().manual_seed(0))
            losses[name] = each[trainers[name].leader].double().cpu().numpy()
        gain = losses["linear"] - losses["network"]
        # a single chunk has no standard error, and then nothing speaks for the network
        self.model_ = "network" if len(gain) > 1 and gain.mean() > standard_error(gain) else "linear"
        self.candidates_ = {name: float(loss.mean()) for name, loss in losses.items()}
        kept = network if self.model_ == "network" else linear
        (self._emission, self._law), rival = best_and_rival(trainers[self.model_], *kept)
        return None if rival is None else rival[0]

    def _settle(self, Z: np.ndarray, first: np.ndarray, asked: np.ndarray, rival: Any) -> None:
        """Keep dynamics, noise, scale and order of the sources, those first that go on most from frame to frame."""
        n = self._law.raw.shape[-1]
        self._rho, self._alpha, self._square = (
            each.detach().double().numpy().reshape(n)
            for each in (self._law.rho, self._law.alpha, self._law.square_scale)
        )
        self.noise_ = self._emission.noise.detach().double().numpy()[0, 0]
        found = self._guess(Z, self._emission)
        self._offset, deviation = found.mean(0), found.std(0)
        self._scale = 1 / np.where(deviation > 0, deviation, 1.0)
        slow = ((found - self._offset)[first] * (found - self._offset)[first + 1]).mean(0) * self._scale**2
        self._order = np.argsort(-slow, kind="stable")
        self.autocorrelation_, self.shape_ = self._rho[self._order], self._alpha[self._order]
        self.stability_ = np.full(n, np.nan)
        if rival is not None:
            self.stability_ = matched(found[asked], self._guess(Z, rival)[asked])[self._order]

    def _as_fitted(self, Z: np.ndarray, X: np.ndarray, covariance: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """What was seen (frame, K) and the covariance of its noise, of new frames."""
        if (covariance is None) != (self._typical is None):
            here, there = ("without", "with") if covariance is None else ("with", "without")
            raise DataError(
                f"These frames come {here} covariances, those of the fit came {there}: the model's noise would be"
                " wrong. Give covariances to both or to neither."
            )
        spread = None if covariance is None else whitened_covariance(X, covariance, self._white)
        return observations(Z, spread, self._prior)

    def _guess(self, Z: np.ndarray, emission: Emission) -> np.ndarray:
        """Posterior means (frame, N) of single frames, as if each were the first of its series."""
        found = []
        with torch.no_grad():
            precision = emission.precision(None if self._typical is None else self._cpu(self._typical[None]))
            for x in self._cpu(Z).split(BLOCK):
                place, lam = emission.evidence(x[None], precision)
                one = torch.eye(place.shape[-1], dtype=x.dtype)
                found.append(torch.linalg.solve(one + lam, lam @ place[..., None])[0, ..., 0].double().numpy())
        return np.concatenate(found)

    def _cpu(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=PRECISIONS[self._options().precision])

    def transform(self, X: Any, *, stage: str = "sources") -> np.ndarray:
        """Sources (frame, component) of each frame alone, of unit variance on the frames of the fit.

        They are the same at every `stage`.
        """
        check_is_fitted(self)
        check_transform_stage(stage)
        Z = linear_map(self._frames(X, fitting=False), self._mean, self._white)
        found = (self._guess(Z, self._emission) - self._offset) * self._scale
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
        tensor = lambda a: self._cpu(a)[None]  # noqa: E731
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
            own, cross = (np.diagonal(part, axis1=1, axis2=2) for part in (spread, cross))
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
        x, y_ = self._cpu(Z), self._cpu(seen)
        noise = None if spread is None else self._cpu(spread)
        draw, found = torch.Generator().manual_seed(0), []
        with torch.no_grad():
            for part in at.split(max(1, BLOCK // n_frames)):
                own = None if noise is None else noise[part]
                found.append(bound(self._emission, self._law, x[part], y_[part], own, draw)[0])
        return float(torch.cat(found).double().mean()) / n_frames

    @property
    def _n_features_out(self) -> int:
        return len(self._scale)
