"""What a design finds: what images mean at each SNR, and what each method needs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from tempica.designs.curves import Curve
from tempica.designs.lights import Light


@dataclass(frozen=True)
class Row:
    """What one method needs at one SNR.

    Scores may be high by chance with fewer frames than `least`: of sources that a method cannot tell apart, each draw
    turns the axes anew. `frames` is therefore never below it.
    """

    snr: float
    method: str
    lag: int | None
    frames: float | None  # to learn from; None: not reached
    least: float | None  # frames from which on what the method looks at holds 10 nats; None if it holds nothing
    interval: tuple[float, float | None]  # of the frames, one standard error of the curve to either side
    most: float  # the best score that was foreseen
    curve: Curve


@dataclass(frozen=True)
class Design:
    """What was found."""

    recipe: str
    score: float  # that is wanted
    stage: str  # unmixed or smoothed
    variables: tuple[str, ...]
    replicas: int  # that training and validation see
    alike: tuple[tuple[str, ...], ...]
    lights: tuple[Light, ...]
    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        return f"Design({self.recipe!r}, score={self.score:g}, {len(self.rows)} rows at {len(self.lights)} SNR)"

    def best(self, snr: float) -> Row | None:
        """The method that needs the fewest frames, or else comes closest."""
        rows = [row for row in self.rows if row.snr == snr]
        reached = [row for row in rows if row.frames is not None]
        if reached:
            return min(reached, key=lambda row: row.frames or 0)
        return max(rows, key=lambda row: row.most, default=None)

    def as_json(self) -> dict[str, Any]:
        """Plain data; null stands for what is infinite."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: plain(one) for key, one in value.items()}
            if isinstance(value, list | tuple):
                return [plain(one) for one in value]
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return dict(plain(asdict(self)))
