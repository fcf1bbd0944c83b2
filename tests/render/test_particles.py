"""Particle stacks of other programs as movies: our own come back bit by bit, others with the scale they have."""

import re
import shutil
import tomllib
from concurrent.futures import Executor, Future

import numpy as np
import pytest

from tempica import imaging
from tempica.errors import DataError, FormatError, RecipeError
from tempica.exchange.mrc import StackWriter, open_stack
from tempica.exchange.particles import write_particles
from tempica.exchange.relion import EXACT, KEPT_TABLES
from tempica.exchange.star import read_star, write_block
from tempica.progress import Progress
from tempica.recipe.experiment import Recipe
from tempica.render import stage
from tempica.render.particles import stage as particles
from tempica.runs.work import Work
from tempica.stores import reading, store

TEXT = ("rlnImageName", "rlnMicrographName", "rlnOpticsGroupName", "tempicaPose", "tempicaNoise")
TEXT += (*EXACT, *KEPT_TABLES.values())
N_REPLICAS, N_FRAMES = 4, 80  # of small_run


class Inline(Executor):
    def submit(self, task, /, *args, **kwargs):
        future = Future()
        future.set_result(task(*args, **kwargs))
        return future


@pytest.fixture(scope="module")
def movie(small_run):
    return reading.open_store(small_run / "movie.zarr", "movie")


