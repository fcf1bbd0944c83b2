import copy
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tempica import load_recipe
from tempica import recipe as sections
from tempica.errors import RecipeError
from tempica.recipe.electron import RenderRecipe
from tempica.recipe.experiment import Recipe
from tempica.recipe.residues import residues
from tempica.runs.layout import fingerprint, structure_path

COMMITTED = Path(__file__).parents[1] / "simulations" / "adenylate_kinase.toml"
CONTENT = tomllib.loads(COMMITTED.read_text(encoding="utf-8"))
FULL = Recipe.model_validate(CONTENT).model_dump(mode="json", exclude_none=True)  # with every default
N_REPLICAS, N_FRAMES = FULL["simulate"]["n_replicas"], FULL["simulate"]["n_frames"]


def toml(value):
    """One TOML value; tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value) if isinstance(value, str | bool) else repr(value)


def places(node, where=()):
    """Path of every key and list item."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*where, key)
        yield from places(value, (*where, key))


def changed(where, value):
    content = copy.deepcopy(FULL)
    node = content
    for key in where[:-1]:
        node = node[key]
    node[where[-1]] = value
    return content


@pytest.fixture
def load(tmp_path):
    """Loads a recipe given as content or as text."""

    def load(content):
        text = content if isinstance(content, str) else "\n".join(f"{k} = {toml(v)}" for k, v in content.items())
        path = tmp_path / "recipe.toml"
        path.write_text(text, encoding="utf-8")
        return load_recipe(path)[0]

    return load


def complaint(load, content):
    """What load_recipe has against the content, empty if nothing; any other error fails the test."""
    try:
        load(content)
    except RecipeError as error:
        return str(error)
    return ""


def refused(load, content, *fragments):
    message = complaint(load, content)
    for fragment in fragments:
        assert fragment in message
    assert "recipe.toml" in message
    return message


def test_the_package_offers_the_recipe_and_its_sections():
    assert sections.Recipe is Recipe
    for name in sections.__all__:
        assert getattr(sections, name).__module__.startswith("tempica.recipe.")
    with pytest.raises(AttributeError, match="NoRecipe"):
        sections.NoRecipe  # noqa: B018


def test_a_recipe_from_an_editor_on_windows_loads(tmp_path):
    """With a byte order mark and line ends of its own."""
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xef\xbb\xbf" + COMMITTED.read_bytes().replace(b"\n", b"\r\n"))
    recipe, text = load_recipe(path)
    assert recipe == load_recipe(COMMITTED)[0]
    assert text == COMMITTED.read_text(encoding="utf-8")


def test_the_committed_recipe_loads_with_its_text():
    recipe, text = load_recipe(COMMITTED)
    assert recipe.name == COMMITTED.stem
    assert text == COMMITTED.read_text(encoding="utf-8")
    n_kept = recipe.train.validation_replicas + recipe.train.held_out_replicas
    roles = ["train"] * (recipe.simulate.n_replicas - n_kept)
    roles += ["validation"] * recipe.train.validation_replicas + ["held_out"] * recipe.train.held_out_replicas
    assert recipe.splits == roles
    for name in (recipe.simulate.molecule.structure, recipe.simulate.molecule.second_structure):
        assert structure_path(COMMITTED.parent, name).is_file()


def test_a_recipe_with_its_defaults_written_out_is_the_same(load):
    assert load(FULL) == load(CONTENT)


def test_a_recipe_cannot_be_changed():
    recipe, _ = load_recipe(COMMITTED)
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 2


@pytest.mark.parametrize(
    "value",
    [
        "wrong type",
        "",
        [],
        [1, "a"],
        {},
        {"bogus": {"deep": 1}},
        -1,
        -1.5,
        0,
        10**30,
        float("nan"),
        True,
        [[]],
    ],
    ids=repr,
)
def test_a_wrong_value_anywhere_is_refused_by_the_name_of_its_key(load, value):
    n_refused = 0
    for where in places(FULL):
        message = complaint(load, changed(where, value))
        n_refused += message != ""
        key = [part for part in where if isinstance(part, str)][-1]
        assert message == "" or key in message, where
    assert n_refused > 20


