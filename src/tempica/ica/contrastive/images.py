"""Images as the input of a contrast: gathered batch by batch, and their principal components.

Shape legend: Y X pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from tempica.errors import DataError
from tempica.ica.base import in_blocks

LEAST_EDGE, BATCH = 8, 512
LARGEST = 1e15  # of a pixel's values, whose squares are summed in single precision
N_PIXEL_COMPONENTS = 64  # principal components of pixels that stand for an image where a linear map is asked
FITTED = 5000  # images, evenly spread, from which these are learned


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
