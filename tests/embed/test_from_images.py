"""A start from images alone: the pseudo-atoms of a movie's own map."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray
from scipy.spatial.transform import Rotation

from tempica import imaging
from tempica.embed.maps import from_images
from tempica.embed.maps.from_images import add_spans, map_radius, start_from_images
from tempica.embed.setting import Span
from tempica.errors import DataError
from tempica.imaging.linearise import Scatterers
from tempica.imaging.pseudo_atoms import density_of

N_PIXELS, PIXEL_A, N_FRAMES = 36, 3.0, 300


@pytest.fixture(scope="module")
def movie():
    """A movie of two replicas, as a store would open; poses are off by 2° and 0.5 Å."""
    rng, sizes = np.random.default_rng(0), (2, N_FRAMES)
    place = rng.normal(0, 0.9, (60, 3)) * [1.6, 1.0, 0.7]
    place -= place.mean(0)
    amplitude, width = rng.uniform(20, 40, (60, 1)), np.full((60, 1), 3.5)
    optics = imaging.Optics(N_PIXELS, PIXEL_A, 300.0, 2.7, 0.1, 40.0, 0.0)
    camera = imaging.Camera(optics, amplitude, width, np.zeros(1), np.ones(1), np.ones(1))
    turn = Rotation.random(2 * N_FRAMES, rng=rng)
    shift = rng.normal(0, 2, (2 * N_FRAMES, 2))
    focus = [rng.uniform(8e3, 15e3, 2 * N_FRAMES)] * 2 + [np.zeros(2 * N_FRAMES)] * 2
    image = camera.clean_images(np.broadcast_to(place, (2 * N_FRAMES, 60, 3)), turn.as_quat(), shift, *focus)
    noisy = image + image.std() / np.sqrt(0.2) * rng.normal(size=image.shape)
    off = Rotation.from_rotvec(np.radians(2) * rng.normal(size=(2 * N_FRAMES, 3))) * turn
    frames = {
        "image": (("y", "x"), noisy),
        "pose_quaternion": (("quaternion",), off.as_quat()),
        "pose_shift_A": (("plane",), shift + 0.5 * rng.normal(size=shift.shape)),
        **{name: ((), values) for name, values in zip(imaging.FOCUS, focus, strict=True)},
    }
    held = {
        name: (("replica", "time", *dims), np.reshape(values, sizes + values.shape[1:]))
        for name, (dims, values) in frames.items()
    }
    of_beads = {"scatterer_amplitude_A": (("atom", "gaussian"), amplitude)}
    of_beads["scatterer_width_A"] = (("atom", "gaussian"), width)
    tables = {name: (("node",), getattr(camera, name)) for name in ("frequency", "noise_power", "dqe")}
    about = {name: value for name, value in vars(optics).items() if name != "n_pixels"}
    dataset = xarray.Dataset(held | of_beads | tables, attrs=about | {"pose": "approximate"})
    return SimpleNamespace(dataset=dataset, place=place, scatterers=Scatterers(amplitude, width))


@pytest.fixture
def parts(movie, monkeypatch, tmp_path):
    monkeypatch.setattr(from_images, "read", lambda run, stage, kind: movie.dataset)
    paths = [tmp_path / f"{r}.npz" for r in range(2)]
    for replica, path in enumerate(paths):
        add_spans(tmp_path, [Span(replica, 0, 100), Span(replica, 100, N_FRAMES)], path)
    return paths


def test_the_map_and_its_points_are_those_of_the_molecule(movie, parts, tmp_path):
    found = start_from_images(tmp_path, parts)
    truth = density_of(movie.place, movie.scatterers, N_PIXELS, PIXEL_A)
    again = density_of(found.position, found.scatterers, N_PIXELS, PIXEL_A)
    assert np.corrcoef(again.ravel(), truth.ravel())[0, 1] > 0.9
    assert found.scatterers.amplitude.sum() == pytest.approx(movie.scatterers.amplitude.sum(), rel=0.2)
    assert "pseudo-atoms (correlation 0.9" in found.sentence
    assert found.map.resolution_A < 14


def test_hidden_poses_are_refused(movie, parts, tmp_path, monkeypatch):
    hidden = movie.dataset.assign_attrs(pose="hidden")
    monkeypatch.setattr(from_images, "read", lambda run, stage, kind: hidden)
    with pytest.raises(DataError, match="needs poses, known or approximate, and those of this movie are hidden"):
        start_from_images(tmp_path, parts)


def test_detail_that_no_map_shows_is_left_out():
    assert map_radius(64, 1.5) == 24
    assert map_radius(32, 3.0) == 15
