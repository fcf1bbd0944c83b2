"""Conditions are read and never run; a selection is what the table of sources says; paths stay where data are."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas
import pytest
from scipy.spatial import KDTree

from tempica.errors import DataError
from tempica.exchange.columns import read_columns
from tempica.unmix import read, select, unmix
from tempica.unmix.expressions import rows_where
from tempica.unmix.traversals import traverse

rng = np.random.default_rng(0)
N = 600
COLUMNS = {"source_1": rng.normal(size=N), "source_2": rng.normal(size=N), "label": rng.integers(0, 3, N)}
COLUMNS["name"] = np.array(["left", "right"])[rng.integers(0, 2, N)]


@pytest.mark.parametrize(
    "condition",
    [
        "source_1 > 1.5",
        "source_1 > 0.5 and source_2 <= 0",
        "not (source_1 > 0 or source_2 > 0)",
        "-1 < source_1 < 1",
        "abs(source_1 - 2 * source_2) >= 1 / 2",
        "label == 2 and name != 'left'",
        "source_1 / label > 1",
    ],
)
def test_conditions_mean_what_pandas_says(condition: str) -> None:
    expected = pandas.DataFrame(COLUMNS).eval(condition, engine="python").to_numpy()
    np.testing.assert_array_equal(rows_where(condition, COLUMNS), expected)


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("__import__('os').system('true')", "has a part that conditions do not know"),
        ("source_1.__class__", "has a part"),
        ("(lambda: 1)() > 0", "has a part"),
        ("[x for x in (1, 2)]", "has a part"),
        ("source_1 ** 999999999 > 0", "has a part"),
        ("open('x') > 0", "has a part"),
        ("source_9 > 1", "There is no column 'source_9'. Columns: source_1, source_2, label, name"),
        ("source_1", "says no yes or no of each row"),
        ("1 > 0", "says no yes or no of each row"),
        ("source_1 > 'a'", "compares text with a number"),
        ("source_1 and source_2", "joins what is no comparison"),
        ("name + 1 > 2", "calculates with what is no number"),
        ("source_1 >", "is no condition. Write it like"),
        ("(" * 900 + ")" * 90, "is no condition"),
    ],
)
def test_a_condition_runs_nothing(condition: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        rows_where(condition, COLUMNS)


def test_a_selection_is_the_rows_that_the_table_of_sources_says(tmp_path: Path) -> None:
    star, order = tmp_path / "particles.star", rng.permutation(N)
    head = "# made by hand\n\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnVoltage #2\n1 300.0\n\n"
    rows = "".join(f"{i + 1}@a.mrcs {i % 3} 1\n" for i in range(N))
    star.write_text(
        f"{head}\ndata_particles\n\nloop_\n_rlnImageName #1\n_rlnClassNumber #2\n_rlnOpticsGroup #3\n{rows}\n"
    )
    Z = rng.laplace(size=(N, 2))
    table = pandas.DataFrame(Z[order], columns=["a", "b"]).assign(image_name=[f"{i + 1}@a.mrcs" for i in order])
    table.to_csv(tmp_path / "z.csv", index=False)
    result = unmix(tmp_path / "z.csv", star=star, out=tmp_path / "axes")
    rows_file, selected = select(result, "source_1 > 1.5")
    sources = pandas.read_csv(result.folder / "sources.csv")
    chosen = np.flatnonzero(sources["source_1"] > 1.5)
    np.testing.assert_array_equal(pickle.loads(rows_file.read_bytes()), chosen)
    found = read_columns(selected, ["rlnClassNumber"])
    expected = sorted(order[chosen].tolist())
    assert found["rlnImageName"].tolist() == [f"{i + 1}@a.mrcs" for i in expected]
    assert selected.read_text().startswith(head)
    kept = [
        line for line in star.read_text().splitlines() if "@" not in line or int(line.split("@")[0]) - 1 in expected
    ]
    assert selected.read_text().splitlines() == kept
    with pytest.raises(DataError, match="No row fulfils"):
        select(result, "source_1 > 100")


def test_paths_stay_where_data_are_and_move_one_source() -> None:
    """Sources on a bent sheet: a straight line through latent space would leave it."""
    s = rng.uniform(-1, 1, size=(4000, 2))
    Z = np.stack([np.cos(2 * s[:, 0]), np.sin(2 * s[:, 0]), s[:, 1]], axis=1) + 0.02 * rng.normal(size=(4000, 3))
    frames = read(Z)
    tree = KDTree(Z)
    usual = np.percentile(tree.query(Z, 11)[0][:, -1], 99)
    for i, path in enumerate(traverse(frames, s)):
        assert tree.query(path.latent, 10)[0][:, -1].max() < 1.5 * usual
        assert (path.density <= 1).all()
        assert np.ptp(path.source[:, i]) > 1.5
        assert np.ptp(path.source[:, 1 - i]) < 0.2
        np.testing.assert_allclose(s[path.row, i], path.source[:, i], atol=0.15)


def test_paths_between_clusters_are_rows_of_data() -> None:
    s = np.where(rng.random((2000, 1)) < 0.5, -2.0, 2.0) + 0.1 * rng.normal(size=(2000, 1))
    Z = np.c_[s, 0.1 * rng.normal(size=(2000, 1))]
    (path,) = traverse(read(Z), s)
    assert (np.abs(np.abs(path.latent[:, 0]) - 2) < 0.5).all()
    assert (path.density <= 1).all()