@pytest.fixture(scope="module")
def exported(movie, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    write_particles(movie, folder, Progress(terminal=False))
    return folder


@pytest.fixture
def recipe_of(small_run):
    content = tomllib.loads((small_run / "recipe.toml").read_text())
    del content["render"]

    def make(star, n_replicas=N_REPLICAS, n_frames=N_FRAMES, **about):
        simulate = content["simulate"] | {"n_replicas": n_replicas, "n_frames": n_frames}
        return Recipe.model_validate(content | {"simulate": simulate, "particles": {"star": str(star)} | about})

    return make


@pytest.fixture
def imported(small_run, tmp_path):
    """The stage on a recipe, in a run that has an ensemble: checked, then done."""

    def run(recipe):
        folder = tmp_path / "run"
        shutil.copytree(small_run / "ensemble.zarr", folder / "ensemble.zarr")
        particles.check(recipe, folder)
        work = tmp_path / "work"
        work.mkdir()
        stage.run(Work("render", folder, work, recipe, "", "0" * 16, Inline(), Progress(terminal=False)))
        store.seal(work / "movie.zarr")
        return reading.open_store(work / "movie.zarr", "movie")

    return run


def tables(folder):
    path = folder / "particles.star"
    labels = [line.split()[0][1:] for line in path.read_text().splitlines() if line.startswith("_")]
    blocks = read_star(path, {label: str if label in TEXT else float for label in labels})
    return blocks["optics"].columns, blocks["particles"].columns


def written(folder, optics, columns, images=None, block="particles"):
    """Tables, and images if they are others, as another program would leave them."""
    folder.mkdir(exist_ok=True)
    with (folder / "particles.star").open("w") as file:
        for name, table in (("optics", optics), (block, columns)):
            if table is not None:
                write_block(file, name, list(table), zip(*(list(values) for values in table.values()), strict=True))
    if images is not None:
        with (folder / "particles.mrcs").open("wb") as file:
            writer = StackWriter(file, images.shape[-1], 1.5)
            writer.append(images)
            writer.finish()
    return folder / "particles.star"


def others(table):
    return {name: values for name, values in table.items() if not name.startswith("tempica")}


@pytest.fixture
def foreign(exported, tmp_path):
    """The same particles as another program would have them: none of our columns, each image on a scale of its own
    making."""
    optics, columns = tables(exported)
    images = open_stack(exported / "particles.mrcs").read(np.arange(N_REPLICAS * N_FRAMES))

    def make(factor=3.7, block="particles", optics_changes=None, **changes):
        new = factor * (images - images.mean((1, 2), keepdims=True))
        about = None if optics_changes is None else others(optics) | optics_changes
        return written(tmp_path / "foreign", about, others(columns) | changes, new, block)

    return lambda **given: make(**{"optics_changes": {}} | given)


def same_rotation(one, other):
    np.testing.assert_allclose(
        imaging.rotation_matrix(one), imaging.rotation_matrix(other), atol=1e-14, err_msg="rotation"
    )


def test_our_own_export_comes_back_bit_by_bit(movie, exported, recipe_of, imported):
    back = imported(recipe_of(exported / "particles.star"))
    assert back["image"].encoding["dtype"] == np.uint8
    for name in movie.variables:
        if name == "pose_quaternion":
            same_rotation(back[name].values, movie[name].values)
        elif name == "defocus_angle":
            np.testing.assert_allclose(back[name].values, movie[name].values, rtol=1e-15)
        else:
            np.testing.assert_array_equal(back[name].values, movie[name].values, err_msg=name)
        assert back[name].encoding.get("scale_factor") == movie[name].encoding.get("scale_factor")
    own = ("recipe", "fingerprint", "title", "n_bytes", "n_files", "signal_std")  # the last is not in a STAR file
    assert {k: v for k, v in back.attrs.items() if k not in own} == {
        k: v for k, v in movie.attrs.items() if k not in own
    }


def test_everything_that_a_movie_says_comes_back(movie, recipe_of, imported, tmp_path):
    rng = np.random.default_rng(0)
    table = {"frequency": [0.0, 0.1, 0.2], "noise_power": [1.0, 0.5, 1 / 3], "dqe": [0.9, 0.8, 0.7]}
    full = movie.drop_vars(list(table)).assign(
        {name: ("node", np.array(values)) for name, values in table.items()}
        | {"damage_dose": movie["damage_dose"] + rng.uniform(0, 20, movie["damage_dose"].shape)}
    )
    full["scatterer_amplitude_A"] = 0.4 * full["scatterer_amplitude_A"]  # in ice
    full.attrs |= {"phase_shift": 1.2, "noise": "coloured", "electrons_per_pixel": 3.0, "signal_std": 0.1}
    full.attrs |= {"pose": "approximate", "pose_error_deg": 2.0, "pose_error_A": 0.5}
    write_particles(full, tmp_path, Progress(terminal=False))
    back = imported(recipe_of(tmp_path / "particles.star"))
    for name in ("image", "damage_dose", *table):
        np.testing.assert_array_equal(back[name].values, full[name].values, err_msg=name)
    np.testing.assert_allclose(back["scatterer_amplitude_A"].values, full["scatterer_amplitude_A"].values, rtol=1e-12)
    same_rotation(back["pose_quaternion"].values, full["pose_quaternion"].values)
    for name in ("pose", "pose_error_deg", "pose_error_A", "noise", "noise_std", "electrons_per_pixel", "signal_std"):
        assert back.attrs[name] == full.attrs[name]
    assert back.attrs["phase_shift"] == pytest.approx(1.2, rel=1e-15)


def test_a_movie_of_sixteen_bits_comes_back_bit_by_bit(movie, recipe_of, imported, tmp_path):
    fine = movie.copy()
    level = np.random.default_rng(0).integers(0, 65_536, movie["image"].shape)
    fine["image"] = movie["image"].dims, level * 1e-5 - 0.3, movie["image"].attrs
    fine["image"].encoding |= {"scale_factor": 1e-5, "add_offset": -0.3, "dtype": np.dtype(np.uint16)}
    write_particles(fine, tmp_path, Progress(terminal=False))
    back = imported(recipe_of(tmp_path / "particles.star"))
    assert back["image"].encoding["dtype"] == np.uint16
    np.testing.assert_array_equal(back["image"].values, fine["image"].values)


@pytest.fixture
def coloured(movie, tmp_path):
    """An export with everything that only our own columns keep."""
    table = {"frequency": [0.0, 0.1, 0.2], "noise_power": [1.0, 0.5, 1 / 3], "dqe": [0.9, 0.8, 0.7]}
    full = movie.drop_vars(list(table)).assign({name: ("node", np.array(values)) for name, values in table.items()})
    full.attrs |= {"noise": "coloured", "signal_std": 1e-7 / 3, "electrons_per_pixel": 1 / 3}
    full.attrs |= {"pose": "approximate", "pose_error_deg": 2 / 3, "pose_error_A": 0.5}
    write_particles(full, tmp_path, Progress(terminal=False))
    return full, tmp_path / "particles.star"


def rewritten(star, digits):
    """Every number of a STAR file with so many decimals, as other programs write them."""
    number = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")
    rows = [line.split(" ") for line in star.read_text().split("\n")]
    rows = [[f"{float(x):.{digits}f}" if number.fullmatch(x) else x for x in row] for row in rows]
    star.write_text("\n".join(map(" ".join, rows)))


@pytest.mark.parametrize("digits", [6, 3])
def test_our_export_is_still_known_when_its_numbers_are_rounded(digits, coloured, recipe_of, imported, capsys):
    full, star = coloured
    rewritten(star, digits)
    assert "tempicaImageScale" in star.read_text()
    back = imported(recipe_of(star))
    np.testing.assert_array_equal(back["image"].values, full["image"].values)
    for name in ("noise_power", "dqe", "frequency"):
        np.testing.assert_array_equal(back[name].values, full[name].values)
    for name in ("noise", "noise_std", "signal_std", "electrons_per_pixel", "pose", "pose_error_deg", "pose_error_A"):
        assert back.attrs[name] == full.attrs[name]
    np.testing.assert_allclose(back["pose_shift_A"].values, full["pose_shift_A"].values, atol=0.51 * 10**-digits)
    assert "not those of" not in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["an image", "the scale", "data_optics"])
