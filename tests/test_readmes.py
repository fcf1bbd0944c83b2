"""What the READMEs say is true: commands and recipes parse, code runs, links lead somewhere, tables are current."""

from __future__ import annotations

import re
import shlex
import tomllib
import warnings
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

import tempica
from tempica.cli import cli
from tempica.errors import IdentifiabilityWarning
from tempica.ica import methods
from tempica.pipeline import check_methods, load_recipe
from tempica.recipe.completing import complete_recipe, complete_with_particles
from tempica.recipe.dynamics import Driven, Free
from tempica.recipe.experiment import parse_recipe
from tempica.runs.stages import STAGES

from .conftest import ROOT
from .imports import FLOORS

FOLDERS = (".", "simulations", "data_schemas", "src/tempica/*", "src/tempica/*/*")
READMES = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/README.md"))
DOCS = sorted((ROOT / "src/tempica/docs").glob("*.md"))  # their code is run by test_howtos
SEPARATORS = ("&&", "&", ";", "|")
DEFAULT = ROOT / "simulations" / "adenylate_kinase.toml"


def blocks(language: str) -> list:
    """Code blocks of a language in all READMEs, as parameters of a test."""
    return [
        pytest.param(text, id=f"{name_of(path)}-{i}")
        for path in READMES
        for i, text in enumerate(blocks_of(path, language))
    ]


def blocks_of(path: Path, language: str) -> list[str]:
    """Code blocks of a language in a README."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    return (path.parent if path in READMES else path).relative_to(ROOT).as_posix()


def prose(path: Path) -> str:
    """A README without its code blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def table(path: Path, head: str) -> list[list[str]]:
    """Rows of the table whose first line begins with `head`, as cells."""
    lines = path.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(head))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def commands(line: str) -> Iterator[list[str]]:
    """Arguments of every tempica in a line of shell, those in quotes included."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words, starts = list(lexer), True
    for i, word in enumerate(words):
        if " " in word:
            yield from commands(word.partition("=")[2] if word.startswith("--") else word)
        elif starts and word.rpartition("/")[2] == "tempica":
            yield list(takewhile(lambda each: each not in SEPARATORS, words[i + 1 :]))
        starts = word in SEPARATORS


def check_command(arguments: list[str]) -> None:
    """Parse the arguments as the command line does, and carry nothing out."""
    verb, *rest = [word.replace("$SLURM_ARRAY_TASK_ID", "0") for word in arguments]
    assert verb in cli.commands, f"tempica has no verb {verb}"
    cli.commands[verb].make_context(verb, rest)
    for word in rest:
        if word.startswith("simulations/"):
            assert (ROOT / word).is_file(), f"there is no {word}"


def test_every_room_has_one() -> None:
    rooms = {stage.room for stage in STAGES.values()} | {
        "recipe",
        "exchange",
        "runs",
        "unmix",
        "designs",
        "render/film",
        "audit",
        "embed/heights",
    }
    assert {name_of(path) for path in READMES} == {".", "simulations", "data_schemas"} | {
        f"src/tempica/{room}" for room in rooms
    }


@pytest.mark.parametrize("path", READMES, ids=name_of)
def test_a_readme_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 150


@pytest.mark.parametrize("path", READMES + DOCS, ids=name_of)
def test_relative_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(path))
    gone = [link for link in links if "://" not in link and not (path.parent / link.partition("#")[0]).exists()]
    assert gone == []


@pytest.mark.parametrize("text", blocks("sh"))
def test_commands_parse(text: str) -> None:
    found = [command for line in text.splitlines() for command in commands(line)]
    assert found or re.search(r"pytest|torchrun|python tests/", text)
    for command in found:
        check_command(command)
    for script in re.findall(r"tests/benchmarks/\w+\.py", text):
        assert (ROOT / script).is_file()


@pytest.mark.parametrize("path", READMES + DOCS, ids=name_of)
def test_commands_in_sentences_exist(path: Path) -> None:
    for command in re.findall(r"`tempica ([^`]+)`", prose(path)):
        verb, *rest = shlex.split(command)
        assert verb in cli.commands
        for word in rest:
            assert not word.startswith("--") or any(word in p.opts for p in cli.commands[verb].params), word
    for script in re.findall(r"tests/benchmarks/\w+\.py", prose(path)):
        assert (ROOT / script).is_file()


@pytest.mark.parametrize("text", blocks("toml"))
def test_recipes_parse(text: str) -> None:
    """Whole recipes as they are, or completed as `tempica import` does; sections in the place of the default's."""
    content, path = tomllib.loads(text), ROOT / "simulations" / "of_a_readme.toml"
    if "name" not in content:
        text = "\n".join(part for part in sections(DEFAULT.read_text()) if table_of(part) not in content) + text
    elif "particles" in content:
        text = complete_with_particles(text, path, Path("particles.star"))
    elif content["simulate"].get("molecule", {}).get("kind") == "trajectory":
        text = complete_recipe(text, path, [Path("run1.xtc")], topology=Path("system.gro"), stride=10)
    check_methods(parse_recipe(text, path), "The recipe")


