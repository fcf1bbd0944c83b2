import base64
import csv
import io
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
import xarray
from xarray.backends import BackendArray
from xarray.core import indexing

from tempica.report import checked, placing, trained, words
from tempica.report.changed import Before
from tempica.report.figures import colour
from tempica.report.frames import examples
from tempica.report.page import render_page
from tempica.report.recovered import fit_line, recoveries, truths
from tempica.report.table import score_table, share

from .synthetic import poses_of, recipe_of, stores_of, verdict_of

VOID = {"meta", "img", "br", "hr", "link", "input", "source"}
NASTY = 'name = "x" # <script>alert(1)</script> & </details></main> "quoted"'


class Checked(HTMLParser):
    """Fails on tags that do not balance; keeps elements and text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def named(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]


def parsed(page):
    checked = Checked()
    checked.feed(str.__str__(page))  # no markup, to which text would be added escaped
    checked.close()
    assert checked.open == []
    return checked


def rendered(recipe, stores, text="seed = 7"):
    return render_page(recipe, text, *stores, software={"tempica": "0.1", "<i>": "&"})


@pytest.fixture(scope="module")
def run():
    recipe = recipe_of()
    return recipe, stores_of(recipe)


@pytest.fixture(scope="module")
def small():
    """One method, so that a page takes little time."""
    recipe = recipe_of(methods=("pcl",), n_frames=30, n_examples=1)
    return recipe, stores_of(recipe)


@pytest.fixture(scope="module")
def page(run):
    return rendered(*run, text=NASTY)


def test_the_page_is_html_that_needs_nothing_beside_itself(page):
    checked = parsed(page)
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("</head>") == 1
    assert checked.named("script") == checked.named("link") == checked.named("iframe") == []
    for _, attributes in checked.elements:
        assert not {"srcset", "onclick", "onload"} & set(attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith(("#", "data:"))
    assert not re.search(r"https?://|@import|url\((?!#)", page)


def test_ids_are_unique_and_every_anchor_leads_somewhere(page):
    checked = parsed(page)
    ids = [attributes["id"] for _, attributes in checked.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    targets = re.findall(r'(?:href="|url\()#([^")]+)', page)
    assert set(targets) <= set(ids)
    assert {"scores", "over-time", "poses", "provenance"} <= set(targets)


def test_text_of_figures_can_be_searched_and_follows_the_scheme(page):
    svg = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert any("MCC on held-out replicas</text>" in one for one in svg)
    assert not re.search("#222222|#0072b2", "".join(svg))
    assert "prefers-color-scheme: dark" in page


def test_downloads_hold_scores_sources_and_recipe(run, page):
    *_, scores = run[1]
    files = {a["download"]: a["href"] for tag, a in parsed(page).elements if "download" in a}
    text = {name: base64.b64decode(uri.partition(",")[2]).decode() for name, uri in files.items()}
    assert text["recipe.toml"] == NASTY
    lines = list(csv.DictReader(io.StringIO(text["scores.csv"])))
    assert len(lines) == len(scores["rows"])
    assert [float(line["value"]) for line in lines] == [row["value"] for row in scores["rows"]]
    assert "true NMP (°)" in text["sources.csv"].splitlines()[0]


def test_what_changed_is_told_beside_the_run_before(run):
    recipe, (*stores, scores) = run
    old = scores | {"rows": [row | {"value": row["value"] - 0.1} for row in scores["rows"]]}
    page = render_page(recipe, "seed = 7", *stores, scores, before=Before(old, "seed = <8>"), software={})
    text = parsed(page).text
    assert "-seed = <8>" in text
    assert "+seed = 7" in text
    assert text.count("+0.100") == sum(r["split"] == "held_out" and "spearman" in r["metric"] for r in scores["rows"])


def test_how_methods_were_trained_is_told(run):
    *_, scores = run[1]
    fit = {"candidates": {"tica": -0.7, "network": -0.9}, "second_stage_loss": {"none": -0.9, "sobi": -0.8}}
    fit |= {"loss_curve": [[10, -0.1, -0.05], [20, -0.5, -0.4]], "stability": [0.99, None], "subspaces": [[0, 1]]}
    own = {"model": "network", "second_stage": "none", "ambiguity": "subspace", "fit": fit}
    text = parsed(trained.section([*scores["methods"][:2], scores["methods"][2] | own])).text
    assert "network −0.900; tica −0.700" in text
    assert "subspace: components 1 with 2" in text
    assert trained.section(scores["methods"]) == ""


def test_every_image_has_words_for_those_who_cannot_see_it_and_every_figure_a_caption(page):
    checked = parsed(page)
    told = [image["aria-label"] or "" for image in checked.named("svg")]
    assert len(told) > 10
    assert all(len(each) > 20 for each in told)
    assert all(told.count(each) <= 2 for each in told)  # for wide and for narrow screens
    assert len(checked.named("figure")) == len(checked.named("figcaption"))


def test_what_comes_from_the_recipe_is_escaped(page):
    assert "<script" not in page
    assert NASTY in parsed(page).text
    assert "&lt;i&gt; version" in page


def test_every_held_out_score_is_told_and_no_other(run, page):
    recipe, (*_, scores) = run
    text = parsed(page).text
    for row in scores["rows"]:
        if row["split"] == "held_out":
            assert f"{row['value']:.3f}" in text
            assert f"{row['interval'][0]:.3f} to {row['interval'][1]:.3f}" in text
    n_rows = page.count('<td class="interval">')
    assert n_rows == sum(row["split"] == "held_out" for row in scores["rows"])
    assert page.count("<strong>") == 2  # the best of each metric
    told = [scores["verdict"], *scores["verdict"]["methods"]]
    told += [source for method in scores["verdict"]["methods"] for source in method["sources"]]
    assert all(one["sentence"] in text for one in told)
    assert {method["method"] for method in scores["verdict"]["methods"]} == set(recipe.train.methods)


def test_provenance_is_complete(page):
    text = parsed(page).text
    for part in ("aaaa1111", "bbbb2222", "cccc3333", "dddd4444", "tempica version", "made_up"):
        assert part in text


def test_the_same_inputs_give_the_same_bytes(run, page):
    assert rendered(*run, text=NASTY) == page


@pytest.mark.parametrize("variables", [("A",), ("first_hinge", "B", "C_" + 56 * "x")])
def test_any_number_of_collective_variables(variables):
    recipe = recipe_of(variables=variables, methods=("pcl",), n_frames=20, n_examples=7)
    page = rendered(recipe, stores_of(recipe))
    text = parsed(page).text
    assert all(f"{name} (|ρ|" in text for name in variables)
    assert page.count('<svg role="img" aria-label="PCL: ') == 4  # traces, and distributions, each drawn for two widths
    assert page.count("Scatter of") == 2 * len(variables)


def test_a_method_without_smoothed_stage(small):
    recipe, (trajectory, movie, sources, scores) = small
    sources = sources.copy(deep=True)
    sources["source"][2, 1] = np.nan
    kept = {
        part: [x for x in scores[part] if (x["method"], x["stage"]) != ("pcl", "smoothed")]
        for part in ("rows", "matrices")
    }
    kept["verdict"] = verdict_of(recipe, trajectory, sources, kept["rows"])
    page = rendered(recipe, (trajectory, movie, sources, scores | kept))
    assert "PCL, smoothed" not in parsed(page).text


def test_a_method_without_unmixed_stage(small):
    recipe, (trajectory, movie, sources, scores) = small
    sources = sources.copy(deep=True)
    sources["source"][2, 0] = np.nan
    kept = {
        part: [x for x in scores[part] if (x["method"], x["stage"]) != ("pcl", "unmixed")]
        for part in ("rows", "matrices")
    }
    kept["verdict"] = verdict_of(recipe, trajectory, sources, kept["rows"])
    page = rendered(recipe, (trajectory, movie, sources, scores | kept))
    assert "PCL, unmixed" not in parsed(page).text


def test_a_component_of_nan_and_a_variable_without_component(small):
    recipe, (trajectory, movie, sources, scores) = small
    sources = sources.copy(deep=True)
    sources["source"][2, :, ..., 1] = np.nan
    sources["source_variance"][:] = np.nan
    entries = [dict(m) for m in scores["matrices"]]
    for entry in entries:
        if entry["method"] == "pcl":  # the second component, that of the first variable, is lost
            entry |= {"matrix": entry["matrix"][:1], "assignment": [-1, 0]}
    page = rendered(recipe, (trajectory, movie, sources, scores | {"matrices": entries}))
    parsed(page)
    whole = rendered(recipe, (trajectory, movie, sources, scores))  # scores that still name the lost component
    parsed(whole)


def test_recoveries_are_scaled_on_training_replicas_alone(run):
    _, (trajectory, _, sources, scores) = run
    entries = [m for m in scores["matrices"] if m["split"] == "held_out" and m["metric"] == "spearman"]
    truth = truths(trajectory)
    found = recoveries(sources, truth, entries, ["tica", "pcl"])
    assert [(r.method, r.stage, r.variable) for r in found[:3]] == [
        ("tica", "unmixed", 0),
        ("tica", "unmixed", 1),
        ("tica", "smoothed", 0),
    ]
    other = sources.copy(deep=True)
    other["source"][..., sources["split"].values == "held_out", :, :] *= -3.0
    for a, b in zip(found, recoveries(other, truth, entries, ["tica", "pcl"]), strict=True):
        np.testing.assert_array_equal(a.value[:2], b.value[:2])
    for recovery in found:
        x, y = recovery.value[:2].ravel(), truth[recovery.variable].value[:2].ravel()
        assert fit_line(x, y) == pytest.approx((1, 0), abs=1e-9)  # sign and scale are right already
    assert truth[0].unit == "°"
    assert 50 < truth[0].value.mean() < 70


def test_a_constant_component_is_scaled_to_the_mean_of_the_truth():
    assert fit_line(np.ones(5), np.arange(5.0)) == (0, 2)
    assert np.isnan(fit_line(np.full(5, np.nan), np.arange(5.0))).all()


class Counted(BackendArray):
    """A lazily indexed array that knows how much was read of it."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.n_read = array, array.shape, array.dtype, 0

    def __getitem__(self, key):
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key):
        self.n_read += self.array[key].size
        return self.array[key]