def test_what_an_export_of_ours_has_lost_is_said(lost, coloured, recipe_of, imported, tmp_path, capsys):
    _, star = coloured
    optics, columns = tables(star.parent)
    images = open_stack(star.with_suffix(".mrcs")).read(np.arange(N_REPLICAS * N_FRAMES))
    if lost == "an image":
        images[7] *= 1.001
    elif lost == "the scale":
        optics["tempicaImageScale"] = ["0.000100"]
    else:
        optics = others(optics)
    back = imported(recipe_of(written(tmp_path / "changed", optics, columns, images)))
    assert "are not those of the export that its columns tempica… are of" in capsys.readouterr().err
    assert back.attrs["noise"] == "white"
    np.testing.assert_array_equal(back["noise_power"].values, 1.0)  # nothing of a colour beside white noise
    assert "signal_std" not in back.attrs
    if lost != "data_optics":
        assert (back.attrs["pose"], back.attrs["pose_error_deg"]) == ("approximate", 2 / 3)


def test_what_is_assumed_is_said(foreign, recipe_of, imported, capsys):
    imported(recipe_of(foreign(), observation="movie", amplitude_contrast=0.12))
    assert "render: particles.amplitude_contrast = 0.12 is taken, where" in capsys.readouterr().err


def test_hidden_poses_come_back_hidden(movie, recipe_of, imported, tmp_path):
    hidden = movie.copy()
    hidden.attrs["pose"] = "hidden"
    write_particles(hidden, tmp_path, Progress(terminal=False))
    back = imported(recipe_of(tmp_path / "particles.star"))
    assert back.attrs["pose"] == "hidden"
    assert np.isnan(back["pose_quaternion"].values).all()
    assert np.isnan(back["pose_shift_A"].values).all()
    np.testing.assert_array_equal(back["image"].values, movie["image"].values)
    optics, columns = tables(tmp_path)
    images = open_stack(tmp_path / "particles.mrcs").read(np.arange(N_REPLICAS * N_FRAMES))
    changed = written(tmp_path / "changed", optics, columns, 2 * images)
    shutil.rmtree(tmp_path / "run")
    shutil.rmtree(tmp_path / "work")
    again = imported(recipe_of(changed))  # the scale from the images' power
    assert again.attrs["pose"] == "hidden"
    np.testing.assert_allclose(again["image"].encoding["scale_factor"], 0.5, rtol=0.1)
    with pytest.raises(FormatError, match=r"has no poses, and particles\.pose_error_deg = 2 says how exact they are"):
        particles.check(recipe_of(tmp_path / "particles.star", pose_error_deg=2.0), tmp_path)


