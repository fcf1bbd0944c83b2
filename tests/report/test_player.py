"""The player: what it shows are the stores' own frames, structures and series."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from tempica.report import player, sprites
from tempica.report.frames import clean_frames
from tempica.report.motion import Learned
from tempica.report.recovered import recoveries, splits, truths
from tempica.report.reel import reel_of

from .synthetic import recipe_of, stores_of
from .test_molecule import latents_of
from .test_page import parsed


@pytest.fixture(scope="module")
def run():
    recipe = recipe_of(methods=("pcl",), n_frames=70, n_examples=1)
    stores = stores_of(recipe)
    return recipe, stores, latents_of(stores[2])


def known(run):
    recipe, (trajectory, movie, sources, scores), latents = run
    truth = truths(trajectory)
    matrices = [m for m in scores["matrices"] if m["split"] == "held_out" and m["metric"] == "spearman"]
    return reel_of(
        recipe,
        movie,
        sources,
        ["pcl"],
        latents=latents,
        trajectory=trajectory,
        truth=truth,
        found=recoveries(sources, truth, matrices, ["pcl"]),
    )


@pytest.fixture(scope="module")
def reel(run):
    return known(run)


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" class="data">(.*?)</script>', html, re.S)[1])


def frames_of(uri, columns, edge, n):
    """Frames (frame, y, x) of a sprite, y up, as the page cuts them out."""
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))
    X, Y = edge
    return np.array([sheet[i // columns * Y :][:Y, i % columns * X :][:, :X][::-1] for i in range(n)])


def test_frames_come_back_from_the_page_to_the_last_bit(run, reel):
    _, (trajectory, movie, sources, _), _ = run
    data = data_of(player.section(reel))
    replica = int(np.flatnonzero(splits(sources) == "held_out")[0])
    assert reel.replica == int(movie["replica"][replica])
    for kind in ("recorded", "clean"):
        np.testing.assert_array_equal(frames_of(data[kind], data["columns"], data["edge"], 70), getattr(reel, kind))
    image = movie["image"].values[replica]
    low, high = np.percentile(image, [0.5, 99.5])
    np.testing.assert_allclose(reel.recorded, 255 * np.clip((image - low) / (high - low), 0, 1), atol=0.51)
    clean = clean_frames(trajectory, movie, replica, [5, 6])
    assert np.corrcoef(reel.clean[5].ravel().astype(float), clean[0].ravel())[0, 1] > 0.99


def test_structures_come_back_within_half_a_step_and_truth_and_recovery_share_a_frame(run, reel):
    _, (_, _, sources, _), latents = run
    data = data_of(player.section(reel))
    replica = int(np.flatnonzero(splits(sources) == "held_out")[0])
    for text, positions in zip(data["structures"], (reel.structure, reel.true), strict=True):
        raw = np.frombuffer(base64.b64decode(text), "<i2").reshape(-1, data["n"], 3)
        assert np.abs(raw * data["step"] - positions).max() < data["step"]
    learned = Learned.of(latents, sources, "pcl").structures(replica, slice(0, 70))
    shape = lambda x: np.linalg.norm(x[:, :1] - x, axis=-1)  # noqa: E731
    np.testing.assert_allclose(shape(reel.structure), shape(learned), atol=1e-9)


def test_traces_are_those_of_the_truth_and_of_the_last_stage(run, reel):
    _, (trajectory, _, sources, _), _ = run
    replica = int(np.flatnonzero(splits(sources) == "held_out")[0])
    truth = truths(trajectory)
    assert [trace.name for trace in reel.traces] == [variable.name for variable in truth]
    for trace, variable, told in zip(reel.traces, truth, data_of(player.section(reel))["traces"], strict=True):
        np.testing.assert_allclose(trace.true, variable.value[replica, :70])
        np.testing.assert_allclose(told["true"], trace.true, rtol=1e-3)
        np.testing.assert_allclose(told["found"], trace.found, rtol=1e-3)
        assert np.corrcoef(trace.true, trace.found)[0, 1] > 0.5
        assert np.all(trace.deviation > 0)


def test_the_section_is_html_that_can_be_worked_without_a_mouse(reel):
    html = player.section(reel)
    checked = parsed(html)
    assert all(not {"src", "href"} & set(attributes) for _, attributes in checked.elements)
    assert [canvas["class"] for canvas in checked.named("canvas")] == ["clean", "recorded", "structure"]
    assert all(canvas["role"] == "img" and canvas["aria-label"] for canvas in checked.named("canvas"))
    assert checked.named("input")[0]["max"] == "69"
    assert "Play" in checked.text
    assert len(checked.named("svg")) == len(reel.traces)
    assert player.section(reel) == html


def test_the_same_inputs_give_the_same_reel(run, reel):
    assert player.section(known(run)) == player.section(reel)


def test_without_a_truth_there_are_recorded_frames_recovered_motion_and_traces_alone(run):
    recipe, (_, movie, sources, _), latents = run
    reel = reel_of(recipe, movie, sources, ["pcl"], latents=latents)
    assert reel.clean is None
    assert reel.true is None
    assert [trace.name for trace in reel.traces] == ["component 1", "component 2"]
    html = player.section(reel)
    assert [canvas["class"] for canvas in parsed(html).named("canvas")] == ["recorded", "structure"]
    assert "truth" not in parsed(html).text
    bare = player.section(reel_of(recipe, movie, sources, ["pcl"]))
    assert [canvas["class"] for canvas in parsed(bare).named("canvas")] == ["recorded"]
    assert player.section(reel_of(recipe, movie, sources, [])) == ""


def test_lines_are_broken_where_nothing_is_known():
    values = np.array([1.0, np.nan, 2.0, 3.0, np.nan])
    assert player._whole(values) == [(0, 1), (2, 4)]
    assert player._line("true", values).count("M") == 2


@pytest.mark.parametrize(("edge", "n_frames"), [(16, 5000), (64, 5000), (100, 5000), (256, 5000), (1000, 80), (64, 7)])
def test_frames_of_any_size_fit_the_page(edge, n_frames):
    n = sprites.n_shown(n_frames, edge, 2)
    assert min(n_frames, 60) <= n <= 120
    shown = edge // sprites.binning(edge)
    assert shown <= 96
    assert 2 * n * shown**2 <= 1_200_000


def test_binning_keeps_means():
    images = np.random.default_rng(0).normal(size=(2, 200, 200))
    small = sprites.binned(images)
    assert small.shape == (2, 66, 66)
    np.testing.assert_allclose(small[1, 3, 4], images[1, 9:12, 12:15].mean())