def test_a_missing_key_is_named_or_has_a_default(load):
    for where in places(FULL):
        if isinstance(where[-1], str):
            content = copy.deepcopy(FULL)
            node = content
            for key in where[:-1]:
                node = node[key]
            del node[where[-1]]
            message = complaint(load, content)
            assert message == "" or where[-1] in message


@pytest.mark.parametrize(
    ("where", "value", "fragments"),
    [
        (("render", "snr"), -0.1, ["render.snr = -0.1", "greater than 0"]),
        (("render", "snr"), 0, ["render.snr = 0"]),
        (("render", "snr"), float("nan"), ["render.snr = nan"]),
        (("render", "snr"), -float("inf"), ["render.snr = -inf"]),
        (("render", "b_factor_A2"), float("inf"), ["render.b_factor_A2 = inf", "finite"]),
        (("render", "n_pixels"), 65, ["render.n_pixels = 65", "multiple of 2"]),
        (("render", "defocus_low_A"), 20_000, ["defocus_high_A = 15000", "below", "defocus_low_A = 20000"]),
        (("render",), 3, ["render = 3: must be a table"]),
        (("render",), [1], ["render: must be a table"]),
        (("simulate", "molecule"), "x.pdb", ["simulate.molecule = 'x.pdb': must be a table"]),
        (("simulate", "dynamics"), {"mean": 3}, ["simulate.dynamics: must be a list"]),
        (("simulate", "molecule", "structure"), "", ["simulate.molecule.structure"]),
        (("simulate", "molecule", "second_structure"), "closed/adk_open.pdb", ["both called adk_open.pdb", "Rename"]),
        (("simulate", "molecule", "domains", "NMP"), "30-70", ["residue 68", "CORE", "NMP", "disjoint"]),
        (("simulate", "molecule", "domains", "NMP"), "67-30", ["domain NMP", "'67-30' runs backwards"]),
        (("simulate", "molecule", "domains", "NMP"), "thirty", ["domain NMP", "'thirty'", "1-29, 68-117"]),
        (("simulate", "molecule", "domains", "2nd"), "3", ["simulate.molecule.domains.2nd"]),
        (("simulate", "molecule", "body"), "LOOP", ["body 'LOOP' is no domain", "CORE, NMP, LID"]),
        (
            ("simulate", "collective_variables", 0, "residues"),
            ["1", "2"],
            ["collective_variables.0.residues"],
        ),
        (
            ("simulate", "collective_variables", 1, "residues", 0),
            "9-3",
            ["simulate.collective_variables.1.residues", "'9-3' runs backwards"],
        ),
        (("simulate", "collective_variables", 1, "name"), "NMP", ["different names", "NMP, NMP"]),
        (
            ("simulate", "dynamics", 1, "collective_variable"),
            "HINGE",
            ["dynamics.1.collective_variable = 'HINGE'", "declared are NMP, LID"],
        ),
        (("simulate", "dynamics", 1, "collective_variable"), "NMP", ["'NMP' has 2 entries in dynamics"]),
        (("simulate", "dynamics", 0, "process"), "ar2", ["simulate.dynamics.0.process = 'ar2'", "ar1, double_well"]),
        (("simulate", "dynamics", 0, "coefficient"), 1.0, ["coefficient = 1.0", "less than 1"]),
        (("simulate", "network", "no_contacts"), [["LID", "TAIL"]], ["no_contacts names 'TAIL'"]),
        (("simulate", "network", "no_contacts"), [["LID"]], ["simulate.network.no_contacts.0"]),
        (("simulate", "n_frames"), 10**12, ["simulate.n_frames"]),
        (("simulate", "n_replicas"), 3, ["keeps 3 replicas", "simulate.n_replicas = 3"]),
        (("train", "held_out_replicas"), N_REPLICAS, ["keeps", f"fewer than simulate.n_replicas = {N_REPLICAS}"]),
        (("train", "n_components"), 5, ["train.n_components = 5", "embed.n_modes = 4"]),
        (("train", "lag"), N_FRAMES, [f"train.lag = {N_FRAMES}", f"simulate.n_frames = {N_FRAMES}"]),
        (("train", "methods"), ["pcl", "pcl"], ["train.methods", "must not repeat"]),
        (("train", "methods"), ["tcl"], ["train.methods has tcl", "simulate.segment_frames"]),
        (("train", "methods"), ["umap"], ["train.methods.0 = 'umap'", "tica"]),
        (("name",), "../escape", ["name = '../escape'"]),
    ],
)
def test_a_mistake_is_told_with_its_value_and_its_rule(load, where, value, fragments):
    refused(load, changed(where, value), *fragments)


