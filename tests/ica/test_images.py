"""PCL on images: end to end, from memory or a memory map, without memorising their noise."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tempica.errors import DataError
from tempica.ica import PCL, load, save
from tempica.ica.images import ImageFeatures, Images, Noise, Pixels
from tests.conftest import small_recipe_text, tempica
from tests.ica.test_pcl import UNTRAINED, bent, mcc, sparse


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spots(s, n_pixels=24, noise=0.0, seed=0):
    """A small spot that moves far: which way, each source says by a bend of its own."""
    y, x = np.mgrid[:n_pixels, :n_pixels].astype(np.float32)
    place = n_pixels / 2 + 8 * np.tanh(bent(s) / 1.5)
    images = np.exp(-((x - place[:, :1, None]) ** 2 + (y - place[:, 1:, None]) ** 2) / 3)
    return (images + noise * np.random.default_rng(seed).normal(size=images.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def case():
    s, labels = sparse([0.7, 0.7], 300, 20, seed=3)
    images = spots(s, noise=0.15)
    return s, images, labels, PCL(2, max_steps=500, n_restarts=1).fit(images, replicas=labels)


def test_sources_are_found_in_images_of_replicas_never_seen(case) -> None:
    _, _, _, pcl = case
    s, _ = sparse([0.7, 0.7], 300, 4, seed=4)
    assert pcl.model_ == "network"
    assert mcc(pcl.transform(spots(s, noise=0.15, seed=1)), s) > 0.92


@pytest.mark.filterwarnings(UNTRAINED)
def test_a_memory_map_and_other_units_give_the_same(case, tmp_path) -> None:
    _, images, labels, _ = case
    path = tmp_path / "images.npy"
    np.save(path, images[:900])
    options = {"max_steps": 20, "n_restarts": 1}
    first = PCL(2, **options).fit(np.load(path, mmap_mode="r"), replicas=labels[:900])
    second = PCL(2, **options).fit(images[:900], replicas=labels[:900])
    np.testing.assert_array_equal(first.transform(images), second.transform(images))
    scaled = PCL(2, **options).fit(1000 * images[:900] + 5000, replicas=labels[:900])
    # rounding alone tells them apart, and grows along the training
    assert mcc(scaled.transform(1000 * images + 5000), first.transform(images)) > 0.99


def test_it_is_saved_and_loaded(case, tmp_path) -> None:
    _, images, _, pcl = case
    assert isinstance(pcl._features, ImageFeatures)
    save(pcl, tmp_path / "pcl")
    np.testing.assert_array_equal(load(tmp_path / "pcl").transform(images[:99]), pcl.transform(images[:99]))


@pytest.mark.filterwarnings(UNTRAINED)
def test_an_interrupted_fit_goes_on_to_the_same(case, tmp_path) -> None:
    _, images, labels, _ = case
    some, options = labels < 3, {"max_steps": 30, "n_restarts": 2}
    whole = PCL(2, **options).fit(images[some], replicas=labels[some])

    def stop(run, step, loss):
        if run == 2 and step > 3:
            raise KeyboardInterrupt

    fit = {"replicas": labels[some], "checkpoint": tmp_path / "fit.pt"}
    with pytest.raises(KeyboardInterrupt):
        PCL(2, **options).fit(images[some], callback=stop, **fit)
    again = PCL(2, **options).fit(images[some], **fit)
    np.testing.assert_array_equal(again.transform(images), whole.transform(images))


@pytest.mark.parametrize("shape", [(8, 8), (9, 13), (33, 20), (64, 64)])
def test_features_of_any_shape_start_white(rng, shape) -> None:
    images = Images(rng.normal(3, 2, size=(300, *shape)))
    pixels = Pixels.of(images, np.ones(300, dtype=bool))
    assert pixels.deviation == pytest.approx(2, rel=0.02)
    features = ImageFeatures(3, pixels)
    features.settle(images[torch.arange(300)])
    h = features(images[torch.arange(300)]).detach().numpy()
    np.testing.assert_allclose(np.cov(h.T), np.eye(3), atol=1e-2)
    np.testing.assert_allclose(h.mean(0), 0, atol=1e-3)


def test_noise_is_a_function_of_the_batch() -> None:
    zeros, items = torch.zeros(50, 20, 20), torch.arange(50)
    noise = Noise(3.0, 7)
    assert torch.equal(noise(zeros, items), noise(zeros, items))
    assert not torch.equal(noise(zeros, items), noise(zeros, items + 1))
    assert float(noise(zeros, items).std()) == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x[:, :5, :5], "5 × 5 pixels.*8 × 8"),
        (lambda x: x.astype(object), "type object"),
        (lambda x: np.where(np.arange(len(x))[:, None, None] == 7, np.nan, x), "not finite"),
        (lambda x: np.ones_like(x), "are the same"),
    ],
)
def test_bad_images_get_one_clear_error(case, spoil, message) -> None:
    _, images, _, _ = case
    with pytest.raises(DataError, match=message):
        PCL(2, max_steps=10).fit(spoil(images[:200]))


@pytest.mark.filterwarnings(UNTRAINED)
def test_latents_and_images_are_not_taken_for_each_other(case) -> None:
    s, images, labels, pcl = case
    with pytest.raises(DataError, match="of the kind of the fit"):
        pcl.transform(images.reshape(len(images), -1))
    with pytest.raises(DataError, match=r"\(20, 20\) pixels, and those of the fit had \(24, 24\)"):
        pcl.transform(np.zeros((9, 20, 20)))
    with pytest.raises(DataError, match="Covariances are of latents"):
        pcl.transform_covariance(images, np.zeros((len(images), 2, 2)))
    of_latents = PCL(2, max_steps=10, n_restarts=1).fit(s[:600], replicas=labels[:600])
    with pytest.raises(DataError, match="of the kind of the fit"):
        of_latents.transform(images)


@pytest.mark.slow
def test_the_recipe_takes_it_as_a_method(tmp_path) -> None:
    """On images of few pixels, from which little can be learned: that it runs, and is scored beside the others."""
    recipe = tmp_path / "r.toml"
    view = 'poses = { kind = "fixed", orientation = [0.0, 0.0, 0.0, 1.0] }\n\n[embed]'
    changes = {"methods": '["tica", "pcl_images"]', "n_pixels": "20", "pixel_size_A": "4.8", "snr": "1.0"}
    recipe.write_text(small_recipe_text(**changes).replace("[embed]", view))
    done = tempica("run", recipe, "--out", tmp_path / "run", "--until", "evaluate")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())["rows"]
    assert {row["method"] for row in scores} == {"pca_pixels", "latents", "tica", "pcl_images"}
    assert all(np.isfinite(row["value"]) for row in scores if row["method"] == "pcl_images")