def test_only_the_example_frames_of_a_movie_are_read(small):
    recipe, (trajectory, movie, sources, scores) = small
    counted = Counted(movie["image"].values)
    lazy = movie.assign(
        image=xarray.Variable(movie["image"].dims, indexing.LazilyIndexedArray(counted), {"units": "1/angstrom"})
    )
    rendered(recipe, (trajectory, lazy, sources, scores))
    assert counted.n_read == recipe.report.n_examples * recipe.render.n_pixels**2


def test_examples_are_spread_and_look_as_the_camera_would_without_noise(run):
    _, (trajectory, movie, *_) = run
    shown = examples(trajectory, movie, np.array([3, 4]), 4)
    assert [(e.replica, e.frame) for e in shown] == [(3, 15), (3, 45), (4, 15), (4, 45)]
    np.testing.assert_array_equal(shown[1].noisy, movie["image"].values[3, 45])
    # the transfer function at zero frequency is the amplitude contrast: it weighs the whole molecule
    total = 0.1 * float(trajectory["scattering_length_A"].sum()) / movie.attrs["pixel_size_A"] ** 2
    assert shown[1].clean.sum() == pytest.approx(total, rel=1e-2)
    assert len(examples(trajectory, movie, np.array([4]), 100)) == 60


def test_poses_are_shown_with_error_bound_and_posterior(run, page):
    text = parsed(page).text
    assert "Poses were hidden, and found from the images alone." in text
    assert "the rotation is 1.8° off in the median" in text
    assert "1.50 % of the frames are lost" in text
    assert "superposed on CORE & co;" in text
    assert "1.21 (1.08 to 1.34)" in text
    assert "the pose explains 1.20 % of the variance of their errors, where chance gives 0.90 % (95 %: 1.10 %)" in text
    *_, scores = run[1]
    for name in ("bound_deg", "squared_error", "squared_error_interval", "within_95", "level"):
        lacking = {**scores["poses"], "splits": [row | {name: None} for row in scores["poses"]["splits"]]}
        assert "least that single frames" in placing.section(scores | {"poses": lacking}) or name == "bound_deg"
    bare = [row | dict.fromkeys(placing_keys(row)) for row in scores["poses"]["splits"]]
    told = placing.section(scores | {"poses": {**scores["poses"], "source": "stated", "splits": bare}, "latents": []})
    assert "as it states them" in told


