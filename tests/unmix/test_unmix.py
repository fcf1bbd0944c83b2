"""The verb: one folder, sources in the order of the input, and one message for a mistake."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
from scipy.signal import lfilter

from tempica import cli
from tempica.errors import DataError, StoreError
from tempica.evaluate import mcc
from tempica.ica import load
from tempica.ica.synthetic import autoregressive
from tempica.stores.reading import open_store
from tempica.unmix import choosing, fitting, read, unmix

from ..conftest import tree

rng = np.random.default_rng(0)
PROBLEM = autoregressive(2, 1200, rho=(0.95, 0.5), n_layers=1, seed=0)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series, rows in no order, two sources and one direction of noise."""
    path = tmp_path_factory.mktemp("series") / "series.csv"
    X = np.c_[PROBLEM.X, rng.normal(size=1200)] @ rng.normal(size=(3, 3))
    table = pandas.DataFrame(X, columns=list("abc")).assign(
        t=np.tile(np.arange(600) * 0.2, 2), movie=np.repeat(["u", "v"], 600), truth=np.arange(1200)
    )
    table.sample(frac=1, random_state=1).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def result(series: Path):
    asked = {"features": ["a", "b", "c"], "replicas": "movie", "time": "t", "methods": ["fastica", "tica"]}
    return unmix(series, out=series.parent / "axes", **asked)


def test_sources_are_in_the_order_of_the_input(result, series: Path) -> None:
    assert result.made
    assert result.record["n_components"] == 2  # counted
    truth = PROBLEM.S[pandas.read_csv(series)["truth"]]
    assert mcc(result.sources, truth, n_null=2).score > 0.9
    table = pandas.read_csv(result.folder / "sources.csv")
    assert table["row"].tolist() == list(range(1200))
    np.testing.assert_allclose(table[["source_1", "source_2"]], result.sources, rtol=1e-8)


