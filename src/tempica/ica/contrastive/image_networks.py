"""Small convolutional networks of images, their restarts, and the noise that keeps them from memorising.

Shape legend: B image of a batch, Y X pixel, K whitened component, N component.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tempica.ica.contrastive.images import BATCH, Images, Pixels
from tempica.ica.training.ladder import pilot_steps, train_apart
from tempica.ica.training.progress import Progress
from tempica.ica.training.schedules import Plateau
from tempica.ica.training.trainer import Trainer

# of restarts: the deviation of the noise that they add to images, in deviations of a pixel over frames; and whether
# they start from the linear map
RESTARTS = ((1.0, True), (1.0, False), (2.0, True))
OF_LABELLED = ((0.3, False), (1.0, True), (1.0, False))  # the same where |h| is learned: a linear h is a poor beginning
CHANNELS = (16, 32, 64)  # of layers: the first sees 8 × 8 pixels, four apart, the others halve what they see
SMALLEST = 4  # places along an edge, at which the halving ends
WIDTH = 64
LINEAR_STEPS = 4000  # of the linear map of principal components, at most
PAIRS, RATE = 256, 0.25  # of a batch; and the rate of learning, as a share of what maxout layers take

Whitening = tuple[np.ndarray, np.ndarray]  # mean (feature,) and matrix (component, feature)


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
        own: Any = nn.utils.skip_init(nn.Linear, features.out.out_features, n_segments)  # draws no random numbers
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


def train_image_networks(
    progress: Progress,
    restarts: Callable[[int], Restart],
    network_of: Callable[[Restart], Any],
    make: Callable[[Any, Restart, Callable[[Trainer], None]], Trainer],
    n_restarts: int,
    n_train: int,
    max_steps: int | None,
) -> tuple[Any, Trainer, list[float]]:
    """The network with the lowest held-out loss after a pilot, trained to the end; its trainer; the losses of all.

    `make(network, restart, on_check)` makes the trainer of `network_of(restart)`.
    """

    def begin(run: int) -> tuple[Any, Trainer]:
        restart = restarts(run)
        network = network_of(restart)
        return network, progress.begin(run, f"network {run}", lambda told: make(network, restart, told))

    # convolutions take longer to show what they are worth; up to a check, so that what is saved there is how it is
    check_every = Plateau(max_steps).check_every
    until = check_every * -(-2 * pilot_steps(n_train, max_steps) // check_every)
    ((network, trainer),), losses = train_apart(begin, n_restarts, until, finalists=1)
    return network, trainer, losses


def encode(features: nn.Module, images: Images) -> np.ndarray:
    """Features (frame, N) of all images, a batch at a time."""
    _channels_last(features)  # one that was loaded must round as it did before
    with torch.no_grad():
        parts = [features(images[torch.arange(a, min(a + BATCH, len(images)))]) for a in range(0, len(images), BATCH)]
    return torch.cat(parts).double().numpy()


def _channels_last(features: nn.Module) -> None:
    """Twice as fast on a CPU."""
    features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
