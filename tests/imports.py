"""What imports what in a package, read from its sources: in functions and under TYPE_CHECKING too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

# A file imports only from floors before its own; those of one entry may import each other, rooms none of the others.
FLOORS = (
    ("_version", "errors", "seeds", "progress", "series", "kernel_cache", "terminal", "kalman", "grid_smoother"),
    ("docs",),  # no code
    ("recipe",),
    ("imaging",),
    ("stores",),
    ("exchange",),
    ("runs",),
    ("simulate", "render", "embed", "ica", "evaluate", "report"),
    ("audit",),
    ("unmix",),
    ("pipeline", "examining", "importing", "opened", "plot", "citations"),
    ("designs", "starting"),
    ("commands",),
    ("cli", "__init__"),
)
ROOMS = FLOORS[7]
INSIDE_ICA = (
    ("options", "labels", "joining"),
    ("base",),
    ("training", "linear"),
    ("contrastive", "generative", "smoothing"),
    ("saving",),
    ("__init__",),
    ("methods", "synthetic", "moving"),
    ("stage",),
)


def modules(source: Path) -> dict[str, Path]:
    """Files of a package by the dotted name of their module, without the package's own name; "" is the package."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path) -> set[str]:
    """Every module or name that a file imports, dotted; names imported from packages are spelled out."""
    found, _, relative = _read(path.read_text(encoding="utf-8"))
    assert not relative, f"{path}: relative imports hide where they lead"
    return set(found)


@cache
def _read(text: str) -> tuple[frozenset[str], frozenset[str], bool]:
    """What a source imports, every name that it speaks of, and whether an import is relative.

    Names, called or not: what imports by string may be given another name first.
    """
    found, names, relative = set(), set(), False
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            relative |= node.level > 0
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
    return frozenset(found), frozenset(names), relative


def edges(source: Path) -> dict[str, set[str]]:
    """The modules of the package that each of its modules imports."""
    known = modules(source)
    return {name: set(_inside(imported(path), known)) for name, path in known.items()}


def _inside(names: set[str], known: dict[str, Path]) -> Iterator[str]:
    for name in names:
        package, _, inner = name.partition(".")
        if package == "tempica":
            yield inner if inner in known else inner.rpartition(".")[0]


def against_the_law(source: Path) -> list[str]:
    """Imports that lead downward, or from room to room, and imports by string outside a package's `__init__`."""
    found = []
    for name, targets in edges(source).items():
        for target in sorted(targets):
            if not _allowed(name.split("."), target.split("."), FLOORS):
                found.append(f"{name or '__init__'} imports {target or '__init__'}")
            if name.startswith("ica.") and target.startswith("ica"):
                one, other = (*name.split(".")[1:], "__init__")[:1], (*target.split(".")[1:], "__init__")[:1]
                if not _allowed(list(one), list(other), INSIDE_ICA):
                    found.append(f"{name} imports {target}")
    for path in modules(source).values():
        if path.name != "__init__.py" and {"import_module", "__import__"} & _read(path.read_text(encoding="utf-8"))[1]:
            found.append(f"{path.relative_to(source)} imports by string")
    return found


def _allowed(one: list[str], other: list[str], floors: tuple[tuple[str, ...], ...]) -> bool:
    here, there = one[0] or "__init__", other[0] or "__init__"
    if here == there:
        return True
    level = {name: number for number, names in enumerate(floors) for name in names}
    assert here in level, f"{here} has no floor"
    assert there in level, f"{there} has no floor"
    return level[there] < level[here] or (level[there] == level[here] and here not in ROOMS)


def circles(source: Path) -> list[set[str]]:
    """Groups of modules each of which leads to every other: strongly connected components of more than one (Tarjan)."""
    graph, found = edges(source), []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for target in graph.get(name, ()):
            if target not in number:
                visit(target)
            if target in stack:
                lowest[name] = min(lowest[name], lowest[target])
        if lowest[name] == number[name]:
            group = set(stack[stack.index(name) :])
            del stack[stack.index(name) :]
            if len(group) > 1 or name in graph.get(name, ()):
                found.append(group)

    for name in graph:
        if name not in number:
            visit(name)
    return found
