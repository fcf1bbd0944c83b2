"""Whether labels fix the axes within the space that they move, or any rotation of it would do as well."""

from __future__ import annotations

import warnings

import numpy as np

N_NULL, NULL_ROWS = 20, 5000  # sets of normal numbers, and rows of each at most, that negentropies are compared with
N_CUTS, LEAST_ROWS, TAIL = 23, 100, 0.02  # values of a source at which distributions are compared, where both are known
SHIFTED = 0.06  # probits, root mean square, by which distributions of labels must differ from shifts of one another
N_PERMUTED, MOST_ROWS = 19, 10_000  # labellings by chance; rows that are looked at
UNFIXED = (
    "Labels move these {n} axes, but no more than theory calls a linear mixture: they only shift one of them, in some"
    " scale in which its scatter within a label is normal, or all scatter is normal and its spread changes alike. Such"
    " sources, turned into one another, explain the data as well (Khemakhem et al. 2020: one statistic a source leaves"
    " a linear mixture). More delays of the same kind do not help; conditions that change how far each source scatters,"
    " or pairs of frames in time, would."
)


def within_labels(S: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sources (frame, component) less their mean at each label, and the same in units of their deviation there."""
    _, at, count = np.unique(labels, return_inverse=True, return_counts=True)
    mean = np.stack([np.bincount(at, column) for column in S.T], axis=1) / count[:, None]
    rest = S - mean[at]
    variance = np.stack([np.bincount(at, column**2) for column in rest.T], axis=1) / count[:, None]
    return rest, rest / np.sqrt(np.maximum(variance, 1e-300))[at]


def are_fixed(S: np.ndarray, labels: np.ndarray, random_state: int = 0) -> str | None:
    """What fixes the axes of sources (frame, component) given labels (frame,), in words; None where nothing does.

    Sources that are independent given the label keep that under any rotation if they are normal and of variances that
    keep their ratio. So either all but one are not normal within labels, or no two keep their ratio of variances.
    Chance: the negentropy that FastICA finds in normal noise; the ratios under permuted labels (95 % each). Since a
    method finds each source up to a function, which can make it look other than normal, each must also differ between
    labels by more than a shift in whatever scale makes it normal (`shifted`). One alone might not, but where one does
    not, the other may have been bent together with it.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = np.repeat(np.arange(6), 300)
        >>> shifted = 3 * rng.normal(size=(6, 2))[labels]
        >>> are_fixed(shifted + rng.normal(size=(1800, 2)), labels) is None
        True
        >>> are_fixed(shifted + rng.laplace(size=(1800, 2)), labels)
        'scatter within labels that is not normal'
    """
    from tempica.ica import FastICA

    n = S.shape[1]
    if n == 1:
        return "one source alone"
    if any(shifted(column, labels) for column in S.T):
        return None
    rng = np.random.default_rng(random_state)
    step = -(-len(S) // MOST_ROWS)
    order = rng.permutation(len(S))[::step]
    rest, standard = (values[order] for values in within_labels(S, labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # FastICA's, of normal numbers
        negentropy = FastICA().fit(standard).negentropy_
    if (negentropy > negentropy_null(len(standard), n)).sum() >= n - 1:
        return "scatter within labels that is not normal"
    own = _least_change(rest, labels[order])
    chance = [_least_change(standard, rng.permutation(labels[order])) for _ in range(N_PERMUTED)]
    return "spreads that change in ratios of their own" if own > np.percentile(chance, 95) else None


def shifted(column: np.ndarray, labels: np.ndarray) -> bool:
    """Whether labels (frame,) do no more to a source (frame,) than shift it, in a scale in which it is normal.

    Then distributions are F_u(x) = Φ(t(x) − m_u) with one increasing t for all labels: probits of the distributions at
    the same values are a sum of what depends on the label and on the value (a semiparametric transformation model, as
    Bickel & Doksum 1981). False if they differ from the best such sum by 0.06, root mean square beyond what
    chance gives, or where rows in common ranges are too few to tell.
    """
    from scipy.stats import norm

    _, at, count = np.unique(labels, return_inverse=True, return_counts=True)
    cuts = np.quantile(column, np.arange(1, N_CUTS + 1) / (N_CUTS + 1))
    of_label = np.split(column[np.argsort(at, kind="stable")], np.cumsum(count)[:-1])
    F = np.stack([np.searchsorted(np.sort(values), cuts) for values in of_label]) / count[:, None]
    told = (F > TAIL) & (F < 1 - TAIL) & (count[:, None] >= LEAST_ROWS)
    k, cut = np.nonzero(told)
    if len(k) <= len(np.unique(k)) + len(np.unique(cut)):
        return False
    probit = norm.ppf(np.where(told, F, 0.5))
    weight = np.where(told, count[:, None] * norm.pdf(probit) ** 2 / (F * (1 - F) + ~told), 0.0)  # 1 / variance
    whole = np.maximum(weight.sum(1), 1e-300)[:, None]
    rest = probit - (weight * probit).sum(1, keepdims=True) / whole  # what depends on the label is eliminated
    normal = np.diag(weight.sum(0)) - weight.T @ (weight / whole)
    by_cut = np.linalg.lstsq(normal, (weight * rest).sum(0), rcond=None)[0]
    rest = rest - by_cut + (weight * by_cut).sum(1, keepdims=True) / whole
    surplus = ((weight * rest**2).sum() - len(k)) / weight.sum()
    return bool(len(k) / weight.sum() < SHIFTED**2 and surplus < SHIFTED**2)


def _least_change(rest: np.ndarray, labels: np.ndarray) -> float:
    """The least, over pairs of sources, mean square over labels of the change of their variances' ratio (log)."""
    from tempica.ica import NonstationaryICA

    model = NonstationaryICA().fit(rest, labels)
    _, count = np.unique(labels, return_counts=True)
    share, log = count / count.sum(), np.log(model.variance_)
    i, j = np.triu_indices(log.shape[1], 1)
    ratio = log[:, i] - log[:, j]
    return float((share @ (ratio - share @ ratio) ** 2).min())


def negentropy_null(n_rows: int, n_features: int) -> float:
    """95th percentile of the largest negentropy that FastICA finds in normal noise of as many rows and features."""
    from sklearn.exceptions import ConvergenceWarning

    from tempica.ica import FastICA

    rng, rows = np.random.default_rng(0), min(n_rows, NULL_ROWS)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # normal sources have nothing to settle on
        for _ in range(N_NULL):
            found.append(FastICA(max_iter=60).fit(rng.normal(size=(rows, n_features))).negentropy_[0])
    # negentropy of noise falls as the number of rows
    return float(np.percentile(found, 95)) * rows / n_rows
