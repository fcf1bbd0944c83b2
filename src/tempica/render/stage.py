"""Renders every frame, block by block."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tempica import store
from tempica.errors import RecipeError

if TYPE_CHECKING:
    from tempica.pipeline import Work

BLOCK_FRAMES = 100


def run(work: Work) -> None:
    """Render every frame twice: to learn how strong the signal is, and to write it with noise."""
    if work.recipe.particles is not None:
        from tempica.render import particles

        return particles.run(work)
    from tempica.render.detector import Scale, noise_deviation
    from tempica.render.movie import measure_block, optics_of, write_block

    recipe = work.recipe.render
    trajectory = store.read(work.run, "render", "trajectory")
    n_replicas, n_frames, n_atoms, _ = trajectory["position"].shape
    edges = [*range(0, n_frames, BLOCK_FRAMES), n_frames]
    blocks = [(r, a, b) for r in range(n_replicas) for a, b in pairwise(edges)]

    measured = {block: work.folder / "signal" / f"{block[0]}-{block[1]}.npz" for block in blocks}
    work.run_chains(
        "signal strength",
        [
            [(f"signal-{r}-{a}", partial(measure_block, work.recipe, work.run, path, r, a, b))]
            for (r, a, b), path in measured.items()
        ],
    )
    signal = [store.load_arrays(path) for path in measured.values()]
    variance = float(np.concatenate([s["variance"] for s in signal]).mean())
    if variance == 0:
        raise RecipeError(
            f"The images are empty: no bead falls into a box of {recipe.n_pixels} pixels of {recipe.pixel_size_A} Å."
            " Take a larger render.n_pixels, or a smaller render.shift_deviation_A."
        )
    deviation = noise_deviation(variance, recipe.snr)
    scale = Scale.covering(min(s["low"].min() for s in signal), max(s["high"].max() for s in signal), deviation)

    optics = vars(optics_of(recipe))
    movie = work.create_store(
        "movie",
        {"replica": n_replicas, "time": n_frames, "y": recipe.n_pixels, "x": recipe.n_pixels}
        | {"quaternion": 4, "plane": 2, "atom": n_atoms},
        chunks={"replica": 1, "time": BLOCK_FRAMES},
        scale={"image": (scale.factor, scale.offset)},
        attributes={"pose": "known", "noise_std": deviation} | {k: v for k, v in optics.items() if k != "n_pixels"},
    )
    store.write(
        movie,
        {
            name: trajectory[name].values
            for name in ("replica", "time", "label", "molecule", "scattering_length", "bead_width")
        },
    )
    work.run_chains(
        f"blocks of {BLOCK_FRAMES} frames",
        [
            [
                (
                    f"movie-{r}-{a}",
                    partial(write_block, work.recipe, work.run, movie, deviation, scale, r, a, b),
                )
            ]
            for r, a, b in blocks
        ],
    )
