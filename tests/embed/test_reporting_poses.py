"""Poses of a part of the molecule: views that stay the same, rigid motions that vanish, covariances by sampling."""

import numpy as np
import pytest

from tempica.embed.poses.motion import Motion, Place
from tempica.embed.poses.reporting import pose_bound, report_frame
from tempica.embed.poses.rotations import exponential, logarithm, turned
from tempica.embed.quadratic import linearise
from tempica.errors import DataError
from tempica.imaging.modes import Modes

from .toy import BEADS, MODES, Setting


def places(n: int, seed: int = 0) -> Place:
    rng = np.random.default_rng(seed)
    return Place(exponential(rng.standard_normal((n, 3))), rng.standard_normal((n, 2)), rng.standard_normal((n, 2)))


def views(modes: Modes, place: Place) -> np.ndarray:
    """Bead positions (F, N, 2) in the view, Å."""
    x = modes.mean + np.einsum("fk,knj->fnj", place.amplitude, modes.shape)
    return 10 * np.einsum("fij,fnj->fni", place.rotation[:, :2], x) + place.shift_A[:, None]


@pytest.mark.parametrize("beads", [None, np.arange(5), np.arange(12) > 6])
def test_the_part_is_superposed_and_seen_where_it_was(beads):
    place = places(6)
    found, _ = report_frame(MODES, place, beads)
    x = MODES.mean + np.einsum("fk,knj->fnj", place.amplitude, MODES.shape)
    part = slice(None) if beads is None else beads
    target = MODES.mean[part]
    for f in range(6):
        # the pose sees the superposed structure where the view sees the structure
        back = found.rotation[f].T @ place.rotation[f]
        superposed = (x[f] - x[f, part].mean(0)) @ back.T + target.mean(0)
        seen = 10 * superposed @ found.rotation[f, :2].T + found.shift_A[f]
        assert np.allclose(seen, views(MODES, place)[f])
        # and no rotation superposes better
        best = ((superposed[part] - target) ** 2).sum()
        for w in 0.02 * np.random.default_rng(1).standard_normal((20, 3)):
            turn = exponential(w[None])[0]
            other = (superposed[part] - target.mean(0)) @ turn.T + target.mean(0)
            assert ((other - target) ** 2).sum() >= best


def test_rigid_motion_in_modes_does_not_matter():
    """Modes with rigid rotations and translations mixed in have the same images to first order, and the same report."""
    place, rigid = places(5), 1e-3
    spin = np.cross(np.array([0.3, -1.0, 0.5]), MODES.mean)
    small = Modes(MODES.mean, rigid * MODES.shape)
    mixed = Modes(MODES.mean, rigid * (MODES.shape + np.stack([spin, 0 * spin + 1.0])))
    one, _ = report_frame(small, place)
    # the same views through the mixed modes: take the rigid part out of the pose
    turn = exponential(-rigid * place.amplitude[:, :1] * np.array([0.3, -1.0, 0.5]))
    rotation = place.rotation @ turn
    shift = place.shift_A - 10 * rigid * place.amplitude[:, 1:] * np.einsum("fij,j->fi", rotation[:, :2], np.ones(3))
    other, _ = report_frame(mixed, Place(rotation, shift, place.amplitude))
    assert np.allclose(logarithm(one.rotation @ other.rotation.swapaxes(1, 2)), 0, atol=2e-5)
    assert np.allclose(one.shift_A, other.shift_A, atol=2e-4)


def test_covariance_is_that_of_samples():
    place, rng = places(1), np.random.default_rng(2)
    root = 0.02 * rng.standard_normal((7, 7))
    root[:2] *= 5
    found, covariance = report_frame(MODES, place, np.arange(4), (root @ root.T)[None])
    step = rng.standard_normal((20_000, 7)) @ root.T
    many = Place(
        turned(np.repeat(place.rotation, len(step), 0), step[:, 2:5]),
        place.shift_A + step[:, 5:],
        place.amplitude + step[:, :2],
    )
    there, _ = report_frame(MODES, many, np.arange(4))
    turn = logarithm(there.rotation @ found.rotation.swapaxes(1, 2))
    sample = np.cov(np.concatenate([step[:, :2], turn, there.shift_A - found.shift_A], 1).T)
    assert covariance is not None
    scale = np.sqrt(np.diag(covariance[0]))
    assert np.allclose(sample / np.outer(scale, scale), covariance[0] / np.outer(scale, scale), atol=0.08)


def test_bound_shrinks_with_neighbours():
    setting = Setting(12)
    place = Place(setting.rotation[:1].repeat(12, 0), setting.shift[:1].repeat(12, 0), np.zeros((12, 2)))
    noise = setting.signal / 0.1
    position = np.broadcast_to(MODES.mean, (12, *MODES.mean.shape))
    seen = linearise(
        setting.observe(setting.noisy(noise), noise),
        BEADS,
        position,
        place.rotation,
        place.shift_A,
        MODES.shape,
        pose=True,
    )
    motion = Motion(np.radians(3.0) ** 2, 0.01, 9.0, np.zeros((1, 2)))
    alone = pose_bound(seen, place, np.zeros(12), motion, in_chain=False)
    chain = pose_bound(seen, place, np.zeros(12), motion)
    apart = pose_bound(seen, place, np.arange(12), motion)
    assert np.allclose(alone, apart)
    prior = np.diag([1.0, 1.0, 1 / 1.763, 1 / 1.763, 1 / 1.763, 1 / 9, 1 / 9])
    assert np.allclose(alone, np.linalg.inv(seen.information + prior)[:, 2:, 2:], rtol=1e-3)
    assert (np.linalg.eigvalsh(alone - chain) > -1e-12).all()
    assert np.trace(chain, axis1=1, axis2=2).mean() < 0.7 * np.trace(alone, axis1=1, axis2=2).mean()


def test_two_beads_have_no_orientation():
    with pytest.raises(DataError, match="three"):
        report_frame(MODES, places(2), np.arange(2))