def test_distances_of_domains_are_shown_of_held_out_replicas(run):
    *_, scores = run[1]
    told = placing.section(scores)
    assert "BODY to &lt;LID&gt;" in told
    assert ">0.042 nm<" in told
    assert ">0.118 nm<" in told
    assert ">0.94<" in told
    assert ">0.50<" not in told


def placing_keys(row):
    """What a run without posterior and without common beads does not say."""
    kept = ("split", "n_frames", "lost", "mirrored", "shift_median_A", "shift_95_A", "angle_deg")
    return [name for name in row if name not in kept]


def test_known_poses_say_so_in_a_sentence(run):
    *_, scores = run[1]
    told = placing.section(scores | {"poses": poses_of(known=True), "distances": []})
    assert "Poses are known" in told
    assert "<table" not in told
    assert "Calibration of posteriors" in told
    assert "<svg" not in placing.section(scores | {"poses": poses_of(known=True), "latents": []})


def test_the_temporal_ceiling_is_that_of_smoothed_scores(run, page):
    assert "single frames allow 0.93; whole movies allow 0.96" in parsed(page).text
    *_, scores = run[1]
    (row, *_) = [r for r in scores["rows"] if r["stage"] == "smoothed" and r["split"] == "held_out"]
    assert f"{row['value'] / 0.96:.2f}" in score_table([row], [row["method"]])
    assert f"{row['value'] / 0.93:.2f}" in score_table([row | {"ceiling_temporal": None}], [row["method"]])


