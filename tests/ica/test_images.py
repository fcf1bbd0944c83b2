"""PCL and TCL on images: end to end, from memory or a memory map, without memorising their noise."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tempica.errors import DataError
from tempica.ica import PCL, TCL, FastICA, load, save
from tempica.ica.contrastive.image_networks import ImageFeatures, Noise
from tempica.ica.contrastive.images import Images, Pixels
from tempica.ica.contrastive.within import WithinReplicas
from tempica.ica.training.ladder import train_apart
from tests.conftest import small_recipe_text, tempica
from tests.ica.test_pcl import UNTRAINED, bent, mcc, sparse
from tests.ica.test_trainer import training


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spots(s, n_pixels=24, noise=0.0, seed=0, mixing=bent):
    """A small spot that moves far: which way, each source says, by a bend of its own unless mixed otherwise."""
    y, x = np.mgrid[:n_pixels, :n_pixels].astype(np.float32)
    place = n_pixels / 2 + 8 * np.tanh(mixing(s) / 1.5)
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
    images, labels = case[1][:900], case[2][:900]
    path = tmp_path / "images.npy"
    np.save(path, images)
    options = {"max_steps": 20, "n_restarts": 1}
    first = PCL(2, **options).fit(np.load(path, mmap_mode="r"), replicas=labels)
    second = PCL(2, **options).fit(images, replicas=labels)
    np.testing.assert_array_equal(first.transform(images), second.transform(images))
    scaled = PCL(2, **options).fit(1000 * images + 5000, replicas=labels)
    # rounding alone tells them apart, and grows along the training
    assert mcc(scaled.transform(1000 * images + 5000), first.transform(images)) > 0.99


def test_it_is_saved_and_loaded(case, tmp_path) -> None:
    _, images, _, pcl = case
    assert isinstance(pcl._features, ImageFeatures)
    save(pcl, tmp_path / "pcl")
    np.testing.assert_array_equal(load(tmp_path / "pcl").transform(images[:99]), pcl.transform(images[:99]))


@pytest.mark.filterwarnings(UNTRAINED)
def test_an_interrupted_fit_goes_on_to_the_same(case, tmp_path) -> None:
    images, labels, options = case[1][:900], case[2][:900], {"max_steps": 30, "n_restarts": 2}
    whole = PCL(2, **options).fit(images, replicas=labels)

    def stop(run, step, loss):
        if run == 2 and step > 3:
            raise KeyboardInterrupt

    fit = {"replicas": labels, "checkpoint": tmp_path / "fit.pt"}
    with pytest.raises(KeyboardInterrupt):
        PCL(2, **options).fit(images, callback=stop, **fit)
    again = PCL(2, **options).fit(images, **fit)
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


@pytest.fixture(scope="module")
def labelled():
    rng = np.random.default_rng(0)
    segments = np.repeat(np.arange(40), 200)
    scale = np.exp(rng.uniform(np.log(0.1), np.log(1.2), size=(40, 2)))
    s = rng.laplace(size=(len(segments), 2)) / np.sqrt(2) * scale[segments]
    turned = np.array([[0.8, 0.6], [-0.6, 0.8]])
    images = spots(s, noise=0.05, mixing=lambda s: s @ turned)
    return s, images, segments, TCL(2, max_steps=1000, n_restarts=2).fit(images, segments)


@pytest.mark.filterwarnings("ignore:Nothing is identifiable:tempica.errors.IdentifiabilityWarning")
def test_tcl_finds_absolute_sources_in_images_where_a_linear_map_does_not(labelled) -> None:
    s, images, _, tcl = labelled
    assert tcl.model_ == "network"
    assert tcl.rank_ == 2
    assert mcc(tcl.transform(images), np.abs(s)) > 0.8
    flat = Pixels.of(Images(images), np.ones(len(images), dtype=bool))(Images(images))
    assert mcc(np.abs(FastICA(2).fit_transform(flat)), np.abs(s)) < 0.5
    linear = TCL(2, n_restarts=1, max_steps=1).fit(images, labelled[2])
    assert mcc(linear.transform(images), np.abs(s)) < 0.6


def test_tcl_says_how_much_it_tells_and_refuses_covariances(labelled) -> None:
    _, images, segments, tcl = labelled
    assert tcl.score(images, segments) > 0.2
    with pytest.raises(DataError, match="Covariances are of latents; this TCL was fitted to images"):
        tcl.transform_covariance(images, np.zeros((len(images), 2, 2)))
    with pytest.raises(DataError, match="of the kind of the fit"):
        tcl.transform(images.reshape(len(images), -1))
    with pytest.raises(DataError, match=r"\(20, 20\) pixels, and those of the fit had \(24, 24\)"):
        tcl.transform(np.zeros((9, 20, 20)))
    with pytest.raises(DataError, match="needs the segment of each frame"):
        TCL(2).fit(images)


def test_tcl_is_saved_and_loaded(labelled, tmp_path) -> None:
    _, images, _, tcl = labelled
    again = load(save(tcl, tmp_path / "tcl"))
    for stage in ("sources", "signed"):
        np.testing.assert_array_equal(
            again.transform(images[:99], stage=stage), tcl.transform(images[:99], stage=stage)
        )


@pytest.mark.filterwarnings(UNTRAINED)
def test_tcl_takes_a_memory_map_and_goes_on_where_it_was_interrupted(labelled, tmp_path) -> None:
    _, images, segments, _ = labelled
    images, segments = images[::8].copy(), segments[::8]
    options = {"max_steps": 30, "n_restarts": 2}
    whole = TCL(2, **options).fit(images, segments)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")

    def stop(run, step, loss):
        if run == 2 and step > 3:
            raise KeyboardInterrupt

    fit = {"checkpoint": tmp_path / "fit.pt"}
    with pytest.raises(KeyboardInterrupt):
        TCL(2, **options).fit(mapped, segments, callback=stop, **fit)
    again = TCL(2, **options).fit(mapped, segments, **fit)
    np.testing.assert_array_equal(again.transform(images), whole.transform(images))


@pytest.mark.parametrize(("lengths", "n_replicas"), [([400] * 4, 1), ([40] * 40, 14)])
@pytest.mark.parametrize("lag", [1, 3])
def test_a_batch_is_of_one_replica_or_as_few_as_are_needed(rng, lengths, n_replicas, lag) -> None:
    labels = np.repeat(np.arange(len(lengths)), lengths)
    contrast = WithinReplicas(torch.as_tensor(rng.normal(size=(len(labels), 3))), labels, labels == labels[-1], (lag,))
    for seed in range(5):
        items = torch.as_tensor(np.random.default_rng(seed).permutation(len(contrast.starts))[: 512 // contrast.chunk])
        chosen = contrast.together(items)
        assert torch.equal(chosen, contrast.together(items))
        starts = contrast.starts[chosen].numpy()
        assert len(np.unique(labels[starts])) <= n_replicas
        assert labels[starts[0]] == labels[contrast.starts[items[0]]] or n_replicas > 1
        first = starts[:, None] + lag * np.arange(contrast.chunk)
        assert len(np.unique(first)) == first.size  # no pair comes twice


def test_components_to_start_from_are_not_what_a_replica_keeps(rng) -> None:
    s, labels = sparse([0.9, 0.7], 300, 6, seed=5)
    kept = rng.normal(size=6)[labels] + 0.01 * rng.normal(size=len(labels))
    Z = torch.as_tensor(np.column_stack([kept, s[:, 0], s[:, 0] ** 2 - 1, s[:, 1]]), dtype=torch.float32)
    assert sorted(WithinReplicas(Z, labels, labels == 5, (1,)).choose(2)) == [1, 3]


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
    assert {row["method"] for row in scores} >= {"pca_pixels", "latents", "tica", "pcl_images"}
    assert all(np.isfinite(row["value"]) for row in scores if row["method"] == "pcl_images")


def test_replicas_so_short_that_chance_leaves_no_chunk_still_make_a_batch(rng) -> None:
    labels = np.repeat(np.arange(3), 10)
    contrast = WithinReplicas(torch.as_tensor(rng.normal(size=(30, 2))), labels, labels == 2, (1,))
    assert all(len(contrast.together(torch.tensor([k, 1 - k]))) >= 2 for k in range(2) for _ in range(20))
    assert all(len(contrast.together(torch.tensor(two))) >= 2 for two in ([0, 1], [1, 2], [2, 0], [0, 3], [3, 1]))


@pytest.mark.filterwarnings(UNTRAINED)
def test_a_fit_leaves_the_state_of_torchs_chance_alone(labelled) -> None:
    _, images, segments, _ = labelled
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = TCL(2, max_steps=2, n_restarts=2).fit(images, segments)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again = TCL(2, max_steps=2, n_restarts=2).fit(images, segments)
    np.testing.assert_array_equal(first.transform(images[:9]), again.transform(images[:9]))
    for spoiled in (images[:0], images * 1e30):
        with pytest.raises(DataError, match=r"0 images|larger than 1e\+15"):
            first.transform(spoiled)


def test_the_losses_of_restarts_are_those_of_their_ends_whether_or_not_interrupted() -> None:
    whole, losses = train_apart(lambda run: (run, training(run)), 2, 40, finalists=1)
    best = whole[0][0]
    resumed = train_apart(lambda run: (run, training(run).advance(150 if run == best else 30)), 2, 40, finalists=1)
    assert resumed[0][0][0] == best
    assert resumed[1] == losses
    assert min(losses) == whole[0][1].best
