"""The molecule in motion: the regression finds planted motions, and the page carries what it says."""

import base64
import gzip
import json
import re
from importlib import resources

import numpy as np
import pytest
import xarray
from scipy.spatial.transform import Rotation

from tempica.report import molecule
from tempica.report.beads import beads_of
from tempica.report.embedded import style
from tempica.report.motion import Expectation, Learned, axes_of, superposed, true_motions
from tempica.report.page import render_page
from tempica.report.recovered import splits, truths

from .synthetic import recipe_of, stores_of
from .test_page import parsed

N_MODES = 3


def latents_of(sources, seed=0):
    """Latents that are the first method's sources, turned; modes of random shape."""
    rng = np.random.default_rng(seed)
    series = sources["source"].values[-1, -1, ..., :2]  # the last method, smoothed
    turn = rng.normal(size=(2, N_MODES))
    mean = rng.normal(0, 1.2, (40, 3))
    return xarray.Dataset(
        {
            "latent": (("replica", "time", "mode"), series @ turn),
            "mode_shape": (("mode", "atom", "space"), 0.1 * rng.normal(size=(N_MODES, 40, 3))),
            "mean_structure": (("atom", "space"), mean),
        }
    )


@pytest.fixture(scope="module")
def run():
    recipe = recipe_of(methods=("pcl",), n_frames=120, n_examples=1)
    stores = stores_of(recipe)
    return recipe, stores, latents_of(stores[2])


@pytest.fixture(scope="module")
def html(run):
    recipe, (trajectory, _, sources, scores), latents = run
    matrices = [m for m in scores["matrices"] if m["split"] == "held_out" and m["metric"] == "spearman"]
    with style():
        return molecule.section(
            recipe, latents, sources, ["pcl"], trajectory=trajectory, truth=truths(trajectory), matrices=matrices
        )


def test_the_expectation_is_that_of_a_planted_additive_cubic():
    rng = np.random.default_rng(1)
    driver = rng.normal(size=(400, 2)) * (3.0, 0.2) + (10.0, -4.0)
    true = lambda x: np.stack([x[:, 0] ** 2 + x[:, 1], x[:, 1] ** 3], -1)  # noqa: E731
    model = Expectation.fit(driver, true(driver))
    value = np.linspace(6, 14, 5)
    middle = np.median(driver, axis=0)
    expected = true(np.stack([value, np.full(5, middle[1])], -1))
    np.testing.assert_allclose(model.along(0, value), expected, atol=1e-6)


def test_the_other_sources_stay_where_they_are():
    """A response to the second driver alone does not move along the first, though they correlate."""
    rng = np.random.default_rng(2)
    one = rng.normal(size=500)
    driver = np.stack([one, 0.8 * one + 0.6 * rng.normal(size=500)], -1)
    model = Expectation.fit(driver, 2 * driver[:, 1:])
    assert np.ptp(model.along(0, np.linspace(-2, 2, 9))) < 1e-9
    assert np.ptp(model.along(1, np.linspace(-2, 2, 9))) > 7


def test_few_frames_get_straight_lines():
    rng = np.random.default_rng(3)
    model = Expectation.fit(rng.normal(size=(12, 3)), rng.normal(size=(12, 2)))
    assert model.degree == 1


def test_superposition_undoes_rigid_motion():
    rng = np.random.default_rng(4)
    reference = rng.normal(size=(20, 3))
    moved = [reference @ Rotation.random(rng=i).as_matrix().T + rng.normal(size=3) for i in range(3)]
    result = superposed(np.array(moved), reference, np.arange(5))
    np.testing.assert_allclose(result, np.broadcast_to(reference, (3, 20, 3)), atol=1e-9)


def test_a_recovered_axis_moves_as_the_latents_say_and_rises_with_the_truth(run):
    recipe, (trajectory, _, sources, scores), latents = run
    train = splits(sources) == "train"
    mean = latents["mean_structure"].values
    learned = Learned.of(latents, sources, "pcl")
    assert learned.stage == "smoothed"
    entry = next(
        m
        for m in scores["matrices"]
        if (m["method"], m["stage"], m["split"], m["metric"]) == ("pcl", "smoothed", "held_out", "spearman")
    )
    truth = truths(trajectory)
    true = true_motions(trajectory, truth, train, mean, np.arange(40))
    axes = axes_of(learned, truth, true, train, entry)
    assert [axis.name for axis in axes] == [cv.name for cv in recipe.simulate.collective_variables]
    for axis in axes:
        assert np.all(np.diff(axis.recovered.value) > 0)
        assert np.all(np.diff(axis.true.value) > 0)
        assert axis.recovered.unit == "°"
        assert -1 <= axis.agreement <= 1
    # the planted latents are a linear map of the sources: the path's ends differ by mode shapes times that map
    k = axes[0].component
    series = learned.series[..., :2]
    flat = series[train].reshape(-1, 2)
    slope = np.linalg.lstsq(flat - flat.mean(0), latents["latent"].values[train].reshape(-1, N_MODES), rcond=None)[0]
    ends = np.percentile(flat[:, k], [5, 95])
    shift = (ends[1] - ends[0]) * np.einsum("m,man->an", slope[k], latents["mode_shape"].values)
    raw = learned.structures(0, slice(0, 5)) - mean
    np.testing.assert_allclose(
        raw, np.einsum("fm,man->fan", latents["latent"].values[0, :5], latents["mode_shape"].values), atol=1e-9
    )
    both = superposed(np.array([mean, mean + shift]), mean, np.arange(40))
    cosine = abs(float(((both[1] - both[0]) * (axes[0].recovered.path[-1] - axes[0].recovered.path[0])).sum()))
    size = np.linalg.norm(both[1] - both[0]) * np.linalg.norm(axes[0].recovered.path[-1] - axes[0].recovered.path[0])
    assert cosine / size > 0.9


