"""`tempica.open`: everything a folder holds as one object, and figures of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

import tempica
from tempica import plot
from tempica.errors import DataError, RecipeError, StoreError
from tempica.evaluate import mcc
from tempica.ica import TICA, smooth
from tempica.ica.synthetic import autoregressive
from tempica.unmix import read, unmix

from .conftest import ROOT

matplotlib.use("Agg")


def test_dir_shows_what_there_is_and_imports_nothing() -> None:
    code = "import sys, tempica; assert {'open', 'run', 'ica', 'plot', 'load_recipe'} <= set(dir(tempica)); "
    code += "assert not any(name in sys.modules for name in ('numpy', 'torch')); assert tempica.ica.TICA"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert all(hasattr(tempica, name) for name in dir(tempica))


def test_a_run_is_one_object(small_run: Path) -> None:
    run = tempica.open(small_run)
    for name in ("trajectory", "movie", "latents", "sources"):
        assert getattr(run, name).sizes["replica"] == 4
    assert run.sources["source"].sel(estimator="tica").dims == ("stage", "replica", "time", "component")
    assert set(run.scores["method"]) == {"pca_pixels", "latents", "tica", "state_space"}
    best = run.scores.query("split == 'held_out' and metric == 'mcc_spearman' and method == 'tica'")
    assert f"tica {best['value'].iloc[0]:.2f}" in repr(run)
    assert len(repr(run).splitlines()) <= 9


def test_a_run_is_drawn(small_run: Path) -> None:
    run = tempica.open(small_run)
    drawn = run.plot_sources("tica")
    truth = run.trajectory["collective_variable"].values[-1]
    assert len(drawn.lines) >= 2 + truth.shape[1] - 1
    assert len(run.plot_scores().get_yticklabels()) == 5
    assert "<img" in run.play(n_frames=3).to_jshtml()
    with pytest.raises(DataError, match="has sources of pca_pixels, latents"):
        run.plot_sources("magic")


def test_the_verdict_is_that_of_the_scores(small_run: Path, tmp_path: Path) -> None:
    run = tempica.open(small_run)
    assert run.verdict == run.record["verdict"]["sentence"]
    assert run.verdict in repr(run)
    (tmp_path / "recipe.toml").touch()
    (tmp_path / "scores.json").write_text('{"rows": []}')  # of a version without verdicts
    assert tempica.open(tmp_path).verdict is None


def test_a_result_of_unmix_is_one_object(tmp_path: Path) -> None:
    problem = autoregressive(2, 400, seed=1)
    made = unmix(problem.X, ordered=True, methods=["tica"], components=2, out=tmp_path / "axes")
    found = tempica.open(tmp_path / "axes")
    np.testing.assert_array_equal(found.sources["source"].sel(estimator="tica"), made.sources)
    assert found.verdict is not None
    assert found.verdict in repr(found)
    assert found.plot_sources().lines
    with pytest.raises(StoreError, match="makes no movie"):
        found.movie  # noqa: B018
    with pytest.raises(StoreError, match="no scores"):
        found.scores  # noqa: B018


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        tempica.open(tmp_path / "absent")
    with pytest.raises(StoreError, match="is no folder of a run"):
        tempica.open(tmp_path)
    (tmp_path / "recipe.toml").touch()
    begun = tempica.open(tmp_path)
    assert repr(begun).count("not there") == 4
    with pytest.raises(StoreError, match=r"no scores\.json"):
        begun.plot_scores()


def test_a_recipe_is_loaded_by_path_name_or_text(tmp_path: Path) -> None:
    path = ROOT / "simulations" / "quick_look.toml"
    recipe, text = tempica.load_recipe(path)
    for way in (str(path), "quick_look", text):
        assert tempica.load_recipe(way) == (recipe, text)
    with pytest.raises(RecipeError, match=r"given as text .*\n.*simulate"):
        tempica.load_recipe('name = "x"')
    with pytest.raises(RecipeError, match="Did you mean quick_look"):
        tempica.load_recipe("quick_lok")


def test_figures_of_an_estimator() -> None:
    problem = autoregressive(2, 300, seed=3)
    model = TICA(n_components=2).fit(problem.X)
    S = model.transform(problem.X)
    shown = plot.matrix(model, problem.X, truth=problem.S, names=["a", "b"])
    expected = np.corrcoef(S.T, problem.S.T)[:2, 2:]
    np.testing.assert_allclose(shown.images[0].get_array(), expected, atol=1e-9)
    # each true source lies over another one of the estimator, turned to its sign
    drawn = plot.sources(model, problem.X, truth=problem.S, n_frames=300)
    for known, found in zip(drawn.lines[::2], drawn.lines[1::2], strict=True):
        correlation = np.corrcoef(known.get_ydata(), found.get_ydata())[0, 1]
        assert np.abs(np.abs(expected) - correlation).min() < 1e-9
    with pytest.raises(DataError, match="no loss_curve_"):
        plot.loss(model)
    with pytest.raises(DataError, match="give X"):
        plot.sources(model)
    with pytest.raises(DataError, match="as many"):
        plot.matrix(S, truth=problem.S[:-1])


def test_the_loss_is_drawn_at_its_steps() -> None:
    class Fitted:
        loss_curve_ = ((0, 1.0, 1.5), (20, 0.5, 1.2))

    assert [line.get_xdata().tolist() for line in plot.loss(Fitted()).lines] == [[0, 20], [0, 20]]
    Fitted.loss_curve_ = ((0, 1.0), (20, 0.5))  # type: ignore[assignment]
    assert [line.get_label() for line in plot.loss(Fitted()).lines] == ["held out"]


def test_reprs_of_results_are_short(tmp_path: Path) -> None:
    problem = autoregressive(2, 300, seed=3)
    made = unmix(problem.X, ordered=True, methods=["tica"], components=2, out=tmp_path / "axes")
    scored = mcc(made.sources, problem.S, n_null=2)
    for found in (problem, problem.mixing, scored, smooth(problem.X), made, read(problem.X)):
        assert len(repr(found).splitlines()) == 1
        assert 20 < len(repr(found)) < 500
    assert f"score={scored.score:.4g}" in repr(scored)
    assert "matrix=array (2, 2)" in repr(scored)
    assert "2 sources of 300 rows by tica" in repr(made)
