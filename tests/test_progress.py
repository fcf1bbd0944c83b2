"""Progress: lines where there is no terminal, a bar where there is one."""

from __future__ import annotations

import pytest

from tempica.progress import Progress


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(terminal=False, interval=0.0).task("render", "blocks", 3, 1) as advance:
        advance()
        advance()
    told = capsys.readouterr()
    assert told.err.splitlines() == ["render: blocks: 1 of 3", "render: blocks: 2 of 3", "render: blocks: 3 of 3"]
    assert told.out == ""


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
