"""Latents of other programs: every format gives the same rows, and a pickle runs nothing."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import zipfile
from pathlib import Path

import numpy as np
import pandas
import pytest
import xarray

from tempica.errors import FormatError
from tempica.exchange.columns import image_names, read_columns
from tempica.exchange.latents import latents_of, read_latents
from tempica.exchange.plain_pickle import read_pickle

Z = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)


def cryosparc(path: Path, Z: np.ndarray) -> None:
    fields = [("uid", "<u8"), ("blob/path", "S40"), ("blob/idx", "<u4"), ("alignments3D/shift", "<f4", (2,))]
    records = np.zeros(len(Z), fields + [(f"components_mode_{i}/value", "<f4") for i in range(Z.shape[1])])
    records["blob/path"], records["blob/idx"] = b"J1/123456789012345678901_stack.mrc", np.arange(len(Z))
    for i in range(Z.shape[1]):
        records[f"components_mode_{i}/value"] = Z[:, i]
    with path.open("wb") as file:
        np.save(file, records)


def written(folder: Path, kind: str, Z: np.ndarray) -> Path:
    path = folder / f"z.{kind}"
    if kind == "npy":
        np.save(path, Z)
    elif kind == "npz":
        np.savez(path, latents=Z, delay=np.arange(len(Z)))
    elif kind == "csv":
        pandas.DataFrame(Z).to_csv(path)  # with numbers of rows and of columns
    elif kind == "tsv":
        np.savetxt(path, Z, delimiter="\t")
    elif kind == "cs":
        cryosparc(path, Z)
    elif kind == "recovar":
        path = folder / "recovar"
        (path / "model" / "zdim_4").mkdir(parents=True)
        np.save(path / "model" / "zdim_4" / "latent_coords.npy", Z)
    elif kind == "embeddings":
        path = folder / "old"
        (path / "model").mkdir(parents=True)
        content = {"zs": {4: Z, "4_noreg": 2 * Z}, "cov_zs": {4: np.zeros((len(Z), 4, 4))}, "contrasts": {4: Z[:, 0]}}
        (path / "model" / "embeddings.pkl").write_bytes(pickle.dumps(content))
    return path


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "tsv", "cs", "recovar", "embeddings"])
def test_every_format_gives_the_same_rows(kind: str, tmp_path: Path) -> None:
    found = read_latents(written(tmp_path, kind, Z))
    np.testing.assert_allclose(found.values, Z, rtol=1e-6)
    assert len(found.features) == 4


def test_parquet_gives_the_same_rows_or_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "z.parquet"
    try:
        pandas.DataFrame(Z, columns=list("abcd")).to_parquet(path)
    except ImportError:
        path.write_bytes(b"PAR1")
        with pytest.raises(FormatError, match=r"pip install 'tempica\[parquet\]'"):
            read_latents(path)
    else:
        np.testing.assert_array_equal(read_latents(path).values, Z)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_of_arrays_come_back_in_every_protocol(protocol: int, order: str, tmp_path: Path) -> None:
    path, logvar = tmp_path / "z.12.pkl", np.full_like(Z, -2.0)
    big_endian = np.asarray(Z, dtype=">f8", order=order)  # type: ignore[call-overload]
    path.write_bytes(pickle.dumps(big_endian, protocol) + pickle.dumps(logvar, protocol))
    found = read_latents(path)
    np.testing.assert_array_equal(found.values, Z)
    np.testing.assert_allclose(found.variance, np.exp(-2.0))
    path.write_bytes(pickle.dumps({"a": [1, Z[0, 0], "text", None], "b": (Z,)}, protocol))
    (content,) = read_pickle(path)
    assert content["a"] == [1, float(Z[0, 0]), "text", None]
    np.testing.assert_array_equal(content["b"][0], Z)


class Harm:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.mkdir, ("harm",)


def _through_getattr() -> bytes:
    """What a sandbox that knows names but not calls would run: getattr of a module's function."""
    return b"cnumpy.core.multiarray\n_reconstruct\n(cbuiltins\ngetattr\ncos\nmkdir\nltR."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (pickle.dumps(Harm()), "asks for posix.mkdir"),
        (pickle.dumps([Z, {"deep": Harm()}]), "asks for posix.mkdir"),
        (pickle.dumps(np.array([Harm(), None])), "asks for "),
        (pickle.dumps(np.array(["a", 1], dtype=object)), "Python objects"),
        (pickle.dumps(np.zeros(3, dtype=[("a", "f4")])), "asks for an array of"),
        (pickle.dumps(np.ma.masked_array(Z)), "asks for numpy.ma"),
        (pickle.dumps({1, 2}), "an object of type set"),
        (pickle.dumps(pandas.DataFrame(Z)), "asks for "),
        (_through_getattr(), "asks for builtins.getattr"),
        (b"\x80\x02cnumpy\nload\n(X\x05\x00\x00\x00a.npytR.", "asks for numpy.load"),
        (pickle.dumps(Z)[:-40], "cannot be read as a pickle"),
        (b"not a pickle", "cannot be read as a pickle"),
        (b"(" * 5000 + b"l" * 5000 + b".", "nested|cannot be read"),
        (b"", "is empty"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value[:30],
)
def test_a_pickle_runs_nothing(content: bytes, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "z.pkl").write_bytes(content)
    with pytest.raises(FormatError, match=told):
        read_latents(tmp_path / "z.pkl")
    assert not (tmp_path / "harm").exists()


