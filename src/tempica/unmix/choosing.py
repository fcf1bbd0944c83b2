"""Which methods the data allow, and which is taken: the table of `tempica.ica.methods` read against the frames."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tempica.errors import DataError
from tempica.ica.methods import Method, find, trainable
from tempica.series import spans
from tempica.unmix.frames import Frames

SERIES = 20  # rows that make a movie
WITHOUT_TIME = (
    "Without time and labels, only linear ICA is left. It finds axes if the latents are a linear mixture of"
    " independent sources of which one at most is Gaussian. A latent space of single snapshots is in general a bent"
    " mixture, and then no method can tell its axes from others that fit as well: take the axes as a description of"
    " the data, not as degrees of freedom. Times of frames, or conditions (--labels), would make them identifiable."
)


@dataclass(frozen=True)
class Row:
    """A row of the table, and why it does not apply; None where it does."""

    method: Method
    lacks: str | None


def applicable(frames: Frames, lag: int = 1) -> list[Row]:
    """Every method that can be trained, with what these frames lack for it."""
    return [Row(row, _lacks(row, frames, lag)) for row in trainable()]


def _lacks(row: Method, frames: Frames, lag: int) -> str | None:
    if row.images:
        return "it is for images, and these are latents"
    if row.needs.startswith("labels") and frames.labels is not None:
        return None
    if row.needs == "labels":
        return "rows have no labels; give a column of conditions or delays with --labels"
    if row.needs == "nothing":
        return None
    if frames.replicas is None:
        return "rows have no order in time; give --time COLUMN, or --ordered"
    longest = int(spans(frames.replicas)[1].max())
    if longest <= lag:
        return f"no series has two rows {lag} apart; the longest has {longest}"
    if row.needs.endswith("series") and longest < SERIES:
        return f"the longest series has {longest} rows, too few for a movie ({SERIES})"
    return None


def choose(frames: Frames, rows: list[Row], asked: tuple[str, ...] = ()) -> list[str]:
    """Names of the methods to fit, the one whose sources are given out last.

    Pairs of frames: TICA and PCL. Labels: NonstationaryICA, TCL and GCL, of which the one that tells labels best
    apart is given out (`unmix`). Neither: FastICA. Raises DataError for a method that does not apply.
    """
    lacks = {row.method.name: row.lacks for row in rows}
    for name in asked:
        if name not in lacks:
            raise DataError(f"There is no method '{name}'. Methods: {', '.join(lacks)}.")
        if lacks[name] is not None:
            could = ", ".join(each for each, why in lacks.items() if why is None)
            raise DataError(f"{find(name).title} cannot run here: {lacks[name]}. Methods that can: {could}.")
    if asked:
        return list(dict.fromkeys(asked))
    if lacks["pcl"] is None:
        return ["tica", "pcl"]
    return ["nonstationary", "tcl", "gcl"] if lacks["tcl"] is None else ["fastica"]


def count(frames: Frames, random_state: int) -> tuple[int | None, str]:
    """Number of sources, and the sentence that says how it was found; None is every direction that varies."""
    from tempica.ica import count_sources

    if frames.counted is not None:
        return frames.counted
    if frames.replicas is None and frames.labels is None:
        return None, "All directions that vary: without time or labels nothing tells a source from noise."
    if frames.replicas is not None and int(spans(frames.replicas)[1].max()) > 1:
        lags = (1, 2) if int(spans(frames.replicas)[1].max()) > 2 else (1,)
        found = count_sources(frames.X, replicas=frames.replicas, lag=lags, random_state=random_state)
        on = "time"
    else:
        found = count_sources(frames.X, labels=frames.labels, random_state=random_state)
        on = "the label"
    return found.n, f"{found.n} of {found.directions.shape[0]} directions depend on {on} beyond chance. {found.limits}"


def without_order(frames: Frames) -> Frames:
    """The same frames without time and labels, for data that depend on neither."""
    what = "time" if frames.replicas is not None else "the label"
    told = (
        f"no direction of the {frames.X.shape[1]} latents depends on {what} beyond chance, so {what} identifies nothing"
        " here; frames are taken as they would be without it"
    )
    return replace(frames, replicas=None, labels=None, counted=None, notes=(*frames.notes, told))


def label_counts(frames: Frames) -> str:
    """How many rows each label has, in words."""
    assert frames.labels is not None
    names, n = np.unique(frames.labels, return_counts=True)
    told = ", ".join(f"{name}: {k}" for name, k in zip(names[:12].tolist(), n[:12].tolist(), strict=True))
    return f"{len(names)} labels ({told}{', …' if len(names) > 12 else ''})"