def test_without_a_truth_axes_are_numbered_and_in_deviations(run):
    _, (_, _, sources, _), latents = run
    axes = axes_of(Learned.of(latents, sources, "pcl"))
    assert [axis.name for axis in axes] == ["component 1", "component 2"]
    assert all(axis.true is None and axis.agreement is None for axis in axes)
    assert all(axis.recovered.unit == "deviations" for axis in axes)


def test_paths_come_back_from_the_page_within_half_a_step(run, html):
    _, (trajectory, _, sources, scores), latents = run
    data = json.loads(re.search(r'<script type="application/json" class="data">(.*?)</script>', html, re.S)[1])
    mean = latents["mean_structure"].values
    turn = molecule.upright(mean)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    axes = molecule.find_axes(
        latents,
        sources,
        ["pcl"],
        np.arange(40),
        trajectory=trajectory,
        truth=truths(trajectory),
        matrices=[m for m in scores["matrices"] if m["split"] == "held_out" and m["metric"] == "spearman"],
    )
    assert [axis["name"] for axis in data["axes"]] == ["NMP", "LID"]
    assert len(data["paths"]) == 4
    for told, axis in zip(data["axes"], axes, strict=True):
        for kind in ("recovered", "true"):
            raw = np.frombuffer(base64.b64decode(data["paths"][told[kind]["path"]]), "<i2").reshape(-1, data["n"], 3)
            back = raw * data["step_A"] / 10 @ turn + mean.mean(0)
            assert np.abs(back - getattr(axis, kind).path).max() < data["step_A"] / 10


def test_the_section_is_html_with_all_it_needs_inside(html):
    checked = parsed(html)
    for _, attributes in checked.elements:
        assert (attributes.get("src") or "data:").startswith("data:")
    content = re.search(r'<script type="text/plain" class="viewer3d">(.*?)</script>', html, re.S)[1]
    viewer = gzip.decompress(base64.b64decode(content))
    assert viewer == resources.files("tempica.report").joinpath("vendor/3Dmol-min.js").read_bytes()
    assert "BSD-3-Clause" in checked.text
    drawn = [*checked.named("img"), *checked.named("svg")]
    assert len(drawn) == 2
    assert all("nm at residue" in (image.get("alt") or image.get("aria-label")) for image in drawn)
    assert "WebGL" in checked.text
    assert len(html) < 400_000
    for element in ("button", "select", "input"):
        assert checked.named(element)


def test_the_same_inputs_give_the_same_section(run, html):
    recipe, (trajectory, movie, sources, scores), latents = run
    pages = [
        render_page(recipe, "seed = 7", trajectory, movie, sources, scores, latents=latents, software={})
        for _ in range(2)
    ]
    assert pages[0] == pages[1]
    assert pages[0].count('id="molecule"') == 1
    assert parsed(pages[0]).open == []


def test_names_from_a_recipe_cannot_end_the_script():
    assert "<" not in molecule.as_json({"name": "</script><script>alert(1)"})
    assert json.loads(molecule.as_json({"name": "</script>"})) == {"name": "</script>"}


def test_large_molecules_are_thinned():
    recipe = recipe_of()
    rng = np.random.default_rng(5)
    beads = beads_of(recipe, None, np.cumsum(rng.normal(size=(5000, 3)), axis=0))
    thin = beads.thinned(4)
    assert len(thin.number) == len(thin.joined) == len(thin.hinge) == 1250
    assert thin.number[1] == beads.number[4]


def topology_of(chains):
    """JSON of chains of one-bead residues."""
    return json.dumps(
        {"chains": [{"residues": [{"resSeq": r, "atoms": [{}]} for r in numbers]} for numbers in chains], "bonds": []}
    )


def test_domains_meet_at_hinges():
    recipe = recipe_of()
    domains = {"A": "1-10", "B": "11-20"}
    molecule_recipe = recipe.simulate.molecule.model_copy(update={"domains": domains, "body": "B"})
    recipe = recipe.model_copy(update={"simulate": recipe.simulate.model_copy(update={"molecule": molecule_recipe})})
    line = np.arange(25.0)[:, None] * [0.38, 0, 0]
    line[22:] += [0, 5.0, 0]  # a gap
    beads = beads_of(recipe, topology_of([range(1, 26)]), line)
    assert beads.names == ("A", "B")
    assert beads.group.tolist() == [0] * 10 + [1] * 10 + [-1] * 5
    assert np.flatnonzero(beads.hinge).tolist() == [9, 10, 19, 20]
    assert np.flatnonzero(~beads.joined).tolist() == [0, 22]
    assert beads.body.tolist() == list(range(10, 20))
    two = beads_of(recipe_of(), topology_of([range(1, 13), range(1, 14)]), line)
    assert two.kind == "chains"
    assert two.names == ("chain 1", "chain 2")
    assert not two.hinge.any()
