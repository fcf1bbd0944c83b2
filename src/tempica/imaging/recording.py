"""From positions to pixel levels: the clean image, the noise of its frame, and the digitiser."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempica.imaging.camera import FOCUS, Camera
from tempica.imaging.detector import Detector, Scale

VIEW = ("pose_quaternion", "pose_shift_A", *FOCUS)


@dataclass(frozen=True, eq=False)
class Recorder:
    """Everything that turns positions into the levels of a movie; stored and lazy movies are both made by it."""

    camera: Camera
    detector: Detector
    scale: Scale
    seed: int

    def levels(
        self, replica: int, frames: np.ndarray, position: np.ndarray, view: dict[str, np.ndarray], device: str = "cpu"
    ) -> np.ndarray:
        """Digital levels (frame, y, x), of the scale's dtype, of frames of a replica.

        `frames` (frame,) are their numbers within the replica, `position` (frame, atom, space) is in nm, and `view`
        holds the arrays named in VIEW, over frame. A frame is the same whichever others are made with it.
        """
        image = self.camera.clean_images(position, *(view[name] for name in VIEW), device=device)
        for row, frame in enumerate(frames.tolist()):
            image[row] = self.detector.record(image[row], self.seed, replica, frame)
        return self.scale.digitise(image)
