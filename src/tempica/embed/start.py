"""What embed begins with: a basis of displacements, the noise, and how much of the images is worth keeping."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempica import imaging
from tempica.embed import modes
from tempica.embed.elastic import network
from tempica.embed.modes import Elastic
from tempica.embed.modes import State
from tempica.embed.saved import save_state
from tempica.embed.setting import Setting, Span
from tempica.errors import DataError
from tempica.imaging.modes import principal_modes
from tempica.recipe.analysis import EmbedRecipe
from tempica.runs.reading import read

N_PRINCIPAL = 8  # modes of an ensemble among which images choose
N_ELASTIC = 30  # the same of an elastic network
RIGID = 6


def begin(recipe: EmbedRecipe, run: Path, setting_file: Path, state_file: Path, spans: list[Span]) -> None:
    """The first setting and state, of learning from those spans."""
    movie = read(run, "embed", "movie")
    camera = imaging.camera_of(movie)
    n_frames = sum(len(span) for span in spans)
    state = first_state(recipe, run, n_frames, pose_is_known=movie.attrs["pose"] == "known")
    n_beads = len(camera.scatterer_amplitude_A)
    if len(state.reference) != n_beads:
        raise DataError(
            f"The {recipe.modes_from} has {len(state.reference)} beads, and the movie was made of {n_beads}. Both must be of"
            " the same molecule: give the structure of which the images were made."
        )
    n = camera.optics.n_pixels
    images = np.concatenate([span.of(movie)["image"].values.astype(np.float32) for span in spans[:4]])
    wave = np.abs(np.fft.rfft2(images)) ** 2 / n**2
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None]) * n
    power = camera.power() * np.ones_like(k)
    corner = k > 0.55 * n
    noise = float((wave[:, corner] / power[corner]).mean())
    box = n * camera.optics.pixel_size_A
    Setting(
        camera.scatterer_amplitude_A,
        camera.scatterer_width_A,
        np.array(noise),
        power,
        np.array(26 * n // 64),
        np.array(box / 16),
    ).save(setting_file)
    save_state(state_file, state)


def first_state(recipe: EmbedRecipe, run: Path, n_frames: int, *, pose_is_known: bool) -> State:
    """The state before anything is learned, of `n_frames` frames."""
    least = recipe.n_modes
    if recipe.modes_from == "ensemble":
        ensemble = read(run, "embed", "ensemble")["position"].values
        most = min(len(ensemble) - 1, ensemble[0].size - RIGID)
        return modes.start(principal_modes(ensemble, max(least, min(N_PRINCIPAL, most))), n_frames)
    form = read(run, "embed", "structure")["position"].values
    most = form.size - RIGID
    if least > most:
        raise DataError(f"{least} modes need as many motions; {len(form)} beads have {most}. Lower embed.n_modes.")
    # a stated pose is that of some frame, not of the network's own: rigid motion takes one to the other
    elastic = Elastic(form, network(form), rigid=pose_is_known)
    return modes.start_elastic(elastic, max(least, min(N_ELASTIC, most)) + RIGID * pose_is_known, n_frames)
