"""The ceiling: how well any estimator could read the collective variables off single frames.

The simulator knows its own likelihood, so the Bayes estimate of a collective variable from one frame can be
computed. The prior is what training replicas show: structures x = x̄ + Σ_k a_k m_k along principal modes, with
a = g(c) + r, g quadratic in the collective variables c, r ~ N(0, R), and c itself one of the observed ones.

Around the true structure x* of a frame, y = y(x*) + J (a − a*) + ε gives the likelihood exp(ηᵀa − ½ aᵀΛa), Λ = JᵀJ/σ²,
η = Λ a* + Jᵀ(y − y(x*))/σ². Integrating r out leaves
log p(y | c) = bᵀ g(c) − ½ g(c)ᵀ A g(c), A = Λ (I + R Λ)⁻¹, b = (I + Λ R)⁻¹ η.
Far from the truth images are not linear, and this is too sharp where they say little. So it is corrected on a coarse
grid of c by what images e(c) = y − y(x* + Σ_k (g(c) − g(c*))_k m_k) say, in which r alone is expanded:
log p(y | c) = −½ |e|²/σ² − hᵀr* + ½ (h + Λr*)ᵀ (I + RΛ)⁻¹ R (h + Λr*), h = Jᵀe/σ², r* = a* − g(c*).
The estimate is Σ_k w_k c_k with weights w_k ∝ p(y | c_k) over the observed c_k.

Shape legend: F frame, K mode, B observed value of the library, V collective variable, G node of the coarse grid, P real
coefficient of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tempica import imaging
from tempica.imaging.likelihood import Likelihood
from tempica.imaging.linearise import Images, Scatterers, Whitened
from tempica.imaging.modes import principal_modes
from tempica.series import quadratic

HOPELESS = 60.0  # nats below the best: nodes that need no correction, and the most that one may be
ASIDE = 20.0  # the same of nodes that are climbed no further
CLIMB = 6  # steps to the likeliest structure at a node, at the most
CLOSE = 0.3  # nats that a step still promises, twice over, below which it is not taken
N_MODES = 16  # beyond these, modes of a coarse-grained protein move less than a tenth of a pixel


@dataclass(frozen=True)
class Prior:
    """What a perfectly informed observer knows before the image."""

    mean: np.ndarray  # (atom, space) nm
    shape: np.ndarray  # (mode, atom, space) nm, unit variance
    library: np.ndarray  # (library, cv) observed collective variables
    weight: np.ndarray  # (term, mode) of g
    spread: np.ndarray  # (mode, mode) R

    def amplitude(self, position: np.ndarray) -> np.ndarray:
        """Mode amplitudes (frame, mode) of structures (frame, atom, space)."""
        shape = self.shape.reshape(len(self.shape), -1)
        flat = (position - self.mean).reshape(len(position), -1)
        return flat @ shape.T / (shape**2).sum(1)

    def expected(self, variable: np.ndarray) -> np.ndarray:
        """Mode amplitudes g(c) (frame, mode) expected of collective variables (frame, cv)."""
        centre, deviation = self.library.mean(0), self.library.std(0)
        return quadratic((variable - centre) / np.where(deviation > 0, deviation, 1.0)) @ self.weight


@dataclass(frozen=True)
class Likelihoods:
    """log p(y | c) = bᵀ g(c) − ½ g(c)ᵀ A g(c) + correction(c) of each frame, up to a constant of the frame."""

    linear: np.ndarray  # (frame, mode) b
    quadratic: np.ndarray  # (frame, mode, mode) A
    correction: np.ndarray  # (frame, node) at the nodes of the coarse grid

    def at(self, expected: np.ndarray, interpolation: np.ndarray | None = None) -> np.ndarray:
        """(F, B) at amplitudes g(c) (B, K); `interpolation` (B, G) carries the correction there, none leaves it out."""
        i, j = np.triu_indices(expected.shape[1])
        form = self.quadratic[:, i, j] * np.where(i == j, 0.5, 1.0)
        value = self.linear @ expected.T - form @ (expected[:, i] * expected[:, j]).T
        return value if interpolation is None else value + self.correction @ interpolation.T


@dataclass(frozen=True)
class Frames:
    """Images and the truth about them."""

    image: np.ndarray  # (frame, y, x) 1/Å
    quaternion: np.ndarray  # (frame, 4)
    shift_A: np.ndarray  # (frame, 2)
    focus: Sequence[np.ndarray]  # what imaging.FOCUS names, (frame,) each
    position: np.ndarray  # (frame, atom, space) nm
    variable: np.ndarray  # (frame, cv)


def learn_prior(position: np.ndarray, collective_variable: np.ndarray, n_modes: int = N_MODES) -> Prior:
    """Prior from true structures (frame, atom, space) and collective variables (frame, cv) of training replicas."""
    n_modes = min(n_modes, len(position) - 1, position[0].size)
    modes = principal_modes(position, n_modes)
    library = collective_variable.astype(np.float64)
    n_terms = (library.shape[1] + 1) * (library.shape[1] + 2) // 2
    unit = Prior(modes.mean, modes.shape, library, np.eye(n_terms), np.empty(0))
    terms, amplitude = unit.expected(library), unit.amplitude(position)
    weight, *_ = np.linalg.lstsq(terms, amplitude, rcond=None)
    residual = amplitude - terms @ weight
    return Prior(modes.mean, modes.shape, library, weight, residual.T @ residual / len(residual))


def likelihoods(
    prior: Prior, camera: imaging.Camera, noise_variance: float, frames: Frames, nodes: np.ndarray
) -> Likelihoods:
    """Of the collective variables, of each frame alone, corrected at `nodes` (G, V); (0, V) for no correction."""
    rotation, n_frames, n_modes = imaging.rotation_matrix(frames.quaternion), len(frames.image), len(prior.shape)
    images = Images(frames.image, rotation, frames.shift_A, camera.transfer(*frames.focus), camera.power())
    scatterers = Scatterers(camera.scatterer_amplitude_A, camera.scatterer_width_A)
    whitened = Whitened(images, prior.shape, scatterers, camera.optics.pixel_size_A, noise_variance, np.float64)
    residual, jacobian = (
        np.ascontiguousarray(wave.reshape(n_frames, k, -1)).view(np.float64)
        for wave, k in zip(whitened.linearise(frames.position, slice(None)), (1, n_modes), strict=True)
    )
    information = jacobian @ jacobian.swapaxes(1, 2)
    amplitude = prior.amplitude(frames.position)
    evidence = (jacobian @ residual.swapaxes(1, 2) + information @ amplitude[..., None])[..., 0]
    inner = np.eye(n_modes) + information @ prior.spread
    a = np.linalg.solve(inner, information)
    linear, a = np.linalg.solve(inner, evidence[..., None])[..., 0], 0.5 * (a + a.swapaxes(1, 2))
    found = Likelihoods(linear, a, np.empty((n_frames, 0)))
    if not len(nodes):
        return found
    expected, here = prior.expected(nodes), prior.expected(frames.variable)
    left = amplitude - here
    correction = found.at(expected)
    for f in range(n_frames):
        structure = frames.position[f] + np.tensordot(expected - here[f], prior.shape, 1)
        error = whitened.residuals(structure, f)
        h = error @ jacobian[f].T
        u = h + information[f] @ left[f]
        spread = np.linalg.solve(inner[f].T, prior.spread)
        exact = -0.5 * np.einsum("gp,gp->g", error, error) - h @ left[f] + 0.5 * np.einsum("gk,gk->g", u @ spread, u)
        difference = exact - correction[f]
        correction[f] = difference - difference.mean()
    return Likelihoods(linear, a, correction)


def likelihoods_by(
    prior: Prior,
    seen: Likelihood,
    pose: tuple[np.ndarray, np.ndarray],
    position: np.ndarray,
    nodes: np.ndarray,
) -> Likelihoods:
    """The same of the frames of any camera, at true poses and structures (F, N, 3) in nm.

    Bright fringes, or a tip's edges, are linear over less than what r moves them by. So at each node that the quadratic
    form leaves possible, r is the one that is likeliest there, r = C z with C Cᵀ = R, and about it, with H = CᵀΛC and
    u = Cᵀh − z,
    log p(y | c) = −½ misfit − ½ |z|² + ½ uᵀ (I + H)⁻¹ u − ½ ln det(I + H) (Laplace).
    Nodes without a correction have that of the nearest which has one.
    """
    there = seen.expand(position, *pose, prior.shape, pose=False)
    information, n_modes = there.information, len(prior.shape)
    amplitude = prior.amplitude(position)
    evidence = there.evidence + (information @ amplitude[..., None])[..., 0]
    inner = np.eye(n_modes) + information @ prior.spread
    a = np.linalg.solve(inner, information)
    linear, a = np.linalg.solve(inner, evidence[..., None])[..., 0], 0.5 * (a + a.swapaxes(1, 2))
    found = Likelihoods(linear, a, np.empty((len(position), 0)))
    if not len(nodes):
        return found
    expected, value = prior.expected(nodes), found.at(prior.expected(nodes))
    value -= value.max(1, keepdims=True)
    correction = np.zeros_like(value)
    deviation = prior.library.std(0)
    scaled = nodes / np.where(deviation > 0, deviation, 1.0)
    apart = ((scaled[:, None] - scaled[None]) ** 2).sum(2)
    for f in range(len(position)):
        possible = np.flatnonzero(value[f] > -HOPELESS)
        move = expected[possible] - amplitude[f]  # from the true structure to g(c), r = 0
        pull = there.evidence[f] - move @ information[f]
        place = pose[0][f], pose[1][f]
        exact = _integrated(prior, seen[np.full(len(possible), f)], place, position[f], move, pull, information[f])
        weight = np.exp(value[f, possible])
        told = exact - value[f, possible]
        told = np.clip(told - weight @ told / weight.sum(), -HOPELESS, HOPELESS)
        correction[f] = told[apart[:, possible].argmin(1)]
    return Likelihoods(linear, a, correction)


def _integrated(
    prior: Prior,
    seen: Likelihood,
    pose: tuple[np.ndarray, np.ndarray],
    position: np.ndarray,
    move: np.ndarray,
    pull: np.ndarray,
    information: np.ndarray,
) -> np.ndarray:
    """ln ∫ p(y | r) p(r) dr (G,) of a frame, as often in `seen` as there are structures x* + Σ_k move_k m_k + r.

    Its `information` Λ (K, K) and `pull` (G, K), the slopes at r = 0, are those that it has near the truth; they tell
    from where to climb.
    """
    axis, size = _principal(prior.spread)
    root = axis * size
    shape = np.tensordot(root.T, prior.shape, 1)
    identity = np.eye(len(size))

    def look(z: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        structure = position + np.tensordot(move[which] + z @ root.T, prior.shape, 1)
        turned, moved = (np.broadcast_to(each, (len(which), *each.shape)) for each in pose)
        near = seen[which].expand(structure, turned, moved, shape, pose=False)
        return near.information + identity, near.evidence - z, -0.5 * (near.misfit + (z**2).sum(1))

    active, damping = np.arange(len(move)), np.zeros(len(move))
    z = np.linalg.solve(root.T @ information @ root + identity, (pull @ root).T).T
    inner, slope, height = look(z, active)
    step, gain = _step(inner, slope, damping)
    for _ in range(CLIMB):
        best = (height + 0.5 * gain).max()
        active = np.flatnonzero((gain > CLOSE) & (height + gain > best - ASIDE))
        if not len(active):
            break
        trial = look(z[active] + step[active], active)
        better = trial[2] > height[active]
        up, down = active[better], active[~better]
        z[up] += step[up]
        inner[up], slope[up], height[up] = (each[better] for each in trial)
        damping[up], damping[down] = damping[up] / 4, 4 * damping[down] + 0.5
        step[active], gain[active] = _step(inner[active], slope[active], damping[active])
    _, gain = _step(inner, slope, np.zeros(len(move)))
    return height + 0.5 * np.minimum(gain, 2 * CLOSE) - 0.5 * np.linalg.slogdet(inner)[1]


def _step(inner: np.ndarray, slope: np.ndarray, damping: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps (S, K) up, and twice the rise (S,) that they promise."""
    held = inner + damping[:, None, None] * np.einsum("skk->sk", inner)[..., None] * np.eye(inner.shape[1])
    step = np.linalg.solve(held, slope[..., None])[..., 0]
    return step, (step * slope).sum(1)


def _principal(spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Axes (K, K) of R, and the deviations (K,) along them."""
    value, axis = np.linalg.eigh(spread)
    return axis, np.sqrt(np.maximum(value, 0.0))


def bayes_estimate(
    prior: Prior, frames: Likelihoods, interpolation: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means (F, V) of the collective variables, each from one frame, and the library's effective size (F,).

    `interpolation` (B, G) carries corrections from the nodes to the values of the library.
    """
    log_weight = frames.at(prior.expected(prior.library), interpolation)
    w = np.exp(log_weight - log_weight.max(1, keepdims=True))
    w /= w.sum(1, keepdims=True)
    return w @ prior.library, 1 / (w**2).sum(1)
