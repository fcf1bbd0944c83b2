"""Images as the input of a contrast: gathered batch by batch, standardised, and encoded by a small convolutional net.

Shape legend: B image of a batch, Y X pixel, N component.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn

from tempica.errors import DataError
from tempica.ica.base import in_blocks

NOISE = (1.0, 2.0, 0.5)  # deviations of the noise that restarts add to images, in deviations of a pixel over frames
CHANNELS = (16, 32, 64)  # of layers: the first sees 8 × 8 pixels, four apart, the others halve what they see
SMALLEST = 4  # places along an edge, at which the halving ends
LEAST_EDGE, WIDTH, BATCH = 8, 64, 512
PAIRS, RATE = 256, 0.25  # of a batch; and the rate of learning, as a share of what maxout layers take
N_PIXEL_COMPONENTS = 64  # principal components of pixels that stand for an image where a linear map is asked
FITTED = 5000  # images, evenly spread, from which these are learned


class Images:
    """Images (frame, y, x) of any real type, in memory or in a memory map, indexed by tensors of frames."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, frames: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(self.array[frames.numpy()], dtype=np.float32))


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
    for block in in_blocks(len(X), math.prod(X.shape[1:])):
        if not np.isfinite(np.sum(X[block], dtype=np.float64)):
            raise DataError(
                f"Images {block.start} to {min(block.stop, len(X)) - 1} hold values that are not finite, NaN or"
                " infinite. Leave those frames out."
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
    """White noise of a deviation, added to a batch, always the same to the same batch."""

    deviation: float
    seed: int

    def __call__(self, frames: Tensor, items: Tensor) -> Tensor:
        rng = torch.Generator().manual_seed((self.seed + 7919 * int(items.sum()) + int(items[0])) % 2**63)
        return frames + self.deviation * torch.randn(frames.shape, generator=rng)


class ImageFeatures(nn.Module):
    """Features h (B, N) of images (B, Y, X): strided convolutions, each with GELU, then two linear layers.

    Images are standardised by the mean image and one deviation of all pixels, so that units do not matter. The last
    layer is set on a first batch so that features start uncorrelated and of unit variance.
    """

    mean: Tensor

    def __init__(self, n_components: int, pixels: Pixels) -> None:
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
        _channels_last(self)

    def forward(self, x_BYX: Tensor) -> Tensor:
        return self.out(self.body(((x_BYX - self.mean) / self.deviation)[:, None]))

    @torch.no_grad()
    def settle(self, x_BYX: Tensor) -> None:
        """Whiten the features of a batch by the last layer."""
        h = self(x_BYX)
        value, vector = torch.linalg.eigh(torch.cov(h.T).reshape(h.shape[1], h.shape[1]).double())
        white = (vector / value.clamp_min(1e-12).sqrt()).T.float()
        self.out.weight.copy_(white @ self.out.weight)
        self.out.bias.copy_(white @ (self.out.bias - h.mean(0)))


def encode(features: nn.Module, images: Images) -> np.ndarray:
    """Features (frame, N) of all images, a batch at a time."""
    _channels_last(features)  # one that was loaded must round as it did before
    with torch.no_grad():
        parts = [features(images[torch.arange(a, min(a + BATCH, len(images)))]) for a in range(0, len(images), BATCH)]
    return torch.cat(parts).double().numpy()


def _channels_last(features: nn.Module) -> None:
    """Twice as fast on a CPU."""
    features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
