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
    def has_patterns(self) -> bool:
        """Whether frames are diffraction patterns, which do not depend on where the molecule is."""
        return bool(self.movie.attrs["kind"] == "diffraction")

    @property
    def few_spans(self) -> list[Span]:
        """A block of few frames at the start of each training replica."""
        train = [r for r, split in enumerate(self.work.recipe.splits) if split == "train"]
        each = -(-SHIFT_FRAMES // len(train))
        return [Span(r, 0, min(each, self.movie["image"].shape[1])) for r in train]

    def learning_spans(self, n_frames: int) -> list[Span]:
        """Blocks of training replicas with about that many frames; see `spread_spans`."""
        train = [r for r, split in enumerate(self.work.recipe.splits) if split == "train"]
        return spread_spans(train, self.movie["image"].shape[1], n_frames)

    @property
    def map_spans(self) -> list[list[Span]]:
        """Blocks of all training frames in few groups, since sums of images are large."""
        spans = self.learning_spans(self.movie["image"].sizes["replica"] * self.movie["image"].sizes["time"])
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


def spread_spans(replicas: list[int], n_frames: int, n_wanted: int) -> list[Span]:
    """Blocks of replicas of `n_frames`, as many of each and spread over it, so that they show many views."""
    every = list(blocks(n_frames, BLOCK_FRAMES))
    number = max(1, min(len(every), -(-n_wanted // (len(replicas) * BLOCK_FRAMES))))
    chosen = np.unique(np.linspace(0, len(every) - 1, number).round().astype(int)).tolist()
    return [Span(r, *every[n]) for r in replicas for n in chosen]