@pytest.mark.parametrize(
    ("about", "pose", "errors"),
    [
        ({"poses": "hidden"}, "hidden", {}),
        ({"pose_error_deg": 2.0}, "approximate", {"pose_error_deg": 2.0, "pose_error_A": 0.0}),
        ({"pose_error_A": 0.0}, "known", {}),
    ],
)
def test_the_recipe_says_how_exact_poses_are(about, pose, errors, foreign, exported, recipe_of, imported, tmp_path):
    back = imported(recipe_of(foreign(), observation="movie", **about))
    assert back.attrs["pose"] == pose
    assert {name: back.attrs[name] for name in ("pose_error_deg", "pose_error_A") if name in back.attrs} == errors
    assert np.isnan(back["pose_quaternion"].values).all() == (pose == "hidden")
    np.testing.assert_allclose(back["image"].encoding["scale_factor"], 1 / 3.7, rtol=0.1)
    for folder in ("run", "work"):
        shutil.rmtree(tmp_path / folder)
    own = imported(recipe_of(exported / "particles.star", **about))  # an export of ours, as stored
    assert own.attrs["pose"] == pose
    assert own["image"].encoding["dtype"] == "uint8"


def test_particles_that_show_nothing_are_told(exported, recipe_of, foreign, imported, tmp_path):
    images = open_stack(exported / "particles.mrcs").read(np.arange(N_REPLICAS * N_FRAMES))
    images[17] = 3.0
    optics, columns = tables(exported)
    flat = written(tmp_path / "flat", optics, columns, images)
    with pytest.raises(FormatError, match=r"Image 18 of .* is the same in every pixel"):
        particles.check(recipe_of(flat), tmp_path)
    noise = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    star = written(tmp_path / "noise", others(optics), others(columns), noise)
    with pytest.raises(FormatError, match="do not show the molecule: beyond noise"):
        imported(recipe_of(star, observation="movie", poses="hidden"))


def test_particles_that_were_sorted_anew_find_their_places(movie, exported, recipe_of, imported, tmp_path):
    optics, columns = tables(exported)
    order = np.random.default_rng(0).permutation(N_REPLICAS * N_FRAMES)
    star = written(tmp_path / "sorted", optics, {name: values[order] for name, values in columns.items()})
    (tmp_path / "sorted" / "particles.mrcs").symlink_to(exported / "particles.mrcs")
    back = imported(recipe_of(star))
    np.testing.assert_array_equal(back["image"].values, movie["image"].values)
    np.testing.assert_array_equal(back["pose_shift_A"].values, movie["pose_shift_A"].values)


def test_another_stack_gets_the_scale_that_it_has(movie, foreign, recipe_of, imported):
    star = foreign(factor=3.7)
    back = imported(recipe_of(star, observation="movie", frame_interval=2.5))
    assert back["image"].encoding["dtype"] == np.float32
    raw = open_stack(star.parent / "particles.mrcs").read(np.arange(N_REPLICAS * N_FRAMES))
    scale = back["image"].encoding["scale_factor"]
    np.testing.assert_array_equal(  # values are kept to the last bit, the scale stands beside
        (back["image"].values / scale).astype(np.float32).reshape(raw.shape), raw
    )
    assert scale == pytest.approx(1 / 3.7, rel=0.1)
    assert back.attrs["noise_std"] == pytest.approx(movie.attrs["noise_std"], rel=0.1)
    np.testing.assert_allclose(back["time"].values, 2.5 * np.arange(N_FRAMES))
    assert (back["molecule"].values == 0).all()
    same_rotation(back["pose_quaternion"].values, movie["pose_quaternion"].values)
    np.testing.assert_array_equal(back["pose_shift_A"].values, movie["pose_shift_A"].values)


def test_a_changed_image_makes_an_export_of_ours_another_stack(exported, recipe_of, imported, tmp_path):
    optics, columns = tables(exported)
    images = open_stack(exported / "particles.mrcs").read(np.arange(N_REPLICAS * N_FRAMES))
    images[7, 3, 3] += 1e-3
    back = imported(recipe_of(written(tmp_path / "changed", optics, columns, images)))
    assert back["image"].encoding["dtype"] == np.float32
    assert back["image"].encoding["scale_factor"] == pytest.approx(1, rel=0.1)


