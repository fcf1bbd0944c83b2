"""Heights above the support: plane, bow and line offsets taken away, with molecules masked; frames that show nothing.

A frame is support + tilt and bow of the scanner + an offset of each line (feedback, drift along z) + molecules. Offsets
are medians of what is no molecule, so that a line across a tall molecule is not pushed down.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

MASKED = 3.0  # robust standard deviations above the support from which a pixel counts as molecule
ROUNDS = 4
DEAD_LINES = 0.05  # share of lines of one value from which a frame is not a whole one
OUTLYING = 5.0  # robust standard deviations of the movie's log roughness beyond which a frame is broken


def flatten(height: np.ndarray) -> np.ndarray:
    """Heights (y, x) above the support of one frame, whose median is 0.

    A polynomial of second degree in x and y (tilt and bow) is fitted to what is no molecule, then the median of each
    line's support is taken away; the mask is found anew four times. Lines that molecules cover for the most part keep
    the offset between those of the lines beside them.

    Parameters:
        height: (y, x), any unit, finite.
    """
    y, x = (np.linspace(-1, 1, n) for n in height.shape)
    terms = np.stack(
        [np.broadcast_to(term, height.shape) for term in (1.0, x, x**2, y[:, None], y[:, None] ** 2, y[:, None] * x)],
        -1,
    )
    flat = height - np.median(height, 1, keepdims=True)
    support = np.ones(height.shape, bool)
    for _ in range(ROUNDS):
        offset = _line_offsets(flat, support)
        flat = flat - offset[:, None]
        chosen = np.flatnonzero(support)[:: max(1, support.sum() // 5000)]
        fit = np.linalg.lstsq(terms.reshape(-1, terms.shape[-1])[chosen], flat.ravel()[chosen], rcond=None)[0]
        flat = flat - terms @ fit
        support = ~ndimage.binary_dilation(molecules(flat), iterations=2)
        if support.mean() < 0.2:  # a layer that covers everything: nothing is left to fit to
            support = flat < np.quantile(flat, 0.5)
    return flat - np.median(flat[support])


def molecules(flat: np.ndarray) -> np.ndarray:
    """Pixels (y, x) that stand out of the support: above three standard deviations after smoothing over a pixel."""
    smooth = ndimage.gaussian_filter(flat, 1)
    centre = np.median(smooth)
    return smooth > centre + MASKED * roughness(smooth)


def roughness(flat: np.ndarray) -> float:
    """Standard deviation of the support, from the heights below the median, among which there are few molecules."""
    centre = np.median(flat)
    return float(1.4826 * np.median(centre - flat[flat <= centre]))


def usable(height: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Which frames (frame,) show something: whole, finite, and as rough as the movie's frames are.

    Left out are frames with pixels that are not finite, with more than one line in twenty of one value (blank, or begun
    while the tip was away), and with a support that is rougher or smoother than that of the median frame by five robust
    standard deviations of its logarithm, and by a factor of two at least.

    Parameters:
        height: (frame, y, x) as recorded.
        flat: (frame, y, x) above the support; 0 where a frame is not finite.
    """
    whole = np.isfinite(height).all((1, 2))
    whole[whole] = (np.ptp(height[whole], axis=2) == 0).mean(1) <= DEAD_LINES
    rough = np.array([roughness(frame) for frame in flat])
    whole &= rough > 0
    if not whole.any():
        return whole
    log = np.log(np.where(whole, rough, 1))
    centre = np.median(log[whole])
    spread = 1.4826 * np.median(np.abs(log[whole] - centre))
    return whole & (np.abs(log - centre) <= max(OUTLYING * spread, np.log(2)))


def _line_offsets(flat: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Median of each line's support (y,), interpolated where there is little of it."""
    enough = support.sum(1) >= max(5, flat.shape[1] // 5)
    if not enough.any():
        return np.zeros(len(flat))
    masked = np.where(support[enough], flat[enough], np.nan)
    lines = np.arange(len(flat))
    return np.interp(lines, lines[enough], np.nanmedian(masked, axis=1))
