"""Which frames the tasks of the stage take, and where they leave what they find."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica.embed.setting import Span
from tempica.runs.work import blocks

if TYPE_CHECKING:
    import xarray

    from tempica.runs.work import Work

BLOCK_FRAMES = 100
LEARN_FRAMES = 1600
SHIFT_FRAMES = 200  # from which the spread of hidden shifts is learned
MAP_GROUPS = 4  # of sums of images
LONGEST = 2500  # frames of a molecule that are embedded together


@dataclass(frozen=True)
class Plan:
    """The stage's files, and the frames that its tasks take."""

    work: Work
    movie: xarray.Dataset

    def file(self, name: str) -> Path:
        return self.work.folder / f"{name}.npz"

    @property
    def pose(self) -> str:
        return str(self.movie.attrs["pose"])

    @property
    def pose_error(self) -> tuple[float, float]:
        """Deviations of stated poses, rad about each axis and Å along each; 0 where they are known."""
        if self.pose != "approximate":
            return 0.0, 0.0
        about = self.movie.attrs
        return float(np.radians(about["pose_error_deg"])), float(about["pose_error_A"])

    @property
    def few_spans(self) -> list[Span]:
        """A block of few frames at the start of each training replica."""
        train = [r for r, split in enumerate(self.work.recipe.splits) if split == "train"]
        each = -(-SHIFT_FRAMES // len(train))
        return [Span(s.replica, 0, min(each, s.last)) for s in self.all_spans if s.first == 0 and s.replica in train]

    @property
    def all_spans(self) -> list[Span]:
        n_replicas, n_frames = self.movie["image"].shape[:2]
        return [Span(r, a, b) for r in range(n_replicas) for a, b in blocks(n_frames, BLOCK_FRAMES)]

    @property
    def learning_spans(self) -> list[Span]:
        """Blocks of training replicas, as many of each and spread over it, so that they show many views."""
        train = [r for r, split in enumerate(self.work.recipe.splits) if split == "train"]
        every = list(blocks(self.movie["image"].shape[1], BLOCK_FRAMES))
        number = min(len(every), -(-LEARN_FRAMES // (len(train) * BLOCK_FRAMES)))
        chosen = np.unique(np.linspace(0, len(every) - 1, number).round().astype(int)).tolist()
        return [Span(r, *every[n]) for r in train for n in chosen]

    @property
    def map_spans(self) -> list[list[Span]]:
        """Blocks of all training frames in few groups, since sums of images are large."""
        spans = [span for span in self.all_spans if self.work.recipe.splits[span.replica] == "train"]
        return [group for n in range(MAP_GROUPS) if (group := spans[n::MAP_GROUPS])]

    @property
    def long_spans(self) -> list[Span]:
        """Frames that are embedded together: blocks, cut between molecules where that is possible."""
        n_replicas, n_frames = self.movie["image"].shape[:2]
        found = []
        for r in range(n_replicas):
            number = self.movie["molecule"].values[r]
            first = 0
            while first < n_frames:
                last = min(first + LONGEST, n_frames)
                if last < n_frames:
                    begins = np.flatnonzero(number[first + 1 : last + 1] != number[first:last]) + first + 1
                    last = int(begins[-1]) if len(begins) else last
                found.append(Span(r, first, last))
                first = last
        return found
