"""The how-tos of src/tempica/docs are run, and what they print is what they say.

A block `console` has commands, each after `$ `, and what they print on stdout; a line `…` stands for any lines, and a
number for any that differs from it by less than a tenth, since figures differ in their last digits between machines
(of a run's molecule, whose chaotic motion differs between machines, for any number). Blocks `python` with `>>>` are
doctests, those without are run. All blocks of a page are run in order, in one folder, which has a finished run at
runs/adenylate_kinase.
"""

from __future__ import annotations

import doctest
import math
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tempica.cli import cli

from .conftest import ROOT

DOCS = ROOT / "src" / "tempica" / "docs"
HOWTOS = sorted(path for path in DOCS.glob("*.md") if "```console" in path.read_text() or ">>>" in path.read_text())
ANY_NUMBER = {"trajectory", "structure"}


def blocks_of(path: Path) -> list[tuple[str, str]]:
    return re.findall(r"^```(console|python)\n(.*?)^```$", path.read_text(), flags=re.M | re.S)


def steps_of(text: str) -> list[tuple[str, str]]:
    """Each command of a block `console`, and what it prints."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.M)
    assert parts[0] == "", "a block begins with a command"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def words_of(line: str) -> list[str]:
    """Words and numbers; lines of tables do not count, nor does how wide they are."""
    return re.findall(r"-?\d+(?:\.\d+)?|[^\W\d]+|[^\w\s│┃━─┏┓┗┛┡┩├┤└┘┬┴┼┳╇╋╈┯┷┌┐-]", line)


def agree(said: str, printed: str, any_number: bool) -> bool:
    one, other = words_of(said), words_of(printed)
    return len(one) == len(other) and all(_alike(a, b, any_number) for a, b in zip(one, other, strict=True))


def _alike(a: str, b: str, any_number: bool) -> bool:
    numbers = [re.fullmatch(r"-?\d+(?:\.\d+)?", each) for each in (a, b)]
    if all(numbers) and ("." in a or "." in b):
        return any_number or math.isclose(float(a), float(b), rel_tol=0.1, abs_tol=0.011)
    return a == b


def check_output(said: str, printed: str, any_number: bool) -> None:
    lines = [line for line in printed.splitlines() if words_of(line)]
    anywhere = False
    for line in said.splitlines():
        if line.strip() == "…":
            anywhere = True
        elif words_of(line):
            while anywhere and lines and not agree(line, lines[0], any_number):
                lines.pop(0)
            assert lines, f"not printed: {line}\nprinted:\n{printed}"
            assert agree(line, lines[0], any_number), f"said: {line}\nprinted: {lines[0]}"
            lines.pop(0)
            anywhere = False
    assert anywhere or not lines, f"printed too: {lines}"


def run_command(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints; tempica in this process, which has imported what it needs."""
    verb, *arguments = shlex.split(command)
    if verb != "tempica":
        return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
    expanded = [str(found) for one in arguments for found in (sorted(Path().glob(one)) if "*" in one else [one])]
    capsys.readouterr()
    cli(expanded, standalone_mode=False)
    return capsys.readouterr().out


@pytest.mark.parametrize("path", HOWTOS, ids=lambda path: path.stem)
def test_a_howto_prints_what_it_says(
    path: Path, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "adenylate_kinase").symlink_to(small_run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    names: dict[str, object] = {}
    for language, text in blocks_of(path):
        if language == "console":
            for command, said in steps_of(text):
                check_output(said, run_command(command, capsys), path.stem in ANY_NUMBER)
        elif ">>>" in text:
            found = doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(text, names, path.stem, None, 0))
            assert found.attempted > 0
            assert found.failed == 0, capsys.readouterr().out
        else:
            exec(compile(text, str(path), "exec"), names)


@pytest.mark.parametrize("path", HOWTOS, ids=lambda path: path.stem)
def test_a_howto_has_at_most_eight_commands(path: Path) -> None:
    commands = [step for language, text in blocks_of(path) if language == "console" for step in steps_of(text)]
    prompts = re.findall(r"^>>> ", path.read_text(), flags=re.M)
    assert 1 <= len(commands) + len(prompts) <= 8


@pytest.mark.parametrize(
    ("said", "printed", "is_said"),
    [
        ("score 0.91\n", "score 0.912\n", True),
        ("score 0.91\n", "score 0.71\n", False),
        ("2 sources\n", "3 sources\n", False),
        ("…\nDone\n", "first\nsecond\nDone\n", True),
        ("Done\n", "Done\nand more\n", False),
        ("Done\n", "", False),
        ("a b\n", "│ a │ b │\n", True),
    ],
)
def test_what_is_not_said_is_found(said: str, printed: str, is_said: bool) -> None:
    if is_said:
        check_output(said, printed, any_number=False)
    else:
        with pytest.raises(AssertionError):
            check_output(said, printed, any_number=False)
