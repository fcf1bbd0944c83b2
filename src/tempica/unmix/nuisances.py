"""What pose, defocus, micrograph or time of acquisition tell of latents and sources: measured, and taken out.

Shape legend: t frame, k function of a nuisance, f latent or source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tempica.errors import DataError
from tempica.evaluate.leakage import Leakage, explained, functions_of, standardised

POSES = (
    ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"),  # RELION's, degrees
    ("alignments3D/pose/0", "alignments3D/pose/1", "alignments3D/pose/2"),  # cryoSPARC's, a rotation vector, rad
)
POSE = "pose"  # the word that stands for either
N_BLOCKS, SURE = 32, 2.0  # of frames, whose scatter is the error of a covariance; errors by which one is taken for real


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
            turns = _of_rotation(np.stack([left.pop(name) for name in angles], axis=1), angles is POSES[0])
            found[POSE] = standardised(turns)
    for name, values in left.items():
        found[name] = functions_of(values, f"The column {name}")
        if found[name].shape[1] == 0:
            raise DataError(
                f"The column {name} is the same in all {len(values)} rows; it explains nothing. Leave it out."
            )
    return found


def _of_rotation(angle: np.ndarray, is_euler: bool) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("ZYZ", angle, degrees=True) if is_euler else Rotation.from_rotvec(angle)
    entry = turn.as_matrix().reshape(len(angle), 9)
    i, j = np.triu_indices(9)
    return np.concatenate([entry, entry[:, i] * entry[:, j]], axis=1)


def regressed_out(X: np.ndarray, functions: Mapping[str, np.ndarray]) -> np.ndarray:
    """Latents (t, f) less what the functions of nuisances explain of their mean, by least squares.

    A nuisance that changes from frame to frame as slowly as a source does explains much of it by chance. So functions
    are made orthogonal, each to those before it, and a latent loses those alone whose covariance with it exceeds two
    standard errors, as blocks of frames scatter; then, with these taken off, all again.
    """
    B = np.concatenate(list(functions.values()), axis=1)
    if 2 * B.shape[1] > len(X):
        raise DataError(f"{B.shape[1]} functions of the nuisances are too many for {len(X)} rows. Give fewer columns.")
    Q = np.linalg.qr(B)[0] * np.sqrt(len(B))
    blocks = np.array_split(np.arange(len(X)), min(N_BLOCKS, len(X) // 2))
    coefficient = np.zeros((Q.shape[1], X.shape[1]))
    for _ in range(2):
        rest = X - X.mean(0) - Q @ coefficient
        parts = np.stack([Q[block].T @ rest[block] / len(block) for block in blocks])
        found, error = coefficient + parts.mean(0), parts.std(0, ddof=1) / np.sqrt(len(blocks))
        coefficient = np.where(np.abs(found) > SURE * error, found, 0.0)
    return X - Q @ coefficient


def leakage(S: np.ndarray, functions: Mapping[str, np.ndarray], random_state: int = 0) -> dict[str, Leakage]:
    """How much of each column of S (t, f) each nuisance explains, beside chance: as `evaluate.leakage`, in one series.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> defocus = rng.normal(size=2000)
        >>> S = np.stack([defocus**2 + rng.normal(size=2000), rng.normal(size=2000)], axis=1)
        >>> leakage(S, groups({"defocus": defocus}))["defocus"].leaks.tolist()
        [True, False]
    """
    rng, one = np.random.default_rng(random_state), np.zeros(len(S), int)
    return {name: explained(S, each, one, rng) for name, each in functions.items()}
