"""Hidden poses of a toy molecule of 30 beads without any symmetry: 32 pixels along an edge, two modes."""

from dataclasses import dataclass

import numpy as np
import pytest

from tempica import imaging
from tempica.embed.micrographs import Micrographs
from tempica.embed.poses.grids import rotation_grid, rotations_for, shift_grid, turns_near
from tempica.embed.poses.refine import Peaks, climb, distinct, shift_prior
from tempica.embed.poses.search import around, search
from tempica.embed.poses.shifts import pool_shifts
from tempica.embed.poses.templates import make_templates, scores
from tempica.embed.quadratic import Disc, Observed, linearise, model_waves
from tempica.imaging.geometry import quaternion_of
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import Modes
from tempica.imaging.optics import plane_weights

N_ATOMS, N_PIXELS, PIXEL_A = 30, 32, 2.5
OPTICS = imaging.Optics(
    n_pixels=N_PIXELS,
    pixel_size_A=PIXEL_A,
    voltage_kV=300.0,
    spherical_aberration_mm=2.7,
    amplitude_contrast=0.1,
    b_factor_A2=40.0,
    bead_b_factor_A2=20.0,
)


def angle(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((np.einsum("...ij,...ij", first, second) - 1) / 2, -1, 1)))


@pytest.mark.parametrize("n_rotations", [300, 2304])
def test_rotations_are_even(n_rotations):
    grid = rotation_grid(n_rotations)
    rng = np.random.default_rng(0)
    q = rng.normal(size=(2000, 4))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    away = 2 * np.degrees(np.arccos(np.clip(np.abs(q @ grid.quaternion.T), 0, 1)))
    # a cap of angle ω holds (ω − sin ω)/π of all rotations
    one = np.radians(2.2 * np.median(away.min(1)))
    share = (one - np.sin(one)) / np.pi
    inside = (away < np.degrees(one)).sum(1)
    assert inside.mean() == pytest.approx(share * n_rotations, rel=0.05)
    assert inside.min() >= 1
    assert inside.std() < np.sqrt(inside.mean())
    assert np.allclose(np.linalg.norm(grid.quaternion, axis=1), 1)


def test_larger_structures_need_more_rotations():
    ball = np.random.default_rng(0).normal(size=(500, 3))
    ball *= 3.0 / np.linalg.norm(ball, axis=1, keepdims=True)
    assert rotations_for(ball) == pytest.approx(6 * np.pi * 125, rel=0.25)
    assert rotations_for(2 * ball) == pytest.approx(8 * rotations_for(ball), rel=0.01)
    assert rotations_for(0.01 * ball) == 500


def test_near_rotations_are_those_of_the_distance_table():
    grid = rotation_grid(300, apart_deg=50.0)
    away = angle(grid.rotation[:, None], grid.rotation)
    for row, near in zip(away, grid.near, strict=True):
        assert set(near) == set(np.flatnonzero(row <= 50.0))


def test_shifts_reach_and_cover():
    shift = shift_grid(3.0, 3.5)
    assert np.all(shift[0] == 0)
    assert np.linalg.norm(shift, axis=1).max() <= 12
    rng = np.random.default_rng(0)
    some = rng.uniform(-12, 12, (4000, 2))
    some = some[np.linalg.norm(some, axis=1) < 10]
    assert np.linalg.norm(some[:, None] - shift, axis=2).min(1).max() <= 3.5 / np.sqrt(3) + 1e-9
    assert np.array_equal(shift_grid(0.0, 3.5), np.zeros((1, 2)))


def test_turns_fill_a_ball():
    turns = turns_near(np.radians(30.0), 400)
    size = angle(turns, np.eye(3))
    assert size[0] == pytest.approx(0, abs=1e-5)
    assert size.max() <= 30.001
    assert np.median(size) == pytest.approx(30 * 0.5 ** (1 / 3), abs=1.0)
    assert np.linalg.norm(turns.mean(0) - np.trace(turns.mean(0)) / 3 * np.eye(3)) < 0.02


