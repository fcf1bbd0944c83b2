"""Images of a molecule in many poses and a few forms, and which of them a frame looks like.

How well a frame y shows a template T is told by their correlation once both lie with their centre of height in the
middle: what a blunter tip adds to all heights is of little matter, and all templates of a face are compared with all
frames by one product of matrices. Pixels are averaged in blocks that are moved by fractions of a pixel. Forms are bent
along the first modes: a hinge that is bent looks less like the mean than the mean upside down.

Shape legend: F frame, G face, A angle, T form × angle, C candidate, K mode, D pixels, d blocks of pixels.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from tempica.embed.poses.rotations import exponential
from tempica.imaging.heights import Heights
from tempica.imaging.modes import Modes

N_ANGLES = 24
FEW_FACES = 8  # on which a molecule is looked at in more forms
BENT, MORE_BENT = np.array([[-1.5, 0.0, 1.5]]), np.array([[-2.0, -1.0, 0.0, 1.0, 2.0]] * 2)  # (mode, step) deviations
APART = math.radians(60.0)  # turns in the plane that are looked at on one face differ by more
FOOT = 0.25  # share of a frame's greatest heights that is left out when their centre is sought


@dataclass(frozen=True)
class Candidates:
    """Poses (F, C) that may be those of frames, two of each face that was asked for."""

    score: np.ndarray  # (F, C) correlation
    rotation: np.ndarray  # (F, C, 3, 3)
    shift_A: np.ndarray  # (F, C, 2)
    amplitude: np.ndarray  # (F, C, K)

    def on(self, column: np.ndarray) -> Candidates:
        """Those on some of the faces that were asked for, by their numbers (F, …) in that order."""
        pairs = (2 * column[..., None] + [0, 1]).reshape(len(column), -1)
        return Candidates(*(part[np.arange(len(column))[:, None], pairs] for part in vars(self).values()))


@dataclass
class Templates:
    """Images of forms of a molecule on faces (G, 3, 3) at all angles, made when they are asked for."""

    heights: Heights
    modes: Modes
    faces: np.ndarray
    made: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Pixels along the edge of a block: no structure is finer than the tip and a bead together."""
        probe = self.heights.probe
        return 2 if probe.pixel_nm <= 0.6 * (probe.radius_nm + float(np.median(self.heights.radius))) else 1

    @property
    def bent(self) -> np.ndarray:
        """Steps (mode, step) of the first modes' amplitudes, evenly spaced, of which forms are all combinations."""
        return (MORE_BENT if len(self.faces) <= FEW_FACES else BENT)[: len(self.modes.shape)]

    @property
    def forms(self) -> np.ndarray:
        """Amplitudes (form, K)."""
        every = np.array(list(itertools.product(*self.bent)))
        return np.pad(every, ((0, 0), (0, len(self.modes.shape) - every.shape[1])))

    def views(self, face: int, turn: np.ndarray) -> np.ndarray:
        """Rotations (A, 3, 3) of a face that is turned in the plane, by the angle between templates so many times."""
        angle = 2 * np.pi / N_ANGLES * turn
        return exponential(angle[:, None] * [0.0, 0.0, 1.0]) @ self.faces[face]

    def candidates(self, images: np.ndarray, faces: np.ndarray) -> Candidates:
        """The best turn and place of images (F, D, D) on each face (F, C / 2), and the best of other turns."""
        tails = (), (3, 3), (2,), (len(self.modes.shape),)
        found = Candidates(*(np.empty((len(images), 2 * faces.shape[1], *tail)) for tail in tails))
        seen, centre = self._centred(levelled(images, self.heights.probe.fast_axis))
        for column in range(faces.shape[1]):
            for face in np.unique(faces[:, column]):
                at = np.flatnonzero(faces[:, column] == face)
                self._looked(seen[at], centre[at], int(face), found, at, 2 * column)
        return found

    def _looked(
        self, seen: np.ndarray, centre: np.ndarray, face: int, found: Candidates, at: np.ndarray, column: int
    ) -> None:
        """Fill the two columns of a face for frames `at`, of which `_centred` told blocks and centres."""
        template, middle = self._made(face)
        forms, every = self.forms, np.arange(len(at))
        score = (seen @ template.T).reshape(len(at), len(forms), N_ANGLES)
        best = score.max(1)  # (F, A)
        first = best.argmax(1)
        apart = np.abs((np.arange(N_ANGLES) - first[:, None] + N_ANGLES // 2) % N_ANGLES - N_ANGLES // 2)
        second = np.where(apart * 2 * np.pi / N_ANGLES > APART, best, -np.inf).argmax(1)
        for k, angle in enumerate((first, second)):
            form = score[every, :, angle].argmax(1)
            beside = (angle[:, None] + [-1, 0, 1]) % N_ANGLES
            turn = angle + _peak(score[every[:, None], form[:, None], beside])
            found.score[at, column + k] = best[every, angle]
            found.rotation[at, column + k] = self.views(face, turn)
            found.amplitude[at, column + k] = forms[form] + self._between(score[every, :, angle], form)
            found.shift_A[at, column + k] = 10 * (centre - middle[form * N_ANGLES + angle])

    def _between(self, score: np.ndarray, form: np.ndarray) -> np.ndarray:
        """How far from the best forms (F,) amplitudes (F, K) have the highest score, by those (F, form) beside it."""
        found, every = np.zeros((len(form), len(self.modes.shape))), np.arange(len(form))
        for mode, step in enumerate(self.bent):
            stride = len(step) ** (len(self.bent) - 1 - mode)
            at = form // stride % len(step)
            inner = (at > 0) & (at < len(step) - 1)
            beside = form[:, None] + stride * np.where(inner[:, None], [-1, 0, 1], 0)
            found[:, mode] = (step[1] - step[0]) * _peak(score[every[:, None], beside])
        return found

    def _made(self, face: int) -> tuple[np.ndarray, np.ndarray]:
        """Blocks (T, d²) and centres (T, 2) of templates of a face."""
        if face not in self.made:
            form = self.modes.mean + np.tensordot(self.forms, self.modes.shape, 1)
            views = self.views(face, np.arange(N_ANGLES))
            many, view = np.repeat(form, N_ANGLES, 0), np.tile(views, (len(form), 1, 1))
            self.made[face] = self._centred(self.heights[:0].model(many, view, np.zeros((len(view), 2))))
        return self.made[face]

    def _centred(self, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means (F, d²) of blocks around the centre of height, of mean 0 and length 1; the centres (F, 2) in nm."""
        n_pixels, step = level.shape[1], self.step
        at = np.arange(n_pixels, dtype=np.float32) - n_pixels // 2
        rank = n_pixels**2 - 1 - n_pixels**2 // 50  # few pixels may be spikes
        high = np.partition(level.reshape(-1, n_pixels**2), rank, 1)[:, rank, None, None]
        mass = np.maximum(level - FOOT * high, 0)
        total = np.maximum(mass.sum((1, 2)), 1e-6)
        centre = np.stack([mass.sum(1) @ at, mass.sum(2) @ at], 1) / total[:, None]  # (F, 2), x and y
        edge = step * (np.arange(n_pixels // step + 1) - n_pixels // step / 2).astype(np.float32)
        low = centre[..., None] + edge  # (F, 2, d + 1), of blocks in pixels
        within = np.minimum(low[..., 1:, None], at + 0.5) - np.maximum(low[..., :-1, None], at - 0.5)
        share = np.maximum(within, 0) / np.float32(step)  # (F, 2, d, D) of pixels in blocks
        block = (share[:, 1] @ level @ share[:, 0].swapaxes(1, 2)).reshape(len(level), -1)
        block -= block.mean(1, keepdims=True)
        block /= np.maximum(np.sqrt((block**2).sum(1, keepdims=True)), 1e-12)
        return block, self.heights.probe.pixel_nm * centre


def levelled(image: np.ndarray, fast_axis: str) -> np.ndarray:
    """Heights (F, D, D) over the support: the median of the lower quarter of a line's pixels is 0."""
    line = 2 if fast_axis == "x" else 1
    low = np.sort(image, line).take(range(max(1, image.shape[line] // 4)), line)
    return np.asarray(image - np.median(low, line, keepdims=True))


def _peak(value: np.ndarray) -> np.ndarray:
    """Where the parabola through three values (F, 3), of which the middle one is the largest, has its peak: −½ to ½."""
    bend = value[:, 0] - 2 * value[:, 1] + value[:, 2]
    return np.asarray(np.clip(0.5 * (value[:, 0] - value[:, 2]) / np.minimum(bend, -1e-12), -0.5, 0.5))
