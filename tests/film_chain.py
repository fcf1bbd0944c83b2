"""From frames to what is said of their motion, without a run folder: what the stages do, one after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tempica.embed.crops import components, differences
from tempica.ica.linear.linear import TICA
from tempica.ica.moving import motion
from tempica.render.film.aligning import Pose, align, aligned
from tempica.render.film.cutting import Molecule, cut_all, windows
from tempica.render.film.flattening import flatten, usable
from tempica.render.film.tracking import follow


@dataclass(frozen=True)
class Found:
    """Rows of all molecules, their components' amplitudes, TICA's sources, and the verdict."""

    track: np.ndarray
    frame: np.ndarray
    centre: np.ndarray
    image: np.ndarray
    latent: np.ndarray
    source: np.ndarray
    told: dict[str, Any]
    of_windows: bool


def chain(height: np.ndarray, seed: int = 0) -> Found:
    """What the stages render, embed and train find in frames (frame, y, x)."""
    flat = np.stack([flatten(frame) if np.ptp(frame) > 0 else np.zeros_like(frame) for frame in height])
    used = usable(height, flat)
    found = follow(flat, used)
    shape = flat.shape[1:]
    molecules = [Molecule.of_track(n, track, found.steady, shape) for n, track in enumerate(found.tracks)]
    of_windows = not molecules
    if of_windows:
        molecules = windows(shape, found.steady, found.drift)
    cuts = cut_all(flat, molecules, None if of_windows else found.sizes, None)
    images = []
    for number in cuts.tracks:
        own = cuts.of(number)
        poses, _ = align(own, cuts.size, cuts.pitch, turns=not of_windows)
        images += [
            aligned(cut, Pose(pose.turn, pose.shift), cuts.size, cuts.pitch)
            for cut, pose in zip(own, poses, strict=True)
        ]
    image = np.stack(images)
    tall = 0.0 if of_windows else found.sizes.height
    rng = np.random.default_rng(seed)
    F = differences(image, cuts.track, tall).F
    model = components(F, cuts.track, 2, 8, rng)
    latent = model.posterior(F)[0]
    source = TICA(None).fit(latent, replicas=cuts.stretch).transform(latent)[:, :2]
    told = motion(latent, {"tica": source}, cuts.stretch, cuts.track, cuts.frame, rng)
    return Found(cuts.track, cuts.frame, cuts.centre, image, latent, source, told, of_windows)
