"""The share of frames that is held out by default: about a fifth, at the end, whatever the lengths of replicas."""

from __future__ import annotations

import numpy as np
import pytest

from tempica.errors import DataError
from tempica.ica import GCL, PCL
from tempica.ica.labels import last_share
from tempica.series import pairs


def replicas_of(*lengths: int) -> np.ndarray:
    return np.repeat(np.arange(len(lengths)), lengths)


def n_pairs(replicas: np.ndarray, held_out: np.ndarray, lag: int) -> tuple[int, int]:
    """Training and held-out pairs."""
    first = pairs(replicas, lag)
    sides = held_out[first].astype(int) + held_out[first + lag]
    return int((sides == 0).sum()), int((sides == 2).sum())


@pytest.mark.parametrize(
    ("lengths", "held_out"),
    [
        ((100,), 20),
        ((100,) * 3, 100),
        ((100,) * 6, 100),
        ((100,) * 10, 200),
        ((2000,) * 5 + (1,), 2001),
        ((2000,) * 5 + (3,), 2003),
        ((2000,) * 5 + (30,), 2030),
        ((2,) * 1000, 400),
        ((2,) * 5, 4),
        ((3, 2000), 400),
        ((100, 100), 40),
        ((10_000, 300), 2060),
    ],
)
def test_whole_replicas_are_held_out_where_they_make_up_the_share(lengths, held_out) -> None:
    mask = last_share(replicas_of(*lengths), 1)
    assert mask.sum() == held_out
    assert mask[-held_out:].all()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("lag", [1, 4])
def test_a_tenth_to_two_fifths_of_the_pairs_are_held_out_of_replicas_of_any_length(seed, lag) -> None:
    rng = np.random.default_rng(seed)
    replicas = replicas_of(*(1 + rng.pareto(0.7, size=rng.integers(1, 40)) * 20).astype(int).clip(1, 5000), 60)
    train, held_out = n_pairs(replicas, last_share(replicas, lag), lag)
    assert 0.1 < held_out / (train + held_out) < 0.4


@pytest.mark.parametrize("model", [PCL(2, max_steps=4, n_restarts=1), GCL(2, max_steps=4, n_restarts=1)])
@pytest.mark.parametrize("lengths", [(400, 400, 400, 1), (400, 400, 400, 3), (2,) * 300, (3,) * 4, (2,) * 4 + (500,)])
@pytest.mark.filterwarnings("ignore::tempica.errors.IdentifiabilityWarning")
def test_replicas_of_any_length_can_be_fitted(model, lengths, rng) -> None:
    replicas = replicas_of(*lengths)
    X = rng.normal(size=(len(replicas), 2)).cumsum(0)
    assert np.isfinite(model.fit(X, replicas=replicas).transform(X)).all()


def test_two_pairs_are_too_few(rng) -> None:
    with pytest.raises(DataError, match="2 are the least"):
        PCL(2).fit(rng.normal(size=(4, 2)), replicas=[0, 0, 1, 1])


def test_a_short_last_replica_does_no_harm(rng) -> None:
    """Three frames of it decided when to stop and what to keep."""
    innovations = rng.laplace(size=(4003, 2))
    sources = np.zeros_like(innovations)
    for t in range(1, len(sources)):
        sources[t] = 0.8 * sources[t - 1] * (t % 1000 > 0) + innovations[t]
    bent = sources @ np.array([[1.0, 0.6], [-0.5, 1.0]])
    bent = np.where(bent > 0, bent, 0.3 * bent)
    replicas = replicas_of(1000, 1000, 1000, 1000, 3)
    found = PCL(2, max_steps=400, n_restarts=1).fit(bent, replicas=replicas)
    alike = np.abs(np.corrcoef(found.transform(bent).T, sources.T)[:2, 2:])
    assert max(np.trace(alike), np.trace(alike[::-1])) / 2 > 0.95
