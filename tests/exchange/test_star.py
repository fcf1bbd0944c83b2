"""STAR tables come back as they were written; what is broken is told with its line."""

import numpy as np
import pytest

from tempica.errors import FormatError
from tempica.exchange import star

WANTED = {"rlnImageName": str, "number": float, "text": str}


def written(tmp_path, columns, rows, name="particles"):
    path = tmp_path / "one.star"
    with path.open("w") as file:
        star.write_block(file, name, columns, rows)
    return path


@pytest.mark.parametrize("seed", range(5))
def test_numbers_and_text_come_back_bit_by_bit(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(star, "ROWS_AT_ONCE", 7)  # several pieces
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    numbers = rng.standard_normal(n) * 10.0 ** rng.integers(-300, 300, n)
    alphabet = list("ab'\"# _@/.;1")
    text = ["".join(rng.choice(alphabet, rng.integers(1, 9))) for _ in range(n)]
    text = [t.replace('"', "") or "x" for t in text]  # RELION has no way to write a quote within quotes
    path = written(tmp_path, ["number", "unwanted", "text"], zip(numbers, numbers, text, strict=True))
    table = star.read_star(path, WANTED)["particles"]
    assert table.labels == ["number", "unwanted", "text"]
    assert set(table.columns) == {"number", "text"}
    np.testing.assert_array_equal(table.columns["number"], numbers)
    assert table.columns["text"].tolist() == text
    assert table.n_rows == n


def test_what_relion_writes_is_read(tmp_path):
    """Comments, blank lines, labels without numbers, a block of single values, tables without rows."""
    path = tmp_path / "one.star"
    path.write_text(
        "\n# version 50001 ; written by hand\n\ndata_general\n\n_number  3   # a comment\n_text 'two words'\n \n"
        "data_empty\n\nloop_ \n_number #1 \n\n"
        'data_\n\nloop_\n\n_number\n_rlnImageName #2\n\n  1e3\t1@a.mrcs  \n-2 "2@b c"\n\n\n'
    )
    blocks = star.read_star(path, WANTED)
    assert list(blocks) == ["general", "empty", ""]
    assert blocks["general"].columns["number"].tolist() == [3.0]
    assert blocks["general"].columns["text"].tolist() == ["two words"]
    assert blocks["empty"].columns["number"].shape == (0,)
    assert blocks[""].columns["number"].tolist() == [1000.0, -2.0]
    assert blocks[""].columns["rlnImageName"].tolist() == ["1@a.mrcs", "2@b c"]


def test_a_file_of_windows_is_read(tmp_path):
    path = tmp_path / "one.star"
    path.write_bytes(b"\xef\xbb\xbf" + HEAD.encode().replace(b"\n", b"\r\n") + b"1 a\r\n2 b\r\n")
    table = star.read_star(path, WANTED)["particles"]
    assert table.columns["number"].tolist() == [1.0, 2.0]
    assert table.columns["text"].tolist() == ["a", "b"]


HEAD = "data_particles\n\nloop_\n_number #1\n_text #2\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (HEAD + "1 a\n2\n", "line 7: 1 values in a row of data_particles, which has 2 columns"),
        (HEAD + "1 a b\n", "line 6: 3 values"),
        (HEAD + "1 a\nnan b\n", r"line 7: _number = 'nan' must be a finite number"),
        (HEAD + "inf a\n", r"line 6: _number = 'inf'"),
        (HEAD + "x1 a\n", r"line 6: _number = 'x1'"),
        (HEAD + "1 a\n\n2 b\n", "line 8: values outside a table"),
        (HEAD + "1 a\n_later #3\n", "line 7: '_later #3' is neither"),
        (HEAD + "1 a\n" + HEAD, "line 7: a second block data_particles"),
        (HEAD + "1 a\nloop_\n", "line 7: a second table"),
        ("data_particles\nloop_\n_number #1\n_number #2\n", "line 4: data_particles has the column _number twice"),
        ("data_particles\n_number 1\n_number 1\n", "line 3: data_particles has _number twice"),
        ("data_particles\n1 2\n", "line 2: values outside a table"),
        ("_number #1\n", "line 1: text before any data_ block"),
        ("\x00MRC", "line 1: text before any data_ block"),
    ],
)
def test_a_mistake_is_told_with_its_line(content, told, tmp_path):
    path = tmp_path / "broken.star"
    path.write_text(content)
    with pytest.raises(FormatError, match=told) as error:
        star.read_star(path, WANTED)
    assert "broken.star" in str(error.value)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "one.star"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(FormatError, match="no STAR file"):
        star.read_star(path, WANTED)
    with pytest.raises(FormatError, match="There is no STAR file"):
        star.read_star(tmp_path / "none.star", WANTED)
    with pytest.raises(FormatError, match="cannot be read"):
        star.read_star(tmp_path, WANTED)
