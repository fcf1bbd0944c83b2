"""Heights by an atomic force microscope against a slow twin, theory and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tempica.errors import DataError
from tempica.imaging import afm
from tempica.imaging.afm import Probe

N_PIXELS, PIXEL = 24, 0.3


def molecule(n_atoms: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    radius = rng.uniform(0.15, 0.35, n_atoms)
    xyz = rng.normal(size=(n_atoms, 3)) * [1.2, 0.9, 0.5]
    xyz[:, 2] -= (xyz[:, 2] - radius).min()
    return xyz, radius


def contact(xyz: np.ndarray, radius: np.ndarray, tip_radius: float, alpha: float, x: float, y: float) -> float:
    """Height of the apex above (x, y), from the tip's surface: the largest by which any of its points must rise."""
    rho = np.linspace(0, 8, 8001)  # of points on the tip from its axis
    seam = tip_radius * math.cos(alpha)
    ball = tip_radius - np.sqrt(np.maximum(tip_radius**2 - rho**2, 0))
    cone = tip_radius - tip_radius * math.sin(alpha) + (rho - seam) / math.tan(alpha)
    tip = np.where(rho <= seam, ball, cone)
    highest = 0.0
    for (a, b, c), r in zip(xyz, radius, strict=True):
        d = math.hypot(x - a, y - b)
        near = np.abs(rho - d) <= r  # the nearest points of the tip lie in the plane through axis and atom
        if near.any():
            highest = max(highest, float((c + np.sqrt(r**2 - (rho[near] - d) ** 2) - tip[near]).max()))
    return highest


