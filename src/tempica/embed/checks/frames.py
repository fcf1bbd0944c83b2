"""Which frames a check of a run takes, and images made up in their place: noise alone, or a molecule of our own in it.

Shape legend: F frame, N bead, K mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.spatial.transform import Rotation

from tempica import imaging, seeds
from tempica.embed.poses.settling import PosePrior, hidden
from tempica.embed.quadratic import Observed, model_waves, observe, together
from tempica.embed.setting import Setting, Span, molecules, observed_of, stated_precision
from tempica.imaging.detector import coloured
from tempica.imaging.modes import Modes
from tempica.runs.reading import read

if TYPE_CHECKING:
    import xarray

STRETCH = 100  # frames in sequence, at the most
Images = Literal["run", "noise", "still", "moving"]
"""Images of the run; noise alone; the run's mean structure in noise; the run's model in noise, amplitudes drawn."""


@dataclass(frozen=True)
class Sample:
    """Whitened images of frames, and what is known of their poses."""

    observed: Observed
    molecule: np.ndarray  # (F,)
    rotation: np.ndarray | None  # (F, 3, 3) as stated; none where poses are hidden
    shift_A: np.ndarray  # (F, 2)
    prior: PosePrior | None  # none where poses are known
    spread_A: float  # deviation of hidden shifts

    def __len__(self) -> int:
        return len(self.observed)

    @property
    def is_hidden(self) -> bool:
        return self.rotation is None


def halves(splits: Sequence[str], n_frames: int) -> tuple[list[Span], list[Span]]:
    """Two disjoint halves of what is there to learn from: every other training replica, or the halves of the only one.

    Each span is all that a half may take of a replica.
    """
    train = [r for r, split in enumerate(splits) if split == "train"]
    if len(train) > 1:
        return [Span(r, 0, n_frames) for r in train[::2]], [Span(r, 0, n_frames) for r in train[1::2]]
    middle = n_frames // 2
    return [Span(train[0], 0, middle)], [Span(train[0], middle, n_frames)]


def held_out(splits: Sequence[str], n_frames: int) -> list[Span]:
    """All frames of held-out replicas."""
    return [Span(r, 0, n_frames) for r, split in enumerate(splits) if split == "held_out"]


def stretches(whole: Sequence[Span], n: int) -> list[Span]:
    """About `n` frames in stretches of up to STRETCH, as many of each span and spread over it."""
    found = []
    for span in whole:
        each = min(len(span), -(-n // len(whole)))
        number = -(-each // STRETCH)
        length = -(-each // number)
        begins = np.linspace(span.first, max(span.last - length, span.first), number).astype(int)
        found += [Span(span.replica, first, min(first + length, span.last)) for first in begins.tolist()]
    return found


def load(run: Path, setting: Setting, own: Modes, spans: Sequence[Span], images: Images, seed: int) -> Sample:
    """Frames of spans, as the run has them or made up at their foci and poses with the noise of the setting."""
    movie = read(run, "check", "movie")
    kind, precision = str(movie.attrs["pose"]), stated_precision(movie)
    seen = [_observed(run, setting, own, span, images, seed) for span in spans]
    observed = together(seen)
    molecule, spread = molecules(movie, spans), float(setting.shift_deviation_A)
    if kind == "hidden":
        nothing = np.zeros((len(observed), 2))
        return Sample(observed, molecule, None, nothing, hidden(len(observed), spread), spread)
    rotation, shift = (np.concatenate(part) for part in zip(*(_pose(movie, span) for span in spans), strict=True))
    prior = PosePrior(rotation, shift, precision) if precision.any() else None
    return Sample(observed, molecule, rotation, shift, prior, spread)


def _pose(stored: xarray.Dataset, span: Span) -> tuple[np.ndarray, np.ndarray]:
    part = span.of(stored)
    return Rotation.from_quat(part["pose_quaternion"].values).as_matrix(), part["pose_shift_A"].values


def _observed(run: Path, setting: Setting, own: Modes, span: Span, images: Images, seed: int) -> Observed:
    movie = read(run, "check", "movie")
    if images == "run":
        return observed_of(movie, setting, span)
    camera = imaging.camera_of(movie)
    n = camera.optics.n_pixels
    deviation = np.sqrt(float(setting.noise_variance))
    draws = [seeds.generator(seed, "check noise", span.replica, f) for f in range(span.first, span.last)]
    noise = np.stack([coloured(draw.normal(scale=deviation, size=(n, n)), setting.noise_power) for draw in draws])
    focus = [span.of(movie)[name].values for name in imaging.FOCUS]
    empty = observe(camera, noise, focus, float(setting.noise_variance), int(setting.radius), setting.noise_power)
    if images == "noise":
        return empty
    amplitude = np.stack([draw.normal(size=len(own.shape)) for draw in draws]) * (images == "moving")
    position = own.mean + np.tensordot(amplitude, own.shape, 1)
    # hidden poses are those that the run has found: its images are of such views
    stored = read(run, "check", "latents") if movie.attrs["pose"] == "hidden" else movie
    wave = model_waves(empty.disc, setting.scatterers, position, *_pose(stored, span))
    return replace(empty, target=(empty.target + empty.transfer * wave).astype(np.complex64))
