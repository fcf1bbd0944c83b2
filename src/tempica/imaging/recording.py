"""From positions to pixel levels: the clean image, its noise, and the digitiser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tempica.imaging.camera import FOCUS

if TYPE_CHECKING:
    from tempica.imaging.camera import Camera
    from tempica.imaging.detector import Detector, Scale


VIEW = ("pose_quaternion", "pose_shift_A", *FOCUS)


def levels(
    camera: Camera,
    detector: Detector,
    scale: Scale,
    seed: int,
    replica: int,
    frames: np.ndarray,
    position: np.ndarray,
    view: dict[str, np.ndarray],
    device: str = "cpu",
) -> np.ndarray:
    """Digital levels (frame, y, x), of the scale's dtype, of frames of a replica: clean images, their noise, digitised.

    `position` (frame, atom, space) in nm and `view` (the arrays named in VIEW, over frame) are those of the frames.
    Both kinds of movie come from here; a frame is the same whichever others are made with it.
    """
    image = camera.clean_images(position, *(view[name] for name in VIEW), device=device)
    for row, frame in enumerate(frames.tolist()):
        image[row] = detector.record(image[row], seed, replica, frame)
    return scale.digitise(image)
