"""Whether anything moves in a movie without a truth, and whether it is found again in each half of it.

Every autocorrelation stands beside what the same frames have after their order in time was shuffled within each
molecule: noise keeps its distribution and its correlations between pixels, and loses its memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tempica.ica.linear.linear import TICA

N_NULL = 199
N_SHIFTS = 99
LAGS = (1, 2, 3, 5, 8, 13, 21)
SURE = 0.01  # probability under the null below which something is said to move
LEVEL = 0.05
COMMON = 0.5  # share of variance that the sources of two halves must have in common: more than not
LEAST_PAIRS = 20  # of frames, in a half

NOTHING, STABLE, UNSTABLE = "nothing moves", "stable", "not stable"


def motion(
    latent: np.ndarray,
    sources: dict[str, np.ndarray],
    labels: np.ndarray,
    track: np.ndarray,
    frame: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """What a movie shows of motion, as plain data for the report.

    Parameters:
        latent: (row, component).
        sources: (row, source) by the name of their method.
        labels: (row,) of stretches of frames that follow each other.
        track: (row,) of molecules.
        frame: (row,) number in the movie.
        rng: of the shuffles.

    Returns `verdict`, `sentence`; `slowest`, the largest autocorrelation at lag 1 of any direction of the latents, with
    the 95 % quantile of the same in shuffled frames and p; `methods`, for each source its autocorrelations with their
    null; and `found_again` for TICA's sources, fitted to each half of the movie, and to each half of the molecules.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> noise, row = rng.normal(size=(400, 3)), np.arange(400)
        >>> motion(noise, {"tica": noise[:, :2]}, row // 100, row // 200, row % 200, rng)["verdict"]
        'nothing moves'
    """
    white = _white(latent)
    slowest = _slowest(white, labels)
    null = [_slowest(white[_shuffled(track, rng)], labels) for _ in range(N_NULL)]
    p = _p(slowest, null)
    told = {name: [_memory(column, labels, track, rng) for column in values.T] for name, values in sources.items()}
    n = sources["tica"].shape[1] if "tica" in sources else min(2, white.shape[1])
    again = {
        "halves of the movie": _again(latent, labels, track, frame > np.median(frame), n, rng),
        "halves of the molecules": _again(latent, labels, track, _half_of(track), n, rng),
    }
    moves, halves = p <= SURE, again["halves of the movie"]
    stable = [one["source"] for one in halves if one["stable"]]
    verdict = NOTHING if not moves else STABLE if stable else UNSTABLE
    return {
        "verdict": verdict,
        "sentence": _sentence(verdict, slowest, null, p, stable, len(halves)),
        "slowest": {"autocorrelation": slowest, "null_95": float(np.quantile(null, 0.95)), "p": p},
        "n_pairs": int(_pairs(labels, 1).size),
        "methods": told,
        "common": [_common(column, track, frame, rng) for column in sources.get("tica", np.empty((0, 0))).T],
        "found_again": {name: value for name, value in again.items() if value},
    }


def _sentence(verdict: str, slowest: float, null: list[float], p: float, stable: list[int], n: int) -> str:
    beside = f"{slowest:.2f} beside {np.quantile(null, 0.95):.2f} in shuffled frames, p = {p:.3f}"
    if verdict == NOTHING:
        return f"Nothing moves: no direction of the crops has more memory than shuffled frames have ({beside})."
    if verdict == UNSTABLE:
        return (
            f"Not stable: frames remember those before them ({beside}), but no source that one half of the movie"
            " teaches is found again in the other."
        )
    which = f"source {stable[0]} is" if len(stable) == 1 else f"sources {', '.join(map(str, stable))} are"
    return f"Stable: {which} found again in each half of the movie, of {n} ({beside})."


def _again(
    latent: np.ndarray, labels: np.ndarray, track: np.ndarray, second: np.ndarray, n: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Sources that each half teaches: how far they agree, and the memory of each in the half that did not teach it."""
    halves = [np.flatnonzero(~second), np.flatnonzero(second)]
    if any(_pairs(labels[rows], 1).size < LEAST_PAIRS for rows in halves):
        return []
    both = []
    for rows in halves:
        _, stretch = np.unique(labels[rows], return_inverse=True)
        both.append(TICA(None, lag=1).fit(latent[rows], replicas=stretch).transform(latent)[:, :n])
    agreement = np.abs(np.corrcoef(both[0].T, both[1].T)[:n, n:])
    from scipy.optimize import linear_sum_assignment

    found = []
    for i, j in zip(*linear_sum_assignment(-agreement), strict=True):
        tests = [
            _memory(both[taught][rows, column], labels[rows], track[rows], rng)
            for taught, column, rows in ((0, i, halves[1]), (1, j, halves[0]))
        ]
        found.append(
            {
                "source": int(i) + 1,
                "agreement": float(agreement[i, j]),
                "autocorrelation": [test["autocorrelation"][0] for test in tests],
                "null_95": [test["null_95"][0] for test in tests],
                "p": [test["p"] for test in tests],
                "stable": bool(agreement[i, j] ** 2 >= COMMON and all(test["p"] <= LEVEL for test in tests)),
            }
        )
    return found


def _common(series: np.ndarray, track: np.ndarray, frame: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """How far molecules change at the same times, as a change of the tip or of the feedback makes them.

    The mean correlation between molecules over the frames that two share, absolute, with the 95 % quantile of what is
    left when each molecule's series is shifted in time around its end; None where no two are seen together.
    """
    numbers = np.unique(track)
    table = np.full((len(numbers), frame.max() + 1), np.nan)
    for row, number in enumerate(numbers):
        table[row, frame[track == number]] = series[track == number]

    def agreement(table: np.ndarray) -> float:
        found = []
        for i in range(len(table)):
            for other in table[i + 1 :]:
                both = np.isfinite(table[i]) & np.isfinite(other)
                if both.sum() >= LEAST_PAIRS and table[i][both].std() > 0 and other[both].std() > 0:
                    found.append(abs(np.corrcoef(table[i][both], other[both])[0, 1]))
        return float(np.mean(found)) if found else np.nan

    own = agreement(table)
    if not np.isfinite(own):
        return {"correlation": None, "null_95": None}
    null = []
    for _ in range(N_SHIFTS):
        shifted = table.copy()
        for row in shifted:
            seen = np.isfinite(row)
            row[seen] = np.roll(row[seen], rng.integers(seen.sum()))
        null.append(agreement(shifted))
    return {"correlation": own, "null_95": float(np.quantile(null, 0.95))}


def _memory(series: np.ndarray, labels: np.ndarray, track: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Autocorrelations of one series at several lags, with the 95 % quantile of shuffled ones, and p at the first."""
    first = {lag: _pairs(labels, lag) for lag in LAGS}
    lags = [lag for lag, rows in first.items() if rows.size >= LEAST_PAIRS] or [1]
    values = series - series.mean()

    def at_lags(shown: np.ndarray) -> np.ndarray:
        power = np.square(shown).mean()
        return np.array([(shown[first[lag]] * shown[first[lag] + lag]).mean() / power for lag in lags])

    own = at_lags(values)
    null = np.stack([at_lags(values[_shuffled(track, rng)]) for _ in range(N_NULL)])
    return {
        "lags": list(lags),
        "autocorrelation": own.tolist(),
        "null_95": np.quantile(null, 0.95, axis=0).tolist(),
        "p": _p(float(own[0]), null[:, 0].tolist()),
    }


def _slowest(white: np.ndarray, labels: np.ndarray) -> float:
    """The largest autocorrelation at lag 1 of any direction of whitened rows."""
    first = _pairs(labels, 1)
    lagged = white[first].T @ white[first + 1] / len(first)
    return float(np.linalg.eigvalsh((lagged + lagged.T) / 2)[-1])


def _white(latent: np.ndarray) -> np.ndarray:
    centred = latent - latent.mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    white: np.ndarray = left[:, size > 1e-9 * size[0]] * np.sqrt(len(latent))
    return white


def _pairs(labels: np.ndarray, lag: int) -> np.ndarray:
    return np.flatnonzero(labels[lag:] == labels[:-lag])


def _shuffled(track: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows (row,) in which those of each molecule are in another order."""
    order = np.arange(len(track))
    for number in np.unique(track):
        rows = np.flatnonzero(track == number)
        order[rows] = rng.permutation(rows)
    return order


def _half_of(track: np.ndarray) -> np.ndarray:
    """Molecules in two groups, every other one."""
    half: np.ndarray = np.unique(track, return_inverse=True)[1] % 2 == 1
    return half


def _p(value: float, null: list[float]) -> float:
    return (1 + sum(other >= value for other in null)) / (1 + len(null))
