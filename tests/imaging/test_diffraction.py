import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.imaging.diffraction import KEV_A, Beamline, diffract
from tempica.imaging.xray import form_factor, scatterers_of

LINE = Beamline(
    n_pixels=24,
    pixel_size_um=2000.0,
    detector_distance_mm=60.0,
    photon_energy_eV=7000.0,
    beam_stop_radius_mm=3.0,
    polarisation="x",
    b_factor_A2=15.0,
)


def changed(**values):
    return Beamline(**{**vars(LINE), **values})


def direct(view_A, text, width_A, line):
    """|F|² of one frame, pixel by pixel and atom by atom in double precision; q from the angles of scattering."""
    counts = {"CH3": ({"C": 1}, 3), "O": ({"O": 1}, 0), "C3H5NO": ({"C": 3, "H": 5, "N": 1, "O": 1}, 0)}
    wave = line.photon_energy_eV / 1e3 / KEV_A
    middle = (line.n_pixels - 1) / 2
    intensity = np.empty((line.n_pixels, line.n_pixels))
    for row in range(line.n_pixels):
        for column in range(line.n_pixels):
            offset = 1e-3 * line.pixel_size_um * np.array([column - middle, row - middle])
            away = np.linalg.norm(offset)
            two_theta = np.arctan2(away, line.detector_distance_mm)
            azimuth = np.arctan2(offset[1], offset[0])
            flat = np.sin(two_theta)
            q = wave * np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), -2 * np.sin(two_theta / 2) ** 2])
            s = wave * np.sin(two_theta / 2)
            total = 0
            for place, one, width in zip(view_A, text, width_A, strict=True):
                atoms, riding = counts[one]
                f = sum(n * form_factor(e, s) for e, n in atoms.items())
                f = f * np.exp(-2 * (np.pi * width * 2 * s) ** 2) if one == "C3H5NO" else f
                f += riding * form_factor("H", s) * np.sinc(2 * 1.05 * 2 * s)
                total += f * np.exp(-line.b_factor_A2 * s**2) * np.exp(2j * np.pi * (q @ place))
            intensity[row, column] = abs(total) ** 2
    return intensity


def molecule(rng, n, size_nm):
    text = rng.choice(["CH3", "O", "C3H5NO"], n)
    return size_nm * rng.standard_normal((n, 3)), text, rng.uniform(0.1, 0.3, n).round(1)


@pytest.mark.parametrize("n_pixels", [12, 13])
@pytest.mark.parametrize("size_nm", [1.0, 8.0])
def test_the_kernel_is_the_direct_sum(n_pixels, size_nm):
    rng = np.random.default_rng(n_pixels)
    line = changed(n_pixels=n_pixels)
    position, text, width = molecule(rng, 25, size_nm)
    position = np.stack([position, position + rng.normal(0, 0.3, position.shape) + 40.0])
    rotation = Rotation.random(2, random_state=3).as_matrix()
    made = diffract(position, rotation, scatterers_of(text.tolist(), width), line)
    assert made.dtype == np.float32
    for k in range(2):
        expected = direct(10 * (position[k] - position[k].mean(0)) @ rotation[k].T, text, 10 * width, line)
        assert np.linalg.norm(made[k] - expected) < 1e-5 * np.linalg.norm(expected)
        np.testing.assert_allclose(made[k], expected, rtol=2e-4, atol=1e-5 * expected.max())


def test_many_kinds_and_pixels_are_summed_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    position, text, _ = molecule(rng, 40, 2.0)
    scatterers, turn = scatterers_of(text.tolist(), rng.uniform(0.1, 0.3, 40)), np.eye(3)[None]
    whole = diffract(position[None], turn, scatterers, LINE)
    monkeypatch.setattr("tempica.imaging.diffraction.TABLE", 1)
    np.testing.assert_array_equal(diffract(position[None], turn, scatterers, LINE), whole)