def test_sources_in_time_are_smoothed_too(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    S = lfilter([1], [1, -0.95], draw.laplace(size=(2000, 2)), axis=0)[500:]
    S /= S.std(0)
    table = pandas.DataFrame((S + draw.normal(size=S.shape)) @ [[1, 0.5], [-0.4, 1]]).assign(t=np.arange(1500))
    order = draw.permutation(1500)
    asked = {"features": ["0", "1"], "methods": ["fastica"], "components": 2}
    found = unmix(table.iloc[order].set_axis(["0", "1", "t"], axis=1), time="t", out=tmp_path / "timed", **asked)
    kept = np.corrcoef(found.sources.T, found.smoothed.T)[:2, 2:].diagonal()
    assert (kept > 0.5).all()
    fit = [np.linalg.lstsq(np.c_[Y, np.ones(1500)], S[order], rcond=None) for Y in (found.sources, found.smoothed)]
    single, smooth = (1 - residual / 1500 for _, residual, _, _ in fit)
    assert (single < 0.6).all()
    assert (smooth > single + 0.15).all()  # an autoregression of 0.95 in noise as strong: 0.79 from all frames
    table = pandas.read_csv(found.folder / "sources.csv")
    np.testing.assert_allclose(table[["smoothed_1", "smoothed_2"]], found.smoothed, rtol=1e-8)
    assert np.allclose(found.record["smoothing"]["noise"], 0.5, atol=0.15)


def test_rows_without_order_are_not_smoothed(tmp_path: Path) -> None:
    found = unmix(PROBLEM.X[:300], methods=["fastica"], out=tmp_path / "rows")
    assert np.isnan(found.smoothed).all()
    assert found.record["smoothing"] is None
    assert "smoothed" not in (found.folder / "sources.csv").read_text().splitlines()[0]


def test_the_folder_holds_what_it_should(result) -> None:
    latents = open_store(result.folder / "latents.zarr", "latent_table")
    sources = open_store(result.folder / "sources.zarr", "source_table")
    assert latents["feature"].values.tolist() == ["a", "b", "c"]
    assert sources["estimator"].values.tolist() == ["fastica", "tica"]
    model = load(result.folder / "models" / "tica")
    np.testing.assert_allclose(model.transform(latents["latent"].values), result.sources, atol=1e-10)
    page = (result.folder / "report.html").read_text()
    assert "<script" not in page
    assert "TICA identifies" in page
    assert not list(result.folder.parent.glob(".*.partial"))


def test_the_script_gives_the_same_sources(result, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (result.folder / "unmix.py").read_text()
    assert len([line for line in code.splitlines() if line]) == 5
    names: dict = {}
    exec(compile(code, "unmix.py", "exec"), names)
    np.testing.assert_array_equal(names["sources"], result.sources)


def test_the_same_command_does_nothing_and_another_changes_nothing(result, series: Path) -> None:
    before = tree(result.folder)
    asked = {"features": ["a", "b", "c"], "replicas": "movie", "time": "t"}
    assert not unmix(series, out=result.folder, methods=["fastica", "tica"], **asked).made
    with pytest.raises(StoreError, match="holds something else"):
        unmix(series, out=result.folder, methods=["tica"], **asked)
    assert tree(result.folder) == before


def test_a_killed_command_goes_on_and_gives_the_same_folder(
    result, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"features": ["a", "b", "c"], "replicas": "movie", "time": "t", "methods": ["fastica", "tica"]}
    fitted, own = [], fitting.fit

    def fit(name: str, *given):
        if name == "tica" and not fitted.count("tica"):
            fitted.append(name)
            raise KeyboardInterrupt
        fitted.append(name)
        return own(name, *given)

    monkeypatch.setattr(fitting, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        unmix(series, out=tmp_path / "axes", **asked)
    assert not (tmp_path / "axes").exists()
    unmix(series, out=tmp_path / "axes", **asked)
    assert fitted == ["fastica", "tica", "tica"]
    assert tree(tmp_path / "axes") == tree(result.folder)


def test_methods_are_those_that_the_data_allow() -> None:
    X = rng.normal(size=(90, 3))
    labels = pandas.DataFrame(X).assign(delay=np.repeat([0, 5, 20], [10, 30, 50]))
    cases = {
        "fastica": read(X),
        "pcl": read(X, ordered=True),
        "gcl": read(labels, labels="delay"),
    }
    for main, frames in cases.items():
        rows = choosing.applicable(frames)
        lacks = {row.method.name: row.lacks for row in rows}
        chosen = choosing.choose(frames, rows)
        assert chosen[-1] == main
        assert all(lacks[name] is None for name in chosen)
        assert all(why for name, why in lacks.items() if name.endswith("images"))
    with pytest.raises(DataError, match=r"TCL cannot run here: rows have no labels.*Methods that can: fastica, tica"):
        choosing.choose(cases["pcl"], choosing.applicable(cases["pcl"]), ("tcl",))
    with pytest.raises(DataError, match="There is no method 'magic'"):
        choosing.choose(cases["pcl"], choosing.applicable(cases["pcl"]), ("magic",))


def test_too_few_labels_are_refused_with_the_number_that_would_do(tmp_path: Path) -> None:
    label = np.repeat([0, 1], 500)
    s = rng.normal(size=(1000, 2)) * np.array([[0.3, 1.0], [2.0, 0.4]])[label] + np.array([[0, 0], [3, -2]])[label]
    table = pandas.DataFrame(np.c_[s, rng.normal(size=1000)]).assign(delay=label)
    with pytest.raises(DataError, match=r"2 labels have modulations of rank 1 at most.* 2 sources need 3 labels at le"):
        unmix(table, labels="delay", out=tmp_path / "axes")
    assert not list(tmp_path.iterdir())


def test_unequal_labels_and_few_rows_in_one_work(tmp_path: Path) -> None:
    label = np.repeat([0, 1, 2, 3], [900, 300, 40, 1])
    scale = np.array([[0.3, 2.0], [1.0, 0.3], [2.0, 1.0], [1.0, 1.0]])[label]
    table = pandas.DataFrame(scale * rng.laplace(size=(1241, 2))).assign(delay=label)
    found = unmix(table, labels="delay", methods=["nonstationary"], components=2, out=tmp_path / "axes")
    truth = table[[0, 1]].to_numpy()[:1240]
    assert mcc(found.sources[:1240], truth, n_null=2).score > 0.9
    assert "0: 900, 1: 300, 2: 40)" in found.record["labels"]
    few = {"n_components": 2, "n_restarts": 1, "max_steps": 10}
    frames = read(table, labels="delay")
    assert frames.notes[1:] == ("left out, since no other row has their delay: rows of 3",)
    assert np.isfinite(fitting.fit("tcl", frames, few).sources).all()
    assert np.flatnonzero(np.isnan(found.sources).all(1)).tolist() == [1240]


def test_axes_of_normal_noise_are_not_credited(tmp_path: Path) -> None:
    noise = unmix(rng.normal(size=(800, 3)), out=tmp_path / "noise")
    assert noise.record["why"].startswith(("No axis is", "Axis 1 is"))
    sources = unmix(rng.laplace(size=(800, 3)), out=tmp_path / "sources")
    assert sources.record["why"].startswith("Axes 1, 2 and 3 are less Gaussian")
    assert "take the axes as a description" in sources.record["why"]


def test_an_audit_is_part_of_the_result_where_asked_for(tmp_path: Path) -> None:
    asked = {"methods": ["tica"], "components": 2, "audited": True}
    found = unmix(PROBLEM.X[:600], ordered=True, out=tmp_path / "axes", **asked)
    assert found.record["audit"]["tests"]
    assert "<h2>Audit</h2>" in (found.folder / "report.html").read_text()
    with pytest.raises(DataError, match="An audit needs time or labels"):
        unmix(rng.laplace(size=(100, 2)), out=tmp_path / "none", audited=True)
    assert [path.name for path in tmp_path.iterdir()] == ["axes"]


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize(
    ("name", "content", "options", "told"),
    [
        ("z.pkl", pickle.dumps(Harm()), [], "nothing in the file was run"),
        ("z.csv", b"a,b\n1,2\n,4\n5,6\n", [], "rows 1 (from 0). Leave them out with --drop-nan"),
        ("z.csv", b"a,b\n1,2\n3,4\n", ["--labels", "delay"], "has no column 'delay'"),
        ("z.csv", b"a,b,k\n1,2,0\n3,4,0\n", ["--labels", "k"], "have the same k, 0"),
        ("z.xlsx", b"PK", [], "ends in '.xlsx'"),
        ("z.npy", b"", [], "is empty"),
        ("z.csv", b"a,b\n1,2\n3,4\n5,7\n", ["--star", "none.star", "--labels", "k"], "There is no table none.star"),
        ("z.csv", b"a,b\n1,2\n3,4\n5,7\n", ["--components", "5"], "--components 5 must be from 1 to 2"),
        ("z.csv", b"a,b\n1,2\n1,2\n1,2\n", [], "All 2 features are constant"),
        ("z.csv", b"a,b\n1,2\n3,4\n5,7\n", ["--method", "tcl"], "TCL cannot run here"),
    ],
)
def test_a_mistake_gets_one_message(
    name: str, content: bytes, options: list[str], told: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["tempica", "unmix", name, *options])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tempica:")]
    assert len(said) == 1
    assert told in said[0]
    assert [path.name for path in tmp_path.iterdir() if path.name != name] in ([], ["unmixed"])
    assert not list(tmp_path.glob("unmixed/*"))


def test_the_command_prints_verdict_and_why_others_do_not_apply(series: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    asked = ["--features", "a,b,c", "--method", "fastica", "--out", str(tmp_path / "axes")]
    monkeypatch.setattr(sys, "argv", ["tempica", "unmix", str(series), *asked])
    cli.main()
    said = " ".join(capsys.readouterr().out.split())
    assert "Verdict: assumed." in said
    assert "rows have no order in time" in said
    assert json.loads((tmp_path / "axes" / "unmix.json").read_text())["given_out"] == "fastica"


@pytest.mark.parametrize(("n_labels", "verdict"), [(2, "subspace"), (4, "subspace"), (5, "identifiable")])
def test_the_verdict_of_labels_counts_them(n_labels: int, verdict: str) -> None:
    found, why = fitting.labelled("identifiable", "As it was.", 2, n_labels)
    assert found == verdict
    assert ("Rows of 5 or more conditions or delays would do" in why) == (verdict == "subspace")
    assert fitting.labelled("identifiable", "As it was.", 1, 2) == ("identifiable", "As it was.")
