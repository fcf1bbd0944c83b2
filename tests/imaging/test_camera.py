"""What weakens the signal and colours the noise, against formulas written out again."""

import math

import numpy as np
import pytest

from tempica import imaging
from tempica.imaging.detector import Detector, Scale, coloured, white_noise

D, PIXEL_A = 24, 2.0


def camera(voltage_kV=300.0, power=((0.0, 1.0),), dqe=((0.0, 1.0),), n_gaussians=1):
    rng = np.random.default_rng(2)
    optics = imaging.Optics(D, PIXEL_A, voltage_kV, 2.7, 0.1, 40.0, 20.0)
    nodes = np.unique([k for table in (power, dqe) for k, _ in table])
    tables = [np.interp(nodes, *np.array(table).T) for table in (power, dqe)]
    shape = (10, n_gaussians)
    return imaging.Camera(optics, rng.uniform(1, 3, shape), rng.uniform(1, 3, shape), nodes, *tables)


FOCUS = (np.array([12_000.0, 9_000.0]), np.array([11_500.0, 9_000.0]), np.array([0.3, 1.0]))


def test_critical_exposure_and_damage_at_stated_points():
    nc = imaging.critical_exposure_e_A2(np.array([0.1, 0.2]), 300.0)
    np.testing.assert_allclose(nc, [14.14, 6.386], rtol=1e-3)
    left = imaging.damage_filter(np.array([[0.0, 0.1, 0.2]]), np.array([10.0]), 300.0)[0, 0]
    np.testing.assert_allclose(left, [1.0, 0.702, 0.457], atol=5e-4)
    np.testing.assert_allclose(imaging.critical_exposure_e_A2(np.array([0.1]), 200.0), 0.75 * nc[0])


def test_the_interaction_constant_at_common_voltages():
    found = [imaging.interaction_A(voltage) for voltage in (300.0, 200.0, 100.0)]
    np.testing.assert_allclose(found, [0.0312460, 0.034895, 0.044258], rtol=2e-5)


def test_transfer_is_contrast_times_root_of_dqe_times_damage():
    dqe, dose = ((0.0, 0.9), (0.2, 0.3)), np.array([0.0, 30.0])
    found = camera(dqe=dqe).transfer(*FOCUS, dose)
    plain = camera().optics.transfer(*FOCUS)
    for frame, i, j in ((0, 3, 5), (1, 3, 5), (1, 20, 2), (1, 0, 0), (0, 12, 12)):
        ky, kx = (i if i < D / 2 else i - D) / (D * PIXEL_A), j / (D * PIXEL_A)
        k = math.hypot(kx, ky)
        share = 0.9 - 0.6 * min(k, 0.2) / 0.2
        damage = math.exp(-dose[frame] / (2 * (0.24499 * k**-1.6649 + 2.8141))) if k else 1.0
        assert found[frame, i, j] == pytest.approx(plain[frame, i, j] * math.sqrt(share) * damage, rel=1e-5, abs=1e-7)


def test_without_efficiency_and_damage_the_transfer_is_the_optics_alone():
    np.testing.assert_array_equal(camera().transfer(*FOCUS, np.zeros(2)), camera().optics.transfer(*FOCUS))


def test_a_frame_is_the_same_whichever_are_made_with_it():
    rng = np.random.default_rng(0)
    one, n = camera(n_gaussians=2, dqe=((0.0, 0.9), (0.3, 0.4))), 13
    quaternion = rng.normal(size=(n, 4))
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    values = [0.7 * rng.normal(size=(n, 10, 3)).astype(np.float32), quaternion, rng.normal(size=(n, 2))]
    values += [rng.uniform(8e3, 1.5e4, n), rng.uniform(8e3, 1.5e4, n), rng.uniform(0, 3, n), rng.uniform(0, 50, n)]
    together = one.clean_images(*values)
    for frames in ([4], [7, 3], list(range(5, 13))):
        np.testing.assert_array_equal(one.clean_images(*(value[frames] for value in values)), together[frames])


def test_frames_are_the_same_however_many_fit_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    values = [0.7 * rng.normal(size=(2, 10, 3)), np.array([[0, 0, 0, 1.0]] * 2), np.zeros((2, 2)), *FOCUS, np.ones(2)]
    one = camera()
    whole, sizes = one.clean_images(*values), []
    monkeypatch.setattr("tempica.imaging.camera.AT_ONCE", 1)
    through = imaging.through_optics
    monkeypatch.setattr(
        "tempica.imaging.camera.through_optics", lambda image, ctf: sizes.append(len(image)) or through(image, ctf)
    )
    np.testing.assert_array_equal(one.clean_images(*values), whole)
    assert sizes == [1, 1]


