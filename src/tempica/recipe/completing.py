"""Fills the files of another program into a recipe that leaves out the molecule or the images."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tempica.errors import RecipeError

_TABLE = re.compile(r"^[ \t]*\[[ \t]*simulate[ \t]*\.[ \t]*molecule[ \t]*\][ \t]*(#.*)?$", re.MULTILINE)
_PARTICLES = re.compile(r"^[ \t]*\[[ \t]*particles[ \t]*\][ \t]*(#.*)?$", re.MULTILINE)
_FILM = re.compile(r"^[ \t]*\[[ \t]*film[ \t]*\][ \t]*(#.*)?$", re.MULTILINE)
_FIRST_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
_NAME = re.compile(r"""^[ \t]*(?:name|"name"|'name')[ \t]*=.*$""", re.MULTILINE)


def complete_recipe(
    text: str,
    path: Path,
    trajectories: Sequence[Path],
    *,
    topology: Path | None = None,
    stride: int | None = None,
    selection: str | None = None,
    name: str | None = None,
) -> str:
    """The text of a recipe with its molecule's files filled in, as absolute paths; comments stay.

    The recipe may have a table [simulate.molecule] of kind "trajectory" with everything but what is given here.
    Raises RecipeError when it has another molecule, or already gives one of these values.
    """
    content = _parsed(text, path)
    _check_names([*trajectories, *([topology] if topology else [])])
    given: dict[str, Any] = {
        "topology": None if topology is None else str(topology.resolve()),
        "files": [str(file.resolve()) for file in trajectories],
        "stride": stride,
        "selection": selection,
    }
    given = {key: value for key, value in given.items() if value is not None}
    simulate = content.get("simulate", {})
    molecule = simulate.get("molecule") if isinstance(simulate, dict) else None
    if molecule is not None and not (isinstance(molecule, dict) and molecule.get("kind", "trajectory") == "trajectory"):
        raise RecipeError(
            f"The recipe {path} has a molecule of its own, which `tempica import` would replace. Remove the table"
            " simulate.molecule from it, and dynamics and network with it."
        )
    for key in given:
        if molecule is not None and key in molecule:
            raise RecipeError(
                f"The recipe {path} has simulate.molecule.{key} = {molecule[key]!r}, which the command gives too."
                " Remove it from one of them."
            )
    if not (molecule and "kind" in molecule):
        given = {"kind": "trajectory"} | given
    lines = "\n".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in given.items())
    if molecule is None:
        text = text.rstrip("\n") + f"\n\n[simulate.molecule]\n{lines}\n"
    else:
        header = _TABLE.search(text)
        if header is None:
            raise RecipeError(
                f"The recipe {path} writes simulate.molecule in one line. Write it as a table of its own,"
                " [simulate.molecule], so that the files can be filled in."
            )
        text = text[: header.end()] + "\n" + lines + text[header.end() :]
    return _checked(_named(text, name) if name is not None else text, path, "molecule", "simulate")


def complete_with_particles(text: str, path: Path, star: Path, *, name: str | None = None) -> str:
    """The text of a recipe with its particles' STAR file filled in, as an absolute path; comments stay.

    Raises RecipeError when the recipe names one itself, or has a camera.
    """
    content = _parsed(text, path)
    _check_names([star])
    if "render" in content:
        raise RecipeError(
            f"The recipe {path} has a camera of its own (render), which the images would replace. Remove that table."
        )
    particles = content.get("particles")
    line = f"star = {json.dumps(str(star.resolve()), ensure_ascii=False)}"
    if particles is None:
        text = text.rstrip("\n") + f"\n\n[particles]\n{line}\n"
    elif isinstance(particles, dict) and "star" in particles:
        raise RecipeError(
            f"The recipe {path} has particles.star = {particles['star']!r}, which the command gives too. Remove it from"
            " one of them."
        )
    else:
        header = _PARTICLES.search(text)
        if header is None:
            raise RecipeError(
                f"The recipe {path} writes particles in one line. Write it as a table of its own, [particles], so that"
                " the file can be filled in."
            )
        text = text[: header.end()] + "\n" + line + text[header.end() :]
    return _checked(_named(text, name) if name is not None else text, path, "STAR file", "particles")


def recipe_of_film(
    movie: Sequence[Path],
    n_frames: int,
    *,
    text: str | None = None,
    path: Path = Path("recipe.toml"),
    channel: str | None = None,
    pixel_nm: float | None = None,
    interval_s: float | None = None,
    name: str | None = None,
    form: tuple[Path, dict[str, str]] | None = None,
    lying: str | None = None,
    tip_radius_nm: float | None = None,
) -> str:
    """The text of a recipe for a scanning probe's movie, with its files as absolute paths.

    `text`, of the recipe at `path`, may have everything but the movie's files: an own seed, film, embed, train. Without
    one, it is named after the movie. `form` is a structure's file with its domains. Raises RecipeError when the recipe
    has a molecule, a camera or particles.

    Example:
        >>> print(recipe_of_film([Path("/data/my movie.asd")], 142, channel="TP").split("[embed]")[0])
        name = "my_movie"
        <BLANKLINE>
        [simulate]
        n_frames = 142
        molecule = { kind = "unknown" }
        <BLANKLINE>
        [film]
        files = ["/data/my movie.asd"]
        channel = "TP"
        <BLANKLINE>
        <BLANKLINE>
    """
    _check_names(movie)
    content = {} if text is None else _parsed(text, path)
    given = {
        "files": [str(file.resolve()) for file in movie],
        "channel": channel,
        "pixel_size_nm": pixel_nm,
        "interval_s": interval_s,
        "lying": lying,
        "tip_radius_nm": tip_radius_nm,
    }
    given = {key: value for key, value in given.items() if value is not None}
    _leaves_out(content, given, path)
    lines = "\n".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in given.items())
    simulate = f"[simulate]\nn_frames = {n_frames}\n{_molecule_of_film(form)}"
    if text is None:
        name = name or re.sub(r"^(?![A-Za-z])", "film_", re.sub(r"\W+", "_", movie[0].stem, flags=re.ASCII))[:60]
        return f'name = {json.dumps(name)}\n\n{simulate}\n[film]\n{lines}\n\n[embed]\nn_modes = "auto"\n'
    header = _FILM.search(text)
    if header is None:
        text = text.rstrip("\n") + f"\n\n{simulate}\n[film]\n{lines}\n"
    else:
        text = text[: header.end()] + "\n" + lines + text[header.end() :].rstrip("\n") + f"\n\n{simulate}"
    return _checked(_named(text, name) if name is not None else text, path, "movie", "film")


def _leaves_out(content: dict[str, Any], given: dict[str, Any], path: Path) -> None:
    """Raise RecipeError for what a recipe says that a movie replaces, or that is given for its film besides."""
    for table in ("simulate", "render", "particles"):
        if table in content:
            raise RecipeError(f"The recipe {path} has [{table}], which a scanning probe's movie replaces. Remove it.")
    film = content.get("film", {})
    for key in given:
        if isinstance(film, dict) and key in film:
            raise RecipeError(
                f"The recipe {path} has film.{key} = {film[key]!r}, which the command gives too. Remove it from one of"
                " them."
            )


def _molecule_of_film(form: tuple[Path, dict[str, str]] | None) -> str:
    """What a recipe says of the molecule that a movie shows."""
    if form is None:
        return 'molecule = { kind = "unknown" }\n'
    path, domains = form
    _check_names([path])
    parts = "".join(f"{key} = {json.dumps(value)}\n" for key, value in domains.items())
    return (
        '\n[simulate.molecule]\nkind = "unknown"\n'
        f"structure = {json.dumps(str(path.resolve()), ensure_ascii=False)}\n\n[simulate.molecule.domains]\n{parts}"
    )


def _check_names(files: Sequence[Path]) -> None:
    """Raise RecipeError for a name that a recipe, which is text in UTF-8, cannot hold."""
    for file in files:
        try:
            str(file.resolve()).encode()
        except UnicodeEncodeError:
            told = os.fsencode(file).decode(errors="backslashreplace")
            raise RecipeError(
                f"The path of the file '{told}' is not UTF-8, as a recipe's text must be. Rename it, or give a link"
                " to it in another place."
            ) from None


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"The recipe {path} is not valid TOML: {error}.") from None


def _checked(text: str, path: Path, what: str, table: str) -> str:
    try:
        tomllib.loads(text)
    except ValueError as error:
        raise RecipeError(
            f"The {what} cannot be filled into the recipe {path} ({error}). Write [{table}] as a table of its own."
        ) from None
    return text


def _named(text: str, name: str) -> str:
    """The recipe under another name."""
    line, table = f"name = {json.dumps(name)}", _FIRST_TABLE.search(text)
    top = table.start() if table else len(text)
    found = _NAME.search(text, 0, top)
    return text[: found.start()] + line + text[found.end() :] if found else f"{line}\n{text}"