def test_protein_may_be_dark(foreign, recipe_of, imported, tmp_path):
    star = foreign(factor=-2.0)
    with pytest.raises(FormatError, match=r"Protein is negative .* particles.contrast = 'negative'"):
        imported(recipe_of(star, observation="movie"))
    shutil.rmtree(tmp_path / "run")
    shutil.rmtree(tmp_path / "work")
    back = imported(recipe_of(star, observation="movie", contrast="negative"))
    assert back["image"].encoding["scale_factor"] == pytest.approx(-1 / 2.0, rel=0.1)
    assert back.attrs["noise_std"] > 0


def test_images_that_show_something_else_are_refused(foreign, recipe_of, imported):
    rng = np.random.default_rng(0)
    noise = written(
        foreign().parent,
        *[others(t) for t in tables(foreign().parent)],
        rng.standard_normal((N_REPLICAS * N_FRAMES, 64, 64)).astype(np.float32),
    )
    with pytest.raises(FormatError, match="do not show the molecule where their poses say"):
        imported(recipe_of(noise, observation="movie"))


def test_mirrored_images_are_doubted(foreign, recipe_of, imported, capsys):
    """Images that were mirrored after their poses were found still show the molecule, but far less of it."""
    star = foreign()
    images = open_stack(star.parent / "particles.mrcs").read(np.arange(N_REPLICAS * N_FRAMES))
    imported(recipe_of(star, observation="movie"))
    assert "correlate" not in capsys.readouterr().err
    for name in ("run", "work"):
        shutil.rmtree(star.parents[1] / name)
    mirrored = written(star.parent, *[others(t) for t in tables(star.parent)], images[:, ::-1])
    imported(recipe_of(mirrored, observation="movie"))
    assert "images correlate with the molecule by 0." in capsys.readouterr().err


def test_a_structure_of_another_length_is_told(exported, recipe_of, imported, tmp_path):
    optics, columns = tables(exported)
    other = written(tmp_path / "other", optics | {"tempicaScatterers": [float(130).hex()]}, columns)
    (tmp_path / "other" / "particles.mrcs").symlink_to(exported / "particles.mrcs")
    with pytest.raises(DataError, match="has 214 beads, and the images were made with 130"):
        imported(recipe_of(other))


def test_a_map_of_images_needs_their_poses(foreign, recipe_of, tmp_path):
    star = foreign()
    optics, columns = (others(table) for table in tables(star.parent))
    unposed = {name: values for name, values in columns.items() if "Angle" not in name and "Origin" not in name}
    written(star.parent, optics, unposed | {"rlnDefocusAngle": columns["rlnDefocusAngle"]})
    recipe = recipe_of(star, observation="movie")
    asked = recipe.model_copy(update={"embed": recipe.embed.model_copy(update={"modes_from": "images"})})
    with pytest.raises(RecipeError, match=r"makes a map of the images at their poses, and .* has none"):
        particles.check(asked, tmp_path)


def test_a_docked_structure_is_brought_to_the_middle(movie, small_run, foreign, recipe_of, imported):
    """Poses that refer to a map in which the structure file lies as it is, away from the middle of the box."""
    centre_A = 10 * np.array(reading.open_store(small_run / "ensemble.zarr", "ensemble").attrs["centre_nm"])
    away_A = centre_A - 32 * 1.5  # of the molecule from the map's middle
    moved = (imaging.rotation_matrix(movie["pose_quaternion"].values) @ away_A)[..., :2].reshape(-1, 2)
    origin = -(movie["pose_shift_A"].values.reshape(-1, 2) - moved)
    star = foreign(rlnOriginXAngst=origin[:, 0], rlnOriginYAngst=origin[:, 1])
    back = imported(recipe_of(star, observation="movie", structure="docked"))
    np.testing.assert_allclose(back["pose_shift_A"].values, movie["pose_shift_A"].values, atol=1e-9)


