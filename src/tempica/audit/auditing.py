"""The audit: tests, the axes that the data prefer, and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from tempica import seeds
from tempica.audit import dynamics, halves, independence, ranks, rotation, signal, verdict
from tempica.audit.features import Features, linear, networks, number_by_contrast, with_halves
from tempica.audit.given import Given, columns, given, refuse
from tempica.audit.lags import lag_test
from tempica.audit.number import not_moving, number_of, number_test
from tempica.audit.pairs import quasi_gaussianity_test
from tempica.audit.results import Audit, Pipeline, Test
from tempica.audit.width import width_test
from tempica.errors import DataError
from tempica.evaluate.leakage import leakage
from tempica.ica.linear.dimension import count_sources
from tempica.progress import Progress

METHODS = ("auto", "fastica", "sobi", "nonstationary", "pcl", "tcl")
N_STEPS = 7
N_ROUGH = 20  # shifted series with which fits are compared
FIRST = 0.02  # squared sine that the first stage may lose on others
WHAT = {
    "innovations": "innovations (first stage)",
    "values": "values (FastICA)",
    "spectra": "autocorrelations (SOBI)",
    "variances": "variances (nonstationary)",
}
SEPARATE = 3.0  # standard errors by which decays must differ where autocorrelations alone have given the axes


def audit(
    X: Any,
    *,
    method: str = "auto",
    replicas: Any = None,
    labels: Any = None,
    covariance: Any = None,
    nuisances: Mapping[str, Any] | None = None,
    n_components: int | None = None,
    lag: int = 1,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Audit:
    """Say whether the axes that temporal ICA finds in latents can be believed, without a truth.

    Features are linear, or a network's where that holds more of a held-out contrast. Axes are sought in them by what
    can fix any (innovations, values, autocorrelations, variances), each in up to eight disjoint parts of the data from
    random starts; two axes are told apart where parts agree better than random rotations would. The sources that
    result are tested for what the theorems assume, and the losses that the tests show make the estimate `confidence`.

    Parameters:
        X: latents (frame, feature), in order of time within each replica.
        method: "auto", or the only method to audit: fastica, sobi, nonstationary, pcl or tcl.
        replicas: label (frame,) of the series that each frame belongs to; one series when None.
        labels: label (frame,) of the segment, condition or delay of each frame. With labels and no replicas, frames
            are snapshots without an order of time.
        covariance: of each frame's noise (frame, feature, feature), or one for all (feature, feature).
        nuisances: columns (frame,) by name, numbers or words, that no source should follow: a defocus, say.
        n_components: number of sources; counted when None.
        lag: between the two frames of a pair.
        random_state: seed of all that is drawn.
        progress: where to say what is being done; nowhere when None.

    Of more than 20,000 frames, 20 stretches spread evenly are used. Raises DataError, in one sentence, for what cannot
    be audited. Sources: the theorems that `Verdict.theorem` names.

    Example:
        >>> from tempica.evaluate import audit
        >>> import numpy as np
        >>> noise = np.random.default_rng(0).normal(size=(2000, 2))
        >>> audit(noise).verdict.kind
        'nothing moves'
    """
    if method not in METHODS:
        raise DataError(f"method = {method!r} must be {', '.join(METHODS)}.")
    data = given(X, replicas, labels, covariance, lag)
    refuse(method, data)
    with progress.task("audit", "steps", N_STEPS, 0) if progress else nullcontext(lambda: None) as advance:
        return _audited(data, method, n_components, columns(nuisances, X), random_state, advance)


def _audited(
    data: Given,
    method: str,
    n_components: int | None,
    nuisances: Mapping[str, np.ndarray],
    seed: int,
    advance: Callable[[], None],
) -> Audit:
    """Signal, number of sources, features and axes; then the tests of what they give."""
    rng = seeds.generator(seed, "audit")
    tests = signal.signal_tests(data, rng)
    advance()
    count = count_sources(data.X, replicas=data.replicas, lag=data.lag) if data.timed else None
    if data.labels is not None:
        by_label = count_sources(data.X, labels=data.labels)
        count = by_label if count is None or by_label.n > count.n else count
    assert count is not None
    n = number_of(n_components, count, data)
    tests.append(number_test(count, n))
    advance()
    if n == 0:
        return _nothing(tests, data)
    moving = any(test.passed for test in tests if test.name.startswith("signal"))
    fits = _candidates(data, count.directions[:n], method, moving, seed)
    features, axes, _ = max(fits, key=lambda fit: _worth(*fit))
    advance()
    tests += [_stages([each for of, each, _ in fits if of is features], axes), _pairs_of_axes(axes)]
    features = with_halves(features, data, seed=seed)
    advance()
    still = not_moving(features.h @ axes.U.T, data, count)
    return _judged(features, axes, still, tests, data, nuisances, rng, seed, advance)


Fit = tuple[Features, rotation.Axes, independence.Dependence]


def _judged(
    features: Features,
    axes: rotation.Axes,
    still: tuple[int, ...],
    tests: list[Test],
    data: Given,
    nuisances: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    seed: int,
    advance: Callable[[], None],
) -> Audit:
    """Test the sources of the axes, and judge."""
    S = features.h @ axes.U.T
    dependence = independence.measure(S, data, rng)
    tests.append(independence.independence_test(dependence, data))
    advance()
    tests.append(halves.halves_test(features, axes.finder, data, seed=seed))
    advance()
    tests.append(dynamics.gaussianity_test(S, data))
    if data.timed:
        tests += [
            dynamics.separation_test(S, data),
            dynamics.rate_ratio_test(S, data),
            quasi_gaussianity_test(S, data),
            dynamics.stationarity_test(S, data, rng),
            lag_test(S, data, axes.finder),
        ]
    tests.append(width_test(S, data))
    tests += [_leak_of(name, S, column[data.rows], data, seed) for name, column in nuisances.items()]
    if data.labels is not None:
        tests.append(ranks.rank_test(S, data, rng))
    advance()
    named = {test.name: test for test in tests}
    evidence = verdict.Evidence(data, features, axes, _determined(axes, named), dependence, named, still)
    whole, each = verdict.judge(evidence)
    notes = tuple(note for note in (data.note,) if note)
    return Audit(whole, each, evidence.confidence(), tuple(tests), _pipeline(features, axes, data), S, data.rows, notes)


def _nothing(tests: list[Test], data: Given) -> Audit:
    said = verdict.nothing({test.name: test for test in tests})
    notes = tuple(note for note in (data.note,) if note)
    return Audit(said, (), 0.0, tuple(tests), None, np.empty((len(data.X), 0)), data.rows, notes)


def _candidates(data: Given, directions: np.ndarray, method: str, moving: bool, seed: int) -> list[Fit]:
    """Features with axes: linear ones; networks' where those leave sources that depend on one another.

    A linear map whose sources are independent needs no network. One whose sources are not, while a network holds more
    of the contrast, is wrong, however well its axes are reproduced: bends of the mixing fix axes too. Where as many
    components as directions leave dependence, bends may have been counted as directions: then as few are taken as hold
    the contrast.
    """
    n = len(directions)
    networked = method in ("pcl", "tcl")
    of_pairs = data.timed and method != "tcl"
    of_linear = _with_axes(linear(data, directions), data, "auto" if networked else method, moving, seed)
    if n < 2 or not moving or not (networked or method == "auto"):
        return of_linear
    if any(dependence.clean for _, _, dependence in of_linear):
        return of_linear
    found: list[Fit] = []
    for features in networks(data, n, of_pairs, seed=seed):
        found += _with_axes(features, data, "auto", moving, seed)
        if any(dependence.clean for _, _, dependence in found):
            break
    if found and of_pairs and not any(dependence.clean for _, _, dependence in found):
        fewer = number_by_contrast(data, n - 1, seed=seed)
        if fewer is not None:
            of_fewer = _with_axes(fewer, data, "auto", moving, seed)
            found = of_fewer if _least(of_fewer) < _least(found) else found
    return found or of_linear


def _least(fits: list[Fit]) -> float:
    """Dependence that the best of several fits leaves."""
    return min(max(0.0, dependence.largest**2 - dependence.null**2) for _, _, dependence in fits)


def _with_axes(features: Features, data: Given, method: str, moving: bool, seed: int) -> list[Fit]:
    """Features with the axes of every finder that suits the data, and how the sources depend on one another."""
    names = rotation.finders(data)
    if features.method != "linear":  # no estimator has a stage of variances after a network
        names = [name for name in names if name != "variances"] if features.method == "pcl" else ["values"]
    if not moving:
        names = ["values"]
    only = {"fastica": "values", "sobi": "spectra", "nonstationary": "variances"}.get(method)
    if only is not None:
        names = [only]
    found = []
    for name in names:
        try:
            axes = rotation.find_axes(name, features.h, data, seed=seed)
        except DataError:  # what does not settle, as variances that do not change, fixes nothing
            if len(names) == 1:
                raise
            continue
        S = features.h @ axes.U.T
        found.append((features, axes, independence.measure(S, data, np.random.default_rng(seed), N_ROUGH)))
    return found


def _worth(features: Features, axes: rotation.Axes, dependence: independence.Dependence) -> tuple[int, float]:
    """What makes a fit better: more pairs of axes that are told apart, then less leak, then axes that scatter less.

    Axes that the contrast of pairs fixes by itself need one assumption less, and are preferred unless they cost more
    than a correlation of 0.01.
    """
    scatter = float(axes.leak.sum()) / (2 * axes.n_parts)
    spoiled = float((dependence.leak**2).sum()) + scatter - (FIRST if axes.finder == "innovations" else 0)
    return int(axes.determined.sum()), -spoiled


def _determined(axes: rotation.Axes, tests: dict[str, Test]) -> np.ndarray:
    """Pairs (n, n) of axes told apart; by autocorrelations only where what is free of noise differs too."""
    if axes.finder != "spectra" or "separation" not in tests or len(axes.U) < 2:
        return axes.determined
    apart = np.asarray(tests["separation"].details["decay_apart"]) > SEPARATE
    return axes.determined & (apart | np.eye(len(axes.U), dtype=bool))


def _pairs_of_axes(axes: rotation.Axes) -> Test:
    n = len(axes.U)
    if n < 2:
        return Test("axes", "Parts of the data give the same axes", None, "One source has no axes to turn.")
    worst = float(axes.p.max())
    loose = [(int(i), int(j)) for i, j in np.argwhere(np.triu(~axes.determined))]
    words = "every pair of axes is told apart" if not loose else f"pairs {', '.join(map(str, loose))} are not"
    chance = rotation.random_agreement(n, max(2, axes.n_parts))
    return Test(
        "axes",
        "Parts of the data give the same axes",
        not loose,
        f"By {axes.finder}, axes of {axes.n_parts} parts of the data agree at {axes.agreement:.3f}, where random"
        f" rotations reach {chance:.3f}: {words}.",
        axes.agreement,
        chance,
        worst,
        details={"finder": axes.finder, "leak": axes.leak, "p": axes.p, "n_parts": axes.n_parts},
    )


def _stages(tried: list[rotation.Axes], chosen: rotation.Axes) -> Test:
    """What each stage fixes by itself in the same features: to which of them the axes are owed."""
    n = len(chosen.U)
    told, details = [], {}
    for axes in tried:
        apart = int(np.triu(axes.determined, 1).sum())
        details[axes.finder] = {"agreement": axes.agreement, "told_apart": apart, "p": float(axes.p.max(initial=0))}
        told.append(f"{WHAT[axes.finder]} {apart} of {n * (n - 1) // 2} ({axes.agreement:.2f})")
    return Test(
        "stages",
        "To which stage the axes are owed",
        None,
        f"Pairs of axes that each fixes, and the agreement of parts of the data: {'; '.join(told)}. Taken:"
        f" {WHAT[chosen.finder]}.",
        details=details,
    )


def _leak_of(name: str, S: np.ndarray, column: np.ndarray, data: Given, seed: int) -> Test:
    """Whether a nuisance shows in a source."""
    found = leakage(S, column, replicas=data.replicas if data.timed else None, random_state=seed)
    worst = int((found.r2 - found.null_95).argmax())
    leaks = bool(found.leaks.any())
    return Test(
        f"leakage_{name}",
        f"No source follows {name}",
        not leaks,
        f"Source {worst} {'follows' if leaks else 'does not follow'} {name}: R² {found.r2[worst]:.3f} on frames left"
        f" out, where chance reaches {found.null_95[worst]:.3f}.",
        float(found.r2[worst]),
        float(found.null_95[worst]),
        interval=(float(found.interval[worst, 0]), float(found.interval[worst, 1])),
        details={"r2": found.r2, "null_95": found.null_95},
    )


def _pipeline(features: Features, axes: rotation.Axes, data: Given) -> Pipeline:
    """What to run on all frames: the features' method with the stage that has fixed the axes."""
    n, stage = len(axes.U), verdict.STAGE[axes.finder]
    if features.method == "tcl":
        return Pipeline("tcl", {"n_components": n}, "fastica")
    if stage == "none" or features.method == "pcl" or (stage == "fastica" and n < data.X.shape[1] and data.timed):
        return Pipeline("pcl", {"n_components": n, "lag": data.lag, "second_stage": stage}, stage)
    return Pipeline(stage, {"n_components": n}, stage)
