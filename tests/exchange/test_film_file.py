"""Movies of a scanning probe as files: what is read, and what is refused in one sentence."""

import struct

import numpy as np
import pytest

from tempica.errors import FormatError
from tempica.exchange import film_file
from tempica.exchange.film_file import read_film


def _npy(path, array):
    np.save(path, array)
    return path


def test_an_array_is_read_as_it_is(tmp_path):
    frames = np.random.default_rng(0).normal(size=(4, 20, 24))
    film = read_film([_npy(tmp_path / "a.npy", frames)], pixel_nm=0.5, interval_s=0.1)
    np.testing.assert_allclose(film.height, frames, rtol=1e-6)
    assert (film.pixel_nm, film.interval_s) == (0.5, 0.1)


def test_files_of_one_frame_each_are_a_movie(tmp_path):
    frames = np.random.default_rng(0).normal(size=(3, 1, 20, 20))
    paths = [_npy(tmp_path / f"{n}.npy", frame) for n, frame in enumerate(frames)]
    np.testing.assert_allclose(read_film(paths, pixel_nm=1.0, interval_s=1.0).height, frames[:, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("array", "given", "says"),
    [
        (np.zeros((5, 20, 20)), {"interval_s": 1.0}, "does not state its pixel size. Give it: --pixel-nm"),
        (np.zeros((5, 20, 20)), {"pixel_nm": 1.0}, "does not state its interval. Give it: --interval"),
        (np.zeros((5, 20, 20)), {"pixel_nm": -1.0, "interval_s": 1.0}, "pixel size -1 nm .* must be from"),
        (np.zeros((5, 20, 20)), {"pixel_nm": 1.0, "interval_s": 1.0, "channel": "TP"}, "has no channels"),
        (np.zeros((20, 20)), {"pixel_nm": 1.0, "interval_s": 1.0}, r"shape \(20, 20\)"),
        (np.zeros((2, 3, 20, 20)), {"pixel_nm": 1.0, "interval_s": 1.0}, r"shape \(2, 3, 20, 20\)"),
        (np.zeros((5, 20, 20), complex), {"pixel_nm": 1.0, "interval_s": 1.0}, "complex128"),
        (np.zeros((1, 20, 20)), {"pixel_nm": 1.0, "interval_s": 1.0}, "a single frame"),
        (np.zeros((5, 8, 20)), {"pixel_nm": 1.0, "interval_s": 1.0}, "at least 16"),
    ],
)
def test_what_is_wrong_with_an_array_is_said(array, given, says, tmp_path):
    with pytest.raises(FormatError, match=says):
        read_film([_npy(tmp_path / "a.npy", array)], **given)


def test_a_damaged_array_is_named(tmp_path):
    path = _npy(tmp_path / "a.npy", np.zeros((5, 20, 20)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FormatError, match=r"a\.npy cannot be read as a \.npy file; it may be cut off"):
        read_film([path], pixel_nm=1.0, interval_s=1.0)


def test_frames_of_two_sizes_are_no_movie(tmp_path):
    paths = [_npy(tmp_path / f"{n}.npy", np.zeros((2, n, 20))) for n in (20, 30)]
    with pytest.raises(FormatError, match="one size"):
        read_film(paths, pixel_nm=1.0, interval_s=1.0)


def test_files_that_are_not_there_or_of_no_kind(tmp_path):
    with pytest.raises(FormatError, match="There is no file"):
        read_film([tmp_path / "a.asd"])
    with pytest.raises(FormatError, match="is no movie"):
        read_film([tmp_path / "a.avi"])


def test_without_the_extra_the_message_installs_it(tmp_path, monkeypatch):
    path = tmp_path / "a.asd"
    path.write_bytes(b"")
    real = __import__

    def without(name, *rest):
        if name == "AFMReader":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr("builtins.__import__", without)
    with pytest.raises(FormatError, match=r"pip install 'tempica\[afm\]'"):
        read_film([path])


def test_instruments_state_pixel_and_interval(tmp_path, monkeypatch):
    """What afmreader gives out becomes a film; its loader is replaced, since its files are not ours to ship."""
    header = {"frame_time": 500.0, "y_nm": 40.0, "y_pixels": 20}

    def load(path, channel):
        if channel != "TP":
            raise ValueError(f"'{channel}' not found .asd channel list: TP, PH")
        return np.ones((3, 20, 20)), 1.0, header

    monkeypatch.setattr(film_file, "_optional", lambda *_: None)
    monkeypatch.setattr(film_file, "_loader", lambda _: load)
    path = tmp_path / "a.asd"
    path.write_bytes(b"x")
    film = read_film([path])
    assert film.height.shape == (3, 40, 20)  # twice as many lines, since lines were 2 nm apart
    assert (film.pixel_nm, film.interval_s, film.channel) == (1.0, 0.5, "TP")
    with pytest.raises(FormatError, match="TP, PH"):
        read_film([path], channel="XX")
    with pytest.raises(FormatError, match="contradicts"):
        read_film([path], pixel_nm=2.0)


def test_afmreader_itself(tmp_path):
    pytest.importorskip("AFMReader")
    path = tmp_path / "a.asd"
    path.write_bytes(struct.pack("<i", 0) + b"TPPH")
    with pytest.raises(FormatError, match="it may be cut off or damaged"):
        read_film([path])
