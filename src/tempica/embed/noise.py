"""Noise of images, learned from them: its level and its radial power spectrum; and the disc where the signal is.

In a ring of Fourier space images have the mean power p = N + S of noise and signal. ln N is linear in the radius
between a few nodes. Where poses are known, N is what fitted models leave over, with what the fit itself has taken away:
E|y − f(θ)|² = |r|² + tr(H Σ). So what the modes cannot express counts as noise, and images without noise do not make
posteriors overconfident. Where poses are hidden, S is that of the mean structure over all views.

Shape legend: F frame, R ring (whole radii 0 … D//2 − 1, then all beyond), M coefficient, D pixels along an edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from tempica.embed.micrographs import Micrographs
from tempica.embed.poses.settling import PosePrior
from tempica.embed.posterior import Posterior, posterior
from tempica.embed.quadratic import Disc, Observed, linearise, model_waves, observe
from tempica.errors import DataError
from tempica.imaging.camera import Camera
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import Modes
from tempica.imaging.radial import noise_power

N_NODES = 8  # of the spectrum, closer together at low frequencies
WRONG = 0.2  # share of the signal's power by which it may differ from what is foreseen
UNEXPRESSED = 0.01  # least noise, as a share of the foreseen power of the signal
BEND = 0.3  # standard deviation of the second differences of ln N, which decide where the signal hides the noise
SETTLED = 0.01  # change of a ring's noise after which no further round is made
ROUNDS = 8


@dataclass(frozen=True)
class Noise:
    variance: float  # of a pixel, 1/Å²
    power: np.ndarray  # (D, D//2 + 1) relative to white noise of that variance


@dataclass(frozen=True)
class Views:
    """Images, and what is known of the camera in each."""

    camera: Camera
    image: np.ndarray  # (F, D, D)
    focus: Sequence[np.ndarray]  # what `camera.transfer` needs, (F,) each

    def observe(self, noise: Noise, radius: int) -> Observed:
        return observe(self.camera, self.image, list(self.focus), noise.variance, radius, noise.power)

    @property
    def whole(self) -> Disc:
        """All coefficients below the Nyquist frequency."""
        optics = self.camera.optics
        return Disc(optics.n_pixels, optics.pixel_size_A, optics.n_pixels // 2 - 1)


def noise_of_hidden(views: Views, scatterers: Scatterers, position: np.ndarray) -> Noise:
    """Noise of images whose poses nobody knows: their power, less that of a structure (N, 3) in nm from all sides.

    Raises DataError for images that are constant or not finite.
    """
    n = len(views.image)
    rotation = Rotation.random(n, rng=np.random.default_rng(0)).as_matrix()
    signal = _signal(views, scatterers, position, rotation, np.zeros((n, 2)))
    return _noise(views.camera, _fit(_image_power(views), signal, _ring_sizes(views.whole) * n))


def estimate_noise(
    views: Views,
    scatterers: Scatterers,
    modes: Modes,
    rotation: np.ndarray,
    shift_A: np.ndarray,
    n_iterations: int,
    pose_prior: PosePrior | None = None,
) -> Noise:
    """Noise of images at known or stated poses, as `posterior` takes them: a fixed point of what models leave over.

    Raises DataError for images that are constant or not finite.
    """
    own, counts = _image_power(views), _ring_sizes(views.whole) * len(views.image)
    signal = _signal(views, scatterers, modes.mean, rotation, shift_A)
    ring = _fit(own, signal, counts)
    for _ in range(ROUNDS):
        noise = _noise(views.camera, ring)
        observed = views.observe(noise, views.whole.radius)
        found = posterior(Micrographs(observed, scatterers), modes, rotation, shift_A, n_iterations, pose_prior)
        left = own.copy()
        left[:-1] = ring[:-1] * _left_over(observed, scatterers, modes, found, pose_prior)
        before, ring = ring, np.maximum(_fit(left, np.zeros_like(left), counts), UNEXPRESSED * signal)
        if np.abs(np.log(ring / before)).max() < SETTLED:
            break
    return _noise(views.camera, ring)


def choose_radius(
    views: Views, scatterers: Scatterers, modes: Modes, noise: Noise, share: float = 0.99, n_frames: int = 64
) -> int:
    """The smallest disc that keeps a share of what images say of the modes: tr JᵀJ, averaged over all views."""
    n = min(n_frames, len(views.image))
    some = Views(views.camera, views.image[:n], [value[:n] for value in views.focus])
    rotation = Rotation.random(n, rng=np.random.default_rng(0)).as_matrix()
    observed, position = some.observe(noise, views.whole.radius), np.broadcast_to(modes.mean, (n, *modes.mean.shape))

    def information(radius: int) -> float:
        seen = linearise(
            observed.within(radius), scatterers, position, rotation, np.zeros((n, 2)), modes.shape, pose=False
        )
        return float(np.einsum("fkk->", seen.information))

    low, high = 2, views.whole.radius
    enough = share * information(high)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if information(middle) >= enough else (middle + 1, high)
    return high


def _rings(disc: Disc) -> np.ndarray:
    """Ring (M,) of each coefficient of a disc."""
    return np.minimum(np.rint(np.hypot(*disc.index)).astype(int), disc.n_pixels // 2)


def _ring_sizes(disc: Disc) -> np.ndarray:
    """Real numbers of an image in each ring (R,); all that lies beyond the disc is in the last."""
    n = disc.n_pixels
    inside = np.bincount(_rings(disc), np.where(disc.index[1] > 0, 2.0, 1.0), minlength=n // 2 + 1)
    inside[-1] = 0
    inside[-1] = n**2 - inside.sum()
    return inside


def _ring_means(disc: Disc, power: np.ndarray) -> np.ndarray:
    """Means (R,) over the rings of a disc of values (M,) of its coefficients; 0 in the last."""
    total = np.bincount(_rings(disc), np.where(disc.index[1] > 0, 2.0, 1.0) * power, minlength=disc.n_pixels // 2 + 1)
    mean = total / _ring_sizes(disc)
    mean[-1] = 0
    return mean


def _image_power(views: Views) -> np.ndarray:
    """Mean power (R,) of the images, in which white noise has that of its variance."""
    disc, total = views.whole, float(np.square(views.image, dtype=np.float64).mean())
    if not np.isfinite(total):
        raise DataError("Images hold values that are not finite. Render or import the movie again.")
    if views.image.var() == 0:
        raise DataError("All pixels of the images have the same value: there is nothing to learn the noise from.")
    power = np.zeros(len(disc.index[0]))
    for image in views.image:
        power += np.abs(disc.gather(fft.rfft2(image.astype(np.float64)))) ** 2
    mean = _ring_means(disc, power / len(views.image) / disc.n_pixels**2)
    # by Parseval, the rest
    sizes = _ring_sizes(disc)
    mean[-1] = max(total * disc.n_pixels**2 - (mean * sizes)[:-1].sum(), 0) / sizes[-1]
    return mean


def _signal(
    views: Views, scatterers: Scatterers, position: np.ndarray, rotation: np.ndarray, shift_A: np.ndarray
) -> np.ndarray:
    """Mean power (R,) of one structure's images at the frames' foci."""
    disc, place = views.whole, np.broadcast_to(position, (len(rotation), *position.shape))
    power = np.zeros(len(disc.index[0]))
    for first in range(0, len(rotation), 64):
        part = slice(first, first + 64)
        wave = model_waves(disc, scatterers, place[part], rotation[part], shift_A[part])
        transfer = views.camera.transfer_at(*disc.index, [value[part] for value in views.focus])
        power += (np.abs(wave * transfer).astype(np.float64) ** 2).sum(0)
    return _ring_means(disc, power / len(rotation) / disc.n_pixels**2)


def _left_over(
    observed: Observed, scatterers: Scatterers, modes: Modes, found: Posterior, prior: PosePrior | None
) -> np.ndarray:
    """Mean power (R − 1,) of whitened residuals, and of what the fit has taken from them."""
    disc = observed.disc
    position = modes.mean + np.tensordot(found.mean, modes.shape, 1)
    place = scatterers, position, found.rotation, found.shift_A
    residual = observed.target - observed.transfer * model_waves(disc, *place)
    # weights of Parseval are in the coefficients already
    sizes, n = _ring_sizes(disc)[:-1] * len(observed), disc.n_pixels // 2
    left = np.bincount(_rings(disc), (np.abs(residual).astype(np.float64) ** 2).sum(0), minlength=n + 1)[:-1]
    edges = np.unique(np.append(_nodes(n)[:-1], disc.radius).astype(int))
    seen = [linearise(observed.within(r), *place, modes.shape, pose=prior is not None).information for r in edges]
    precision = seen[-1] + np.diag(
        np.concatenate([np.ones(len(modes.shape)), () if prior is None else prior.precision])
    )
    covariance = np.linalg.inv(precision)
    taken = np.array([np.einsum("fij,fij->", part, covariance) for part in seen])
    number = np.cumsum(sizes)[edges]
    first = np.concatenate([[0.0], edges + 0.5])
    fitted = np.diff(taken, prepend=0.0) / np.diff(number, prepend=0.0)
    ring = np.clip(np.searchsorted(first, np.arange(n)) - 1, 0, len(edges) - 1)
    return left / sizes + fitted[ring]


def _nodes(n_rings: int) -> np.ndarray:
    """Radii of the nodes, rings 1 … n_rings."""
    return np.unique(np.rint(1 + (n_rings - 1) * np.linspace(0, 1, N_NODES) ** 1.5))


def _fit(power: np.ndarray, signal: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Smooth noise (R,) of rings whose mean power is noise and, foreseen to within `WRONG`, signal.

    The signal's scale is fitted as well. The constant term, which cameras and programs shift, does not count.
    """
    nodes, rings = _nodes(len(power) - 1), np.arange(len(power))
    kept = (rings > 0) & (power > 0)
    spread = np.sqrt(2 * power**2 / counts + (WRONG * signal) ** 2)[kept]
    spread = np.maximum(spread, 1e-3 * power[kept])  # the model is no better than that
    bends = max(len(nodes) - 2, 0)

    def noise(logs: np.ndarray) -> np.ndarray:
        return np.exp(np.interp(rings, nodes, logs))

    def misfit(values: np.ndarray) -> np.ndarray:
        logs, scale = values[:-1], values[-1]
        model = noise(logs) + np.exp(scale) * signal
        slope = np.diff(logs) / np.diff(nodes) * np.diff(nodes).mean()
        return np.concatenate([(model[kept] - power[kept]) / spread, np.diff(slope)[:bends] / BEND, [scale / 0.3]])

    rest = np.maximum(power - signal, UNEXPRESSED * power)
    start = np.append(np.log(np.interp(nodes, rings[kept], rest[kept])), 0.0)
    fitted = noise(least_squares(misfit, start, method="lm" if kept.sum() + bends >= len(nodes) else "trf").x[:-1])
    return np.maximum(fitted, UNEXPRESSED * signal)


def _noise(camera: Camera, ring: np.ndarray) -> Noise:
    """Noise of rings (R,): as a plane, and the variance that goes with it."""
    n, pixel_A = camera.optics.n_pixels, camera.optics.pixel_size_A
    frequency = np.arange(len(ring)) / (n * pixel_A)
    plane = noise_power(n, pixel_A, frequency, ring)  # of unit variance
    variance = ring[-1] / float(plane[n // 2, -1])
    return Noise(float(variance), plane)
