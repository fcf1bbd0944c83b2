"""What to cite for a method, a process, a part of tempica, or all that a run has used."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tempica._version import __version__
from tempica.errors import DataError, did_you_mean
from tempica.ica import methods
from tempica.recipe import shipped
from tempica.recipe.dynamics import Driven, Free
from tempica.recipe.experiment import Recipe, load_recipe

REFERENCES = Path(__file__).parent / "docs" / "references.bib"
OWN = ("tempica", "klindt2024")  # the program, and the paper whose questions it takes up
# keys of what a part of tempica builds on, apart from methods and processes
PARTS = {
    "simulate": ("eastman2024", "mcgibbon2015"),
    "render": ("peng1996",),
    "xfel": ("waasmaier1995",),
    "embed": ("atilgan2001", "shumway1982"),
    "smooth": ("rauch1965",),
    "evaluate": ("hyvarinen2016", "eastwood2018", "kumar2018", "chen2018", "hsu2023", "glielmo2022"),
    "audit": ("hyvarinen2017", "hyvarinen2016", "comon1994", "belouchrani1997", "pham2001", "hyvarinen1999existence"),
}


@dataclass(frozen=True)
class Reference:
    """An entry of references.bib."""

    key: str
    kind: str
    fields: dict[str, str]

    @property
    def short(self) -> str:
        """As texts name it: Comon 1994, Hyvärinen & Morioka 2017, Hälvä et al. 2021."""
        names = [name.partition(",")[0].strip("{}") for name in self.authors]
        who = f"{names[0]} et al." if len(names) > 3 else " & ".join([", ".join(names[:-1]), names[-1]][-len(names) :])
        return f"{who} {self.fields['year']}"

    @property
    def authors(self) -> list[str]:
        return self.fields["author"].split(" and ")

    @property
    def bibtex(self) -> str:
        lines = [f"  {name} = {{{value}}}," for name, value in self.fields.items()]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])

    @property
    def plain(self) -> str:
        """One line of text."""
        about = {name: value.replace("--", "–") for name, value in self.fields.items()}
        about = {name: re.sub(r"[{}]", "", value) for name, value in about.items()}
        who = re.sub(r" and (?!others)", "; ", about["author"]).replace(" and others", "; et al.")
        where = [about.get("journal") or about.get("booktitle"), about.get("series"), about.get("volume")]
        place = " ".join(part for part in where if part)
        place += f", {about['pages']}" if "pages" in about else ""
        link = f"https://doi.org/{about['doi']}" if "doi" in about else about.get("url", "")
        version = f"Version {__version__}" if self.kind == "software" else ""
        told = [f"{who} ({about['year']})", about["title"], place or version, link]
        return ". ".join(part for part in told if part)


@cache
def references() -> dict[str, Reference]:
    """Every entry of references.bib by its key."""
    found = {}
    for kind, key, body in re.findall(r"^@(\w+)\{(\S+),\n(.*?)^\}$", REFERENCES.read_text("utf-8"), re.M | re.S):
        found[key] = Reference(key, kind, dict(re.findall(r"^  (\w+) = \{(.*)\},$", body, re.M)))
    return found


def cite(target: str | Path = "tempica", *, bibtex: bool = False) -> str:
    """What to cite, one reference a line, tempica itself at the end.

    Parameters:
        target: a method (`pcl`), a process of a recipe's variables (`ar1`), a part of tempica (`simulate`, `render`,
            `xfel`, `embed`, `smooth`, `evaluate`, `audit`), or a recipe or run, for all that it uses.
        bibtex: as BibTeX instead of text.

    Raises DataError for another target.

    Example:
        >>> from tempica.citations import cite
        >>> print(cite("tica").splitlines()[0])
        Molgedey, L.; Schuster, H. G. (1994). Separation of a mixture of independent signals using time delayed \
correlations. Physical Review Letters 72, 3634–3637. https://doi.org/10.1103/PhysRevLett.72.3634
    """
    found = [references()[key] for key in dict.fromkeys((*_keys(target), *OWN))]
    return "\n\n".join(one.bibtex for one in found) if bibtex else "\n".join(one.plain for one in found)


def named_in(text: str) -> list[str]:
    """Keys of the references that a text names, as `Hyvärinen & Morioka 2017`, in the order of references.bib."""
    return [key for key, one in references().items() if key not in OWN and one.short in text]


def targets() -> list[str]:
    """Everything that can be cited by a name of its own."""
    return ["tempica", *(row.name for row in methods.METHODS), *_processes(), *PARTS]


def _keys(target: str | Path) -> Iterable[str]:
    name, rows = str(target), {row.name: row for row in methods.METHODS}
    if name == "tempica":
        return ()
    if name in rows:
        return named_in(rows[name].theorem)
    if name in PARTS:
        return PARTS[name]
    if name in _processes():
        return named_in(_processes()[name])
    path = Path(target) / "recipe.toml" if Path(target).is_dir() else Path(target)
    if path.exists() or path.stem in shipped.names():
        return _of_recipe(load_recipe(shipped.find(path))[0])
    raise DataError(
        f"{name!r} is no method, process or part of tempica, and no recipe or run.{did_you_mean(name, targets())}"
        f" Known: {', '.join(targets())}."
    )


@cache
def _processes() -> dict[str, str]:
    """What is said of each process, by its name."""
    variants = [*Driven.__args__, *Free.__args__]  # type: ignore[attr-defined]
    told = {}
    for one in variants:
        # who has shown it for the methods that identify the process, too; docstrings are broken into lines
        theorems = [row.theorem for row in methods.trainable() if re.search(rf"\b{row.title}\b", one.identifiable)]
        text = " ".join([str(one.__doc__), one.identifiable, *theorems])
        told[one.model_fields["process"].annotation.__args__[0]] = re.sub(r"\s+", " ", text)
    return told


def _of_recipe(recipe: Recipe) -> Iterable[str]:
    camera = () if recipe.particles is not None else PARTS["xfel" if recipe.render.kind == "xfel" else "render"]
    of_methods = [key for name in methods.chosen(recipe) for key in named_in(methods.find(name).theorem)]
    return (*of_methods, *PARTS["simulate"], *camera, *PARTS["embed"], *PARTS["smooth"], *PARTS["evaluate"])
