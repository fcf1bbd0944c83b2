"""STAR files of particles as other programs and older versions write them: read rightly, or refused with the remedy."""

import numpy as np
import pytest

from tempica.errors import FormatError
from tempica.exchange.mrc import StackWriter
from tempica.exchange.particle_file import read_particles
from tempica.exchange.relion import exact_number, exact_text
from tempica.exchange.star import write_block
from tempica.recipe.particles import ParticlesRecipe
from tempica.render.particles.arrangement import open_stacks

N, PIXELS = 3, 8
PARTICLES = {
    "rlnImageName": [f"{i + 1}@a.mrcs" for i in range(N)],
    "rlnDefocusU": [9000.0, 9100.0, 9200.0], "rlnDefocusV": [8000.0] * N, "rlnDefocusAngle": [10.0] * N,
    "rlnAngleRot": [1.0] * N, "rlnAngleTilt": [2.0] * N, "rlnAnglePsi": [3.0] * N,
    "rlnOriginX": [0.5, -0.25, 0.0], "rlnOriginY": [1.0] * N,
}  # fmt: skip
OPTICS = {"rlnVoltage": [300.0] * N, "rlnSphericalAberration": [2.7] * N, "rlnAmplitudeContrast": [0.1] * N}
MAGNIFIED = {"rlnDetectorPixelSize": [5.0] * N, "rlnMagnification": [20_000.0] * N}  # 2.5 Å
ORIGINS_A = {"rlnOriginXAngst": [1.5] * N, "rlnOriginYAngst": [-2.0] * N}


@pytest.fixture
def star(tmp_path):
    """A file of one table, and of optics too where they are given; without the columns that are None."""

    def write(block="", optics=None, header_A=2.5, stack="a.mrcs", **columns):
        (tmp_path / stack).parent.mkdir(parents=True, exist_ok=True)
        with (tmp_path / stack).open("wb") as file:
            writer = StackWriter(file, PIXELS, header_A)
            writer.append(np.random.default_rng(0).normal(size=(N, PIXELS, PIXELS)))
            writer.finish()
        table = {k: v for k, v in (PARTICLES | (OPTICS if optics is None else {}) | columns).items() if v is not None}
        (tmp_path / "job").mkdir(exist_ok=True)
        with (tmp_path / "job" / "p.star").open("w") as file:
            for name, content in (("optics", optics), (block, table)):
                if content is not None:
                    write_block(file, name, list(content), zip(*content.values(), strict=True))
        return tmp_path / "job" / "p.star"

    return write


def given(**about):
    return ParticlesRecipe(star="p.star", **about)


def groups(**columns):
    """An optics table of one group."""
    about = {"rlnOpticsGroup": [1], "rlnImagePixelSize": [2.5], **{k: v[:1] for k, v in OPTICS.items()}, **columns}
    return {k: v for k, v in about.items() if v is not None}


# --- the microscope ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", ["", "images", "particles"])
@pytest.mark.parametrize(
    ("columns", "label"),
    [
        ({"rlnImagePixelSize": [2.5] * N}, "rlnImagePixelSize"),
        ({"rlnPixelSize": [2.5] * N}, "rlnPixelSize"),
        (MAGNIFIED, "rlnDetectorPixelSize / rlnMagnification"),
        ({"rlnPixelSize": [2.5] * N} | MAGNIFIED, "rlnPixelSize"),
        ({"rlnImagePixelSize": [2.5] * N, "rlnPixelSize": [1.0] * N}, "rlnImagePixelSize"),
    ],
)
def test_the_pixel_has_many_names(block, columns, label, star):
    found = read_particles(star(block, **columns))
    assert found.optics["pixel_size_A"] == pytest.approx(2.5)
    assert found.pixel_label == label
    np.testing.assert_allclose(found.shift_A, -2.5 * np.stack([PARTICLES["rlnOriginX"], PARTICLES["rlnOriginY"]], -1))
    assert not found.assumed