@pytest.mark.parametrize(("tip_radius", "alpha"), [(0.5, 0.17), (2.0, 0.5), (0.05, 1.0)])
def test_the_tip_rests_where_its_surface_touches(tip_radius: float, alpha: float) -> None:
    xyz, radius = molecule()
    image = Probe(tip_radius, alpha, N_PIXELS, PIXEL).images(xyz[None, None], radius)[0]
    for i, j in np.random.default_rng(1).integers(0, N_PIXELS, (60, 2)):
        x, y = PIXEL * (j - N_PIXELS // 2), PIXEL * (i - N_PIXELS // 2)
        assert abs(image[i, j] - contact(xyz, radius, tip_radius, alpha, x, y)) <= 1e-4 * image.max()


def soft_twin(probe: Probe, xyz: np.ndarray, radius: np.ndarray) -> np.ndarray:
    along = probe.pixel_nm * (np.arange(probe.n_pixels) - probe.n_pixels // 2)
    dx, dy = along[None, :, None] - xyz[:, 0], along[:, None, None] - xyz[:, 1]
    d, arm = np.hypot(dx, dy), probe.radius_nm + radius
    sin, cos = math.sin(probe.half_angle), math.cos(probe.half_angle)
    ball, cone = np.sqrt(np.maximum(arm**2 - d**2, 0)), (arm - d * cos) / sin
    h = xyz[:, 2] - probe.radius_nm + np.where(d <= arm * cos, ball, cone)
    beta = probe.sharpness_per_nm
    return np.log1p(np.exp(beta * h).sum(-1)) / beta


@pytest.mark.parametrize("axis", ["x", "y"])
def test_derivatives_are_those_of_the_soft_maximum(axis: str) -> None:
    xyz, radius = molecule()
    probe = Probe(0.4, 0.3, N_PIXELS, PIXEL, fast_axis=axis, sharpness_per_nm=8.0)
    velocity = np.random.default_rng(2).normal(size=(3, *xyz.shape))
    image, column = probe.soft_images(xyz[None, None], velocity[None], radius)
    np.testing.assert_allclose(image[0], soft_twin(probe, xyz, radius), atol=1e-3)
    for p, way in enumerate(velocity):
        step = 1e-5 * way
        slope = (soft_twin(probe, xyz + step, radius) - soft_twin(probe, xyz - step, radius)) / 2e-5
        np.testing.assert_allclose(column[0, ..., 1 + p], slope, atol=2e-3 * np.abs(slope).max())
    blunter, sharper = (Probe(0.4 + e, 0.3, N_PIXELS, PIXEL, sharpness_per_nm=8.0) for e in (1e-5, -1e-5))
    slope = (soft_twin(blunter, xyz, radius) - soft_twin(sharper, xyz, radius)) / 2e-5
    np.testing.assert_allclose(column[0, ..., 0], slope, atol=2e-3 * np.abs(slope).max())


def test_a_sharper_maximum_is_nearer_to_the_maximum() -> None:
    xyz, radius = molecule()
    still = np.zeros((1, 0, *xyz.shape))
    hard = Probe(0.5, 0.2, N_PIXELS, PIXEL).images(xyz[None, None], radius)
    soft = [Probe(0.5, 0.2, N_PIXELS, PIXEL, sharpness_per_nm=b) for b in (5.0, 50.0, 500.0)]
    far = [np.abs(probe.soft_images(xyz[None, None], still, radius)[0] - hard) for probe in soft]
    assert far[0].max() > far[1].max() > far[2].max()
    assert far[2].max() <= math.log(1 + len(xyz)) / 500


def test_a_molecule_at_rest_gives_the_same_image_scanned_or_at_once() -> None:
    xyz, radius = molecule()
    probe = Probe(0.5, 0.2, N_PIXELS, PIXEL)
    at_once, scanned = (probe.images(np.repeat(xyz[None, None], s, 1), radius) for s in (1, 4))
    np.testing.assert_allclose(scanned, at_once, atol=2e-6)


def turned(xyz: np.ndarray, angle: float) -> np.ndarray:
    spin = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    return xyz @ spin.T


def test_every_pixel_sees_the_molecule_as_it_is_at_its_time() -> None:
    """Turning by ω t and moving by v t, pixel j of line i shows the molecule at t = (i + j / 2N) / N of the scan."""
    xyz, radius = molecule()
    probe, omega, v = Probe(0.5, 0.2, N_PIXELS, PIXEL), 0.4, np.array([0.6, -0.3, 0.0])
    at = lambda t: turned(xyz, omega * t) + t * v  # noqa: E731
    scanned = probe.images(np.stack([at(t) for t in np.linspace(0, 1, 17)])[None], radius)[0]
    times = [(i, j, (i + j / (2 * N_PIXELS)) / N_PIXELS) for i in range(0, N_PIXELS, 3) for j in range(0, N_PIXELS, 5)]
    still = probe.images(np.stack([at(t) for _, _, t in times])[:, None], radius)
    seen = np.array([scanned[i, j] for i, j, _ in times])
    expected = np.array([image[i, j] for image, (i, j, _) in zip(still, times, strict=True)])
    np.testing.assert_allclose(seen, expected, atol=2e-3)
    assert np.abs(scanned - still[0]).max() > 0.2  # and this is not the ideal image


def test_a_molecule_that_moves_along_the_lines_is_sheared() -> None:
    """Seen line by line, x = x₀ + v t makes an image whose lines are shifted in proportion to their number."""
    ball, radius, v = np.array([[0.0, 0.0, 0.9]]), np.array([0.9]), 1.2
    probe = Probe(0.0, 0.0, 48, 0.1)
    image = probe.images(np.stack([ball, ball + np.array([v, 0, 0])])[None], radius)[0]
    along = 0.1 * (np.arange(48) - 24)
    lines = np.flatnonzero(image.max(1) > 0.9)
    middle = [image[i] ** 2 @ along / (image[i] ** 2).sum() for i in lines]
    slope = np.polyfit(lines / 48, middle, 1)[0]
    assert slope == pytest.approx(v, rel=0.02)


def test_behind_an_edge_the_tip_comes_down_no_faster_than_it_may() -> None:
    xyz, radius = molecule()
    ideal, slow = (Probe(0.3, 0.1, N_PIXELS, PIXEL, fall_nm=f).images(xyz[None, None], radius)[0] for f in (9.0, 0.2))
    twin = ideal.copy()
    for j in range(1, N_PIXELS):
        twin[:, j] = np.maximum(ideal[:, j], twin[:, j - 1] - np.float32(0.2))
    np.testing.assert_allclose(slow, twin, atol=1e-6)
    assert (slow - ideal).max() > 0.2
    np.testing.assert_allclose(afm.fallen(ideal, 0.2), twin, atol=1e-5)


def test_a_tip_may_be_any_table_of_heights() -> None:
    rng = np.random.default_rng(3)
    surface, tip = rng.uniform(0, 3, (2, 9, 11)), -rng.uniform(0.1, 2, (3, 4))
    tip[1, 2] = 0.0
    twin = np.full(surface.shape, -np.inf)
    for i, j in np.ndindex(9, 11):
        for v, u in np.ndindex(3, 4):
            y, x = i + v - 1, j + u - 2
            if 0 <= y < 9 and 0 <= x < 11:
                twin[:, i, j] = np.maximum(twin[:, i, j], surface[:, y, x] + tip[v, u])
    np.testing.assert_allclose(afm.dilate(surface, tip), twin, rtol=1e-6)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_cone_as_a_table_gives_the_cone_s_image_to_its_grid(axis: str) -> None:
    xyz, radius = molecule()
    pixel, n, big, alpha = 0.05, 120, 1.0, 0.4
    along = pixel * np.arange(-40, 41)
    rho = np.hypot(along[:, None], along)
    ball = big - np.sqrt(np.maximum(big**2 - rho**2, 0))
    cone = big * (1 - math.sin(alpha)) + (rho - big * math.cos(alpha)) / math.tan(alpha)
    tip = tuple(map(tuple, -np.where(rho <= big * math.cos(alpha), ball, cone)))
    exact = Probe(big, alpha, n, pixel, fast_axis=axis).images(xyz[None, None], radius)
    table = Probe(0.0, 0.0, n, pixel, fast_axis=axis, tip=tip).images(xyz[None, None], radius)
    np.testing.assert_allclose(table, exact, atol=0.05)
    assert (table <= exact + 1e-5).all()  # a grid misses contacts in between


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"radius_nm": -0.1}, "radius_nm = -0.1"),
        ({"radius_nm": math.nan}, "radius_nm = nan"),
        ({"half_angle": 1.6}, "half_angle = 1.6"),
        ({"sharpness_per_nm": 0.0}, "sharpness_per_nm = 0"),
        ({"sharpness_per_nm": -2.0}, "sharpness_per_nm = -2"),
    ],
)
def test_a_probe_that_cannot_be_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Probe(**({"radius_nm": 0.5, "half_angle": 0.2, "n_pixels": 16, "pixel_nm": 0.3} | wrong))


