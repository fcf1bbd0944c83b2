"""The recipes that come with tempica, by name: a checkout has them in simulations/, an installed package a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

from tempica.errors import RecipeError, did_you_mean


def folder() -> Path:
    """Where they are."""
    package = Path(__file__).parents[1]
    copy = package / "simulations"
    return copy if copy.is_dir() else package.parents[1] / "simulations"


def names() -> list[str]:
    """Their names, in the order of the alphabet."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def purpose(name: str) -> str:
    """The comment that the recipe begins with."""
    lines = []
    for line in (folder() / f"{name}.toml").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def find(target: Path) -> Path:
    """The recipe that `target` means: a file as it is, or else the recipe of that name.

    Raises RecipeError where it is neither a path nor a name, and says which names come near it.
    """
    if target.exists() or target.name != str(target) or target.suffix:
        return target
    known = names()
    if target.name in known:
        return folder() / f"{target.name}.toml"
    said = did_you_mean(target.name, known) or " `tempica recipes` lists those that come with tempica."
    raise RecipeError(f"There is no recipe {target}, neither a TOML file nor a recipe by that name.{said}")


def copy_to(out: Path) -> None:
    """Copy the recipes and their structures into a new folder, to be changed there. Raises RecipeError if it exists."""
    if out.exists():
        raise RecipeError(f"{out} is there already, and nothing is overwritten. Give a new folder.")
    out.mkdir(parents=True)
    for path in folder().glob("*.toml"):
        shutil.copy(path, out)
    shutil.copytree(folder() / "structures", out / "structures")
