"""How many sources a movie has, by the likelihood of frames that a model was not learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tempica.embed.modes.state_space import STEPS, apply, learn
from tempica.errors import DataError
from tempica.series import check_replicas, runs, spans

STRETCHES = 16  # of frames held out, each smoothed by itself, so that a standard error can be had


@dataclass(frozen=True)
class Choice:
    """How well models of several numbers of sources foretell frames that they were not learned from."""

    n_sources: int  # chosen
    numbers: np.ndarray  # (n,)
    log_evidence: np.ndarray  # (n,) of a frame held out, relative to c = 0
    error: np.ndarray  # (n,) standard error of its difference to the best


def choose_n_sources(
    information: np.ndarray,
    evidence: np.ndarray,
    molecule: np.ndarray,
    numbers: Sequence[int],
    *,
    held_out: np.ndarray | None = None,
    timeless: bool = False,
    n_steps: int = STEPS,
    ridge: float = 1.0,
) -> Choice:
    """The number of sources by the likelihood of frames that nothing was learned from.

    The smallest number whose log-evidence is within one standard error of the largest, by the frames' differences.

    Parameters:
        numbers: of sources, increasing.
        held_out: mask (F,); if None, the last quarter of the molecules where there are four or more, else the last
            quarter of each molecule.

    The others are those of `learn`. Raises DataError as it does, or where nothing is held out.
    """
    labels = check_replicas(molecule, len(evidence))
    held = _last_quarter(labels) if held_out is None else np.asarray(held_out, dtype=bool)
    if held.all() or not held.any():
        raise DataError(f"held_out marks {held.sum()} of {len(held)} frames; leave some out, and some to learn from.")
    stretch = _stretches(runs(labels, held))
    length = np.bincount(stretch)
    gain = []
    for number in numbers:
        found = learn(
            information[~held],
            evidence[~held],
            runs(labels, ~held),
            number,
            timeless=timeless,
            n_steps=n_steps,
            ridge=ridge,
        )
        model = found.centre, found.weight, found.autocorrelation
        gain.append(apply(information[held], evidence[held], stretch, *model).log_evidence / length)
    curve = np.array([np.average(each, weights=length) for each in gain])
    best = int(curve.argmax())
    error = np.array([(each - gain[best]).std(ddof=1) / np.sqrt(len(length)) for each in gain])
    chosen = int(np.flatnonzero(curve >= curve[best] - error)[0])
    return Choice(int(numbers[chosen]), np.array(numbers), curve, error)


def _last_quarter(labels: np.ndarray) -> np.ndarray:
    """Mask (F,) of the last quarter of the molecules, or of each where there are fewer than four."""
    n_molecules = labels[-1] + 1
    if n_molecules >= 4:
        return labels >= n_molecules - max(1, n_molecules // 4)
    start, length = spans(labels)
    return np.arange(len(labels)) - start[labels] >= 0.75 * length[labels]


def _stretches(series: np.ndarray) -> np.ndarray:
    """Labels (F,) of consecutive stretches of series, about STRETCHES in all and at least two."""
    start, _ = spans(series)
    size = max(1, min(-(-len(series) // STRETCHES), -(-len(series) // 2)))
    place = (np.arange(len(series)) - start[series]) // size
    return np.unique(np.stack([series, place]), axis=1, return_inverse=True)[1].ravel()
