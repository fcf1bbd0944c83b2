"""What to cite: an entry for all that the program names, and files that say the same as the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tempica
from tempica import citations
from tempica.cli import cli
from tempica.errors import DataError
from tempica.ica import methods
from tempica.recipe import shipped

from .conftest import ROOT

DOCS = ROOT / "src" / "tempica" / "docs"


@pytest.mark.parametrize("row", methods.trainable(), ids=lambda row: row.name)
def test_every_work_that_a_method_names_has_an_entry(row: methods.Method) -> None:
    named = re.findall(r"[^;,]+? \d{4}", row.theorem.replace("Hyvärinen, Sasaki", "Hyvärinen Sasaki"))
    assert len(citations.named_in(row.theorem)) == len(named) > 0


def test_every_target_can_be_cited() -> None:
    for name in (*citations.targets(), *shipped.names()):
        text, entries = tempica.cite(name), tempica.cite(name, bibtex=True)
        assert len(text.splitlines()) == entries.count("\n@") + 1 == len(set(text.splitlines()))
        assert all(re.search(r"\(\d{4}\)\. .*(https://|Version)", line) for line in text.splitlines())
        assert "{" not in text
        assert text.splitlines()[-1].startswith("Klindt, David A.")


def test_a_run_is_cited_with_the_methods_that_it_trained(small_run: Path) -> None:
    text = tempica.cite(small_run)
    assert "Molgedey" in text
    assert "OpenMM" in text
    assert "temporally dependent stationary sources" not in text  # PCL, which the run has not trained


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(DataError, match="Did you mean"):
        tempica.cite("pcll")
    with pytest.raises(DataError, match="Known: tempica, pca_pixels"):
        tempica.cite("xyzzy")


def test_entries_are_whole() -> None:
    assert len(citations.references()) == citations.REFERENCES.read_text("utf-8").count("\n@") + 1
    for one in citations.references().values():
        assert one.bibtex.count("{") == one.bibtex.count("}")
        assert {"author", "title", "year"} <= set(one.fields)
        assert one.kind == "software" or {"doi", "url"} & set(one.fields)
    assert citations.references()["hyvarinen2019"].short == "Hyvärinen, Sasaki & Turner 2019"
    used = {key for name in citations.targets() for key in citations._keys(name)}
    assert used | set(citations.OWN) == set(citations.references())


def test_the_command_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    cli(["cite", "sobi", "--bibtex"], standalone_mode=False)
    assert capsys.readouterr().out.startswith("@article{belouchrani1997,\n  author = {Belouchrani, Adel and")


def test_citation_and_changelog_are_of_this_version() -> None:
    assert f"\nversion: {tempica.__version__}\n" in (DOCS / "CITATION.cff").read_text()
    assert re.search(rf"^## {re.escape(tempica.__version__)}\b", (DOCS / "CHANGELOG.md").read_text(), re.M)


def test_arrays_need_neither_openmm_nor_mdtraj(tmp_path: Path) -> None:
    """Estimators, metrics, unmix on arrays, the object that opens it and its figures, with both blocked."""
    code = """
import importlib.metadata as installed, sys
for name in ("openmm", "mdtraj"):
    sys.modules[name] = None  # an import of it fails
version = installed.version
def blocked(name):
    if name in ("openmm", "mdtraj"):
        raise installed.PackageNotFoundError(name)
    return version(name)
installed.version = blocked
import tempica
for name in tempica.ica.__all__:
    getattr(tempica.ica, name)
from tempica.evaluate import audit, mcc, metrics
from tempica.ica import methods, stage
from tempica.ica.synthetic import autoregressive
from tempica.unmix import unmix
problem = autoregressive(2, 400)
made = unmix(problem.X, ordered=True, methods=["tica"], components=2, out=sys.argv[1] + "/axes")
assert made.sources.shape == (400, 2) and 0 <= mcc(made.sources, problem.S, n_null=2).score <= 1
assert "tica" in repr(tempica.open(made.folder)) and tempica.cite("tica")
assert "openmm" not in tempica.open(made.folder).sources.attrs["software"]
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_command_that_needs_what_is_not_installed_says_so(tmp_path: Path) -> None:
    code = "import sys; sys.modules['openmm'] = None; from tempica.cli import main; sys.argv = ['tempica', 'run',"
    code += f" {str(ROOT / 'simulations' / 'quick_look.toml')!r}, '--out', {str(tmp_path / 'run')!r}]; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install openmm" in done.stderr
    assert "Traceback" not in done.stderr