def test_two_older_pixel_sizes_must_agree(star):
    path = star(rlnPixelSize=[5.0] * N, **MAGNIFIED)
    with pytest.raises(FormatError, match=r"rlnPixelSize = 5 Å, .* make 2\.5 Å\. Say .* particles\.pixel_size_A"):
        read_particles(path)
    assert read_particles(path, given(pixel_size_A=5.0)).optics["pixel_size_A"] == 5.0


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize(
    ("label", "key", "value"),
    [
        ("rlnImagePixelSize", "pixel_size_A", 2.5),
        ("rlnVoltage", "voltage_kV", 200.0),
        ("rlnSphericalAberration", "spherical_aberration_mm", 1.4),
        ("rlnAmplitudeContrast", "amplitude_contrast", 0.07),
    ],
)
def test_what_is_missing_is_completed_by_the_recipe(label, key, value, table, star):
    columns = ORIGINS_A | {"rlnOriginX": None, "rlnOriginY": None, "rlnImagePixelSize": [2.5] * N}
    if table:
        columns |= {"rlnOpticsGroup": [1] * N, "rlnImagePixelSize": None}
        path = star("particles", groups(**{label: None}), **columns)
    else:
        path = star("images", **columns | {label: None})
    where = "data_optics" if table else "data_images"
    with pytest.raises(FormatError, match=rf"lacks the column _{label} in {where}.* particles\.{key}\.") as caught:
        read_particles(path)
    assert table or "data_optics" not in str(caught.value)
    found = read_particles(path, given(**{key: value}))
    assert found.optics[key] == value
    assert not found.assumed


def test_the_recipe_goes_before_the_file_and_that_is_said(star):
    path = star(rlnPixelSize=[2.5] * N)
    found = read_particles(path, given(amplitude_contrast=0.07, voltage_kV=300.0))
    assert found.optics["amplitude_contrast"] == 0.07
    (said,) = found.assumed
    assert f"particles.amplitude_contrast = 0.07 is taken, where {path} has rlnAmplitudeContrast = 0.1" in said
    corrected = read_particles(path, given(pixel_size_A=5.0))  # the stack was binned, the file's own origins were not
    np.testing.assert_array_equal(corrected.shift_A, read_particles(path).shift_A)


def test_one_value_for_particles_that_differ(star):
    path = star(rlnPixelSize=[2.5] * N, rlnVoltage=[300.0, 300.0, 200.0])
    with pytest.raises(FormatError, match=r"differ in rlnVoltage \(200 to 300\).*particles\.voltage_kV"):
        read_particles(path)
    assert read_particles(path, given(voltage_kV=300.0)).optics["voltage_kV"] == 300.0


def test_one_optics_group_needs_no_column(star):
    found = read_particles(star("particles", groups()))
    assert found.optics["pixel_size_A"] == 2.5
    assert "no column _rlnOpticsGroup in data_particles" in found.assumed[0]
    two = {k: 2 * v for k, v in groups().items()} | {"rlnOpticsGroup": [1, 2]}
    with pytest.raises(FormatError, match="lacks the column _rlnOpticsGroup in data_particles"):
        read_particles(star("particles", two))


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["rlnCtfDataArePhaseFlipped", "rlnCtfDataAreCtfPremultiplied"])
def test_images_with_another_transfer_function_are_refused(label, star):
    columns = {"rlnOpticsGroup": [1] * N}
    assert read_particles(star("particles", groups(**{label: [0]}), **columns)).optics
    with pytest.raises(FormatError, match=rf"\({label}\)"):
        read_particles(star("particles", groups(**{label: [1]}), **columns))
    with pytest.raises(FormatError, match=rf"\({label}\)"):  # of some particles of an older file
        read_particles(star(rlnPixelSize=[2.5] * N, **{label: [0, 0, 1]}))


@pytest.mark.parametrize("header", [2.5, 2.53, 0.0, 1.0])
def test_a_header_that_agrees_or_is_unset_is_passed(header, star):
    path = star(header_A=header, rlnPixelSize=[2.5] * N)
    assert len(open_stacks(read_particles(path), path)) == 1


@pytest.mark.parametrize("header", [5.0, 1.25, 2.7])
@pytest.mark.parametrize("label", ["rlnImagePixelSize", "rlnPixelSize"])
def test_a_header_that_contradicts_is_refused_until_the_recipe_decides(header, label, star):
    path = star(header_A=header, **{label: [2.5] * N})
    with pytest.raises(FormatError, match=rf"header of .* says {header:g} Å .* {label} of .* 2\.5 Å.*particles\.pixel"):
        open_stacks(read_particles(path), path)
    found = read_particles(path, given(pixel_size_A=header))
    assert len(open_stacks(found, path)) == 1
    assert f"particles.pixel_size_A = {header:g} is taken" in found.assumed[0]