def test_no_opcode_looks_up_a_function_of_the_file() -> None:
    """Every opcode that names something goes through `find_class`: those of the standard, and no others."""
    naming = {op.name for op in pickletools.opcodes if op.name in ("GLOBAL", "STACK_GLOBAL", "INST", "EXT1")}
    for name in ("GLOBAL", "STACK_GLOBAL", "INST"):
        assert name in naming
    path = Path(os.devnull).with_name("null")
    with pytest.raises(FormatError):
        read_pickle(path)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("z.txt", b"1 2\n", "ends in '.txt'; latents are read from .npy, .npz"),
        ("z.npy", b"", "is empty: it has 0 bytes"),
        ("z.npy", b"\x93NUMPY\x01\x00rubbish", "cannot be read"),
        ("z.csv", b"a,b\nx,y\nu,v\n", "has no column of numbers. Its columns: a, b"),
        ("z.csv", b"a,b\n1,2\n3\n4,5,6\n", "cannot be read as a table"),
        ("z.cs", b"\x93NUMPY", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=told):
        read_latents(tmp_path / name)


def test_arrays_of_objects_and_of_other_shapes_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([1, "a"], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", np.array([1, "a"], dtype=object))
    np.save(tmp_path / "cube.npy", np.zeros((3, 3, 3)))
    np.savez(tmp_path / "two.npz", a=Z, b=Z)
    for name, told in (
        ("objects.npy", "Python objects"),
        ("objects.npz", "Python objects"),
        ("cube.npy", r"shape \(3, 3, 3\)"),
        ("two.npz", r"a \(30, 4\), b \(30, 4\). Say which with --array"),
        ("absent.npy", "There is no file"),
    ):
        with pytest.raises(FormatError, match=told):
            read_latents(tmp_path / name)
    assert read_latents(tmp_path / "two.npz", array="b").values.shape == (30, 4)


def test_a_zip_bomb_of_names_is_no_npz(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.npy", b"rubbish")
    (tmp_path / "z.npz").write_bytes(buffer.getvalue())
    with pytest.raises(FormatError):
        read_latents(tmp_path / "z.npz")


def test_recovar_asks_which_of_several(tmp_path: Path) -> None:
    folder = written(tmp_path, "recovar", Z)
    (folder / "model" / "zdim_10").mkdir()
    np.save(folder / "model" / "zdim_10" / "latent_coords.npy", np.zeros((30, 10)))
    with pytest.raises(FormatError, match=r"latents of 4, 10 dimensions. Say which with --array N"):
        read_latents(folder)
    np.testing.assert_array_equal(read_latents(folder, array="4").values, Z)


def test_objects_of_pandas_and_xarray_are_latents() -> None:
    frame = pandas.DataFrame(Z, columns=list("abcd"))
    array = xarray.DataArray(Z, dims=("particle", "z"), coords={"z": list("abcd")})
    for data in (frame, array, Z, Z.tolist()):
        np.testing.assert_array_equal(latents_of(data).values, Z)
    assert latents_of(frame.assign(delay=1), other=["delay"]).features == list("abcd")
    assert latents_of(frame.assign(name="x"), features=["b", "a"]).values[0].tolist() == Z[0, [1, 0]].tolist()


def test_images_are_named_alike_by_relion_and_cryosparc(tmp_path: Path) -> None:
    cryosparc(tmp_path / "p.cs", Z)
    star = tmp_path / "p.star"
    rows = "".join(f"{i + 1:06d}@Extract/job3/stack.mrc {10 * (i % 3)}\n" for i in range(30))
    star.write_text(f"data_particles\n\nloop_\n_rlnImageName #1\n_rlnTimepoint #2\n{rows}\n")
    ours, theirs = read_columns(star, ["_rlnTimepoint"]), read_columns(tmp_path / "p.cs", ["uid"])
    assert ours["_rlnTimepoint"][:4].tolist() == [0, 10, 20, 0]
    np.testing.assert_array_equal(image_names(ours), image_names(theirs))  # type: ignore[arg-type]
    with pytest.raises(FormatError, match=r"no column 'rlnNone'. Its columns: _rlnImageName, _rlnTimepoint"):
        read_columns(star, ["rlnNone"])