def test_the_ewald_sphere():
    """All scattering is elastic: the scattered wave, q + z/λ, is as long as the wave that came."""
    wave = np.array([0, 0, 1 / LINE.wavelength_A])
    np.testing.assert_allclose(np.linalg.norm(LINE.q + wave, axis=-1), wave[2], rtol=1e-12)
    x, y, r = LINE.place
    theta = 0.5 * np.arctan2(np.hypot(x, y), LINE.detector_distance_mm)
    np.testing.assert_allclose(np.linalg.norm(LINE.q, axis=-1), 2 * np.sin(theta) / LINE.wavelength_A, rtol=1e-12)
    assert LINE.wavelength_A == pytest.approx(1.77120, rel=1e-5)
    np.testing.assert_allclose((r**2 - x**2 - y**2), LINE.detector_distance_mm**2)


def test_friedels_law_holds_on_a_flat_sphere_alone():
    """|F(q)| = |F(−q)|; opposite pixels see opposite q where the curvature is lost, at large distance and energy."""
    rng = np.random.default_rng(1)
    position, text, width = molecule(rng, 60, 1.5)
    scatterers, turn = scatterers_of(text.tolist(), width), np.eye(3)[None]

    def asymmetry(line):
        image = diffract(position[None], turn, scatterers, line)[0].astype(float)
        return np.linalg.norm(image - image[::-1, ::-1]) / np.linalg.norm(image)

    flat = changed(detector_distance_mm=60.0e4, photon_energy_eV=7000.0e4)
    assert asymmetry(flat) < 1e-4
    assert asymmetry(LINE) > 0.02
    planar = position * [1, 1, 0]  # what lies in a plane across the beam has no depth to tell
    image = diffract(planar[None], turn, scatterers, LINE)[0]
    np.testing.assert_allclose(image, image[::-1, ::-1], rtol=1e-3, atol=1e-5 * image.max())


def test_intensities_do_not_change_when_the_molecule_is_shifted():
    rng = np.random.default_rng(2)
    position, text, width = molecule(rng, 30, 1.5)
    scatterers, turn = scatterers_of(text.tolist(), width), Rotation.random(1, random_state=0).as_matrix()
    here = diffract(position[None], turn, scatterers, LINE)
    there = diffract(position[None] + [100.0, -50.0, 80.0], turn, scatterers, LINE)
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-6 * here.max())


def test_forward_photons_of_a_protein_in_a_hundred_nanometres():
    """12,730 electrons and 1e12 photons in (100 nm)²: 1.29e5 photons/sr forward."""
    line = changed(n_pixels=17, pixel_size_um=100.0, detector_distance_mm=500.0)
    solid_angle = (0.1 / 500) ** 2
    photons = 1e12 / 0.1**2 * line.photons_per_intensity[8, 8] * 12_730**2
    assert photons / solid_angle == pytest.approx(1.29e5, rel=5e-3)


@pytest.mark.parametrize("polarisation", ["x", "y", "none"])
def test_all_of_a_sphere_is_the_thomson_cross_section(polarisation):
    """∫ P dΩ = 8π/3 over the sphere: 4π/3 over the half that a detector without end sees."""
    line = changed(n_pixels=1200, pixel_size_um=5000.0, detector_distance_mm=30.0, polarisation=polarisation)
    total = line.photons_per_intensity.sum() / (2.8179403e-9) ** 2
    assert total == pytest.approx(4 * np.pi / 3, rel=0.01)


def test_polarised_light_does_not_scatter_along_its_field():
    wide = changed(pixel_size_um=1e5)
    along = wide.photons_per_intensity
    across = changed(pixel_size_um=1e5, polarisation="y").photons_per_intensity
    assert along[12, -1] < 0.02 * across[12, -1]
    np.testing.assert_allclose(along, across.T, rtol=1e-12)
    neither = changed(pixel_size_um=1e5, polarisation="none").photons_per_intensity
    np.testing.assert_allclose(neither, (along + across) / 2, rtol=1e-12)


def test_the_beam_stop_casts_a_round_shadow():
    x, y, _ = LINE.place
    np.testing.assert_array_equal(LINE.mask, x**2 + y**2 > 9.0)
    assert changed(beam_stop_radius_mm=0.0).mask.all()
    assert changed(beam_stop_radius_mm=0.0, n_pixels=25).mask.all()