def sections(text: str) -> list[str]:
    """A recipe's text cut before each of its tables."""
    return re.split(r"^(?=\[)", text, flags=re.MULTILINE)


def table_of(part: str) -> str:
    """The section that a part of a recipe belongs to; nothing for what stands before the first."""
    found = re.match(r"\[+(\w+)", part)
    return found[1] if found else ""


@pytest.mark.parametrize("path", READMES, ids=name_of)
def test_code_runs(path: Path, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of Python in order, in one namespace; those with `>>>` are doctests, which pytest collects by itself."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "adenylate_kinase").symlink_to(small_run)
    (tmp_path / "simulations").symlink_to(ROOT / "simulations")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempica, "run", lambda recipe, **_: load_recipe(recipe) and (small_run, []), raising=False)
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        for text in blocks_of(path, "python"):
            if ">>>" not in text:
                exec(compile(text, str(path), "exec"), names)


def test_map_names_every_package() -> None:
    text = (ROOT / "README.md").read_text().partition("## The map")[2]
    names = {name for floor in FLOORS for name in floor} - {"_version", "__init__"}
    assert {name for name in names if not re.search(rf"\b{name}\b", text)} == set()


def test_what_arrays_alone_need_is_current() -> None:
    """Every dependency but the physics stands in the README's way to install without it."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[=<>]", line)[0] for line in needed} - {"openmm", "mdtraj"}
    (told,) = re.findall(r"`pip install (click [^`]+)`", (ROOT / "README.md").read_text())
    assert set(told.split()) == names


def test_table_of_methods_is_current() -> None:
    """Each trainable row of METHODS, in its order: name, estimator, what it needs and identifies, theorem."""
    expected = [
        [f"`{row.name}`", f"`{row.estimator().__name__}`", methods.NEEDS[row.needs], row.identifies, row.theorem]
        for row in methods.trainable()
    ]
    assert table(ROOT / "src/tempica/ica/README.md", "| name |") == expected


def test_table_that_decides_has_every_method_with_what_it_needs() -> None:
    rows = table(ROOT / "src/tempica/docs/choosing.md", "| I have")
    expected = {f"`{row.name}`": methods.NEEDS[row.needs] for row in methods.trainable()}
    assert {cells[2]: cells[0] for cells in rows} == expected
    assert len(rows) == len(expected)


def test_table_of_recipes_is_current() -> None:
    """Every committed recipe, with the methods that it trains."""
    rows = {cells[0]: cells[3] for cells in table(ROOT / "simulations/README.md", "| recipe | what")}
    expected = {}
    for path in (ROOT / "simulations").glob("*.toml"):
        names = methods.chosen(load_recipe(path)[0])
        expected[f"[`{path.name}`]({path.name})"] = " ".join(f"`{name}`" for name in names)
    assert rows == expected


def test_table_of_processes_is_current() -> None:
    """Every process of `simulate.dynamics`, with what the code says can be identified."""
    rows = table(ROOT / "src/tempica/recipe/README.md", "| `process` |")
    variants = [*Driven.__args__, *Free.__args__]  # type: ignore[attr-defined]
    expected = [[f"`{one.model_fields['process'].annotation.__args__[0]}`", one.identifiable] for one in variants]
    assert [[cells[0], cells[2]] for cells in rows] == expected


def test_table_of_schemas_is_complete() -> None:
    folder = ROOT / "data_schemas"
    shown = {cells[0] for cells in table(folder / "README.md", "| schema |")}
    assert shown == {f"[`{path.name.split('.')[0]}`]({path.name})" for path in folder.glob("*.json")}


def test_results_have_their_place() -> None:
    text = (ROOT / "simulations/README.md").read_text()
    assert "## Results\n\n<!-- results: python tests/benchmarks/zoo.py" in text
