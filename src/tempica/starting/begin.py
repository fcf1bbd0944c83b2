"""What `tempica new` makes of the files that it is given."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica.errors import RecipeError, TempicaError
from tempica.exchange.plain_paths import ending
from tempica.pipeline import check_methods
from tempica.progress import lasting
from tempica.recipe import shipped
from tempica.recipe.experiment import Recipe, parse_recipe
from tempica.runs import pool

if TYPE_CHECKING:
    from tempica.starting.forms import Form

STRUCTURES = (".pdb", ".pdb.gz", ".cif", ".cif.gz", ".mmcif", ".mmcif.gz", ".pdbx", ".pdbx.gz")
TOPOLOGIES = (*STRUCTURES, ".gro", ".psf", ".prmtop", ".parm7", ".top", ".mol2")
MAPS = (".mrc", ".map", ".ccp4")
LATENTS = (".pkl", ".npy", ".npz", ".csv", ".tsv", ".parquet", ".cs")


@dataclass(frozen=True)
class Start:
    """What was made, if anything, and what to type next."""

    recipe: Path | None
    type_next: str


def new(
    files: Sequence[Path],
    *,
    chains: Sequence[str] = (),
    topology: Path | None = None,
    out: Path | None = None,
    tell: Callable[[str], None] = print,
) -> Start:
    """Write a recipe for files of one kind, or say what to type for them.

    Parameters:
        files: one structure or two forms of a protein; trajectories, with or without their structure; a STAR file with
            a structure or a map; or latents of another program.
        chains: chains to take of structures, once for all files or once a form.
        topology: structure file of trajectories, if it is not among the files.
        out: recipe to write; <name of the first file>.toml in this folder if none, with the chains that are chosen.
        tell: says what was found and chosen, a line at a time.

    Raises TempicaError, in one message, for everything that is wrong with the files; nothing is overwritten.
    """
    _check_files([*files, *([topology] if topology else [])])
    kinds = [ending(path) for path in files]
    frames = [path for path in files if _is_trajectory(path)]
    others = [path for path in files if path not in frames]
    if frames and len(others) <= 1 and not (others and topology) and all(ending(path) in TOPOLOGIES for path in others):
        return _trajectory(frames, topology or (others[0] if others else None), chains, out, tell)
    if topology is not None:
        raise RecipeError(f"--topology {topology} is for trajectories, and none is given. Leave it out.")
    if all(kind in STRUCTURES for kind in kinds) and len(files) <= 2:
        return _protein(files, chains, out, tell)
    if ".star" in kinds and len(files) <= 2:
        star = files[kinds.index(".star")]
        return _particles(star, [path for path in files if path != star], chains, out, tell)
    if files and all(_is_film(path) for path in files):
        _refuse_chains(chains, "a movie of an atomic force microscope has")
        tell(f"{files[0].name}: a movie of an atomic force microscope. It needs no recipe.")
        where = f" --out {shlex.quote(str(out))}" if out is not None else ""
        return Start(None, f"tempica import {' '.join(shlex.quote(str(path)) for path in files)} --run{where}")
    if len(files) == 1 and (kinds[0] in LATENTS or files[0].is_dir()):
        _refuse_chains(chains, "latents have")
        return _latents(files[0], out, tell)
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
    from tempica.starting import protein

    path = out or _path_for(files[0], chains)
    folder = path.parent / f"{path.stem}_structures"
    _must_be_free([path, folder])
    begun = protein.begin(files, chains, name_of(Path(path.name)), folder.name, tell)
    return _write(path, begun.text, tell, begun.forms)


def _trajectory(
    files: Sequence[Path], topology: Path | None, chains: Sequence[str], out: Path | None, tell: Callable[[str], None]
) -> Start:
    from tempica.starting import trajectories

    if len(chains) > 1:
        raise RecipeError(f"--chain {' --chain '.join(chains)}: of a trajectory one chain is followed. Give one.")
    path = out or _path_for(files[0], chains)
    _must_be_free([path])
    text = trajectories.begin(files, topology, next(iter(chains), None), name_of(Path(path.name)), path, tell)
    return _write(path, text, tell)


def _particles(
    star: Path, others: Sequence[Path], chains: Sequence[str], out: Path | None, tell: Callable[[str], None]
) -> Start:
    from tempica.starting import particles, protein

    if not others:
        _refuse_chains(chains, "a STAR file has")
        raise particles.needs_more(star)
    (other,) = others
    path = out or _path_for(star, chains)
    name, folder = name_of(Path(path.name)), path.parent / f"{path.stem}_structures"
    _must_be_free([path, folder])
    if ending(other) in MAPS:
        _refuse_chains(chains, "a map has")
        return _write(path, particles.with_map(name, star, other, path, particles.looked_at(star, tell)), tell)
    if ending(other) in STRUCTURES:
        found = particles.looked_at(star, tell)
        begun = protein.begin([other], chains, name, folder.name, tell)
        return _write(path, particles.with_structure(begun.text, star, path, found), tell, begun.forms)
    raise RecipeError(_unknown([star, other]))


def _latents(file: Path, out: Path | None, tell: Callable[[str], None]) -> Start:
    """Latents need no recipe; they are checked by reading them."""
    from tempica.unmix.frames import read

    n, k = read(file).X.shape
    tell(
        f"{file.name}: latents of {n} particles or frames in {k} dimensions. They need no recipe. What identifies axes"
        " beyond linear ICA is time or labels: add --labels COLUMN, --time COLUMN or --ordered if you have them."
    )
    where = f" --out {shlex.quote(str(out))}" if out is not None else ""
    return Start(None, f"tempica unmix {shlex.quote(str(file))}{where}")


def _write(path: Path, text: str, tell: Callable[[str], None], forms: Mapping[str, Form] | None = None) -> Start:
    """Write a recipe and its structures, and check that it can be carried out; else leave nothing."""
    from tempica.simulate.stage import check

    folder = path.parent / f"{path.stem}_structures"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for one, form in (forms or {}).items():
            folder.mkdir(exist_ok=True)
            form.write(folder / one)
        path.write_text(text, encoding="utf-8")
        recipe, _ = _checked(text, path)
        check(recipe, path.parent)
        _tell_size(recipe, path.parent, tell)
    except TempicaError:
        if forms:
            shutil.rmtree(folder, ignore_errors=True)
        path.unlink(missing_ok=True)
        raise
    return Start(path, f"tempica run {shlex.quote(str(path))}")


def _tell_size(recipe: Recipe, folder: Path, tell: Callable[[str], None]) -> None:
    from tempica.starting.estimates import FACTOR, estimate

    parts = estimate(recipe, folder, pool.usable_cores()).values()
    seconds, n_bytes = sum(part.seconds for part in parts), sum(part.n_bytes for part in parts)
    tell(
        f"a run of it takes about {lasting(seconds)} here, give or take a factor of {FACTOR}, and"
        f" {n_bytes / 1e6:.0f} MB of disk"
    )


def _is_film(path: Path) -> bool:
    """Whether a file is a movie of heights; a NumPy array of less than three axes is none."""
    from tempica.exchange.film_file import is_film

    if ending(path) != ".npy":
        return is_film(path)
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False).ndim >= 3
    except (OSError, ValueError):
        return False  # whatever reads latents says what is wrong with it


def _is_trajectory(path: Path) -> bool:
    from tempica.starting.trajectories import is_trajectory

    return is_trajectory(path)


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


def _refuse_chains(chains: Sequence[str], what: str) -> None:
    """Raise RecipeError where chains are asked for of what has none."""
    if chains:
        raise RecipeError(f"--chain {' --chain '.join(chains)}: {what} no chains to take. Leave it out.")


def _path_for(file: Path, chains: Sequence[str]) -> Path:
    """A recipe's name where none is given; one that tells the chains where some are chosen."""
    return Path(f"{name_of(Path('_'.join([name_of(file), *chains]) + '.toml'))}.toml")


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
        " mmCIF); trajectories (DCD, XTC, TRR, HDF5, NetCDF) with their structure; a STAR file with a structure or a"
        f" map; a movie of an atomic force microscope; or latents ({', '.join(LATENTS)})."
    )
