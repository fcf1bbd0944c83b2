"""Paths through peaks of simulated chains: what is learned of the motion, and who is followed."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.embed.poses.following import follow, likely
from tempica.embed.poses.refine import Peaks
from tempica.embed.poses.rotations import logarithm, turned
from tempica.errors import DataError

from .chains import Chains, simulate

ERROR = np.radians(2.0)


def peaks_of(
    chains: Chains, n_peaks: int, first: float, missed: float, error: float = ERROR
) -> tuple[Peaks, np.ndarray]:
    """The true pose is the best peak in a share `first` of frames, and none in a share `missed`; others are random."""
    rng, n = np.random.default_rng(3), len(chains.molecule)
    rotation = Rotation.random(n * n_peaks, random_state=rng).as_matrix().reshape(n, n_peaks, 3, 3)
    shift, evidence = 3 * rng.standard_normal((n, n_peaks, 2)), 3 * rng.standard_normal((n, n_peaks))
    place = np.where(rng.random(n) < first, evidence.argmax(1), rng.integers(0, n_peaks, n))
    gone, seen = rng.random(n) < missed, np.arange(n)
    seen = seen[~gone]
    rotation[seen, place[seen]] = turned(chains.truth.rotation[seen], error * rng.standard_normal((len(seen), 3)))
    shift[seen, place[seen]] = chains.truth.shift_A[seen] + 0.5 * rng.standard_normal((len(seen), 2))
    return Peaks(rotation, shift, np.zeros((n, n_peaks, 2)), evidence), gone


def error_deg(chains: Chains, rotation: np.ndarray) -> np.ndarray:
    return np.degrees(np.linalg.norm(logarithm(chains.truth.rotation @ rotation.swapaxes(1, 2)), axis=1))


@pytest.mark.parametrize("turn_deg", [3.0, 10.0])
@pytest.mark.parametrize("shift_step", [0.0, None])
def test_a_path_is_found_and_its_motion(turn_deg, shift_step):
    chains = simulate(4, 200, turn_deg, shift_step)
    peaks, gone = peaks_of(chains, 2, 0.95, 0.01)
    path = follow(peaks, chains.molecule, shift_deviation_A=3.0)
    assert np.degrees(np.sqrt(path.turn_variance)) == pytest.approx(turn_deg, rel=0.25)
    assert np.isfinite(path.motion.shift_variance) == (shift_step is not None)
    assert np.median(error_deg(chains, path.rotation)) == pytest.approx(2 * 1.54, rel=0.1)
    assert (error_deg(chains, path.rotation) > 15).sum() <= gone.sum()
    assert np.array_equal(path.peak < 0, gone)  # frames without their true pose take a neighbour's


@pytest.mark.parametrize("shift_step", [0.1, None])
def test_poses_without_memory_are_recognised(shift_step):
    chains = simulate(4, 100, None, shift_step)
    peaks, _ = peaks_of(chains, 3, 0.95, 0.01)
    path = follow(peaks, chains.molecule, shift_deviation_A=3.0)
    assert path.turn_variance == np.inf
    assert np.isfinite(path.motion.shift_variance) == (shift_step is not None)
    if shift_step is None:
        assert np.array_equal(path.peak, peaks.log_evidence.argmax(1))


def test_a_beam_follows_where_frames_alone_do_not():
    chains = simulate(1, 300, 3.0, 0.0)
    peaks, gone = peaks_of(chains, 25, 0.4, 0.04)
    best = peaks.rotation[np.arange(300), peaks.log_evidence.argmax(1)]
    assert (error_deg(chains, best) > 15).mean() > 0.4
    path = follow(peaks, chains.molecule, shift_deviation_A=3.0)
    assert (error_deg(chains, path.rotation) > 15).mean() < 0.01
    few = likely(peaks, chains.molecule, 2, shift_deviation_A=3.0, peak_error_deg=2.0, peak_error_A=0.5)
    near = np.minimum(*(error_deg(chains, few.rotation[:, p]) for p in range(2))) < 15
    assert near[~gone].all()


def test_molecules_of_one_frame_pass_through():
    chains = simulate(50, 1, None, None)
    peaks, _ = peaks_of(chains, 3, 1.0, 0.0)
    path = follow(peaks, chains.molecule, shift_deviation_A=3.0)
    assert np.array_equal(path.peak, peaks.log_evidence.argmax(1))
    assert path.turn_variance == np.inf


def test_a_given_motion_is_kept():
    chains = simulate(2, 60, 3.0, 0.0)
    peaks, _ = peaks_of(chains, 2, 0.95, 0.0)
    given = follow(peaks, chains.molecule, np.radians(3.0) ** 2, shift_deviation_A=3.0, shift_variance=0.01)
    assert given.turn_variance == np.radians(3.0) ** 2
    assert given.motion.shift_variance == 0.01
    alone = follow(peaks, chains.molecule, np.inf, shift_deviation_A=3.0, shift_variance=np.inf)
    assert np.array_equal(alone.peak, peaks.log_evidence.argmax(1))


def test_bad_input_is_named():
    chains = simulate(2, 10, 3.0, 0.0)
    peaks, _ = peaks_of(chains, 2, 0.95, 0.0)
    with pytest.raises(DataError, match="one after the other"):
        follow(peaks, np.arange(20) % 2, shift_deviation_A=3.0)
    peaks.log_evidence[7] = -np.inf
    with pytest.raises(DataError, match="Frame 7"):
        follow(peaks, chains.molecule, shift_deviation_A=3.0)
