"""What stands out of the support in a frame, how large and tall molecules of a movie are, and how the stage drifts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from tempica.render.film.flattening import MASKED, roughness

SMOOTH = 1.0  # pixels: a Gaussian before heights are compared with thresholds
SHARE = 1 / 3  # of a molecule's height, from which pixels belong to it
KIND = 3.0  # factor between the areas of molecules of one kind
EIGHT = np.ones((3, 3), bool)
MOVING = 0.3  # correlation of successive frames below which molecules move by themselves
FARTHEST = 1 / 8  # of the frame: median step above which shifts lead from one thing to another, as in noise
AGREEING = 0.6  # of the movie's median correlation, from which a shift between two frames is believed
OVERLAP = 0.3  # share of the frame that two must have in common
PATIENCE = 5  # frames that may agree with none before


@dataclass(frozen=True)
class Sizes:
    """What molecules of the movie are like.

    Attributes:
        height: nm above the support, of which half of the volume lies above.
        area: pixels, such that half of the area of all that stands out is in larger pieces.
    """

    height: float
    area: float


def sizes(smooth: np.ndarray) -> Sizes | None:
    """What molecules of smoothed frames (frame, y, x) are like; None where nothing stands out."""
    tall, areas = [], []
    for frame in smooth:
        mask = frame > MASKED * roughness(frame)
        tall.append(frame[mask])
        areas.append(_areas(_pieces(mask)))
    heights = np.concatenate(tall)
    if len(heights) == 0:
        return None
    height = _median(heights, heights)
    areas = [_areas(_pieces(frame > threshold(frame, height))) for frame in smooth]
    area = np.concatenate(areas).astype(float)
    return Sizes(height, _median(area, area)) if len(area) else None


def threshold(frame: np.ndarray, height: float) -> float:
    """Height from which a pixel of a smoothed frame belongs to a molecule of a height."""
    return max(MASKED * roughness(frame), SHARE * height)


def pieces(frame: np.ndarray, height: float) -> np.ndarray:
    """Connected pieces of a smoothed frame (y, x), numbered from 1; 0 elsewhere."""
    return _pieces(frame > threshold(frame, height))


def drifts(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How the stage drifts, from masks (frame, y, x) of molecules.

    The shift from one frame to another is that by which their masks correlate most. A frame that agrees with the one
    before much less than frames of the movie do was scanned while the stage moved: the next ones are compared with the
    last before it. Where molecules move so much by themselves that frames do not agree, there is no drift to be seen.

    Returns the place (frame, 2) of what was at zero in the first frame, whole pixels y x, and which frames (frame,)
    agree with those before.
    """
    blurred = [_blurred(mask) for mask in masks]
    place, agree = np.zeros((len(masks), 2), int), np.ones(len(masks), bool)
    steps = [(np.zeros(2, int), 1.0), *(_shift(here, there) for there, here in pairwise(blurred))]
    typical = float(np.median([agreement for _, agreement in steps]))
    far = np.median([np.abs(step).max() for step, agreement in steps[1:] if agreement >= MOVING] or [0])
    if typical < MOVING or far > FARTHEST * min(masks.shape[1:]):
        return place, agree
    known = 0
    for number in range(1, len(masks)):
        step, agreement = steps[number] if known == number - 1 else _shift(blurred[number], blurred[known])
        agree[number] = agreement >= AGREEING * typical
        place[number] = place[known] + step if agree[number] else place[number - 1]
        if agree[number] or number - known > PATIENCE:
            known = number
    return place, agree


def _blurred(mask: np.ndarray) -> np.ndarray:
    blurred = ndimage.gaussian_filter(mask.astype(np.float32), 2)
    return blurred - blurred.mean()


def _shift(here: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, float]:
    """Shift y x from one frame to another, and the correlation of what both show at that shift."""
    size = tuple(2 * n for n in here.shape)
    ones = np.ones_like(here)
    spectra = {name: np.fft.rfft2(image, s=size) for name, image in (("here", here), ("there", there))}

    def against(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.fft.irfft2(one * other.conj(), s=size)

    window = np.fft.rfft2(ones, s=size)
    both = against(spectra["here"], spectra["there"])
    both[against(window, window) < OVERLAP * here.size] = -np.inf
    peak = np.unravel_index(np.argmax(both), size)
    power = [
        against(np.fft.rfft2(here**2, s=size), window)[peak],
        against(window, np.fft.rfft2(there**2, s=size))[peak],
    ]
    scale = np.sqrt(max(0.0, power[0]) * max(0.0, power[1]))
    step = np.array([(int(p) + n // 2) % n - n // 2 for p, n in zip(peak, size, strict=True)])
    return step, float(both[peak] / scale) if scale > 0 else 0.0


def _pieces(mask: np.ndarray) -> np.ndarray:
    whole = ndimage.binary_opening(ndimage.binary_closing(np.pad(mask, 1, mode="edge")))[1:-1, 1:-1]
    labels: np.ndarray = ndimage.label(whole, EIGHT)[0]
    return labels


def _areas(labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels.ravel())[1:]


def _median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