@pytest.mark.parametrize(
    ("where", "known"),
    [
        (("sead",), "embed, evaluate, film, name, particles, render, report, seed, simulate, train"),
        (("embed", "modes"), "modes_from, n_iterations, n_modes"),
        (("simulate", "collective_variables", 1, "unit"), "atoms, kind, name, residues"),
        (("simulate", "dynamics", 0, "rho"), "coefficient, collective_variable, coupled_to"),
        (("simulate", "molecule", "chain"), "body, domains, kind, n_domains, second_structure, structure"),
    ],
)
def test_an_unknown_key_is_named_with_the_keys_that_are_known(load, where, known):
    place = ".".join(map(str, where))
    refused(load, changed(where, 1), f"{place}: unknown key. Known here: {known}")


def test_all_mistakes_are_told_at_once(load):
    content = changed(("render", "snr"), -1)
    content["train"]["lag"] = 0
    content["bogus"] = 1
    message = refused(load, content, "render.snr", "train.lag", "bogus")
    assert len(message.splitlines()) == 4


def test_no_noise_is_an_infinite_snr(load):
    assert load(changed(("render", "snr"), float("inf"))).render.snr == float("inf")


@pytest.mark.parametrize(
    "text",
    [
        "name = ",
        "[simulate",
        "name = 1\nname = 2",
        "a = 2020-13-45",
        "\0",
        "a = " + "9" * 5000,
        "a = " + "[" * 50_000,
    ],
    ids=["value", "bracket", "twice", "date", "null", "digits", "nesting"],
)
def test_what_is_no_toml_is_told_so(load, text):
    refused(load, text, "not valid TOML")


def test_lists_in_lists_without_end_are_told_in_one_line(load):
    message = refused(load, "a = " + "[" * 250 + "]" * 250)
    assert len(message) < 300


def test_files_that_cannot_be_read(load, tmp_path):
    refused(load, "", "name: is missing", "simulate: is missing")
    with pytest.raises(RecipeError, match=r"There is no recipe .*absent\.toml"):
        load_recipe(tmp_path / "absent.toml")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path)
    binary = tmp_path / "movie.toml"
    binary.write_bytes(np.random.default_rng(0).bytes(1000))
    with pytest.raises(RecipeError, match="must be a TOML file, text in UTF-8"):
        load_recipe(binary)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("5", (5,)),
        ("1-3", (1, 2, 3)),
        (" 7 - 8 , 1", (1, 7, 8)),
        ("-3--1,0", (-3, -2, -1, 0)),
        ("2-4,3-5", (2, 3, 4, 5)),
    ],
)
def test_residues_are_sorted_and_each_is_there_once(text, numbers):
    assert residues(text) == tuple(("", number) for number in numbers)
    assert residues(f"A:{text}".replace(",", ", A : ")) == tuple(("A", number) for number in numbers)


def test_residues_of_chains_are_apart():
    assert residues("B:2-3, 7, A:2") == (("", 7), ("A", 2), ("B", 2), ("B", 3))


def test_residues_written_as_ranges_come_back():
    rng = np.random.default_rng(2)
    for _ in range(200):
        wanted = np.unique(rng.integers(-30, 60, size=rng.integers(1, 40)))
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1)
        parts = [f"{run[0]}-{run[-1]}" if len(run) > 1 or rng.random() < 0.5 else f"{run[0]}" for run in runs]
        assert residues(", ".join(rng.permutation(parts))) == tuple(("", number) for number in wanted.tolist())


@pytest.mark.parametrize(
    "text",
    ["", "1,", "a-b", "1-2-3", "1..3", "3-1", "1-200000", "1;2", "1 2", ":1", "A:", "A:B:1", "A:1-B:2", "9" * 5000],
)
def test_a_malformed_range_is_refused(text):
    with pytest.raises(ValueError, match=r"residue range|4300 digits"):
        residues(text)


