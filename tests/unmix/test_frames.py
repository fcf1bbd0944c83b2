"""Rows and columns come together as they should, or one message says what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

from tempica.errors import DataError, FormatError
from tempica.unmix import read

N = 24
rng = np.random.default_rng(0)
Z = rng.normal(size=(N, 3))


def star(folder: Path, rows: list[int], label: str = "_rlnTimepoint") -> Path:
    path = folder / "particles.star"
    lines = "".join(f"{i + 1}@a.mrcs {10 * (i % 3)}\n" for i in rows)
    path.write_text(f"data_particles\n\nloop_\n_rlnImageName #1\n{label} #2\n{lines}\n")
    return path


def named(order: np.ndarray) -> pandas.DataFrame:
    """Latents of the particles of `order`, with their images."""
    frame = pandas.DataFrame(Z[order], columns=["z1", "z2", "z3"])
    return frame.assign(rlnImageName=[f"{i + 1:06d}@folder/a.mrcs" for i in order])


def test_rows_are_matched_by_image_whatever_their_order(tmp_path: Path) -> None:
    order = rng.permutation(N)
    frames = read(named(order), star=star(tmp_path, list(range(N))), labels="_rlnTimepoint")
    np.testing.assert_array_equal(frames.labels, 10 * (order % 3))
    np.testing.assert_array_equal(frames.X, Z[order])
    assert any("matched by image" in note for note in frames.notes)


def test_rows_without_images_are_matched_by_order_and_selection(tmp_path: Path) -> None:
    path, chosen = star(tmp_path, list(range(N))), np.array([5, 7, 2, 9, 4, 0])
    np.save(tmp_path / "ind.npy", chosen)
    frames = read(Z[: len(chosen)], star=path, ind=tmp_path / "ind.npy", labels="rlnTimepoint")
    np.testing.assert_array_equal(frames.labels, 10 * (chosen % 3))
    with pytest.raises(DataError, match=r"has 6 rows and .* has 24; they must be of the same particles"):
        read(Z[:6], star=path, labels="rlnTimepoint")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([0, *range(N - 1)], "has the image 1@a.mrcs in 2 rows, 0 and 1 from 0"),
        (list(range(N - 2)), "2 images of the table are not in .*, the first 23@a.mrcs in row 22"),
    ],
)
def test_duplicated_and_missing_particles_are_named(rows: list[int], told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told):
        read(named(np.arange(N)), star=star(tmp_path, rows), labels="_rlnTimepoint")


def test_images_may_repeat_where_one_says_so(tmp_path: Path) -> None:
    rows = [i // 2 for i in range(N)]
    frames = read(Z, star=star(tmp_path, rows), labels="_rlnTimepoint", repeated=True)
    np.testing.assert_array_equal(frames.labels, [10 * (i % 3) for i in rows])


def test_rows_that_are_not_finite_are_named_or_left_out() -> None:
    holed = Z.copy()
    holed[[3, 8], 1] = np.nan, np.inf
    with pytest.raises(DataError, match=r"2 of 24 rows .* rows 3, 8 \(from 0\). Leave them out with --drop-nan"):
        read(holed)
    frames = read(holed, drop_nan=True, ordered=True)
    assert frames.replicas is not None
    assert np.flatnonzero(np.diff(frames.replicas)).tolist() == [2, 6]  # gaps in time
    back = frames.in_input_order(frames.X)
    assert np.isnan(back[[3, 8]]).all()
    np.testing.assert_array_equal(np.delete(back, [3, 8], 0), np.delete(Z, [3, 8], 0))


def test_series_are_in_order_of_time_and_split_at_gaps() -> None:
    time = np.r_[np.arange(8) * 0.5, 10 + np.arange(4) * 0.5, np.arange(12) * 0.5]
    table = pandas.DataFrame(Z, columns=list("abc")).assign(t=time, movie=np.repeat(["u", "v"], 12))
    mixed = rng.permutation(N)
    frames = read(table.iloc[mixed], replicas="movie", time="t")
    assert frames.replicas is not None
    assert frames.features == list("abc")
    assert np.bincount(frames.replicas).tolist() == [8, 4, 12]
    np.testing.assert_array_equal(frames.X, Z)
    np.testing.assert_array_equal(frames.in_input_order(frames.X), Z[mixed])


@pytest.mark.parametrize(
    ("changes", "asked", "told"),
    [
        ({"t": 0.0}, {"time": "t"}, "has the same time twice in one series"),
        ({"t": np.cumsum(2.0 ** rng.normal(size=N))}, {"time": "t"}, "has no usual step"),
        ({"t": "noon"}, {"time": "t"}, "must hold numbers, since it is a time; it holds text as 'noon'"),
        ({"m": np.arange(N)}, {"replicas": "m", "ordered": True}, None),
        ({"m": np.arange(N), "t": np.arange(N)}, {"replicas": "m", "time": "t"}, "No series has two rows"),
        ({"m": 1}, {"replicas": "m"}, "nothing says its place in time"),
        ({"t": np.arange(N)}, {"time": "t", "ordered": True}, "only one of --time and --ordered"),
        ({"k": 7}, {"labels": "k"}, "All 24 rows have the same k, 7"),
        ({"k": np.arange(N)}, {"labels": "k"}, "has 24 values in 24 rows: a label is a condition with many rows"),
        ({"k": 1}, {"labels": "delay"}, "has no column 'delay'. Its columns: a, b, c, k. Give the table"),
        ({"k": 1}, {"features": ["a", "nothing"]}, "has no column of numbers 'nothing'. Its columns: a, b, c, k"),
    ],
)
def test_columns_that_say_nothing_useful_are_refused(changes, asked, told) -> None:
    table = pandas.DataFrame(Z, columns=list("abc")).assign(**changes)
    if told is None:
        read(table, **asked)
        return
    with pytest.raises((DataError, FormatError), match=told):
        read(table, **asked)


@pytest.mark.parametrize("ending", ["csv", "star"])
def test_a_table_of_no_wanted_column_still_has_its_rows(ending: str, tmp_path: Path) -> None:
    if ending == "star":
        path = star(tmp_path, list(range(N)))
    else:
        path = tmp_path / "table.csv"
        pandas.DataFrame({"k": range(N)}).to_csv(path, index=False)
    frames = read(Z, star=path)
    assert frames.table_row is not None
    assert frames.table_row.tolist() == list(range(N))
    assert frames.n_table == N
    with pytest.raises(DataError, match="they must be of the same particles"):
        read(Z[:-1], star=path)
