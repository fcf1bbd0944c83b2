"""The block-tridiagonal solver against dense matrices."""

import numpy as np
import pytest

from tempica.embed.poses.chain import solve
from tempica.errors import DataError


def blocks(n_frames: int, n: int, joined: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Diagonal and upper blocks of a positive definite matrix, and the matrix."""
    rng = np.random.default_rng(seed)
    dense = np.zeros((n_frames * n, n_frames * n))
    for t in range(n_frames):
        root = rng.standard_normal((n + 2, n))
        dense[t * n : (t + 1) * n, t * n : (t + 1) * n] += root.T @ root
        if joined[t] and t + 1 < n_frames:
            root = rng.standard_normal((n, 2 * n))
            dense[t * n : (t + 2) * n, t * n : (t + 2) * n] += root.T @ root
    tiles = dense.reshape(n_frames, n, n_frames, n).transpose(0, 2, 1, 3)
    every = np.arange(n_frames)
    upper = np.concatenate([tiles[every[:-1], every[1:]], np.full((1, n, n), np.nan)])  # the last one is not used
    return tiles[every, every], upper, dense


@pytest.mark.parametrize(("n_frames", "n"), [(1, 3), (2, 1), (9, 4), (5, 12)])
@pytest.mark.parametrize("broken", [False, True])
def test_as_dense(n_frames, n, broken):
    joined = np.ones(n_frames, bool)
    if broken:
        joined[n_frames // 2] = False
    diagonal, upper, dense = blocks(n_frames, n, joined)
    right = np.random.default_rng(1).standard_normal((n_frames, n, 2))
    chain = solve(diagonal, upper, joined, right)
    inverse = np.linalg.inv(dense).reshape(n_frames, n, n_frames, n).transpose(0, 2, 1, 3)
    assert np.allclose(chain.solution.reshape(-1, 2), np.linalg.solve(dense, right.reshape(-1, 2)))
    assert chain.logdet.sum() == pytest.approx(np.linalg.slogdet(dense)[1])
    for t in range(n_frames):
        assert np.allclose(chain.covariance[t], inverse[t, t])
        if joined[t] and t + 1 < n_frames:
            assert np.allclose(chain.cross[t], inverse[t, t + 1])
        else:
            assert not chain.cross[t].any()


def test_what_is_not_positive_definite_is_named():
    joined = np.ones(4, bool)
    diagonal, upper, _ = blocks(4, 3, joined)
    diagonal[2] -= 100 * np.eye(3)
    with pytest.raises(DataError, match="frame 2"):
        solve(diagonal, upper, joined, np.zeros((4, 3, 1)))
