"""Molecules followed from frame to frame by the places that they cover.

A piece of a frame is the molecule whose last mask, moved with the stage's drift, it covers. Where a piece covers two,
they touch, and each pixel goes to the nearer one; parts of one molecule that lie close together are joined. What covers
none is linked by the least sum of distances (linear assignment), after gaps too; the rest are new molecules.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from tempica.render.film.finding import KIND, SMOOTH, Sizes, drifts, pieces, sizes

COVERED = 0.25  # share of a molecule that a piece must cover to be it
FRAGMENT = 12  # pixels: smaller parts are noise
NEAR = 0.75  # of the root of a molecule's area: parts of one mask further apart have gone separate ways
YOUNG = 5  # frames: a molecule seen in fewer that touches an older one was a part of it
WITHIN = 2.0  # factor of its median area within which a molecule is whole and alone
SHEAR = 1.5  # pixels by which a molecule may be sheared while it is scanned
SEEN = 0.5  # share of the frames between its first and its last in which a molecule is whole
LEAST_FRAMES = 20  # in which a molecule must be seen whole: fewer say nothing of its motion


@dataclass
class Track:
    """One molecule: pixels (pixel, 2), y x, that it covers, by frame of the movie."""

    number: int
    pixels: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def last(self) -> int:
        return max(self.pixels)

    @property
    def area(self) -> float:
        """Median of the pixels that it covers."""
        return float(np.median([len(part) for part in self.pixels.values()]))

    def whole(self, shape: tuple[int, int]) -> list[int]:
        """Frames in which the molecule lies within the frame, alone and in one: its area is near its median."""
        inside = {frame: part for frame, part in self.pixels.items() if not touches_edge(part, shape)}
        if not inside:
            return []
        area = np.median([len(part) for part in inside.values()])
        return sorted(f for f, part in inside.items() if area / WITHIN <= len(part) <= area * WITHIN)


@dataclass(frozen=True)
class Tracks:
    """Molecules of a movie, and what they are like.

    Attributes:
        tracks: molecules seen whole in enough frames, the longest first.
        drift: (frame, 2) of the stage, whole pixels y x; 0 where a frame is left out.
        steady: (frame,) which frames were scanned while the stage was at rest.
        sizes: None where nothing stands out of the support.
    """

    tracks: list[Track]
    drift: np.ndarray
    steady: np.ndarray
    sizes: Sizes | None


def follow(flat: np.ndarray, used: np.ndarray, *, gap: int = 20, least_frames: int = LEAST_FRAMES) -> Tracks:
    """Find molecules of one kind and follow them.

    Parameters:
        flat: (frame, y, x), heights above the support, nm.
        used: (frame,) which frames show something.
        gap: most frames that a molecule may be missing between two in which it is seen.
        least_frames: in which a molecule must be seen whole.

    Molecules of one kind have areas within a factor of three of the median by area.
    """
    frames, shape = np.flatnonzero(used), flat.shape[1:]
    drift = np.zeros((len(flat), 2), int)
    smooth = np.stack([ndimage.gaussian_filter(flat[frame], SMOOTH) for frame in frames]) if len(frames) else flat[:0]
    about = sizes(smooth) if len(frames) else None
    if about is None:
        return Tracks([], drift, used, None)
    labels = [pieces(frame, about.height) for frame in smooth]
    drift[frames], agree = drifts(np.stack([label > 0 for label in labels]))
    steady = used.copy()
    steady[frames] = agree & _unsheared(drift[frames], agree, 2 * np.sqrt(about.area / np.pi) / shape[0])
    tracks: list[Track] = []
    for frame, label in zip(frames.tolist(), labels, strict=True):
        if not steady[frame]:
            continue
        alive = [track for track in tracks if frame - track.last <= gap]
        tracks += _link(frame, label, alive, drift, about.area, len(tracks))
    kept = [
        track
        for track in tracks
        if len(track.whole(shape)) >= least_frames
        and _is_seen(track, shape, steady)
        and _of_kind(track, shape, about.area)
    ]
    return Tracks(sorted(kept, key=lambda track: -len(track.whole(shape))), drift, steady, about)


def _unsheared(drift: np.ndarray, agree: np.ndarray, share: float) -> np.ndarray:
    """Frames (frame,) in which a molecule, which the scan crosses in a share of a frame, is hardly sheared by drift."""
    steps = np.abs(np.diff(drift, axis=0, prepend=drift[:1])).max(1)
    after_a_move = ~np.r_[True, agree[:-1]]
    still: np.ndarray = after_a_move | (steps * share <= SHEAR)
    return still


def _is_seen(track: Track, shape: tuple[int, int], steady: np.ndarray) -> bool:
    """Whether a track is there in most frames from its first to its last, as noise is not."""
    whole = track.whole(shape)
    return len(whole) >= SEEN * steady[whole[0] : whole[-1] + 1].sum()


def _of_kind(track: Track, shape: tuple[int, int], area: float) -> bool:
    own = np.median([len(track.pixels[frame]) for frame in track.whole(shape)])
    return area / KIND <= own <= area * KIND


def _link(frame: int, label: np.ndarray, alive: list[Track], drift: np.ndarray, area: float, first: int) -> list[Track]:
    """Give the pieces of a frame to tracks that are alive; returns tracks that begin here."""
    marks = _marks(frame, label.shape, alive, drift)
    claims = _claims(label, marks, alive, frame, drift)
    parts: dict[int, list[np.ndarray]] = {}
    free = []
    for piece in range(1, label.max() + 1):
        pixels = np.argwhere(label == piece)
        owners = claims.get(piece, [])
        if not owners and len(pixels) >= area / KIND:
            free.append(pixels)
        for owner, part in _split(pixels, owners, marks):
            parts.setdefault(owner, []).append(part)
    for number, track in enumerate(alive):
        if number in parts:
            together, apart = _joined(parts[number], area)
            if len(together) >= track.area / KIND:  # else what is left where it was
                track.pixels[frame] = together
            free += [part for part in apart if len(part) >= area / KIND]
    lost = [track for track in alive if track.last < frame]
    return _assign(frame, free, lost, drift, area, first)


def _marks(frame: int, shape: tuple[int, ...], alive: list[Track], drift: np.ndarray) -> np.ndarray:
    """Where tracks should be now (y, x), numbered from 1; those seen last lie on top."""
    marks = np.zeros(shape, int)
    for number in sorted(range(len(alive)), key=lambda n: alive[n].last):
        pixels = _moved(alive[number], frame, drift)
        inside = pixels[((pixels >= 0) & (pixels < shape)).all(1)]
        marks[tuple(inside.T)] = number + 1
    return marks


def _moved(track: Track, frame: int, drift: np.ndarray) -> np.ndarray:
    moved: np.ndarray = track.pixels[track.last] + drift[frame] - drift[track.last]
    return moved


def _claims(
    label: np.ndarray, marks: np.ndarray, alive: list[Track], frame: int, drift: np.ndarray
) -> dict[int, list[int]]:
    """Tracks, by their number in `alive`, that each piece covers."""
    near = ndimage.maximum_filter(label, size=5)  # pieces grown by two pixels, for molecules that have moved a little
    found: dict[int, list[int]] = {}
    covered = np.zeros((len(alive), label.max() + 1), int)
    on = marks > 0
    np.add.at(covered, (marks[on] - 1, near[on]), 1)
    exact = np.zeros_like(covered)
    np.add.at(exact, (marks[on] - 1, label[on]), 1)
    for number, track in enumerate(alive):
        least = COVERED * len(track.pixels[track.last])
        for piece in np.flatnonzero((covered[number] >= least) | (exact[number] >= FRAGMENT)).tolist():
            if piece:
                found.setdefault(piece, []).append(number)
    for piece, owners in found.items():  # what is hardly there does not share, and what is young was a part
        most = max(exact[o, piece] for o in owners)
        owners = [o for o in owners if exact[o, piece] >= COVERED * most] or owners
        if len(owners) > 1 and any(len(alive[o].pixels) >= YOUNG for o in owners):
            owners = [o for o in owners if len(alive[o].pixels) >= YOUNG]
        found[piece] = owners
    return found


def _split(pixels: np.ndarray, owners: list[int], marks: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """A piece's pixels, each for the nearest of the tracks that it covers."""
    if len(owners) < 2:
        return [(owner, pixels) for owner in owners]
    distance = np.stack([cKDTree(np.argwhere(marks == owner + 1)).query(pixels)[0] for owner in owners])
    nearest = distance.argmin(0)
    return [(owner, pixels[nearest == n]) for n, owner in enumerate(owners) if (nearest == n).sum() >= FRAGMENT]