# --- poses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("rlnOriginX", "rlnOriginY"), ("rlnOriginXAngst", "rlnOriginYAngst")])
def test_angles_without_origins_have_shifts_of_zero(names, star):
    without = {"rlnOriginX": None, "rlnOriginY": None, "rlnPixelSize": [2.5] * N}
    found = read_particles(star(**without))
    np.testing.assert_array_equal(found.shift_A, np.zeros((N, 2)))
    assert found.pose == "known"
    assert "has angles and no origins (rlnOriginXAngst, rlnOriginYAngst): shifts of 0 are taken" in found.assumed[0]
    for k in (0, 1):
        with pytest.raises(FormatError, match=f"lacks the column _{names[1 - k]}"):
            read_particles(star(**without | {names[k]: [1.0] * N}))


def test_neither_angles_nor_origins_are_hidden_poses(star):
    poses = [label for label in PARTICLES if label.startswith(("rlnAngle", "rlnOrigin"))]
    found = read_particles(star(rlnPixelSize=[2.5] * N, **dict.fromkeys(poses)))
    assert found.pose == "hidden"
    assert found.shift_A is None


# --- stacks that have moved -------------------------------------------------------------------------------------------


def named(path):
    return {"rlnPixelSize": [2.5] * N, "rlnImageName": [f"{i + 1}@{path}" for i in range(N)]}


@pytest.mark.parametrize("name", ["Extract/job007/Movies/a.mrcs", "/data/other machine/a.mrcs"])
def test_a_moved_stack_is_found_beside_the_star_file_or_where_the_recipe_says(name, star, tmp_path):
    path = star(stack="job/a.mrcs", **named(name))
    found = read_particles(path)
    assert found.stacks == [str(tmp_path / "job" / "a.mrcs")]
    assert f"{name} of {path} is taken to be {tmp_path / 'job' / 'a.mrcs'}" in found.assumed[0]
    (tmp_path / "job" / "a.mrcs").unlink()
    with pytest.raises(FormatError, match=r"neither in .* particles\.folder"):
        read_particles(path)
    path = star(stack="elsewhere/a.mrcs", **named(name))
    for folder in ("../elsewhere", str(tmp_path / "elsewhere")):
        found = read_particles(path, given(folder=folder))
        assert open_stacks(found, path)[0].n_images == N
    with pytest.raises(FormatError, match=r"a\.mrcs, which .* names, is not in .*nowhere"):
        read_particles(path, given(folder="nowhere"))


def test_a_folder_may_hold_the_folders_of_the_names(star, tmp_path):
    path = star(stack="disk/Extract/job007/a.mrcs", **named("Extract/job007/a.mrcs"))
    found = read_particles(path, given(folder=str(tmp_path / "disk")))
    assert found.stacks == [str(tmp_path / "disk/Extract/job007/a.mrcs")]
    assert not found.assumed


def test_two_moved_stacks_of_one_name_are_not_mixed_up(star):
    names = ["1@x/a.mrcs", "2@x/a.mrcs", "1@y/a.mrcs"]
    path = star(stack="job/a.mrcs", rlnPixelSize=[2.5] * N, rlnImageName=names)
    with pytest.raises(FormatError, match=r"several stacks that are called a\.mrcs"):
        read_particles(path)


# --- our own numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1e-7, 0.1, 1 / 3, -2.5e-17, 0.0, 12345.678901234567, 5e-324])
def test_numbers_of_ours_survive_as_text(value, tmp_path):
    text = exact_text(value)
    assert exact_number(tmp_path, "tempicaNoiseStd", text) == value
    assert exact_number(tmp_path, "tempicaNoiseStd", repr(value)) == value  # as older versions wrote them
    with pytest.raises(ValueError, match="could not convert"):
        float(text)


@pytest.mark.parametrize("text", ["", "0x", "nan", "inf", "0x1p99999", "one"])
def test_text_that_is_no_number_is_refused(text, tmp_path):
    with pytest.raises(FormatError, match=r"tempicaNoiseStd = .* must be a finite number"):
        exact_number(tmp_path, "tempicaNoiseStd", text)
