"""Warnings of a run: kept in its log.jsonl when they come up, and collected for scores.json, report and terminal."""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# of libraries, to those who program
_FOR_PROGRAMMERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)


@dataclass(frozen=True)
class Notices:
    """Keeps the warnings of one stage, of a recipe with a certain fingerprint."""

    run: Path
    stage: str
    fingerprint: str

    def keep(self, text: str) -> None:
        """Append a warning to log.jsonl, in one piece, since workers write at once."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "stage": self.stage, "event": "warning"}
        line |= {"fingerprint": self.fingerprint, "text": text}
        with (self.run / "log.jsonl").open("ab", buffering=0) as file:
            file.write((json.dumps(line) + "\n").encode())

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what Python warns of within this context, each text once, without the place in the source."""
        with warnings.catch_warnings(record=True) as caught:
            yield
        texts = [str(one.message) for one in caught if not issubclass(one.category, _FOR_PROGRAMMERS)]
        for text in dict.fromkeys(texts):
            self.keep(text)


def collect(run: Path, fingerprints: Mapping[str, str]) -> list[dict[str, str]]:
    """Warnings of stages with these fingerprints: `stage` and `text`, each once, by stage, then by text.

    Workers warn in any order, and repeat themselves when they are killed; so neither order nor number is kept. A line
    that a killed process left unfinished is passed over.
    """
    path = run / "log.jsonl"
    found = set()
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            if entry["event"] == "warning" and fingerprints.get(entry["stage"]) == entry["fingerprint"]:
                found.add((str(entry["stage"]), str(entry["text"])))
    order = list(fingerprints)
    return [{"stage": stage, "text": text} for stage, text in sorted(found, key=lambda one: (order.index(one[0]), one))]
