"""From tests to a verdict: what may be believed, by which theorem, and what would mend the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tempica.audit.features import Features
from tempica.audit.given import Given
from tempica.audit.independence import TOLERATED, Dependence
from tempica.audit.results import AFTER_STAGE, IDENTIFIABLE, NOT, NOTHING, RECOVERED, SUBSPACE, Test, Verdict
from tempica.audit.rotation import Axes, unresolved

SAME_FEATURES = RECOVERED**2  # between two fits of which each correlates so with the truth
RANDOM_SIN2 = 0.5 - 1 / np.pi  # mean sin² of a random angle up to 45°

STAGE = {"innovations": "none", "values": "fastica", "spectra": "sobi", "variances": "nonstationary"}
THEOREM = {
    "innovations": "Hyvärinen & Morioka 2017, theorem 1: dependence in time that is not quasi-Gaussian",
    "values": "Comon 1994: at most one Gaussian source, behind the linear mixture that theorem 2 of Hyvärinen &"
    " Morioka 2017 leaves",
    "spectra": "Belouchrani et al. 1997: distinct autocorrelations, behind the linear mixture that theorem 2 of"
    " Hyvärinen & Morioka 2017 leaves",
    "variances": "Pham & Cardoso 2001: variances that change separately",
}
OF_LABELS = "Hyvärinen & Morioka 2016, theorem 1: labels that modulate the sources with full rank"
NO_ORDER = "Hyvärinen & Pajunen 1999: without time or labels no nonlinear mixing can be undone"


@dataclass(frozen=True)
class Evidence:
    """What the verdict rests on."""

    data: Given
    features: Features
    axes: Axes
    determined: np.ndarray  # (n, n)
    dependence: Dependence
    tests: dict[str, Test]
    still: tuple[int, ...] = ()  # sources that depend on neither time nor label

    @property
    def by_labels(self) -> bool:
        """Whether labels, not time, have given the axes."""
        labelled = self.axes.finder == "variances" or self.features.method == "tcl"
        return self.data.labels is not None and (not self.data.timed or labelled)

    @property
    def leak(self) -> np.ndarray:
        """(n,) of each source: root of the summed squares of what leaks into it from others."""
        return np.sqrt((self.dependence.leak**2).sum(1))

    def correlations(self) -> np.ndarray:
        """Estimate (n,) of each source's correlation with the truth, as far as the axes decide it, not the noise.

        Three losses: of the features, as two halves show; of the axes, whose angle in the plane of two scatters by
        what the parts show, or is random where nothing fixes it; and of what leaks in from other sources. The odds
        of the latter are at least −e p ln p (Sellke, Bayarri & Berger 2001). Parts share the features: how far bends
        that a network has left fix axes, only sources of networks taught on halves show.
        """
        features = self.features.affine
        if self.features.method != "linear" and "halves" in self.tests:
            features = min(features, self.tests["halves"].details.get("raw", 0.0))
        p = np.clip(self.axes.p, 1e-12, 1 / math.e)
        odds = np.where(np.eye(len(p)), 0, -math.e * p * np.log(p))
        odds = np.where(self.axes.determined & ~self.determined, 1, odds)
        scatter = (1 - odds) * self.axes.leak / (2 * self.axes.n_parts) + odds * RANDOM_SIN2
        turned = np.sqrt(np.maximum(0, 1 - scatter.sum(1)))
        return features * turned * np.sqrt(np.maximum(0, 1 - np.minimum(1, self.leak) ** 2))

    def confidence(self) -> float:
        """Estimate of the mean correlation with the true sources, where what is coupled counts as a leak would."""
        coupled = min(1.0, self.dependence.coupled)
        return float(self.correlations().mean() * math.sqrt(1 - coupled**2))


def judge(evidence: Evidence) -> tuple[Verdict, tuple[Verdict, ...]]:
    """The verdict for all sources, and one for each."""
    n = len(evidence.axes.U)
    hopeless = _hopeless(evidence)
    if hopeless is not None:
        return hopeless, (hopeless,) * n
    groups = unresolved(evidence.determined)
    each = tuple(_of_source(i, evidence, groups) for i in range(n))
    if evidence.still:
        whole = _still(evidence)
        each = tuple(whole if i in evidence.still else one for i, one in enumerate(each))
    elif groups:
        named = " and ".join("{" + ", ".join(map(str, group)) + "}" for group in groups)
        found = next(one for one in each if one.kind == SUBSPACE)
        sentence = f"Subspace {named} is not separable: within it, every rotation fits the data as well."
        whole = Verdict(SUBSPACE, sentence, found.theorem, found.failed, found.mend, groups[0])
    elif evidence.features.method != "linear" and not evidence.dependence.clean:
        whole = _bent(evidence)
        each = (whole,) * n
    elif evidence.confidence() < RECOVERED:
        whole = _imprecise(evidence)
        each = tuple(
            whole if one < RECOVERED else same for one, same in zip(evidence.correlations(), each, strict=True)
        )
    else:
        whole = each[0]
        kind = whole.kind if whole.kind == IDENTIFIABLE else f"{whole.kind} ({STAGE[evidence.axes.finder]})"
        count = "The source is" if n == 1 else f"All {n} sources are"
        whole = Verdict(whole.kind, f"{count} {kind}.", whole.theorem)
    return whole, each


def nothing(tests: dict[str, Test]) -> Verdict:
    """The verdict where no direction of the frames depends on anything."""
    return Verdict(
        NOTHING,
        "Nothing moves: the frames are as noise without memory is.",
        NO_ORDER,
        tuple(name for name in ("signal_time", "signal_labels") if name in tests),
        "Take frames closer in time, less noise, or conditions that change what is seen.",
    )


def _still(evidence: Evidence) -> Verdict:
    """That some sources do not move, however well parts of the data agree about them."""
    still, n = ", ".join(map(str, evidence.still)), len(evidence.axes.U)
    many = len(evidence.still) > 1
    return Verdict(
        NOT,
        f"Source{'s' * many} {still} of {n} {'do' if many else 'does'} not move: frames in random order tell as much of"
        " the next. It is noise, or what differs between single frames or whole replicas, as a pose or a batch does.",
        _theorem(evidence),
        ("number",),
        f"Ask for n_components = {n - len(evidence.still)}, or take frames closer in time if it should move.",
    )


def _hopeless(evidence: Evidence) -> Verdict | None:
    """Why no source can be believed, or None."""
    tests, data = evidence.tests, evidence.data
    signals = [tests[name] for name in ("signal_time", "signal_labels") if name in tests]
    n = len(evidence.axes.U)
    if not any(test.passed for test in signals):
        fixed = evidence.determined.all() and evidence.leak.max(initial=0) < TOLERATED
        linear = "fix axes, if the mixing is linear" if fixed else "do not fix axes either"
        return Verdict(
            NOT,
            "Neither time nor labels tell frames apart, so that only the tests of linear ICA apply: non-Gaussian values"
            f" {linear}.",
            NO_ORDER,
            tuple(test.name for test in signals),
            "Record frames in order of time, a fraction of the relaxation time apart, or under at least"
            f" {2 * n + 1} conditions that act on the sources separately.",
        )
    if evidence.dependence.coupled > TOLERATED:
        return Verdict(
            NOT,
            "The sources that are found depend on one another in a way that no map undoes"
            f" ({evidence.dependence.coupled:.2f} beyond chance): there are no independent axes to find.",
            "every theorem of ICA assumes independent sources",
            ("independence",),
            "Read the coupled variables as one subspace, or control one of them.",
        )
    if "rank" in tests and evidence.by_labels and not tests["rank"].passed:
        rank = int(tests["rank"].statistic or 0)
        return Verdict(
            NOT,
            f"The labels act on {rank} of {n} directions only: they move the sources together.",
            OF_LABELS,
            ("rank",),
            f"Take at least {n + 1} conditions that change each of the {n} sources separately, such as {n} independent"
            " controls, or delays after a pulse that span each source's own relaxation time.",
        )
    if evidence.features.affine < SAME_FEATURES:
        return Verdict(
            NOT,
            f"Networks taught on two halves of the data agree at {evidence.features.affine:.2f} only, even after the"
            " best affine map: what they have learned is not the data's.",
            _theorem(evidence),
            ("halves",),
            f"Take more frames (now {len(data.X):,}), or fewer components.",
        )
    return None


def _of_source(i: int, evidence: Evidence, groups: list[tuple[int, ...]]) -> Verdict:
    for group in groups:
        if i in group:
            return _subspace(group, evidence)
    finder = evidence.axes.finder
    correlation = evidence.correlations()[i]
    by_contrast = finder == "innovations" or evidence.by_labels
    kind = IDENTIFIABLE if by_contrast else AFTER_STAGE
    how = "" if by_contrast else f" ({STAGE[finder]})"
    estimate = f"noise apart, its correlation with the truth is estimated at {correlation:.2f}"
    sentence = f"Source {i} is {kind}{how}; {estimate}."
    return Verdict(kind, sentence, _theorem(evidence))


def _subspace(group: tuple[int, ...], evidence: Evidence) -> Verdict:
    named = ", ".join(map(str, group))
    failed = tuple(name for name in ("halves", "separation", "gaussianity") if _failed(evidence.tests, name))
    return Verdict(
        SUBSPACE,
        f"Subspace {{{named}}} is not separable: fits to parts of the data turn freely within it.",
        "Hyvärinen & Morioka 2017, theorem 2: Gaussian dynamics of equal rates are the same in every rotation",
        failed or ("halves",),
        _mend(evidence),
        group,
    )


def _mend(evidence: Evidence) -> str:
    n = len(evidence.axes.U)
    controls = f"Take at least {n + 1} conditions that change each source's rate or amplitude separately"
    separation = evidence.tests.get("separation")
    if separation is None or separation.statistic is None or separation.statistic <= 0:
        return f"{controls}."
    # errors fall with the root of the number of frames
    factor = (3 / max(separation.statistic, 0.3)) ** 2
    frames = int(len(evidence.data.X) * factor)
    if factor <= 1:
        return f"{controls}, or find out how much of the difference between autocorrelations noise makes."
    more = f"or, if the rates differ as much as they seem to, about {frames:,} frames"
    return f"{controls}, {more}."


def _bent(evidence: Evidence) -> Verdict:
    """That a network has not undone the mixing: what it has left bent fixes axes too, whatever the sources are."""
    dependence, pair = evidence.dependence, " and ".join(map(str, evidence.dependence.pair))
    return Verdict(
        NOT,
        f"The mixing is not undone: functions of sources {pair} correlate at {dependence.largest:.2f}, where"
        f" independent ones reach {dependence.null:.2f}, and what is left bent fixes axes as sources do.",
        _theorem(evidence),
        ("independence",),
        f"Take more frames (now {len(evidence.data.X):,}), or a network that is trained longer, by `tempica.ica.PCL`.",
    )


def _imprecise(evidence: Evidence) -> Verdict:
    factor = (1 - evidence.confidence()) / (1 - RECOVERED)
    return Verdict(
        NOT,
        f"The axes are fixed, but the sources leak into one another: their correlation with the truth is estimated at"
        f" {evidence.confidence():.2f}, below {RECOVERED}.",
        _theorem(evidence),
        ("independence",),
        f"Take about {int(len(evidence.data.X) * max(2, factor)):,} frames, or train longer and with more restarts.",
    )


def _theorem(evidence: Evidence) -> str:
    return OF_LABELS if evidence.by_labels else THEOREM[evidence.axes.finder]


def _failed(tests: dict[str, Test], name: str) -> bool:
    return name in tests and tests[name].passed is False
