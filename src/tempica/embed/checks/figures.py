"""What the tasks of a check have left, as figures: differences of log-evidence, and how alike models are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tempica.embed.checks.models import Agreement, agreement
from tempica.imaging.modes import Modes
from tempica.series import standard_error
from tempica.stores import files

SURE = 3.0  # standard errors above 0, from which on a gain counts
LEAST = 0.1  # nats a frame: less is nothing, however sure


@dataclass(frozen=True)
class Figure:
    name: str
    value: float
    error: float | None = None
    unit: str = "nats"

    @property
    def is_sure(self) -> bool:
        return self.error is not None and self.value > max(SURE * self.error, LEAST)

    def __str__(self) -> str:
        if self.unit == "share":
            return f"{100 * self.value:.0f} %"
        text = f"{self.value:.1f}" + ("" if self.error is None else f" ± {self.error:.1f}")
        return text.replace("-", "−")


@dataclass(frozen=True)
class Check:
    """One test."""

    name: str
    title: str
    verdict: str  # passed, failed or not applicable
    sentence: str
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Found:
    """What the tasks of a check have left in its folder."""

    folder: Path
    pose: str  # known, approximate or hidden

    def model(self, name: str) -> Modes:
        return Modes(**files.load_arrays(self.folder / f"model-{name}.npz"))

    def has(self, model: str) -> bool:
        return (self.folder / f"model-{model}.npz").exists()

    def look(self, model: str, frames: str = "held_out", images: str = "run", again: str = "") -> dict[str, np.ndarray]:
        return files.load_arrays(self.folder / f"look-{images}-{frames}-{model}{again}.npz")

    def gain(
        self, name: str, model: str, over: str | None = None, *, frames: str = "held_out", images: str = "run"
    ) -> Figure:
        """Log-evidence a frame of a model against another, or against no molecule."""
        difference = self.look(model, frames, images)["log_evidence"]
        if over is not None:
            difference = difference - self.look(over, frames, images)["log_evidence"]
        return Figure(name, float(difference.mean()), standard_error(difference))

    @cached_property
    def motion(self) -> Figure:
        return self.gain("by motion", "run", "rigid")

    def agreement(self, one: str, two: str) -> Agreement:
        """Of two models, by the motion that each sees in the held-out frames."""
        seen = tuple(self.look(name)["amplitude"] for name in (one, two))
        return agreement(self.model(one), self.model(two), (seen[0], seen[1]))
