"""Warnings are kept by stage and fingerprint, each once, without the place in the source."""

import json
import warnings
from pathlib import Path

from tempica.runs.notices import Notices, collect


def test_kept_and_collected(tmp_path: Path) -> None:
    render = Notices(tmp_path, "render", "r1")
    with warnings.catch_warnings(), render.kept():
        warnings.simplefilter("default")  # as in a worker; the tests make errors of them
        for _ in range(2):
            warnings.warn("the box is too small", UserWarning, stacklevel=1)
        warnings.warn("for programmers", FutureWarning, stacklevel=1)
    render.keep("another")
    Notices(tmp_path, "simulate", "s1").keep("an undeclared motion")
    Notices(tmp_path, "render", "r0").keep("of an earlier recipe")
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"stage": "render", "event": "warn')  # of a killed process
    assert collect(tmp_path, {"simulate": "s1", "render": "r1"}) == [
        {"stage": "simulate", "text": "an undeclared motion"},
        {"stage": "render", "text": "another"},
        {"stage": "render", "text": "the box is too small"},
    ]
    assert collect(tmp_path / "nowhere", {"simulate": "s1"}) == []
    assert __file__ not in (tmp_path / "log.jsonl").read_text()
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])["event"] == "warning"
