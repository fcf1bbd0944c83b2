"""Molecules of a movie found, followed and aligned: against movies whose molecules are known."""

import numpy as np
import pytest
from scipy.ndimage import rotate

from tempica.render.film.aligning import Cut, align, aligned
from tempica.render.film.finding import drifts
from tempica.render.film.flattening import flatten, usable
from tempica.render.film.tracking import follow

from .. import films


@pytest.fixture(scope="module", params=[0, 1, 2])
def followed(request):
    made = films.molecules(request.param, blanks=(20, 21, 22, 40))
    flat = np.stack([flatten(frame) if np.ptp(frame) else np.zeros_like(frame) for frame in made.height])
    used = usable(made.height, flat)
    return made, flat, used, follow(flat, used)


def test_flattening_takes_away_what_the_instrument_adds():
    rng = np.random.default_rng(0)
    true = films.molecules(0, noise=1e-6)
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    frame = flatten(true.height[0])
    other = flatten(true.height[0] + 3 * x - 4 * y + x**2 + x * y + rng.normal(size=(96, 1)))
    assert np.abs(other - frame).max() < 0.05
    assert abs(np.median(frame)) < 0.05


def test_blank_and_broken_frames_are_left_out(followed):
    made, _, used, _ = followed
    assert np.flatnonzero(~used).tolist() == made.blank.tolist()
    bad = made.height.copy()
    bad[5, 3, 3] = np.nan
    bad[7] = 20 * np.random.default_rng(0).normal(size=bad[7].shape)
    bad[9, :10] = 0.0
    flat = np.stack(
        [flatten(frame) if np.isfinite(frame).all() and np.ptp(frame) else np.zeros_like(frame) for frame in bad]
    )
    assert np.flatnonzero(~usable(bad, flat)).tolist() == [5, 7, 9, *made.blank.tolist()]


def test_each_molecule_is_one_track_right_through_blanks(followed):
    made, flat, used, found = followed
    assert len(found.tracks) == len(made.place)
    taken = set()
    for track in found.tracks:
        frames = track.whole(flat.shape[1:])
        centres = np.stack([track.pixels[frame].mean(0) for frame in frames])
        far = np.linalg.norm(made.place[:, frames] - centres, axis=-1)
        nearest = far.argmin(0)
        assert (nearest == nearest[0]).all()  # never another molecule
        assert len(frames) >= 0.9 * used.sum()
        assert far[nearest[0]].max() < 8
        taken.add(nearest[0])
    assert len(taken) == len(made.place)


def test_molecules_that_touch_are_kept_apart():
    made = films.molecules(3, n_molecules=2, drift=0.0, n_frames=40)
    y, x = np.mgrid[:96, :96].astype(float)
    height = np.zeros((40, 96, 96))
    place = np.zeros((2, 40, 2))
    for t in range(40):
        gap = 9 + abs(t - 20)  # they come together, touch, and part
        place[:, t] = [[48, 48 - gap], [48, 48 + gap]]
        for m in range(2):
            films._lobes(height[t], y, x, place[m, t], np.pi * m, made.angle[m, t])
    seen = films.recorded(height, np.random.default_rng(1), 0.2, ())
    flat = np.stack([flatten(frame) for frame in seen])
    found = follow(flat, usable(seen, flat))
    assert len(found.tracks) == 2
    for track in found.tracks:
        centres = np.stack([track.pixels[frame].mean(0) for frame in sorted(track.pixels)])
        assert len({bool(c[1] > 48) for c in centres}) == 1
        assert len(track.pixels) >= 36


def test_drift_is_that_of_the_stage():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(200, 200)) > 1.5
    masks = np.stack([base[50 + 2 * t : 130 + 2 * t, 50 - t : 130 - t] for t in range(10)])
    place, agree = drifts(masks)
    np.testing.assert_array_equal(place, [[-2 * t, t] for t in range(10)])
    assert agree.all()


def test_a_scan_that_was_moved_is_bridged():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(200, 200)) > 1.5
    masks = [base[50:130, 50:130]] * 5 + [rng.normal(size=(80, 80)) > 1.5] * 2 + [base[80:160, 40:120]] * 5
    place, agree = drifts(np.stack(masks))
    assert agree.tolist() == [True] * 5 + [False] * 2 + [True] * 5
    assert place[-1].tolist() == [-30, 10]


def test_crops_are_turned_onto_each_other():
    """A rigid molecule that turns and shifts: aligned crops are the same but for the noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:61, :61].astype(float)
    cuts, turns = [], np.cumsum(rng.normal(0, 6, 20))
    for turn in turns:
        image = np.zeros((61, 61))
        films._lobes(image, y, x, 30 + rng.normal(0, 0.7, 2), np.radians(turn), 0.3)
        cuts.append(Cut(image + 0.05 * rng.normal(size=image.shape), np.array([30.0, 30.0]), True))
    poses, mean = align(cuts, 32, 1.0, turns=True)
    found = np.array([pose.turn for pose in poses])
    away = (found - turns + 180) % 360 - 180
    assert np.std(away) < 2.0
    crops = np.stack([aligned(cut, pose, 32, 1.0) for cut, pose in zip(cuts, poses, strict=True)])
    assert np.abs(crops - mean).mean() < 0.1
    raw = np.stack([cut.image[15:47, 15:47] for cut in cuts])
    assert (crops - crops.mean(0)).std() < 0.3 * (raw - raw.mean(0)).std()


def test_alignment_is_an_ordinary_rotation():
    image = np.zeros((61, 61))
    image[25:36, 20:45] = 1.0
    from tempica.render.film.aligning import Pose

    turned = aligned(Cut(image, np.array([30.0, 30.0]), True), Pose(30.0, np.zeros(2)), 41, 1.0, order=1)
    np.testing.assert_allclose(turned, rotate(image, 30.0, reshape=False, order=1)[10:51, 10:51], atol=0.15)
