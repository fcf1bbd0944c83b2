"""Sources without a truth: surfaces, memory, and a page that needs none."""

import numpy as np
import pytest

from tempica.audit.untold import GRADES, nuisances
from tempica.evaluate import audit
from tempica.ica.synthetic import autoregressive
from tempica.report import alone
from tempica.report.embedded import style
from tempica.report.untold import render_untold

from .synthetic import recipe_of, stores_of
from .test_page import parsed


def test_the_free_energy_of_a_normal_pair_is_a_parabola():
    pair = np.random.default_rng(0).standard_normal((400_000, 2))
    energy, (x, y) = alone.free_energy(pair)
    at = [0.5 * (edge[1:] + edge[:-1]) for edge in (x, y)]
    expected = 0.5 * (at[0][:, None] ** 2 + at[1][None] ** 2)
    off = (energy - expected)[expected < 3]
    assert np.abs(off - off.mean()).max() < 5 / np.sqrt(50)  # 50 frames in the rarest of these places
    assert off.mean() < 0.2  # zero is the lowest of many places that scatter
    assert np.nanmin(energy) == 0


def test_images_along_a_source_are_means_of_its_fifths():
    value = np.random.default_rng(1).permutation(50).astype(float)
    flat = np.broadcast_to(value[:, None, None], (50, 3, 4))
    np.testing.assert_allclose(alone.fifths(flat, value)[:, 0, 0], [4.5, 14.5, 24.5, 34.5, 44.5])


def test_no_surface_of_one_source_or_of_none_that_moves():
    assert alone.surface(np.random.default_rng(0).normal(size=(2, 100, 1)), "x") == ""
    assert alone.surface(np.zeros((2, 100, 2)), "x") == ""


@pytest.fixture(scope="module")
def page():
    recipe = recipe_of()
    _, movie, sources, scores = stores_of(recipe)
    problem = autoregressive(2, 300, rho=[0.9, 0.5], innovation="laplace", n_layers=1, seed=0)
    found = audit(problem.X, method="sobi").as_dict()
    own = {"audit": found | {"methods": [{"method": "pcl", "stage": "smoothed", "agreement": 0.9}]}}
    own["verdict"] = {"grade": GRADES[found["verdict"]["kind"]], "sentence": "<No> truth.", "methods": []}
    movie = movie.assign(molecule=movie["defocus_u_A"] * 0)
    empty = {"rows": [], "matrices": [], "bands": []}
    latents = sources[["source"]].rename(source="nothing")  # without modes there is no molecule
    with style():
        return render_untold(recipe, "seed = 7", movie, latents, sources, scores | own | empty, software={})


def test_the_page_answers_without_a_truth(page):
    text = parsed(page).text
    assert "<No> truth." in text
    for asked in (
        "How many sources?",
        "Does time matter (shuffled null)?",
        "Do fits to two halves agree?",
        "Which lag?",
    ):
        assert asked in text
    assert "PCL, smoothed" in text
    assert "Free energy" in text
    assert "ρ" not in text.split("What the data say")[0]  # no score is told


def test_nuisances_are_those_that_vary():
    recipe = recipe_of()
    _, movie, _, _ = stores_of(recipe)
    columns = nuisances(movie, movie)
    assert set(columns) == {"defocus", *(f"view along {a}" for a in "xyz"), "shift along x", "shift along y"}
    still = movie.assign(defocus_u_A=movie["defocus_u_A"] * 0, defocus_v_A=movie["defocus_v_A"] * 0)
    assert "defocus" not in nuisances(still, movie)
    assert "view along x" not in nuisances(movie, movie.assign(pose_quaternion=movie["pose_quaternion"] * np.nan))