def test_a_fingerprint_depends_on_content_and_not_on_order():
    recipe, _ = load_recipe(COMMITTED)
    plain = recipe.model_dump(mode="json")
    assert fingerprint(plain, 1) == fingerprint(dict(reversed(plain.items())), 1)
    assert fingerprint(plain, 1) != fingerprint(plain, 2)
    assert re.fullmatch("[0-9a-f]{16}", fingerprint(plain))


def test_a_structure_is_found_beside_the_recipe_or_frozen_in_the_run(tmp_path):
    assert structure_path(tmp_path, "pdb/a.pdb") == tmp_path / "pdb/a.pdb"
    frozen = tmp_path / "structures" / "a.pdb"
    frozen.parent.mkdir()
    frozen.touch()
    assert structure_path(tmp_path, "pdb/a.pdb") == frozen


@pytest.mark.parametrize(
    ("camera", "told"),
    [
        ({"noise": {"kind": "poisson"}, "snr": 0.2}, ["snr = 0.2 follows from the dose"]),
        ({"noise": {"kind": "poisson"}}, ["dose_per_frame_e_A2 is missing", "'poisson' needs it"]),
        ({"radiation_damage": True}, ["dose_per_frame_e_A2 is missing", "radiation_damage needs it"]),
        ({"radiation_damage": True, "dose_per_frame_e_A2": 1.0, "voltage_kV": 120.0}, ["200 and 300 kV", "is 120"]),
        ({"noise": {"kind": "coloured"}}, ["render.noise.spectrum: is missing"]),
        ({"noise": {"kind": "coloured", "spectrum": [[0.1, 1], [0.0, 2]]}}, ["spectrum must hold", "rising"]),
        ({"noise": {"kind": "coloured", "spectrum": [[0.0, 0.0]]}}, ["spectrum holds 0 at 0 1/Å", "above 0"]),
        ({"noise": {"kind": "pink"}}, ["render.noise.kind = 'pink': must be one of coloured, poisson, white"]),
        ({"poses": {"knowledge": "approximate"}}, ["approximate poses need an error"]),
        ({"poses": {"error_deg": 1.0}}, ["approximate poses need an error"]),
        ({"poses": {"preferred_axes": [[0, 0, 0]]}}, ["axis of no length"]),
        (
            {"poses": {"kind": "diffusion", "rotational_diffusion_per_s": 1.0, "radius_nm": 2.0}},
            ["says it all: leave out radius_nm"],
        ),
        ({"scattering": {"kind": "atoms"}, "bead_b_factor_A2": 5.0}, ["give scattering.b_factor_A2 for atoms"]),
        ({"voltage_kV": 5.0}, ["render.voltage_kV = 5.0", "60"]),
        ({"pixel_size_A": 0.0}, ["render.pixel_size_A = 0.0", "0.2"]),
        ({"defocus_low_A": -1.0}, ["render.defocus_low_A = -1.0"]),
        ({"snr": float("nan")}, ["render.snr"]),
        ({"scattering": {"kind": "atoms"}}, ["needs a trajectory of atoms", "'structure' moves one bead a residue"]),
        ({"snr": 1e12}, ["render.snr = 1e+12 must be from 1e-6 to 1e4, or inf"]),
        ({"snr": 1e-12}, ["render.snr = 1e-12 must be"]),
        ({"pixel_size_A": True}, ["render.pixel_size_A = True: input should be a valid number"]),
        ({"voltage_kV": "300"}, ["render.voltage_kV = '300': input should be a valid number"]),
        ({"n_pixels": "64"}, ["render.n_pixels = '64': input should be a valid integer"]),
        ({"lazy": 1}, ["render.lazy = 1: input should be a valid boolean"]),
        ({"poses": {"preferred_axes": [["0", 0, 1]]}}, ["preferred_axes.0.0 = '0'"]),
    ],
)
def test_mistakes_of_the_camera_are_told(load, camera, told):
    content = changed(("render",), camera)
    refused(load, content, *told)


def test_a_recipe_read_back_from_its_own_values_is_the_same():
    """Rules must not ask which values were given."""
    for camera in (
        {"noise": {"kind": "poisson"}, "dose_per_frame_e_A2": 3.0, "scattering": {"kind": "atoms"}},
        {"poses": {"kind": "diffusion", "rotational_diffusion_per_s": 1.0}},
    ):
        recipe = RenderRecipe.model_validate(camera)
        assert RenderRecipe.model_validate(recipe.model_dump()) == recipe
