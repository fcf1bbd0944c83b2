"""Every variable by itself: how well its component tells it, what chance gives, and what else the component tells.

Of variable j, its component i and another variable k, r the correlations on held-out frames, the leak of k is
(r_ik − r_ij r_jk) / √(1 − r_jk²): the correlation of the component with what of k does not depend on j.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tempica.evaluate.metrics.arrays import Kind, correlation, standardised
from tempica.evaluate.metrics.intervals import difference_interval, influence, interval
from tempica.evaluate.metrics.mcc import MCC, unrelated_matrices
from tempica.evaluate.metrics.rotations import fit_subspace
from tempica.series import runs, spans

Numbers = dict[str, Any]
KINDS: tuple[Kind, ...] = ("spearman", "pearson")


def each_variable(
    S: np.ndarray,
    truth: np.ndarray,
    *,
    replicas: np.ndarray,
    train: np.ndarray,
    score: MCC,
    names: list[str],
    n_null: int,
    random_state: int,
) -> list[Numbers]:
    """What `verdicts.judge` needs to know of each variable, on the frames that are not `train`.

    Parameters:
        S: (frame, component) sources.
        truth: (frame, variable).
        replicas: (frame,) labels.
        train: True (frame,) where matching and affine map are fitted.
        score: by ranks of the same frames, whose matching and rotations are taken over.
        names: of the variables.
        n_null: draws of the null of each correlation.
        random_state: seed.
    """
    assignment, rotated = score.assignment, score.rotated
    held = S[~train], truth[~train]
    start, length = spans(runs(replicas, ~train))
    subspace = fit_subspace(S[train], truth[train])
    told = subspace.aligned(held[0])
    rows: list[Numbers] = [{"variable": name, "component": int(i)} for name, i in zip(names, assignment, strict=True)]
    r2, draws = subspace.r2(*held), {}
    for kind, seed in zip(KINDS, np.random.SeedSequence(random_state).spawn(len(KINDS)), strict=True):
        rng = np.random.default_rng(seed)
        z, z_truth = (standardised(array, kind) for array in held)
        draws[kind] = np.array(list(unrelated_matrices(z, z_truth, start, length, n_null, rng)))
        of_kind = _of_kind(kind, *held, told, start, length, assignment, np.abs(draws[kind]), rng)
        for row, numbers in zip(rows, of_kind, strict=True):
            row[kind] = numbers
    # of random rotations, what the best-told variable reaches as a share of what the subspace tells of it
    aligned = np.array([row["spearman"]["aligned"] for row in rows])
    share = (rotated / np.maximum(aligned, 1e-9)).max(1) if len(rotated) else np.empty(0)
    for j, row in enumerate(rows):
        row["moves"] = bool(np.ptp(truth[train][:, j]) > 0 and np.ptp(held[1][:, j]) > 0)
        row["r2"] = float(r2[j])
        row["rotation_95"] = float(np.percentile(rotated[:, j], 95)) if len(rotated) else None
        own = row["spearman"]["value"]
        row["rotation_share"] = float((rotated[:, j] >= own).mean()) if len(rotated) else None
        row["best_rotation_95"] = float(np.percentile(share, 95) * aligned[j]) if len(share) else None
    leaks = _leaks(*held, assignment, draws["spearman"])
    for row, (leak, null) in zip(rows, leaks, strict=True):
        row["leaks"] = [
            {"variable": name, "value": float(leak[k]), "null_95": float(null[k])}
            for k, name in enumerate(names)
            if name != row["variable"] and row["component"] >= 0
        ]
    return rows


def _of_kind(
    kind: Kind,
    S: np.ndarray,
    truth: np.ndarray,
    told: np.ndarray,
    start: np.ndarray,
    length: np.ndarray,
    assignment: np.ndarray,
    null: np.ndarray,
    rng: np.random.Generator,
) -> list[Numbers]:
    """Absolute correlation of each variable with its component, interval and chance; and after the affine map."""
    z, z_truth, z_told = (standardised(array, kind) for array in (S, truth, told))
    matrix, found = correlation(z, z_truth), []
    for j, i in enumerate(assignment):
        here: Numbers = {"value": 0.0, "interval": [0.0, 0.0], "null_95": 0.0}
        if i >= 0:
            value = abs(float(matrix[i, j]))
            u = influence(z[:, [i]], z_truth[:, [j]], kind)[:, 0] * np.sign(matrix[i, j])
            here["value"], here["null_95"] = value, float(np.percentile(null[:, i, j], 95))
            here["interval"] = list(interval(value, u, start, length, rng))
        aligned = float(correlation(z_told[:, [j]], z_truth[:, [j]])[0, 0])
        u = influence(z_told[:, [j]], z_truth[:, [j]], kind)[:, 0]
        here["aligned"] = abs(aligned)
        here["aligned_interval"] = list(interval(abs(aligned), u * np.sign(aligned), start, length, rng))
        found.append(here)
    return found


def _leaks(
    S: np.ndarray, truth: np.ndarray, assignment: np.ndarray, draws: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Absolute leak (variable,) of every other variable into each one's component, and the 95 % quantile of chance."""
    z, z_truth = standardised(S, "spearman"), standardised(truth, "spearman")
    r, between = correlation(z, z_truth), correlation(z_truth, z_truth)
    found = []
    for j, i in enumerate(assignment):
        apart = np.sqrt(np.maximum(1 - between[j] ** 2, 1e-12))
        leak = np.abs((r[i] - r[i, j] * between[j]) / apart)
        null = np.abs((draws[:, i] - draws[:, i, [j]] * between[j]) / apart)
        found.append((np.minimum(leak, 1.0), np.percentile(null, 95, axis=0)))
    return found


def gain(
    before: tuple[np.ndarray, np.ndarray],
    after: tuple[np.ndarray, np.ndarray],
    truth: np.ndarray,
    replicas: np.ndarray,
    *,
    random_state: int,
) -> Numbers:
    """Difference of two scores (Spearman, mean over variables) on the same frames, and its paired 95 % interval.

    Parameters:
        before, after: sources (frame, component) of the frames that are scored, and the component (variable,) of each
            variable, −1 for none.
        truth: (frame, variable).
        replicas: (frame,) labels.
        random_state: seed.
    """
    z_truth, scores, influences = standardised(truth, "spearman"), [], []
    for S, assignment in (before, after):
        there = np.flatnonzero(assignment >= 0)
        z = standardised(S[:, assignment[there]], "spearman")
        r = (z * z_truth[:, there]).mean(0)
        scores.append(float(np.abs(r).sum() / truth.shape[1]))
        influences.append((influence(z, z_truth[:, there], "spearman") * np.sign(r)).sum(1) / truth.shape[1])
    value, rng = scores[1] - scores[0], np.random.default_rng(random_state)
    between = difference_interval(value, influences[1] - influences[0], *spans(replicas), rng)
    return {"value": value, "interval": list(between)}