def test_coloured_noise_has_the_power_and_variance_stated():
    table = ((0.0, 4.0), (0.1, 1.0), (0.25, 0.5))
    power = camera(power=table).power()
    noise = np.stack([coloured(white_noise(1.0, 1, 0, f, D), power) for f in range(3000)]).astype(np.float64)
    spectrum = (np.abs(np.fft.rfft2(noise)) ** 2).mean(0) / D**2
    np.testing.assert_allclose(spectrum, power, rtol=5 / math.sqrt(3000) * math.sqrt(2))
    assert noise.var() == pytest.approx(1, rel=5e-3)
    k = np.array([0.0, 1 / (D * PIXEL_A), 10 / (D * PIXEL_A)])
    expected = np.interp(k, *np.array(table).T)
    np.testing.assert_allclose(power[0, [0, 1, 10]] / power[0, 0], expected / 4.0, rtol=1e-12)
    np.testing.assert_allclose(camera().power(), 1.0, rtol=1e-12)


@pytest.mark.parametrize("electrons", [3.0, 40.0, 400.0])
def test_counted_images_have_the_mean_and_variance_of_their_formula(electrons):
    contrast = 2 * imaging.interaction_A(300.0)
    clean = np.linspace(-2.0, 3.0, D * D, dtype=np.float32).reshape(D, D)
    detector = Detector("poisson", 0.0, None, electrons, contrast)
    n = 4000
    seen = np.stack([detector.record(clean, 5, 1, frame) for frame in range(n)]).astype(np.float64)
    variance = (1 - contrast * clean) / (contrast**2 * electrons)
    score = (seen.mean(0) - clean) / np.sqrt(variance / n)
    assert abs(score.mean()) < 4 / D
    assert score.std() == pytest.approx(1, abs=4 / math.sqrt(2 * D * D))
    np.testing.assert_allclose((seen.var(0) / variance).mean(), 1, atol=5 * math.sqrt(2 + 1 / electrons) / (D * 63))


@pytest.mark.parametrize("electrons", [45.0, 1e5, 4e7])
def test_levels_are_fine_beside_the_noise_of_counting(electrons):
    contrast = 2 * imaging.interaction_A(300.0)
    scale = Scale.counting(-1.0, 3.0, electrons, contrast)
    clean = np.linspace(-1.0, 3.0, 128**2, dtype=np.float32).reshape(128, 128)
    detector = Detector("poisson", 0.0, None, electrons, contrast)
    levels = np.stack([scale.digitise(detector.record(clean, 5, 1, frame)) for frame in range(5)])
    noise = levels * scale.factor + scale.offset - clean
    expected = ((1 - contrast * clean) / (contrast**2 * electrons)).mean(dtype=np.float64)
    assert np.square(noise).mean() / expected == pytest.approx(1, abs=0.005 + 5 * math.sqrt(2 / noise.size))
    assert levels.dtype == ("uint8" if electrons < 1e3 else "uint16")


@pytest.mark.parametrize(("electrons", "step"), [(4.0, 1), (90.0, 1), (2000.0, 3)])
def test_levels_of_counted_images_are_whole_electrons(electrons, step):
    contrast = 2 * imaging.interaction_A(300.0)
    scale = Scale.counting(-0.4, 0.9, electrons, contrast)
    counts = electrons * (1 - contrast * (scale.offset + scale.factor * np.arange(256)))
    np.testing.assert_allclose(np.diff(counts), -round(float(counts[0] - counts[1])), rtol=1e-9)
    assert round(float(counts[0] - counts[1])) == step
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-6)
    clean = np.full((64, 64), 0.9, np.float32)
    image = Detector("poisson", 0.0, None, electrons, contrast).record(clean, 0, 0, 0)
    level = scale.digitise(image)
    assert level.min() > 0
    assert image.max() <= scale.offset + scale.factor * 255.001  # 255 are no electrons at all, or nearly
    assert np.abs(level * scale.factor + scale.offset - image).max() <= 0.501 * scale.factor * (step > 1) + 1e-4
