"""Rounds of expanding and learning, on a molecule that is seen by noisy projections of its beads instead of images."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica import kalman
from tempica.embed.modes.state import (
    MOVES,
    RESOLUTION_A,
    as_arrays,
    converged,
    elastic_start,
    from_arrays,
    latents,
    product,
    resolution_A,
    start,
    step,
)
from tempica.embed.rounds import expand_frames
from tempica.imaging.diffraction import Beamline
from tempica.imaging.modes import Modes, principal_modes
from tempica.imaging.photons import patterns_of
from tempica.imaging.xray import scatterers_of
from tempica.stores import files

RHO, NOISE = 0.9, 0.15  # nm


def bent(angle):
    """A rod of two bundles, the upper one turned about its foot by an angle (F,) and the lower one held: (F, N, 3)."""
    along = 0.15 * np.arange(20)
    turn = np.radians(100) * np.arange(20)
    rod = np.stack([0.23 * np.cos(turn), 0.23 * np.sin(turn), along], 1)
    bundle = np.concatenate([rod + np.array(shift) for shift in ([0, 0, 0], [0.9, 0, 0], [0, 0.9, 0])])
    lower, upper = bundle * [1, 1, -1] - [0, 0, 0.2], bundle + np.array([0, 0, 0.2])
    turned = Rotation.from_rotvec(np.outer(angle, [1, 0, 0])).as_matrix()
    return np.concatenate([np.broadcast_to(lower, (len(angle), *lower.shape)), upper @ turned.swapaxes(1, 2)], 1)


@pytest.fixture(scope="module")
def seen():
    """Structures of two molecules, angles, labels, and `expand` of coordinates seen along one axis each frame."""
    rng = np.random.default_rng(4)
    molecule = np.repeat([0, 1], 200)
    source = rng.normal(size=(400, 1)) * np.sqrt(kalman.process(molecule, np.array([RHO])))
    for t in range(1, 400):
        source[t] += RHO * source[t - 1] * (molecule[t] == molecule[t - 1])
    angle = 0.6 + 0.25 * source[:, 0]
    position = bent(angle)
    axis = rng.normal(size=(400, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    view = (position @ axis[..., None])[..., 0] + NOISE * rng.normal(size=position.shape[:2])

    def expand(amplitude, reference, shape):
        columns = np.einsum("bnj,fj->fbn", shape, axis) / NOISE
        model = ((reference + np.tensordot(amplitude, shape, 1)) @ axis[..., None])[..., 0]
        information = columns @ columns.swapaxes(1, 2)
        slope = (columns @ ((view - model) / NOISE)[..., None])[..., 0]
        return information.astype(np.float32), slope + (information @ amplitude[..., None])[..., 0]

    return position, angle, molecule, expand


def rms(x):
    return np.sqrt((x**2).sum(-1).mean())


def test_one_structure_is_enough(seen):
    """From the straight form, at which no frame is: the hinge, its dynamics and the mean are found."""
    position, angle, molecule, expand = seen
    form = bent(np.zeros(1))[0]
    state = elastic_start(form, 26, 400, rigid=True)
    first = rms(state.reference - position.mean(0))
    while not converged(state):
        state = step(state, *expand(state.amplitude, state.reference, state.shape), molecule, 2)
    assert len(state.change) < 12
    modes = product(state)
    assert rms(modes.mean - position.mean(0)) < 0.15 * first
    flat = np.linalg.qr(modes.shape.reshape(2, -1).T)[0]
    hinge = principal_modes(position, 1).shape.ravel()
    assert np.linalg.norm(flat.T @ hinge) > 0.98 * np.linalg.norm(hinge)
    assert abs(np.corrcoef(state.learned.mean[:, 0], angle)[0, 1]) > 0.97
    assert state.learned.autocorrelation[0] == pytest.approx(RHO, abs=0.06)
    moved, straight = (np.linalg.norm(x[:60, None] - x[None, :60], axis=-1) for x in (state.reference, form))
    assert np.sqrt(((moved - straight) ** 2).mean()) < 0.05  # the bundle is not stretched


@pytest.mark.parametrize("photons", [800, 8000])
def test_one_structure_is_enough_for_patterns(photons, tmp_path):
    """Also where they are bright, and the form that one begins with explains them far worse than noise would."""
    rng, n = np.random.default_rng(6), 120
    angle = 0.2 + 0.12 * rng.normal(size=n)
    position, form = bent(angle), bent(np.zeros(1))[0]
    rotation = Rotation.random(n, random_state=6).as_matrix()
    line = Beamline(32, 1500.0, 100.0, 6000.0, 1.5, "none", 20.0)
    beads = scatterers_of(["C5H8N2O2"] * len(form), np.full(len(form), 0.2))
    dark = patterns_of(np.zeros((1, 32, 32)), line.mask, line, beads, 1.0, 0.0)
    light = photons / dark.expected(position, rotation).sum(1).mean()
    empty = replace(dark, scale=np.float32(light) * dark.scale)
    likelihood = replace(empty, count=rng.poisson(empty.expected(position, rotation)).astype(np.float32))
    poses = {"rotation": rotation, "shift_A": np.zeros((n, 2)), "precision": np.zeros(5)}
    files.save_arrays(tmp_path / "poses.npz", **poses)
    state = elastic_start(form, 16, n, rigid=True)
    while not converged(state):
        expand_frames(likelihood, state, tmp_path / "poses.npz", tmp_path / "out.npz", slice(None))
        told = files.load_arrays(tmp_path / "out.npz")
        state = step(state, told["information"], told["evidence"], np.arange(n), 1, timeless=True)
    assert abs(np.corrcoef(state.learned.mean[:, 0], angle)[0, 1]) > 0.9


def test_a_basis_that_is_right_needs_one_round(seen):
    position, angle, molecule, expand = seen
    state = start(principal_modes(position, 2), 400)
    learned = []
    for _ in range(3):
        state = step(state, *expand(state.amplitude, state.reference, state.shape), molecule, 1, n_steps=40)
        learned.append(state.learned)
    # what is seen is linear in the amplitudes here, so that nothing is gained by expanding again
    np.testing.assert_allclose(learned[2].mean, learned[0].mean, atol=0.01)
    assert converged(state)
    mean, covariance = latents(state.learned, *expand(state.amplitude, state.reference, state.shape))
    smoothed = state.learned.covariance[:, 0, 0]
    assert (smoothed <= covariance[:, 0, 0] + 1e-12).all()
    assert abs(np.corrcoef(mean[:, 0], angle)[0, 1]) > 0.94


def test_a_saved_state_goes_on_the_same(seen, tmp_path):
    *_, molecule, expand = seen
    form = bent(np.zeros(1))[0]
    for state in (
        elastic_start(form, 20, 400),
        start(Modes(form, np.random.default_rng(0).normal(size=(3, *form.shape))), 400),
    ):
        for _ in range(2):
            np.savez(tmp_path / "state.npz", **as_arrays(state))
            with np.load(tmp_path / "state.npz") as arrays:
                again = from_arrays(dict(arrays))
            expanded = expand(state.amplitude, state.reference, state.shape)
            after, other = (as_arrays(step(s, *expanded, molecule, 2, n_steps=3)) for s in (state, again))
            state = from_arrays(after)
            assert after.keys() == other.keys()
            for name, value in after.items():
                np.testing.assert_array_equal(value, other[name])


def test_rounds_from_one_structure_look_coarse_to_fine_and_come_to_rest(seen):
    *_, molecule, expand = seen
    form = bent(np.zeros(1))[0]
    state = elastic_start(form, 20, 400)
    assert resolution_A(start(Modes(form, state.shape), 400)) == RESOLUTION_A[0]
    details, references = [], []
    for _ in range(MOVES + 2):
        details.append(resolution_A(state))
        settled = replace(state, change=np.zeros(len(state.change)))
        assert converged(settled) == (len(details) > len(RESOLUTION_A))
        state = step(state, *expand(state.amplitude, state.reference, state.shape), molecule, 2, n_steps=2)
        references.append(state.reference)
    assert details == [*RESOLUTION_A, 0, 0]
    moves = [rms(b - a) for a, b in pairwise(references)]
    assert min(moves[: MOVES - 1]) > 0
    assert moves[MOVES - 1 :] == [0, 0]