def _joined(parts: list[np.ndarray], area: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Parts of a molecule that lie close to its largest, in one, and those that are apart."""
    parts = sorted(parts, key=len, reverse=True)
    together, apart = parts[0], []
    for part in parts[1:]:
        if cKDTree(together).query(part)[0].min() <= max(4.0, NEAR * np.sqrt(area)):
            together = np.concatenate([together, part])
        else:
            apart.append(part)
    return together, apart


def _assign(
    frame: int, free: list[np.ndarray], lost: list[Track], drift: np.ndarray, area: float, first: int
) -> list[Track]:
    """Link pieces that cover no track to tracks without a piece, within a diameter; the rest begin."""
    longest = 2 * np.sqrt(area)
    taken = set()
    if free and lost:
        here = np.array([part.mean(0) for part in free])
        there = np.array([_moved(track, frame, drift).mean(0) for track in lost])
        far = np.linalg.norm(here[:, None] - there[None], axis=-1)
        for piece, track in zip(*linear_sum_assignment(np.minimum(far, 10 * longest)), strict=True):
            if far[piece, track] <= longest:
                lost[track].pixels[frame] = free[piece]
                taken.add(int(piece))
    return [Track(first + n, {frame: part}) for n, part in enumerate(p for i, p in enumerate(free) if i not in taken)]


def touches_edge(pixels: np.ndarray, shape: tuple[int, int]) -> bool:
    return bool((pixels.min(0) == 0).any() or (pixels.max(0) == np.array(shape) - 1).any())
