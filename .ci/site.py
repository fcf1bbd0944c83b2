"""Hook of mkdocs, and extension of griffe: READMEs and docstrings become pages beside those of src/tempica/docs/."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tempica"
READMES = {path: f"{path.parent.relative_to(ROOT).as_posix()}/index.md" for path in ROOT.glob("*/README.md")}
READMES |= {
    path: f"packages/{'.'.join(path.parent.relative_to(SOURCE).parts)}.md" for path in SOURCE.rglob("README.md")
}
READMES |= {ROOT / "README.md": "index.md", ROOT / "tests/benchmarks/README.md": "benchmarks.md"}
DOCS = SOURCE / "docs"
READMES |= {path: path.name for path in DOCS.glob("*.md")}
# what a user imports from, in the order of the reference
MODULES = ("", "ica", "evaluate", "evaluate.metrics", "unmix", "audit", "plot", "ica.synthetic")


class Examples(griffe.Extension):
    """Doctests under `Example:` are shown as code, as those under `Examples:` are."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.M)


def on_config(config: Any) -> Any:
    packages = sorted(page for page in READMES.values() if page.startswith("packages/"))
    for entry in config.nav:
        if "Packages" in entry:
            entry["Packages"] = [{page.removeprefix("packages/").removesuffix(".md"): page} for page in packages]
        if "Reference" in entry:
            entry["Reference"] = [{name_of(module): page_of(module)} for module in MODULES]
    return config


def on_files(files: Any, config: Any) -> Any:
    linked: set[Path] = set()
    for path, page in READMES.items():
        if path.parent == DOCS:
            files.remove(files.get_file_from_path(page))
        files.append(File.generated(config, page, content=rewritten(path, page, linked)))
    for module in MODULES:
        files.append(File.generated(config, page_of(module), content=reference(module)))
    for path in sorted(linked):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def rewritten(path: Path, page: str, linked: set[Path]) -> str:
    """A README whose relative links lead to pages, or to files that are copied; links to folders become text."""

    def link(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        if "://" in target or target.startswith("#"):
            return match[0]
        name, _, anchor = target.partition("#")
        there = Path(os.path.normpath(path.parent / name))
        if there.is_dir() and there / "README.md" not in READMES:
            return text
        there = there / "README.md" if there.is_dir() else there
        if there not in READMES:
            linked.add(there)
        goal = READMES.get(there) or there.relative_to(ROOT).as_posix()
        return f"[{text}]({os.path.relpath(goal, Path(page).parent)}{'#' + anchor if anchor else ''})"

    parts = re.split(r"(^```.*?^```$)", path.read_text("utf-8"), flags=re.M | re.S)
    return "".join(
        part if part.startswith("```") else re.sub(r"\[([^\]]*)\]\(([^)\s]+)\)", link, part) for part in parts
    )


def name_of(module: str) -> str:
    return f"tempica.{module}".rstrip(".")


def page_of(module: str) -> str:
    return f"reference/{name_of(module)}.md"


def reference(module: str) -> str:
    """A page with each public name of a module, where it is defined."""
    folder = SOURCE / module.replace(".", "/")
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    tree = ast.parse(path.read_text("utf-8"))
    lines = [f"# {name_of(module)}", "", ast.get_docstring(tree) or ""]
    for home in sorted(public(tree, name_of(module)), key=lambda home: home.rpartition(".")[2].lower()):
        lines += ["", f"::: {home}"]
    return "\n".join(lines) + "\n"


def public(tree: ast.Module, module: str) -> set[str]:
    """Full names of what a package re-exports, or of what a module defines without an underscore."""
    homes = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tempica."):
            homes |= {f"{node.module}.{alias.name}" for alias in node.names}
    exported = [node.value for node in tree.body if isinstance(node, ast.Assign) and named(node) == "__all__"]
    if exported:
        names = {*ast.literal_eval(exported[0]), "open"}  # which `__all__` of tempica leaves to Python
        return {home for home in homes if home.rpartition(".")[2] in names and "_version" not in home}
    own = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return {f"{module}.{node.name}" for node in own if not node.name.startswith("_")}


def named(node: ast.Assign) -> str:
    return ast.unparse(node.targets[0])
