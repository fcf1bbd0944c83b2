"""A long movie: memory, storage and speed of rendering it stored and lazy.

    python tests/benchmarks/movie.py --frames 100000 --jobs 2

The trajectory is made up (beads of a protein's size that tremble about a mean), so that the benchmark is of the camera
alone. Every process of the render stage counts towards memory, at its own peak. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from tempica import imaging
from tempica.progress import Progress
from tempica.recipe.experiment import Recipe
from tempica.render import stage
from tempica.runs import pool
from tempica.runs.work import Work
from tempica.stores import reading, store

CAMERAS = {
    "white": {"snr": 0.1},
    "poisson": {"noise": {"kind": "poisson"}, "dose_per_frame_e_A2": 40.0},
}


def recipe_of(n_frames: int, n_pixels: int, camera: str, lazy: bool) -> Recipe:
    content = {
        "name": "long_movie",
        "simulate": {
            "n_replicas": 3,
            "n_frames": n_frames,
            "molecule": {"kind": "arms", "n_arms": 1},
        },
        "render": {"n_pixels": n_pixels, "pixel_size_A": 1.5, "lazy": lazy} | CAMERAS[camera],
        "train": {"validation_replicas": 1, "held_out_replicas": 1},
    }
    return Recipe.model_validate(content)


def make_trajectory(run: Path, n_frames: int, n_beads: int) -> None:
    """One replica, written in parts."""
    sizes = {"replica": 1, "time": n_frames, "atom": n_beads, "space": 3, "cv": 1, "source_name": 1}
    about = store.provenance("", 0, "0" * 16, "benchmark") | {"topology": "{}"}
    path = run / "trajectory.zarr"
    store.create(path, "trajectory", sizes | {"slow_mode_number": 1}, attributes=about, chunks={"time": 100})
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(n_beads, 3)).astype(np.float32)
    for first in range(0, n_frames, 1000):
        size = min(1000, n_frames - first)
        position = mean + 0.1 * rng.standard_normal((1, size, n_beads, 3), dtype=np.float32)
        store.write(path, {"position": position}, time=slice(first, first + size))
    beads = {"scattering_length_A": np.full(n_beads, 17.0), "bead_width": np.full(n_beads, 0.19)}
    store.write(path, beads | {"formula": ["C5H8NO"] * n_beads, "time": np.arange(float(n_frames))})
    store.write(path, {"cv": ["a"], "cv_units": ["rad"], "source_name": ["a"], "replica": np.zeros(1)})
    store.write(path, {name: np.zeros((1, n_frames)) for name in ("label", "molecule")})
    store.seal(path)


def render(run: Path, recipe: Recipe, jobs: int) -> dict[str, float]:
    folder = run / "work"
    folder.mkdir()
    started = time.perf_counter()
    with pool.process_pool(jobs) as executor:
        work = Work("render", run, folder, recipe, "", "0" * 16, executor, Progress(terminal=False))
        stage.run(work)
    seconds = time.perf_counter() - started
    movie = folder / "movie.zarr"
    store.seal(movie)
    n_bytes = sum(path.stat().st_size for path in movie.rglob("*") if path.is_file())
    movie.rename(run / "movie.zarr")
    n_frames = recipe.simulate.n_frames
    return {
        "seconds": round(seconds, 1),
        "frames_per_s": round(n_frames / seconds),
        "bytes_per_frame": n_bytes / n_frames,
    }


def peaks_MB() -> tuple[float, float]:
    """Largest memory of this process and of any that it started, so far."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    own, child = (resource.getrusage(one).ru_maxrss / 1024 for one in who)
    return own, child


def poisson_us(n_pixels: int) -> tuple[float, float]:
    """Processor time of an image's Poisson numbers of mean 20: ours and numpy's, in turns."""
    mean, rng, spent = np.full((n_pixels, n_pixels), 20.0), np.random.default_rng(0), np.zeros(2)
    imaging.poisson(mean, 0)
    for turn in range(40):
        for which, draw in enumerate((lambda: imaging.poisson(mean, turn), lambda: rng.poisson(mean))):  # noqa: B023
            started = time.process_time()
            draw()
            spent[which] += time.process_time() - started
    ours, numpys = 1e6 * spent / 40
    return ours, numpys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--beads", type=int, default=214)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--camera", choices=CAMERAS, default="white")
    parser.add_argument("--kinds", nargs="+", choices=("stored", "lazy"), default=["stored", "lazy"])
    parser.add_argument("--same", type=int, default=200, help="frames of the lazy movie compared with the stored one")
    given = parser.parse_args()
    figures: dict[str, object] = vars(given) | {"frame_bytes": given.pixels**2}
    images = []
    for kind in given.kinds:
        with tempfile.TemporaryDirectory() as name:
            run = Path(name)
            make_trajectory(run, given.frames, given.beads)
            found = render(run, recipe_of(given.frames, given.pixels, given.camera, kind == "lazy"), given.jobs)
            movie = reading.open_movie(run)
            frames = np.unique(np.linspace(0, given.frames - 1, given.same).astype(int))
            images.append(movie["image"].isel(replica=0, time=frames).values)
            figures[kind] = found
    own, child = peaks_MB()
    figures |= {"parent_MB": round(own), "largest_worker_MB": round(child), "all_MB": round(own + given.jobs * child)}
    figures["same_images"] = bool((images[0] == images[-1]).all()) if len(images) == 2 else None
    figures["poisson_us"], figures["poisson_numpy_us"] = (round(us) for us in poisson_us(128))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