def test_shares_are_those_of_bounds_above_chance(run):
    *_, scores = run[1]
    (row, *_) = [r for r in scores["rows"] if r["method"] == "pcl" and r["split"] == "held_out"]
    assert share(row, "supervised_latents") == row["value"] / 0.97
    assert share(row | {"supervised_latents": 0.2}, "supervised_latents") is None  # chance reaches 0.21
    assert share(row, "supervised_images") is None
    table = score_table([row], ["pcl"])
    assert "of told, latents" in table
    assert "of told, images" not in table
    bare = row | dict.fromkeys(("ceiling", "ceiling_temporal", "supervised_latents"))
    assert "none could be computed" in score_table([bare], ["pcl"])


def test_warnings_stand_under_the_verdict_each_once(page):
    text = parsed(page).text
    assert text.count("simulate: an <undeclared> motion outlives NMP") == 1
    assert text.index("an <undeclared> motion") < text.index("Scores on held-out replicas")


def test_methods_keep_their_colours_and_baselines_are_gray():
    learned = ["tica", "pcl", "new"]
    paints = [colour(name, learned) for name in [*learned, "latents"]]
    assert all(a != b for a, b in pairwise(paints))
    assert len({paints[3].strip("#")[i : i + 2] for i in (0, 2, 4)}) == 1


def test_words():
    assert words.number(None) == words.number(float("nan")) == "–"
    assert words.number(-0.123) == "−0.123"
    assert words.enumeration(["a"]) == "a"
    assert words.enumeration(["a", "b", "c"]) == "a, b and c"
    recipe = recipe_of(methods=("tica", "my_new_method"), n_frames=20, n_examples=1)
    text = parsed(rendered(recipe, stores_of(recipe))).text
    assert "TICA" in text
    assert "my new method, smoothed: " in text
    assert "my_new_method" not in text.replace('methods = ["tica", "my_new_method"]', "")


def test_bias_tests_are_told_and_escaped():
    assert checked.section(None) == ""
    rows = [
        {"name": name, "title": name.title(), "verdict": verdict, "sentence": f"<{name}> & more.", "figures": []}
        for name, verdict in (("noise", "passed"), ("hand", "not applicable"), ("halves", "failed"))
    ]
    section = checked.section({"checks": rows, "frames": {"held_out": 300, "half": 300}})
    page = parsed(section)
    assert "1 of 2 tests that apply are passed, on 300 held-out frames. Not passed: Halves." in page.text
    assert "<noise> & more." in page.text
    assert "<noise>" not in section
    assert len(page.named("tr")) == 4