def make_toy():
    rng = np.random.default_rng(12)
    mean = rng.normal(size=(N_ATOMS, 3)) * [1.6, 1.0, 0.7]
    modes = Modes(mean - mean.mean(0), 0.06 * rng.normal(size=(2, N_ATOMS, 3)))
    return modes, Scatterers(rng.uniform(10, 30, N_ATOMS), rng.uniform(2.0, 3.0, N_ATOMS))


MODES, BEADS = make_toy()
DISC = Disc(N_PIXELS, PIXEL_A, 13)
GRID = rotation_grid(1200)


@dataclass
class Setting:
    """Images of the toy, and how they came about."""

    observed: Observed
    rotation: np.ndarray
    shift_A: np.ndarray
    amplitude: np.ndarray


def images(n_frames, *, snr, shift_A=None, seed=0, deviation_A=3.0):
    """Frames at random poses; the noise is so strong that the clean images have `snr` times its variance."""
    rng = np.random.default_rng(seed)
    quaternion = rng.normal(size=(n_frames, 4))
    rotation = imaging.rotation_matrix(quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True))
    shift_A = rng.normal(size=(n_frames, 2)) * deviation_A if shift_A is None else shift_A
    amplitude = rng.normal(size=(n_frames, 2))
    defocus = rng.uniform(8_000, 15_000, n_frames)
    transfer = DISC.gather(OPTICS.transfer(defocus + 100, defocus - 100, rng.uniform(0, np.pi, n_frames)))
    weight = DISC.gather(np.broadcast_to(np.sqrt(plane_weights(N_PIXELS)), (N_PIXELS, N_PIXELS // 2 + 1)))
    position = MODES.mean + np.tensordot(amplitude, MODES.shape, 1)
    clean = model_waves(DISC, BEADS, position, rotation, shift_A) * transfer * weight
    sigma = np.sqrt((np.abs(clean) ** 2).sum(1).mean() / N_PIXELS**2 / snr)
    noise = DISC.gather(np.fft.rfft2(rng.normal(size=(n_frames, N_PIXELS, N_PIXELS)))) * weight
    target = clean / sigma + (noise if snr < 100 else 0)
    observed = Observed(DISC, target.astype(np.complex64), (transfer * weight / sigma).astype(np.float32))
    return Setting(observed, rotation, shift_A, amplitude)


def templates(radius=10, modes=MODES):
    return make_templates(Disc(N_PIXELS, PIXEL_A, radius), BEADS, modes, GRID)


def test_coarse_scores_are_those_of_whole_images():
    """Slow twin: the model's images are made at each pose and subtracted from the data."""
    setting = images(2, snr=1.0)
    small = setting.observed.within(8)
    prior = shift_prior(2, np.array([2.0, 3.0]), np.array([[1.0, -2.0], [0.5, 0.0]]))
    shift = shift_grid(3.0, 5.0)
    found = scores(small, templates(8), prior, shift)
    for g in (0, 7, 611):
        for s in (0, 3, 11):
            at = prior.mean_A + shift[s]
            mean = np.broadcast_to(MODES.mean, (2, N_ATOMS, 3))
            turn = np.broadcast_to(GRID.rotation[g], (2, 3, 3))
            wave = small.transfer * model_waves(small.disc, BEADS, mean, turn, at)
            misfit = (np.abs(small.target - wave) ** 2 - np.abs(small.target) ** 2).sum(1)
            far = (shift[s] ** 2).sum() / prior.deviation_A**2 + 4 * np.log(prior.deviation_A)
            assert found[:, s, g] == pytest.approx(-0.5 * (misfit + far), abs=0.02 * float(np.abs(misfit).max()))


def test_columns_of_templates_are_derivatives():
    made = templates(8)
    some = np.array([5, 300])
    rotation, mean = GRID.rotation[some], np.broadcast_to(MODES.mean, (2, N_ATOMS, 3))

    def waves(theta):
        turn = imaging.rotation_matrix(quaternion_of(np.tile(theta[2:5], (2, 1))))
        place = mean + np.tensordot(theta[:2], MODES.shape, 1)
        return model_waves(made.disc, BEADS, place, turn @ rotation, np.tile(theta[5:], (2, 1)))

    for q, size in enumerate([0.1] * 2 + [0.01] * 3 + [0.1] * 2):
        step = np.zeros(7)
        step[q] = size
        slope = (waves(step) - waves(-step)) / (2 * size)
        assert np.abs(made.column[some, 1 + q] - slope).max() < 0.02 * np.abs(slope).max()


def test_noise_free_poses_are_recovered():
    setting = images(12, snr=1000.0)
    found = search(setting.observed, BEADS, MODES, GRID, 3.0)
    assert angle(found.rotation[:, 0], setting.rotation).max() < 1.0
    assert np.abs(found.shift_A[:, 0] - setting.shift_A).max() < 0.2
    assert np.abs(found.amplitude[:, 0] - setting.amplitude).max() < 0.3


def test_no_shift_means_none():
    setting = images(6, snr=0.3, shift_A=np.zeros((6, 2)))
    found = search(setting.observed, BEADS, MODES, GRID, 0.0)
    assert angle(found.rotation[:, 0], setting.rotation).max() < 12
    assert np.abs(found.shift_A[np.isfinite(found.log_evidence)]).max() < 0.01


def test_evidence_prefers_the_true_peak():
    setting = images(24, snr=0.1)
    found = search(setting.observed, BEADS, MODES, GRID, 3.0)
    away = angle(found.rotation[:, 0], setting.rotation)
    assert np.median(away) < 6
    assert (away < 15).mean() > 0.9


def test_the_other_hand_is_seen_in_mirrored_poses():
    """With M the mirror, P(R x) = P(R' M x) for R' = diag(1, 1, −1) R M: no image tells the hand."""
    setting = images(12, snr=0.3)
    mirror = np.array([-1.0, 1.0, 1.0])
    other = search(setting.observed, BEADS, Modes(MODES.mean * mirror, MODES.shape * mirror), GRID, 3.0)
    poses = np.array([1, 1, -1])[:, None] * setting.rotation * mirror
    assert np.median(angle(other.rotation[:, 0], poses)) < 5
    right = search(setting.observed, BEADS, MODES, GRID, 3.0)
    assert np.median(np.abs(right.log_evidence[:, 0] - other.log_evidence[:, 0])) < 0.5


def test_normal_evidence_is_that_of_sampled_poses():
    """Laplace against an importance-sampled integral over amplitudes, turn and shift."""
    setting = images(1, snr=0.3, seed=3)
    prior = shift_prior(1, 3.0)
    truth = Peaks(*(v[:, None] for v in (setting.rotation, setting.shift_A, setting.amplitude)), np.zeros((1, 1)))
    top = climb(Micrographs(setting.observed, BEADS), MODES, truth, prior, 20)
    flat = Peaks(*(v[0, 0] for v in vars(top).values()))
    position = (MODES.mean + np.tensordot(flat.amplitude, MODES.shape, 1))[None]
    seen = linearise(setting.observed, BEADS, position, flat.rotation[None], flat.shift_A[None], MODES.shape, pose=True)
    precision = seen.information[0] + np.diag([1, 1, 1, 1, 1, 1 / 9, 1 / 9])
    rng, n = np.random.default_rng(0), 4000
    root = np.linalg.cholesky(np.linalg.inv(precision))
    theta = rng.normal(size=(n, 7)) @ root.T
    amplitude, shift_A = flat.amplitude + theta[:, :2], flat.shift_A + theta[:, 5:]
    turn = imaging.rotation_matrix(quaternion_of(theta[:, 2:5])) @ flat.rotation
    many = setting.observed[np.zeros(n, dtype=int)]
    place = MODES.mean + np.tensordot(amplitude, MODES.shape, 1)
    misfit = linearise(many, BEADS, place, turn, shift_A, MODES.shape[:0], pose=False).misfit
    target = -0.5 * (misfit + (amplitude**2).sum(1) + (shift_A**2).sum(1) / 9 + 4 * np.log(3.0))
    proposal = -0.5 * (np.einsum("nq,qr,nr->n", theta, precision, theta) - np.linalg.slogdet(precision)[1])
    ratio = target - proposal
    sampled = ratio.max() + np.log(np.exp(ratio - ratio.max()).mean())
    assert flat.log_evidence == pytest.approx(sampled, abs=0.5)


def test_a_kept_shift_beyond_three_deviations_is_pooled():
    kept = np.concatenate([np.tile([8.5, 7.5], (14, 1)), np.tile([-2.0, 1.0], (14, 1))])  # 3.8 and 0.7 deviations
    setting = images(28, snr=0.05, shift_A=kept)
    molecule = np.repeat([4, 9], 14)
    prior = pool_shifts(setting.observed, templates(), molecule, 3.0)
    assert np.linalg.norm(prior.mean_A - kept, axis=1).max() < 3.0
    assert prior.deviation_A.max() < 2.5
    found = search(setting.observed, BEADS, MODES, GRID, 3.0, molecule=molecule)
    assert np.median(np.linalg.norm(found.shift_A[:, 0] - kept, axis=1)) < 1.0


def test_shifts_anew_are_not_pooled():
    setting = images(28, snr=0.05)
    prior = pool_shifts(setting.observed, templates(), np.repeat([0, 1], 14), 3.0)
    assert np.all(prior.mean_A == 0)
    assert np.all(prior.deviation_A == 3.0)


def test_a_drift_is_followed():
    drift = np.linspace([-5.0, 2.0], [5.0, -2.0], 40)
    setting = images(40, snr=0.1, shift_A=drift)
    prior = pool_shifts(setting.observed, templates(), np.zeros(40, dtype=int), 3.0)
    assert np.linalg.norm(prior.mean_A - drift, axis=1).mean() < 1.8


def test_blocks_do_not_matter():
    setting = images(10, snr=0.1)
    whole = search(setting.observed, BEADS, MODES, GRID, 3.0)
    single = [search(setting.observed[f], BEADS, MODES, GRID, 3.0) for f in (slice(0, 1), slice(1, 10))]
    for name, part in vars(whole).items():
        assert np.allclose(part, np.concatenate([getattr(one, name) for one in single]), atol=2e-2), name


def test_around_finds_a_frame_that_was_lost():
    setting = images(8, snr=0.1)
    rng = np.random.default_rng(5)
    away = imaging.rotation_matrix(quaternion_of(rng.normal(size=(8, 3)) * np.radians(12)))
    wrong = imaging.rotation_matrix(quaternion_of(rng.normal(size=(8, 3)) * 2))
    near = np.stack([away @ setting.rotation, wrong], 1)
    found = around(setting.observed, BEADS, MODES, near, shift_prior(8, 3.0), np.radians(25))
    assert np.median(angle(found.rotation[:, 0], setting.rotation)) < 6


def test_of_peaks_at_one_place_the_best_stays():
    turn = turns_near(np.radians(3), 4)
    far = imaging.rotation_matrix(quaternion_of(np.array([0, 0, 1.0])))
    rotation = np.concatenate([turn, (turn @ far)])[None]
    peaks = Peaks(rotation, np.zeros((1, 8, 2)), np.zeros((1, 8, 0)), np.array([[1, 5, 2, 0, 3, 1, 4, -np.inf]]))
    found = distinct(peaks, np.radians(10), 3)
    assert found.log_evidence.tolist() == [[5, 4, -np.inf]]
    assert np.allclose(found.rotation[0, :2], rotation[0, [1, 6]])
