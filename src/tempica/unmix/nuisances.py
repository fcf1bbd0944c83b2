"""What pose, defocus, micrograph or time of acquisition tell of latents and sources: measured, and taken out.

Shape legend: t frame, k function of a nuisance, f latent or source.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tempica.errors import DataError

POSES = (
    ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"),  # RELION's, degrees
    ("alignments3D/pose/0", "alignments3D/pose/1", "alignments3D/pose/2"),  # cryoSPARC's, a rotation vector, rad
)
POSE = "pose"  # the word that stands for either
N_WAVES = 8  # functions of a column of numbers
MOST_LEVELS, LEAST_ROWS = 300, 5  # of a column of text: values that count, and rows of each
N_FOLDS, N_NULL = 5, 99
RIDGE = 1e-6  # of a frame's share, against functions that depend on each other


@dataclass(frozen=True)
class Leakage:
    """How much of each latent or source a nuisance explains.

    Attributes:
        name: of the nuisance.
        r2: (f,) share of variance that is explained in frames that the explanation was not learned on; 0 at least.
        null_95: (f,) 95th percentile of the same for a nuisance that is moved in time on a circle.
    """

    name: str
    r2: np.ndarray
    null_95: np.ndarray

    @property
    def leaks(self) -> np.ndarray:
        """Which (f,) are explained beyond chance."""
        return self.r2 > self.null_95


def names_of(asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """Columns of what was asked for; the word pose stands for the three angles that the columns have."""
    found = []
    for name in asked:
        if name != POSE or POSE in known:
            found.append(name)
            continue
        bare = {each.lstrip("_") for each in known}
        found += next((list(angles) for angles in POSES if set(angles) <= bare), list(POSES[0]))
    return list(dict.fromkeys(found))


def groups(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Functions (t, k) of each nuisance, of mean 0 and variance 1: of rotations, of numbers, of names.

    Three angles of a pose are one nuisance: the entries of the rotation matrix and their products. Numbers are taken
    by their ranks u, as cos πku; names as indicators.
    """
    left = {name.lstrip("_"): values for name, values in columns.items()}
    found = {}
    for angles in POSES:
        if set(angles) <= set(left):
            found[POSE] = _of_rotation(np.stack([left.pop(name) for name in angles], axis=1), angles is POSES[0])
    for name, values in left.items():
        functions = _of_numbers(values) if values.dtype.kind in "fiub" else _of_names(values)
        if functions.shape[1] == 0:
            raise DataError(
                f"The column {name} is the same in all {len(values)} rows; it explains nothing. Leave it out."
            )
        found[name] = functions
    return {name: _standardised(values) for name, values in found.items()}


def _of_rotation(angle: np.ndarray, is_euler: bool) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("ZYZ", angle, degrees=True) if is_euler else Rotation.from_rotvec(angle)
    entry = turn.as_matrix().reshape(len(angle), 9)
    i, j = np.triu_indices(9)
    return np.concatenate([entry, entry[:, i] * entry[:, j]], axis=1)


def _of_numbers(values: np.ndarray) -> np.ndarray:
    level, at, count = np.unique(values, return_inverse=True, return_counts=True)
    u = ((np.cumsum(count) - 0.5 * count) / len(values))[at]  # middle rank of each value
    return np.cos(np.pi * np.arange(1, min(N_WAVES, len(level) - 1) + 1) * u[:, None])


def _of_names(values: np.ndarray) -> np.ndarray:
    level, at, count = np.unique(values, return_inverse=True, return_counts=True)
    common = [k for k in np.argsort(-count, kind="stable")[:MOST_LEVELS].tolist() if count[k] >= LEAST_ROWS]
    return (at[:, None] == np.array(common if len(level) > 1 else [], dtype=int)).astype(float)


def _standardised(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(0)
    deviation = centred.std(0)
    kept = deviation > 1e-9
    return centred[:, kept] / deviation[kept]


def regressed_out(X: np.ndarray, functions: Mapping[str, np.ndarray]) -> np.ndarray:
    """Latents (t, f) less what the functions of nuisances explain of their mean, by least squares."""
    B = np.concatenate(list(functions.values()), axis=1)
    if 2 * B.shape[1] > len(X):
        raise DataError(f"{B.shape[1]} functions of the nuisances are too many for {len(X)} rows. Give fewer columns.")
    gram = B.T @ B + RIDGE * len(B) * np.eye(B.shape[1])
    centred = X - X.mean(0)
    return X - B @ np.linalg.solve(gram, B.T @ centred)


def leakage(S: np.ndarray, functions: Mapping[str, np.ndarray], random_state: int = 0) -> list[Leakage]:
    """How much of each column of S (t, f) each nuisance explains, beside chance.

    R² is of frames left out, in five parts of consecutive frames. Chance: the nuisance moved by a random number of
    frames on a circle, which keeps how slow both are. Example:
        >>> rng = np.random.default_rng(0)
        >>> defocus = rng.normal(size=2000)
        >>> S = np.stack([defocus**2 + rng.normal(size=2000), rng.normal(size=2000)], axis=1)
        >>> (found,) = leakage(S, groups({"defocus": defocus}))
        >>> found.leaks.tolist()
        [True, False]
    """
    S = (S - S.mean(0)) / np.maximum(S.std(0), 1e-300)
    rng, found = np.random.default_rng(random_state), []
    for name, B in functions.items():
        offsets = rng.integers(len(S) // 20, len(S) - len(S) // 20, N_NULL)
        null = np.array([_explained(S, np.roll(B, int(offset), axis=0)) for offset in offsets])
        found.append(Leakage(name, _explained(S, B), np.percentile(null, 95, axis=0)))
    return found


def _explained(S: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Share (f,) of the variance of S in frames left out."""
    edges = np.linspace(0, len(S), N_FOLDS + 1).astype(int)
    parts = [slice(a, b) for a, b in itertools.pairwise(edges.tolist())]
    grams, crosses = [B[p].T @ B[p] for p in parts], [B[p].T @ S[p] for p in parts]
    ridge = RIDGE * len(B) * np.eye(B.shape[1])
    left = np.zeros(S.shape[1])
    for k, part in enumerate(parts):
        weight = np.linalg.solve(sum(grams) - grams[k] + ridge, sum(crosses) - crosses[k])
        left += ((S[part] - B[part] @ weight) ** 2).sum(0)
    return np.clip(1 - left / (S**2).sum(0), 0, None)
