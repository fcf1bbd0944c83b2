"""Counted patterns as likelihoods: derivatives against differences, Fisher's information against scores, nuisances."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from tempica.errors import DataError
from tempica.imaging.diffraction import Beamline, diffract
from tempica.imaging.kernels_diffraction import CHUNK
from tempica.imaging.photons import Patterns, patterns_of
from tempica.imaging.xray import scatterers_of

LINE = Beamline(
    n_pixels=16,
    pixel_size_um=3000.0,
    detector_distance_mm=100.0,
    photon_energy_eV=6000.0,
    beam_stop_radius_mm=3.0,
    polarisation="x",
    b_factor_A2=20.0,
)
N_BEADS, LIGHT = 20, 2e17


def molecule(rng):
    scatterers = scatterers_of(["C5H8N2O2"] * N_BEADS, np.full(N_BEADS, 0.2))
    return rng.normal(size=(N_BEADS, 3)), scatterers, 0.1 * rng.normal(size=(2, N_BEADS, 3))


def world(rng, n_frames, background=0.3, fluence=None):
    """Patterns with their structures, rotations and displacements; each has a fluence of its own if given."""
    position, scatterers, shape = molecule(rng)
    position = np.repeat(position[None], n_frames, 0)
    rotation = Rotation.random(n_frames, random_state=1).as_matrix()
    mean = LIGHT * diffract(position, rotation, scatterers, LINE) * LINE.photons_per_intensity
    fluence = np.ones(n_frames) if fluence is None else fluence
    count = rng.poisson(fluence[:, None, None] * mean + background)
    return patterns_of(count, LINE.mask, LINE, scatterers, LIGHT, background), position, rotation, shape


def exact(seen: Patterns, position, rotation):
    """The deviance of each frame in double precision, by the direct sum; the fluence is found on a fine grid."""
    view = 10 * (position - position.mean(1, keepdims=True)) @ rotation.swapaxes(1, 2)
    blur = np.exp(-2 * np.pi**2 * seen.variance_A2[:, None] * (seen.q.astype(float) ** 2).sum(0))
    alone = (seen.factor.astype(float) ** 2 * (1 - blur**2 + 1e-3)).sum(0)
    out = []
    for place, n in zip(view, seen.count.astype(float), strict=True):
        wave = (seen.factor * blur * np.exp(2j * np.pi * place @ seen.q.astype(float))).sum(0)
        strength = seen.scale * (np.abs(wave) ** 2 + alone)
        low, high = 1e-3, 1e3
        for _ in range(200):  # the slope in the fluence falls
            middle = np.sqrt(low * high)
            rising = (n * strength / (middle * strength + seen.background) - strength).sum() > 0
            low, high = (middle, high) if rising else (low, middle)
        mean = low * strength + seen.background
        out.append(2 * (mean - n + np.where(n > 0, n * np.log(np.maximum(n, 1) / mean), 0)).sum())
    return np.array(out)


@pytest.mark.parametrize("background", [0.0, 0.3])
@pytest.mark.parametrize("variance", [0.0, 0.005])
def test_scores_are_the_derivatives_of_the_deviance(background, variance):
    rng = np.random.default_rng(0)
    seen, position, rotation, shape = world(rng, 3, background)
    seen = seen.widened(np.full(N_BEADS, variance))
    position = position + 0.05 * rng.normal(size=position.shape)  # away from the maximum
    found = seen.expand(position, rotation, np.zeros((3, 2)), shape, pose=True)
    np.testing.assert_allclose(found.misfit, exact(seen, position, rotation), rtol=1e-4)
    h = 1e-4
    for p in range(5):
        ends = []
        for sign in (h, -h):
            turn = Rotation.from_rotvec(sign * np.eye(3)[p - 2] if p > 1 else np.zeros(3)).as_matrix()
            moved = position + sign * shape[p] if p < 2 else position
            ends.append(exact(seen, moved, turn @ rotation))
        slope = -0.25 * (ends[0] - ends[1]) / h
        size = np.sqrt(found.information[:, p, p])
        np.testing.assert_array_less(np.abs(found.evidence[:, p] - slope), 5e-3 * size + 1e-3 * np.abs(slope))
    assert not found.information[:, 5:].any()  # shifts
    assert not found.evidence[:, 5:].any()


@pytest.mark.parametrize("n_beads", [3, N_BEADS])
def test_expansions_are_those_of_a_direct_sum(n_beads):
    """Information and score of a sum in float64, written as the formulas stand, at more pixels than a chunk has."""
    rng = np.random.default_rng(8)
    position, rotation = rng.normal(size=(2, n_beads, 3)), Rotation.random(2, random_state=8).as_matrix()
    shape, q = 0.1 * rng.normal(size=(2, n_beads, 3)), 0.05 * rng.normal(size=(3, 2 * CHUNK + 11))
    factor = rng.uniform(1, 5, (n_beads, 1)) * np.exp(-20 * (q**2).sum(0))
    seen = Patterns(
        rng.poisson(2.0, (2, q.shape[1])).astype(np.float32),
        q.astype(np.float32),
        factor.astype(np.float32),
        np.zeros(n_beads),
        rng.uniform(0.5, 1, q.shape[1]).astype(np.float32),
        0.3,
    )
    found, fluence = seen.expand_with_fluence(position, rotation, shape, pose=True)
    for f in range(2):
        place = 10 * (position[f] - position[f].mean(0)) @ rotation[f].T
        moves = [10 * one @ rotation[f].T for one in shape] + [np.cross(axis, place) for axis in np.eye(3)]
        wave = seen.factor * np.exp(2j * np.pi * place @ q)
        amplitude = wave.sum(0)
        slopes = [2 * np.real(np.conj(amplitude) * (2j * np.pi * (move @ q) * wave).sum(0)) for move in moves]
        strength = np.abs(amplitude) ** 2 + 1e-3 * (seen.factor**2).sum(0)
        mean = fluence[f] * seen.scale * strength + 0.3
        columns = seen.scale * np.array([*(fluence[f] * np.array(slopes)), strength])
        square, pull = columns / mean @ columns.T, columns / mean @ (seen.count[f] - mean)
        information = square[:5, :5] - np.outer(square[:5, 5], square[5, :5]) / square[5, 5]
        evidence = pull[:5] - square[:5, 5] * pull[5] / square[5, 5]
        np.testing.assert_allclose(found.information[f, :5, :5], information, atol=2e-5 * information.max())
        np.testing.assert_allclose(found.evidence[f, :5], evidence, atol=2e-5 * np.abs(evidence).max())


def test_displacements_of_each_frame_are_those_of_all():
    rng = np.random.default_rng(1)
    seen, position, rotation, shape = world(rng, 3)
    together = seen.expand(position, rotation, np.zeros((3, 2)), shape, pose=True)
    each = seen.expand(position, rotation, np.zeros((3, 2)), np.repeat(shape[None], 3, 0), pose=True)
    for name, value in vars(together).items():
        np.testing.assert_allclose(getattr(each, name), value, rtol=1e-6)


def test_fisher_information_is_the_covariance_of_scores():
    """Of one structure, seen again and again in other photons and at other fluences."""
    rng, n = np.random.default_rng(2), 4000
    seen, position, rotation, shape = world(rng, 1)
    position, rotation = np.repeat(position, n, 0), np.repeat(rotation, n, 0)
    mean = seen.expected(position[:1], rotation[:1])[0]
    found = replace(seen, count=rng.poisson(mean, (n, len(mean))).astype(np.float32)).expand(
        position, rotation, np.zeros((n, 2)), shape, pose=True
    )
    score, information = found.evidence[:, :5], found.information[:, :5, :5].mean(0)
    root = np.linalg.cholesky(np.linalg.inv(information))
    white = score @ root
    assert np.abs(white.mean(0)).max() < 4 / np.sqrt(n)
    np.testing.assert_allclose(np.cov(white.T), np.eye(5), atol=5 * np.sqrt(2 / n))


def test_the_fluence_is_found_and_biases_nothing():
    """Amplitudes by Fisher scoring, of shots of very different strength: pulls have mean 0 and variance 1."""
    rng, n = np.random.default_rng(3), 400
    strength = rng.gamma(4.0, 0.25, n) + 0.3
    seen, position, rotation, shape = world(rng, n, 0.3, strength)
    amplitude = np.zeros((n, 2))
    for _ in range(4):
        place = position + np.tensordot(amplitude, shape, 1)
        found = seen.expand(place, rotation, np.zeros((n, 2)), shape, pose=False)
        amplitude += np.linalg.solve(found.information, found.evidence[..., None])[..., 0]
    _, fluence = seen.expand_with_fluence(place, rotation, shape, pose=False)
    assert np.median(np.abs(fluence / strength - 1)) < 0.1
    pull = np.einsum("fk,fkl,fl->f", amplitude, found.information, amplitude)
    low, high = chi2.ppf([1e-4, 1 - 1e-4], 2 * n)
    assert low < pull.sum() < 1.1 * high  # the likelihood is not quite quadratic
    standard = amplitude / amplitude.std(0)
    assert np.abs(standard.mean(0)).max() < 4 / np.sqrt(n)
    assert abs(np.corrcoef(strength, amplitude[:, 0])[0, 1]) < 4 / np.sqrt(n)


def test_neither_inversion_nor_place_changes_what_is_expected():
    """What no pattern can tell: the hand of a molecule, and its place; on a flat sphere, half a turn about the beam."""
    rng = np.random.default_rng(4)
    seen, position, rotation, _ = world(rng, 2)
    mean = seen.expected(position, rotation)
    np.testing.assert_allclose(seen.expected(-position, rotation), mean, rtol=1e-3)
    np.testing.assert_allclose(seen.expected(position + 3.0, rotation), mean, rtol=1e-3)
    half = np.diag([-1.0, -1.0, 1.0])
    assert np.abs(seen.expected(position, half @ rotation) / mean - 1).max() > 0.1
    flat = replace(seen, q=seen.q * np.array([[1], [1], [0]], np.float32))
    np.testing.assert_allclose(flat.expected(position, half @ rotation), flat.expected(position, rotation), rtol=1e-3)


@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan])
def test_counts_that_are_none_are_refused(value):
    _, scatterers, _ = molecule(np.random.default_rng(5))
    image = np.zeros((2, 16, 16))
    image[1, 2, 3] = value
    with pytest.raises(DataError, match=f"Frame 1 counts {value:g} photons in a pixel; photons are whole numbers"):
        patterns_of(image, LINE.mask, LINE, scatterers, LIGHT, 0.0)


def test_a_beam_stop_that_masks_everything_is_refused():
    _, scatterers, _ = molecule(np.random.default_rng(5))
    with pytest.raises(DataError, match="masks every pixel"):
        patterns_of(np.zeros((1, 16, 16)), 0 * LINE.mask, LINE, scatterers, LIGHT, 0.0)


def test_less_detail_keeps_pixels_of_low_angle():
    seen, *_ = world(np.random.default_rng(6), 2)
    small = seen.within(15.0)
    assert small.n_values < seen.n_values
    assert np.linalg.norm(small.q, axis=0).max() <= 1 / 15
    assert seen.within(1.0) is seen