def test_positions_must_be_numbers_and_fit() -> None:
    probe, (xyz, radius) = Probe(0.5, 0.2, 16, 0.3), molecule()
    with pytest.raises(DataError, match="must hold numbers"):
        probe.images(np.full((1, 1, *xyz.shape), np.nan), radius)
    with pytest.raises(DataError, match="must be \\(F, S, N, 3\\)"):
        probe.images(xyz[None], radius)
    with pytest.raises(DataError, match="a table of heights"):
        afm.dilate(np.zeros((4, 4)), [])


def test_a_probe_survives_in_the_attributes_of_a_store() -> None:
    for probe in (
        Probe(0.5, 0.2, 16, 0.3, fall_nm=0.4, fast_axis="y", sharpness_per_nm=7.0),
        Probe(0.0, 0.0, 16, 0.3, tip=((-1.0, 0.0), (-2.0, -1.0))),
    ):
        kept = afm.probe_of(afm.attributes_of(probe), 16)
        assert vars(kept) == vars(probe) | {"half_angle": pytest.approx(probe.half_angle)}


def test_radii_follow_from_what_beads_stand_for() -> None:
    radius = afm.radii_nm(["C", "H", "C4H4NO3", "C8H8N2O6"])
    assert radius[0] == 0.17
    assert radius[3] ** 3 == pytest.approx(2 * radius[2] ** 3)
