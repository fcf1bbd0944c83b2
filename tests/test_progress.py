"""Progress: lines where there is no terminal, a bar where there is one."""

from __future__ import annotations

import re
import threading

import pytest

from tempica.progress import Progress, lasting

given_times = pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0 s"), (89, "89 s"), (3000, "50 min"), (9000, "2 h")]
)


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(terminal=False, interval=0.0).task("render", "blocks", 3, 1) as advance:
        advance()
        advance()
    told = capsys.readouterr()
    first, second, third = told.err.splitlines()
    assert (first, third) == ("render: blocks: 1 of 3", "render: blocks: 3 of 3")
    assert re.fullmatch(r"render: blocks: 2 of 3, about \d+ s left", second)
    assert told.out == ""


def test_a_stage_says_which_one_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(terminal=False)
    progress.stages = ["render", "embed"]
    with progress.task("embed", "frames", 1, 0):
        pass
    assert capsys.readouterr().err == "[2 of 2] embed: frames\n"


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(terminal=False, interval=0.001, quiet=True)
    with progress.watch("train", lambda: "here"), progress.task("embed", "frames", 3, 0) as advance:
        advance()
        progress.say("news")
    told = capsys.readouterr()
    assert told.err + told.out == ""


def test_what_is_watched_is_told_once_while_it_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    seen, enough = iter(["step 1", "step 1", None, "step 2"]), threading.Event()

    def look() -> str | None:
        found = next(seen, None)
        if found is None and next(seen, None) is None:
            enough.set()  # all was seen and told before
        return found or "step 2"

    with Progress(terminal=False, interval=0.001).watch("train", look):
        assert enough.wait(30)
    kept = capsys.readouterr().err
    assert kept.splitlines() == ["train: step 1", "train: step 2"]


@given_times
def test_a_time_is_told_in_one_unit(seconds: float, told: str) -> None:
    assert lasting(seconds) == told


def test_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(terminal=False, interval=60.0).task("render", "blocks", 1000, 0) as advance:
        for _ in range(1000):
            advance()
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_one_piece_of_work_is_named_and_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    for done in (0, 1):
        with Progress(terminal=False).task("report", "page", 1, done) as advance:
            if not done:
                advance()
    assert capsys.readouterr().err.splitlines() == ["report: page"]


def test_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(terminal=True).task("render", "blocks", 3, 0) as advance:
        advance()
    assert capsys.readouterr().out == ""