def test_one_table_as_relion_3_0_wrote_it(movie, foreign, exported, recipe_of, imported):
    _, columns = tables(exported)
    n = N_REPLICAS * N_FRAMES
    old = {
        "rlnVoltage": np.full(n, 300.0),
        "rlnSphericalAberration": np.full(n, 2.7),
        "rlnAmplitudeContrast": np.full(n, 0.1),
        "rlnDetectorPixelSize": np.full(n, 6.0),
        "rlnMagnification": np.full(n, 40_000.0),
        "rlnOriginX": columns["rlnOriginXAngst"] / 1.5,
        "rlnOriginY": columns["rlnOriginYAngst"] / 1.5,
    }
    star = foreign(optics_changes=None, block="", **old)
    gone = ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOpticsGroup")
    table = read_star(star, {k: str if k in TEXT else float for k in [*others(columns), *old]})[""].columns
    star = written(star.parent, None, {k: v for k, v in table.items() if k not in gone}, block="")
    back = imported(recipe_of(star, observation="movie"))
    assert back.attrs["pixel_size_A"] == pytest.approx(1.5)
    assert back.attrs["voltage_kV"] == 300.0
    np.testing.assert_allclose(back["pose_shift_A"].values, movie["pose_shift_A"].values, atol=1e-12)


def test_fewer_frames_than_particles(foreign, recipe_of, imported, capsys):
    back = imported(recipe_of(foreign(), n_replicas=4, n_frames=70, observation="movie"))
    assert dict(back.sizes)["time"] == 70
    assert "the last 40 particles" in capsys.readouterr().err


def test_an_optics_group_of_no_particle_does_not_count(foreign, recipe_of, tmp_path):
    optics, columns = (others(table) for table in tables(foreign().parent))
    other = {"rlnOpticsGroup": 2, "rlnImageSize": 128, "rlnImageDimensionality": 3, "rlnCtfDataAreCtfPremultiplied": 1}
    for first in (0, 1):
        two = {k: [v[0], other.get(k, v[0])][:: 1 if first == 0 else -1] for k, v in optics.items()}
        particles.check(recipe_of(written(tmp_path / "foreign", two, columns), observation="movie"), tmp_path)


