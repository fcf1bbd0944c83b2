"""What `tempica new` makes of the files that it is given."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tempica.errors import RecipeError, TempicaError
from tempica.exchange.plain_paths import ending
from tempica.pipeline import check_methods
from tempica.recipe import shipped
from tempica.recipe.experiment import Recipe, parse_recipe

STRUCTURES = (".pdb", ".pdb.gz", ".cif", ".cif.gz", ".mmcif", ".mmcif.gz", ".pdbx", ".pdbx.gz")


@dataclass(frozen=True)
class Start:
    """What was made, if anything, and what to type next."""

    recipe: Path | None
    type_next: str


def new(
    files: Sequence[Path],
    *,
    chains: Sequence[str] = (),
    out: Path | None = None,
    tell: Callable[[str], None] = print,
) -> Start:
    """Write a recipe for files of one kind, or say what to type for them.

    Parameters:
        files: one or two structures.
        chains: chains to take of structures, once for all files or once a form.
        out: recipe to write; <name of the first file>.toml in this folder if none.
        tell: says what was found and chosen, a line at a time.

    Raises TempicaError, in one message, for everything that is wrong with the files; nothing is overwritten.
    """
    _check_files(files)
    kinds = [ending(path) for path in files]
    if all(kind in STRUCTURES for kind in kinds) and len(files) <= 2:
        return _protein(files, chains, out, tell)
    raise RecipeError(_unknown(files))


def example(name: str, out: Path | None = None) -> Start:
    """Copy a recipe that comes with tempica, and the structures that it names. Raises RecipeError."""
    source = shipped.find(Path(name))
    if source.parent != shipped.folder():
        raise RecipeError(f"--example {name}: this is no name. `tempica recipes` lists those that come with tempica.")
    recipe, text = _checked(source.read_text(encoding="utf-8"), source)
    path = out or Path(source.name)
    folder = path.parent / "structures"
    names = recipe.simulate.molecule.structure_files
    new_files = {folder / Path(one).name: source.parent / one for one in names}
    _must_be_free([path, *(place for place, own in new_files.items() if not _same(place, own))])
    path.parent.mkdir(parents=True, exist_ok=True)
    for place, own in new_files.items():
        folder.mkdir(exist_ok=True)
        if not place.exists():
            shutil.copyfile(own, place)
    path.write_text(text, encoding="utf-8")
    return Start(path, f"tempica run {path}")


def name_of(path: Path) -> str:
    """The name of a recipe for a file: its own, made of letters, digits and underscores.

    Example:
        >>> name_of(Path("3hsy (copy).pdb.gz"))
        'run_3hsy_copy'
    """
    stem = path.name[: -len(ending(path))] if path.name.lower().endswith(ending(path)) else path.stem
    plain = re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")[:50]
    return plain if plain[:1].isalpha() else f"run_{plain}".rstrip("_")


def _protein(files: Sequence[Path], chains: Sequence[str], out: Path | None, tell: Callable[[str], None]) -> Start:
    from tempica.simulate.stage import check
    from tempica.starting import protein

    path = out or Path(f"{name_of(files[0])}.toml")
    name = name_of(Path(path.name))
    folder = path.parent / f"{path.stem}_structures"
    _must_be_free([path, folder])
    begun = protein.begin(files, chains, name, folder.name, tell)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir()
    try:
        for one, form in begun.forms.items():
            form.write(folder / one)
        path.write_text(begun.text, encoding="utf-8")
        recipe, _ = _checked(begun.text, path)
        check(recipe, path.parent)
    except TempicaError:  # what was begun shall not be in the way of a second try
        shutil.rmtree(folder, ignore_errors=True)
        path.unlink(missing_ok=True)
        raise
    return Start(path, f"tempica run {path}")


def _checked(text: str, path: Path) -> tuple[Recipe, str]:
    recipe = parse_recipe(text, path)
    check_methods(recipe, f"The recipe {path}")
    return recipe, text


def _check_files(files: Sequence[Path]) -> None:
    """Raise RecipeError for all files that are not there, or empty."""
    mistakes = []
    for path in files:
        if not path.exists():
            mistakes.append(f"There is no file {path}. Correct its name.")
        elif path.is_file() and path.stat().st_size == 0:
            mistakes.append(f"The file {path} is empty: it has 0 bytes. Copy it again.")
    if mistakes:
        raise RecipeError("\n".join(mistakes))


def _must_be_free(paths: Sequence[Path]) -> None:
    there = [str(path) for path in paths if path.exists() or path.is_symlink()]
    if there:
        raise RecipeError(
            f"{' and '.join(there)} exist{'s' if len(there) == 1 else ''} already, and nothing is overwritten. Give"
            " --out another name."
        )


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


def _unknown(files: Sequence[Path]) -> str:
    named = ", ".join(str(path) for path in files)
    return (
        f"tempica new cannot tell what to make of {named}. It takes one structure or two forms of a protein (PDB,"
        " mmCIF)."
    )
