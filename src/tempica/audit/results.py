"""What an audit says: tests, a verdict a source, a verdict for all, and a pipeline."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

IDENTIFIABLE = "identifiable"
AFTER_STAGE = "identifiable after a linear stage"
SUBSPACE = "subspace not separable"
NOT = "not identifiable from these data"
NOTHING = "nothing moves"
RECOVERED = 0.9  # correlation with the truth from which on a source counts as found


@dataclass(frozen=True)
class Test:
    """One test: what it measured, what chance gives, and one sentence for people."""

    name: str
    title: str  # what is true of data that pass
    passed: bool | None  # None: the data have nothing that it applies to
    sentence: str
    statistic: float | None = None
    null: float | None = None  # what chance reaches in 95 or 99 of 100 cases, as the sentence says
    p: float | None = None
    interval: tuple[float, float] | None = None
    details: dict[str, Any] = field(default_factory=dict)

    __test__ = False  # no test case, whatever pytest makes of the name


@dataclass(frozen=True)
class Verdict:
    """What may be believed of one source, or of all, by which theorem, and what would mend it."""

    kind: str  # one of the five words above
    sentence: str
    theorem: str
    failed: tuple[str, ...] = ()  # names of tests
    mend: str = ""  # the experiment that would help; empty where nothing is wrong
    subspace: tuple[int, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """Estimator and stage that the data ask for: a row of `tempica methods` with parameters."""

    method: str
    parameters: dict[str, Any]
    stage: str  # the linear stage that fixes the axes: none, fastica, sobi or nonstationary

    def estimator(self) -> Any:
        """A fresh estimator."""
        from tempica.ica import methods

        make = methods.find(self.method).estimator
        assert make is not None
        return make()(**self.parameters)


@dataclass(frozen=True)
class Audit:
    """The whole of an audit.

    Attributes:
        verdict: for all sources together.
        sources: (frame, component) of the recommended pipeline, at the frames that were used.
        verdicts: one a source.
        confidence: estimate, from the data alone, of the mean correlation with the true sources.
        tests: in the order in which they were made.
        pipeline: estimator and stage recommended; None where nothing moves.
        frames: (frame,) rows of X that were used.
        notes: what limits the answer, in sentences.
    """

    verdict: Verdict
    verdicts: tuple[Verdict, ...]
    confidence: float
    tests: tuple[Test, ...]
    pipeline: Pipeline | None
    sources: np.ndarray
    frames: np.ndarray
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        sources, frames = self.sources.shape[1], len(self.frames)
        return f"Audit({self.verdict.kind}, confidence={self.confidence:.2f}, sources={sources}, frames={frames})"

    def test(self, name: str) -> Test:
        """The test of a name. Raises KeyError for a name that no test has."""
        return {test.name: test for test in self.tests}[name]

    def as_dict(self) -> dict[str, Any]:
        """All but the sources, as JSON can hold it."""
        told = {
            "verdict": asdict(self.verdict),
            "verdicts": [asdict(each) for each in self.verdicts],
            "confidence": self.confidence,
            "tests": [asdict(test) for test in self.tests],
            "pipeline": None if self.pipeline is None else asdict(self.pipeline),
            "n_frames": len(self.frames),
            "notes": list(self.notes),
        }
        return plain(told)


def lines_of(found: dict[str, Any]) -> list[str]:
    """The verdicts of an audit as lines for a terminal, from what `Audit.as_dict` gives."""
    whole = found["verdict"]
    lines = [f"Verdict: {whole['sentence']}", f"  by {whole['theorem']}"]
    lines += [f"  {one['sentence']}" for one in found["verdicts"] if one["sentence"] != whole["sentence"]]
    if whole["failed"]:
        lines.append(f"  failed: {', '.join(whole['failed'])}")
    if whole["mend"]:
        lines.append(f"What would help: {whole['mend']}")
    if (pipeline := found["pipeline"]) is not None:
        given = ", ".join(f"{name} = {value!r}" for name, value in pipeline["parameters"].items())
        lines.append(f"Recommended: {pipeline['method']} with {given}; linear stage: {pipeline['stage']}")
    return [*lines, *found["notes"]]


def plain(value: Any) -> Any:
    """Numbers, texts, lists and dicts of JSON; what is not finite becomes None."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value
