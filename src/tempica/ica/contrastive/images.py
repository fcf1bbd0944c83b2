"""Images as the input of a contrast: gathered batch by batch, standardised, and encoded by a small convolutional net.

Shape legend: B image of a batch, Y X pixel, N component.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn

from tempica.errors import DataError
from tempica.ica.base import TemporalEstimator, in_blocks
from tempica.ica.training.trainer import Trainer

# of restarts: the deviation of the noise that they add to images, in deviations of a pixel over frames; and whether
# they start from the linear map
RESTARTS = ((1.0, True), (1.0, False), (2.0, True))
OF_LABELLED = ((0.3, False), (1.0, True), (1.0, False))  # the same where |h| is learned: a linear h is a poor beginning
CHANNELS = (16, 32, 64)  # of layers: the first sees 8 × 8 pixels, four apart, the others halve what they see
SMALLEST = 4  # places along an edge, at which the halving ends
LEAST_EDGE, WIDTH, BATCH = 8, 64, 512
LARGEST = 1e15  # of a pixel's values, whose squares are summed in single precision
LINEAR_STEPS = 4000  # of the linear map of principal components, at most
PAIRS, RATE = 256, 0.25  # of a batch; and the rate of learning, as a share of what maxout layers take
N_PIXEL_COMPONENTS = 64  # principal components of pixels that stand for an image where a linear map is asked
FITTED = 5000  # images, evenly spread, from which these are learned


Whitening = tuple[np.ndarray, np.ndarray]  # mean (feature,) and matrix (component, feature)


class Images:
    """Images (frame, y, x) of any real type, in memory or in a memory map, indexed by tensors of frames."""

    device = torch.device("cpu")

    def __init__(self, array: Any) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, frames: Tensor) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.array[frames.numpy()], dtype=np.float32))


def as_images(X: Any, shape: tuple[int, ...] | None = None) -> Images | None:
    """X as images if it is (frame, y, x), of the given shape of an image if any; None for anything else.

    Raises DataError for images that are too small, of another shape, or hold values that are not finite.
    """
    if hasattr(X, "detach"):
        X = X.detach().cpu().numpy()
    if getattr(X, "ndim", 0) != 3:
        return None
    if min(X.shape[1:]) < LEAST_EDGE or X.dtype.kind not in "fiu":
        raise DataError(
            f"Images have {X.shape[1]} × {X.shape[2]} pixels of type {X.dtype}; {LEAST_EDGE} × {LEAST_EDGE} real"
            " numbers are the least."
        )
    if shape is not None and X.shape[1:] != shape:
        raise DataError(f"Images have {X.shape[1:]} pixels, and those of the fit had {shape}. Give images alike.")
    if len(X) == 0:
        raise DataError("There are 0 images; 1 is the least.")
    for block in in_blocks(len(X), math.prod(X.shape[1:])):
        least, most = float(X[block].min()), float(X[block].max())
        if not (least > -LARGEST and most < LARGEST):  # nor is NaN
            raise DataError(
                f"Images {block.start} to {min(block.stop, len(X)) - 1} hold values that are not finite, NaN or"
                f" infinite, or larger than {LARGEST:g}. Leave those frames out, or change the unit."
            )
    return Images(X)


@dataclass(frozen=True)
class Pixels:
    """What was learned of images without any contrast: their mean, their deviation, their principal components."""

    mean: np.ndarray  # (y, x)
    deviation: float  # of all pixels about it
    components: np.ndarray  # (component, pixel)

    @classmethod
    def of(cls, images: Images, chosen: np.ndarray) -> Pixels:
        """From up to 5,000 of the images that a mask (frame,) marks. Raises DataError when they are all the same."""
        frames = np.flatnonzero(chosen)
        frames = frames[np.linspace(0, len(frames) - 1, min(FITTED, len(frames))).astype(int)]
        some = images[torch.as_tensor(frames)].numpy()
        mean, shape = some.mean(0), some.shape[1:]
        some = (some - mean).reshape(len(some), -1)
        deviation = float(np.sqrt(np.mean(some**2, dtype=np.float64)))
        if deviation <= 1e-6 * float(np.abs(mean).max()):
            raise DataError(f"All {len(some)} images are the same; there is nothing to unmix. Give images that vary.")
        rank = min(N_PIXEL_COMPONENTS, *some.shape)
        found = randomized_svd(some / deviation, rank, random_state=0)[2]
        return cls(mean.reshape(shape), deviation, found)

    def __call__(self, images: Images) -> np.ndarray:
        """Principal components (frame, component) of all images."""
        out = np.empty((len(images), len(self.components)))
        for a in range(0, len(images), BATCH):
            block = torch.arange(a, min(a + BATCH, len(images)))
            flat = ((images[block].numpy() - self.mean) / self.deviation).reshape(len(block), -1)
            out[a : a + BATCH] = flat @ self.components.T
        return out


@dataclass(frozen=True)
class Noise:
    """White noise of a deviation, added to a batch, always the same to the same batch.

    `through` (feature, component) is the linear map of frames that are features of noisy ones.
    """

    deviation: float
    seed: int
    through: Tensor | None = None

    def __call__(self, frames: Tensor, items: Tensor) -> Tensor:
        rng = torch.Generator().manual_seed((self.seed + 7919 * int(items.sum()) + int(items[0])) % 2**63)
        if self.through is None:
            return frames + self.deviation * torch.randn(frames.shape, generator=rng)
        white = torch.randn(len(frames), self.through.shape[1], generator=rng)
        return frames + self.deviation * (white @ self.through.T).to(frames)


class ImageFeatures(nn.Module):
    """Features h (B, N) of images (B, Y, X): a linear map of principal components plus a small convolutional net.

    The net is strided convolutions, each with GELU, then two linear layers; it starts at zero where there is a linear
    map W (N, K) to start from, of whitened components V x (K, pixel): h(x) = W V x + net(x). Images are standardised
    by the mean image and one deviation of all pixels, so that units do not matter.
    """

    mean: Tensor
    white: Tensor

    def __init__(
        self, n_components: int, pixels: Pixels, white: Whitening | None = None, linear: Tensor | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(pixels.mean, dtype=torch.float32))
        self.deviation = pixels.deviation
        size, channels = np.array(pixels.mean.shape), 1
        layers: list[nn.Module] = []
        for more in CHANNELS:
            if layers and size.min() <= SMALLEST:
                break
            kernel, stride = (3, 2) if layers else (8, 4)
            layers += [nn.Conv2d(channels, more, kernel, stride=stride, padding=(kernel - 1) // 2), nn.GELU()]
            channels, size = more, (size + 2 * ((kernel - 1) // 2) - kernel) // stride + 1
        layers += [nn.Flatten(), nn.Linear(channels * int(size.prod()), WIDTH), nn.GELU()]
        self.body, self.out = nn.Sequential(*layers), nn.Linear(WIDTH, n_components)
        self.linear = None
        if white is not None and linear is not None:
            mean, matrix = white
            self.register_buffer("white", torch.as_tensor(matrix @ pixels.components, dtype=torch.float32))
            self.linear = nn.Parameter(linear.clone())
            nn.init.zeros_(self.out.weight)
            with torch.no_grad():
                self.out.bias.copy_(-linear @ torch.as_tensor(matrix @ mean, dtype=torch.float32))
        _channels_last(self)

    def forward(self, x_BYX: Tensor) -> Tensor:
        x_BYX = (x_BYX - self.mean) / self.deviation
        h_BN = self.out(self.body(x_BYX[:, None]))
        return h_BN if self.linear is None else h_BN + x_BYX.flatten(1) @ self.white.T @ self.linear.T

    @torch.no_grad()
    def settle(self, x_BYX: Tensor) -> None:
        """Whiten the features of a batch by the last layer; for a net without a linear map."""
        h = self(x_BYX)
        value, vector = torch.linalg.eigh(torch.cov(h.T).reshape(h.shape[1], h.shape[1]).double())
        white = (vector / value.clamp_min(1e-12).sqrt()).T.float()
        self.out.weight.copy_(white @ self.out.weight)
        self.out.bias.copy_(white @ (self.out.bias - h.mean(0)))


class Classifier(nn.Module):
    """Features of images and a linear head that tells segments from them, a copy of the given one or zero."""

    hidden = ()  # no layer is for `Orthogonal`

    def __init__(self, features: ImageFeatures, n_segments: int, head: nn.Linear | None) -> None:
        super().__init__()
        own: Any = nn.utils.skip_init(nn.Linear, features.out.out_features, n_segments)  # draws nothing by chance
        if head is None:
            nn.init.zeros_(own.weight)
            nn.init.zeros_(own.bias)
        else:
            own.load_state_dict(head.state_dict())
        self.model: Any = nn.ModuleList([features, own])

    def features(self, x_BYX: Tensor) -> Tensor:
        return self.model[0](x_BYX)

    @property
    def head(self) -> tuple[Tensor, Tensor]:
        return self.model[1].weight, self.model[1].bias


@dataclass(frozen=True)
class Restart:
    """What a restart of a network of images starts from, and the noise that it adds."""

    features: ImageFeatures
    noise: Noise
    from_linear: bool

    @classmethod
    def of(
        cls,
        run: int,
        n: int,
        pixels: Any,
        white: Whitening,
        linear: Tensor,
        some: Tensor,
        seed: int,
        kinds: tuple[tuple[float, bool], ...] = RESTARTS,
    ) -> Restart:
        """Restart 1, 2 …: from the linear map (N, K), or a random net that is settled on some images."""
        deviation, from_linear = kinds[(run - 1) % len(kinds)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            features = ImageFeatures(n, pixels, white, linear) if from_linear else ImageFeatures(n, pixels)
        if not from_linear:
            features.settle(some)
        return cls(features, Noise(deviation * pixels.deviation, seed), from_linear)


def best_restart(
    begin: Callable[[int], tuple[Any, Trainer]], n_restarts: int, pilot: int
) -> tuple[Any, Trainer, list[float]]:
    """The network with the lowest held-out loss after the pilot's steps, trained to the end; the losses of all."""
    begun = [begin(run) for run in range(1, n_restarts + 1)]
    for _, training in begun:
        # convolutions take longer to show what they are worth; up to a check, so that what is saved there is how it is
        until = training.schedule.check_every * -(-2 * pilot // training.schedule.check_every)
        training.advance(until if n_restarts > 1 else None)
    chosen = int(np.argmin([training.best for _, training in begun]))
    network, training = begun[chosen]
    training.advance()
    return network, training, [training.best for _, training in begun]


class FramesOrImages(TemporalEstimator):
    """Base of estimators that take latents (frame, feature) or images (frame, y, x).

    `_pixels` is None after a fit to latents; `_features` is a network of whitened latents, or of images.
    """

    _pixels: Pixels | None
    _features: Any

    def _whitened(self, latents: np.ndarray) -> Tensor:
        raise NotImplementedError

    def _given(self, X: Any) -> tuple[Images | None, Any]:
        """Images if X is that, and the frames of a fit."""
        images = as_images(X)
        return images, self._frames(X, fitting=True) if images is None else images

    def _learn_pixels(self, images: Images | None, X: Any, chosen: np.ndarray) -> np.ndarray:
        """Latents (frame, feature) of the frames of a fit: themselves, or principal components of pixels."""
        self._pixels = None if images is None else Pixels.of(images, chosen)
        return X if images is None or self._pixels is None else self._pixels(images)

    def _raw(self, X: Any, features: Any = None) -> np.ndarray:
        """What features (frame, N), the model's own when None, make of frames."""
        features = self._features if features is None else features
        images = X if isinstance(X, Images) else as_images(X, None if self._pixels is None else self._pixels.mean.shape)
        if (images is None) != (self._pixels is None):
            raise DataError("Frames must be of the kind of the fit: latents (frame, feature), or images (frame, y, x).")
        if images is None or self._pixels is None:
            latents = self._frames(X, fitting=False)
        elif isinstance(features, ImageFeatures):
            return encode(features, images)
        else:
            latents = self._pixels(images)
        with torch.no_grad():
            return features(self._whitened(latents)).double().numpy()

    def _check_latents(self, X: Any) -> np.ndarray:
        """Latents of which a covariance can be known."""
        if self._pixels is not None:
            raise DataError(f"Covariances are of latents; this {type(self).__name__} was fitted to images.")
        return self._frames(X, fitting=False)


def encode(features: nn.Module, images: Images) -> np.ndarray:
    """Features (frame, N) of all images, a batch at a time."""
    _channels_last(features)  # one that was loaded must round as it did before
    with torch.no_grad():
        parts = [features(images[torch.arange(a, min(a + BATCH, len(images)))]) for a in range(0, len(images), BATCH)]
    return torch.cat(parts).double().numpy()


def _channels_last(features: nn.Module) -> None:
    """Twice as fast on a CPU."""
    features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
