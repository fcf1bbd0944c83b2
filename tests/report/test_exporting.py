"""Figures and film of a run: what is written, that it is the run's own, and what is refused."""

import importlib.util
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tempica.errors import ParameterError, StoreError
from tempica.progress import Progress
from tempica.report import exporting, video
from tempica.report.embedded import image, style, taking
from tempica.report.figures import heat_map

from ..conftest import tempica
from .test_player import known, run  # noqa: F401

ENTRY = {"matrix": [[0.9, 0.1], [0.2, -0.8]], "collective_variables": ["NMP", "LID"], "assignment": [0, 1]}


@pytest.fixture(scope="module")
def reel(run):  # noqa: F811
    """A few frames, so that a film takes little time."""
    whole, n = known(run), 8
    images = {name: getattr(whole, name)[:n] for name in ("time", "recorded", "clean", "structure", "true")}
    cut = [replace(t, found=t.found[:n], deviation=t.deviation[:n], true=t.true[:n]) for t in whole.traces]
    return replace(whole, **images, traces=tuple(cut))


def test_every_embedded_figure_is_taken_within_the_context_alone():
    with style():
        with taking() as outer:
            image(heat_map(ENTRY), "first")
            with taking() as inner:
                image(heat_map(ENTRY), "second")
        image(heat_map(ENTRY), "third")
    assert [alt for _, alt in outer] == ["first"]
    assert [alt for _, alt in inner] == ["second"]


def test_frames_of_a_film_show_the_frame_the_structure_and_the_time(reel):
    with style():
        shown = list(video.frames(reel, 60))
    assert len(shown) == len(reel.time)
    assert {frame.shape for frame in shown} == {shown[0].shape}
    assert all(edge % 2 == 0 for edge in shown[0].shape[:2])
    change = np.abs(np.diff(np.array(shown[:6]).astype(int), axis=0)).max((0, 3)) > 0
    height, width = change.shape
    for part in range(3):  # all three pictures
        assert change[int(0.1 * height) : int(0.4 * height), int((0.05 + 0.32 * part) * width) :][:, : width // 4].any()
    assert change[int(0.65 * height) :].any()  # cursors


def test_a_gif_has_every_second_frame_and_is_the_same_each_time(reel, tmp_path):
    for name in ("a.gif", "b.gif"):
        video.write(reel, tmp_path / name, Progress(terminal=False))
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == len(reel.time) // video.GIF_STEP
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "b.gif"]


@pytest.mark.skipif(importlib.util.find_spec("imageio_ffmpeg") is None, reason="needs tempica[video]")
def test_an_mp4_is_a_film(reel, tmp_path):
    video.write(reel, tmp_path / "a.mp4", Progress(terminal=False))
    assert (tmp_path / "a.mp4").read_bytes()[4:8] == b"ftyp"


def test_films_that_cannot_be_written_are_refused_with_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "old.gif").write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        video.check(tmp_path / "old.gif")
    with pytest.raises(ParameterError, match=r"\.mp4 or \.gif"):
        video.check(tmp_path / "film.avi")
    with pytest.raises(StoreError, match="there is no folder"):
        video.check(tmp_path / "none" / "film.gif")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match=r"pip install 'tempica\[video\]'"):
        video.check(tmp_path / "film.mp4")
    video.check(tmp_path / "film.gif")
    assert (tmp_path / "old.gif").read_text() == "mine"


def test_a_folder_with_other_things_is_refused(tmp_path):
    exporting.check_folder(tmp_path)
    exporting.check_folder(tmp_path / "new")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="no empty folder"):
        exporting.check_folder(tmp_path)
    with pytest.raises(StoreError, match="no empty folder"):
        exporting.check_folder(tmp_path / "notes.txt")


def test_the_command_writes_figures_and_film_of_a_run(small_run, tmp_path):
    before = (small_run / "report.html").read_bytes()
    folder = tmp_path / "figures"
    film = tmp_path / "film.gif"
    done = tempica("report", small_run, "--figures", folder, "--video", film)
    assert done.returncode == 0, done.stderr
    names = {path.stem for path in folder.iterdir()} - {"figures"}
    assert {path.name for path in folder.iterdir()} == {f"{n}.{kind}" for n in names for kind in ("svg", "png")} | {
        "figures.txt"
    }
    assert len(names) > 5
    assert len((folder / "figures.txt").read_text().splitlines()) == len(names)
    for name in names:
        assert ElementTree.parse(folder / f"{name}.svg").getroot().tag.endswith("svg")
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 100
    with Image.open(film) as shown:
        assert shown.n_frames == 10  # every second of those that the recipe shows
    assert (small_run / "report.html").read_bytes() == before
    again = tempica("report", small_run, "--figures", folder)
    assert again.returncode == 2
    assert "no empty folder" in again.stderr
