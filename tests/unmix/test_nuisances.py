"""Leakage is found where it is, and not where it is not; what is taken out is gone, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest
from scipy.signal import lfilter
from scipy.spatial.transform import Rotation

from tempica.errors import DataError
from tempica.evaluate import mcc
from tempica.unmix import read, unmix
from tempica.unmix.nuisances import groups, leakage, regressed_out

N = 2000
rng = np.random.default_rng(0)
ANGLES = Rotation.random(N, random_state=1).as_euler("ZYZ", degrees=True)
POSE = dict(zip(("_rlnAngleRot", "_rlnAngleTilt", "_rlnAnglePsi"), ANGLES.T, strict=True))


def slow(n: int, memory: float = 0.99) -> np.ndarray:
    """Independent series (frame, n) that are as slow as real nuisances."""
    return lfilter([1], [1, -memory], rng.normal(size=(N + 500, n)), axis=0)[500:]


@pytest.mark.parametrize(
    ("column", "leaking"),
    [
        (rng.normal(size=N), lambda u: u**2),
        (rng.normal(size=N), lambda u: np.sin(3 * u)),
        (np.array(list("abcd"))[rng.integers(0, 4, N)], lambda u: (u == "b") * 2.0),
        (rng.integers(0, 2, N), lambda u: u * 1.0),
    ],
)
def test_any_function_of_a_nuisance_is_found(column: np.ndarray, leaking) -> None:
    S = np.stack([leaking(column) + rng.normal(size=N), rng.normal(size=N)], axis=1)
    (found,) = leakage(S, groups({"u": column})).values()
    assert found.leaks[0]
    assert found.r2[0] > 0.1
    left = regressed_out(S, groups({"u": column}))
    (after,) = leakage(left, groups({"u": column})).values()
    assert after.r2[0] < 0.01
    np.testing.assert_allclose(np.corrcoef(left[:, 1], S[:, 1])[0, 1], 1, atol=0.02)


def test_slow_series_that_are_independent_leak_no_more_than_chance() -> None:
    """Of 40 independent pairs, as slow as each other, about 2 pass a null of 95 %; 7 or more are 1 in 200."""
    found = [leakage(slow(1), groups({"u": slow(1)[:, 0]}), k)["u"].leaks[0] for k in range(40)]
    assert sum(found) < 7


def test_a_pose_is_one_nuisance_whatever_its_convention() -> None:
    turn = Rotation.from_euler("ZYZ", ANGLES, degrees=True)
    vector = {f"alignments3D/pose/{i}": each for i, each in enumerate(turn.as_rotvec().T)}
    view = turn.as_matrix()[:, 2, 2]  # along the beam
    S = np.stack([view**2 + 0.3 * rng.normal(size=N)], axis=1)
    for columns in (POSE, vector):
        ((name, found),) = leakage(S, groups(columns)).items()
        assert name == "pose"
        assert found.leaks[0]
    first, second = (groups(columns)["pose"] for columns in (POSE, vector))
    np.testing.assert_allclose(first, second, atol=1e-8)


def test_a_leaking_latent_is_found_and_taken_out(tmp_path: Path) -> None:
    s = np.stack([lfilter([1], [1, -memory], rng.normal(size=N)) for memory in (0.95, 0.6)], axis=1)
    s /= s.std(0)
    X = np.c_[s, 0.3 * rng.normal(size=(N, 2))] @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    view = Rotation.from_euler("ZYZ", ANGLES, degrees=True).as_matrix()[:, 2]
    X[:, :2] += 3 * view[:, :2]
    table = pandas.DataFrame(X, columns=list("abcd")).assign(**POSE)
    asked = {"ordered": True, "methods": ["tica"]}
    leaking = unmix(table, nuisances=["pose"], out=tmp_path / "leaking", **asked)
    clean = unmix(table, given=["pose"], out=tmp_path / "clean", **asked)
    (before,), (after,) = leaking.record["leakage"], clean.record["leakage"]
    assert sum(before["of_latents"]["leaks"]) >= 2
    assert any(before["of_sources"]["leaks"])
    assert not any(after["of_sources"]["leaks"])
    assert after["of_latents"]["r2"] == before["of_latents"]["r2"]  # latents as they were read
    assert mcc(clean.sources, s, n_null=2).score > 0.9
    assert "leaks: the axis may be" in (tmp_path / "leaking" / "report.html").read_text()
    assert "leaks: the axis may be" not in (tmp_path / "clean" / "report.html").read_text()


def test_what_explains_nothing_or_too_much_is_refused() -> None:
    table = pandas.DataFrame(rng.normal(size=(20, 3))).assign(
        k=1, u=np.arange(20.0), **{n: v[:20] for n, v in POSE.items()}
    )
    with pytest.raises(DataError, match="The column k is the same in all 20 rows"):
        read(table, given=["k"])
    with pytest.raises(DataError, match="too many for 20 rows"):
        read(table, given=["pose"])