def test_images_that_are_there_twice_are_told(foreign, recipe_of, imported, capsys):
    names = [f"{i:06d}@particles.mrcs" for i in [1, 1, 1, *range(4, N_REPLICAS * N_FRAMES + 1)]]
    angles = {name: tables(foreign().parent)[1][name].copy() for name in ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")}
    imported(recipe_of(foreign(rlnImageName=names, **angles), observation="movie"))
    assert "warning: 2 of 320 particles show an image that another shows too" in capsys.readouterr().err


BROKEN = [
    ({"rlnVoltage": None}, {}, r"lacks the column _rlnVoltage in data_optics.*particles\.voltage_kV"),
    ({"rlnImagePixelSize": None}, {}, r"lacks the column _rlnImagePixelSize in data_optics"),
    ({"rlnVoltage": [3000.0]}, {}, r"rlnVoltage = 3000; it must be 60 to 1000"),
    ({"rlnImagePixelSize": [0.0]}, {}, r"rlnImagePixelSize = 0; it must be 0.2 to 20"),
    ({"rlnVoltage": [np.nan]}, {}, r"_rlnVoltage = 'nan' must be a finite number"),
    ({"rlnImageSize": [128]}, {}, r"rlnImageSize = 128, and the images of .* have 64 pixels"),
    ({"rlnImageDimensionality": [3]}, {}, "subtomograms"),
    ({"rlnCtfDataAreCtfPremultiplied": [1]}, {}, "multiplied by their CTF"),
    ({"rlnOpticsGroup": [2]}, {}, "particles of optics group 1, which data_optics lacks"),
    ({"rlnCtfDataArePhaseFlipped": [1]}, {}, r"phase-flipped \(rlnCtfDataArePhaseFlipped\)"),
    (None, {}, r"lacks the column _rlnImagePixelSize in data_particles.*particles\.pixel_size_A"),
    ({}, {"rlnImageName": None}, "lacks the column _rlnImageName in data_particles"),
    ({}, {"rlnDefocusV": None}, "lacks the column _rlnDefocusV"),
    ({}, {"rlnAnglePsi": None}, "has poses in part: it lacks _rlnAnglePsi"),
    ({}, {"rlnOriginYAngst": None}, "lacks the column _rlnOriginYAngst"),
    ({}, {"rlnAngleRot": np.nan}, r"line \d+: _rlnAngleRot = 'nan' must be a finite number"),
    ({}, {"rlnDefocusU": np.inf}, r"_rlnDefocusU = 'inf' must be"),
    ({}, {"rlnDefocusU": 1e300}, r"particle 1 has rlnDefocusU = 1e\+300; it must be -1e\+06 to 1e\+06"),
    ({}, {"rlnAnglePsi": 1e300}, r"particle 1 has rlnAnglePsi = 1e\+300"),
    ({}, {"rlnOriginXAngst": -1e300}, r"particle 1 has rlnOriginXAngst = -1e\+300"),
    ({}, {"rlnImageName": "particles.mrcs"}, "particle 1 has rlnImageName 'particles.mrcs'"),
    ({}, {"rlnImageName": "000000@particles.mrcs"}, "counted from 1"),
    ({}, {"rlnImageName": "-1@particles.mrcs"}, "counted from 1"),
    ({}, {"rlnImageName": "9" * 5000 + "@particles.mrcs"}, "counted from 1"),
    ({}, {"rlnImageName": "1@none.mrcs"}, r"stack none.mrcs, which .* names, is neither in"),
    ({}, {"rlnImageName": "000321@particles.mrcs"}, "asks for image 321 of .*, which has 320"),
    ({}, {"rlnPhaseShift": 90.0}, r"rlnPhaseShift of .* is 0° to 90°; a movie has one"),
    ({}, {"rlnCtfBfactor": -1.0}, r"Write it into the recipe: particles.b_factor_A2"),
]


@pytest.mark.parametrize(("optics", "columns", "told"), BROKEN)
def test_a_broken_star_file_is_told_before_anything_is_written(optics, columns, told, foreign, recipe_of, tmp_path):
    star = foreign()
    tables_now = [others(table) for table in tables(star.parent)]
    first, second = tables_now
    first = None if optics is None else {k: v for k, v in (first | optics).items() if v is not None}
    changed = {k: ([v, *list(second[k])[1:]] if v is not None else None) for k, v in columns.items()}
    second = {k: v for k, v in (second | changed).items() if v is not None}
    written(star.parent, first, second)
    with pytest.raises(FormatError, match=told):
        particles.check(recipe_of(star, observation="movie"), tmp_path)


def test_pixels_are_looked_at_before_anything_is_written(foreign, recipe_of, tmp_path):
    star = foreign()
    path = star.parent / "particles.mrcs"
    content = bytearray(path.read_bytes())
    content[1024 + 4 * 64 * 64 * 200 : 1028 + 4 * 64 * 64 * 200] = np.float32(np.nan).tobytes()
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"Image 201 of the stack .* not finite"):
        particles.check(recipe_of(star, observation="movie"), tmp_path)
    path.write_bytes(content[:-4])
    with pytest.raises(FormatError, match="is cut off"):
        particles.check(recipe_of(star, observation="movie"), tmp_path)


def test_the_recipe_must_fit_the_file(exported, foreign, recipe_of, tmp_path):
    star = foreign()
    with pytest.raises(RecipeError, match=r"does not say what follows what. Write particles.observation = 'movie'"):
        particles.check(recipe_of(star), tmp_path)
    with pytest.raises(RecipeError, match=r"320 particles, and .* = 4 × 81 are asked for"):
        particles.check(recipe_of(star, n_frames=81, observation="movie"), tmp_path)
    with pytest.raises(
        RecipeError, match=r"4 replicas of 80 frames .* Write simulate.n_replicas = 4 and n_frames = 80"
    ):
        particles.check(recipe_of(exported / "particles.star", n_frames=40), tmp_path)
    optics, columns = tables(exported)
    fewer = written(
        tmp_path / "fewer", optics, {name: values[np.arange(320) != 100] for name, values in columns.items()}
    )
    (tmp_path / "fewer" / "particles.mrcs").symlink_to(exported / "particles.mrcs")
    with pytest.raises(FormatError, match="319 particles for 4 × 80 frames: some are missing or there twice"):
        particles.check(recipe_of(fewer), tmp_path)
