"""Scores of a method at growing numbers of frames, and the number at which a score is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Curve:
    """Mean score and its standard error at numbers of frames."""

    frames: tuple[int, ...]  # rising
    score: tuple[float, ...]
    error: tuple[float, ...]

    @classmethod
    def of(cls, scores: Mapping[int, Sequence[float]]) -> Curve:
        """From the scores of several draws at each number of frames."""
        frames = tuple(sorted(scores))
        spread = [float(np.std(scores[n], ddof=1)) if len(scores[n]) > 1 else np.nan for n in frames]
        pooled = 0.0 if np.isnan(spread).all() else float(np.sqrt(np.nanmean(np.square(spread))))
        # a few draws may agree by chance
        error = np.fmax(spread, pooled / 2) / np.sqrt([len(scores[n]) for n in frames])
        return cls(frames, tuple(float(np.mean(scores[n])) for n in frames), tuple(error.tolist()))

    def rising(self, shift: float = 0.0) -> np.ndarray:
        """Scores, `shift` standard errors off, as the closest rising sequence (pools adjacent violators)."""
        values = [[score + shift * error, 1] for score, error in zip(self.score, self.error, strict=True)]
        pooled: list[list[float]] = []
        for each in values:
            pooled.append(list(each))
            while len(pooled) > 1 and pooled[-2][0] >= pooled[-1][0]:
                last = pooled.pop()
                total = pooled[-1][1] + last[1]
                pooled[-1] = [(pooled[-1][0] * pooled[-1][1] + last[0] * last[1]) / total, total]
        return np.concatenate([np.full(int(count), value) for value, count in pooled])

    def needed(self, score: float, shift: float = 0.0) -> float:
        """Frames at which the rising curve reaches a score, linear in ln(frames) between those tried.

        0 where all that were tried do, inf where none does.
        """
        values = self.rising(shift)
        above = np.flatnonzero(values >= score)
        if not len(above):
            return np.inf
        k = int(above[0])
        if k == 0:
            return 0.0
        share = (score - values[k - 1]) / (values[k] - values[k - 1])
        low, high = np.log(self.frames[k - 1]), np.log(self.frames[k])
        return float(np.exp(low + share * (high - low)))

    def next(self, score: float, least: int, most: int, step: float) -> int | None:
        """The number of frames to try next in search of a score; None when it is bracketed within `step`, or cannot be.

        Outward by factors of four (two beside a bracket's end), then half way between the two ends of the bracket.
        """
        needed = self.needed(score)
        if needed == 0:
            return None if self.frames[0] <= least else max(least, self.frames[0] // 4)
        if needed == np.inf:
            return None if self.frames[-1] >= most else min(most, self.frames[-1] * 4)
        values = self.rising()
        k = int(np.flatnonzero(values >= score)[0])
        low, high = self.frames[k - 1], self.frames[k]
        return None if high <= step * low * 1.05 else round(np.sqrt(low * high))
