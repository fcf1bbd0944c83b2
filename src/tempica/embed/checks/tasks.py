"""Tests a run for bias: models of other molecules, made-up images and halves of the data against what the run found.

Every test is a comparison of log-evidence a frame (`check_evidence`), most on held-out frames, which the run's modes
were not learned from. `check_verdicts` says what each should give.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from tempica import imaging, seeds
from tempica.embed.checks import models
from tempica.embed.checks.evidence import explain
from tempica.embed.checks.frames import Images, halves, held_out, load, stretches
from tempica.embed.checks.learning import learn_model
from tempica.embed.checks.verdicts import write_checks
from tempica.embed.modes.state import State, elastic_start
from tempica.embed.noise import Views, choose_radius, estimate_noise
from tempica.embed.poses.grids import Grid, rotation_grid, rotations_for
from tempica.embed.poses.settling import PosePrior, hidden
from tempica.embed.setting import Setting, Span, stated_precision
from tempica.embed.start import N_ELASTIC, NOISE_FRAMES, RIGID, first_state, for_frames, signal
from tempica.errors import DataError
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import Modes
from tempica.recipe.analysis import EmbedRecipe
from tempica.runs.reading import read
from tempica.stores import files

if TYPE_CHECKING:
    from tempica.runs.work import Work

MADE = ("run", "rigid", "shape", "mirror", "reversed", "soft")
"""Models that need no learning: the run's, the same without motion, and others in its place."""


@dataclass(frozen=True)
class Lesson:
    """A model learned anew."""

    name: str
    half: int  # of the training frames
    images: Images = "run"
    start: str = "run"  # what it begins with: as the run, the run's mean alone, or another structure


@dataclass(frozen=True)
class Look:
    """Frames explained by a model."""

    model: str
    frames: str = "held_out"  # or half-0, half-1
    images: Images = "run"
    grid: int = 0  # of hidden poses; 1 is another

    @property
    def name(self) -> str:
        return f"{self.images}-{self.frames}-{self.model}" + "-again" * self.grid


def run(work: Work, n_frames: int, other: np.ndarray | None, other_name: str) -> None:
    """All tests.

    Parameters:
        n_frames: of training replicas that models are learned from; half as many are held out.
        other: structure (N, 3) in nm to begin with instead of the run's; none if there is none.
        other_name: what to call it.
    """
    movie, recipe = work.read("movie"), work.recipe
    length, seed = movie.sizes["time"], recipe.seed
    parts = halves(recipe.splits, length)
    frames = {f"half-{i}": stretches(part, -(-n_frames // 2)) for i, part in enumerate(parts)}
    frames["held_out"] = stretches(held_out(recipe.splits, length), -(-n_frames // 2))
    setting = work.folder / "setting.npz"
    task = partial(begin, work.run, recipe.embed, seed, [*frames["half-0"], *frames["half-1"]], setting, other)
    work.run_chains("noise", [[("setting", task)]])

    lessons = lessons_of(recipe.embed.modes_from, with_other=other is not None)
    chains = [
        [
            (
                f"learned-{one.name}",
                partial(learn, work.run, recipe.embed, seed, setting, one, frames[f"half-{one.half}"]),
            )
        ]
        for one in lessons
    ]
    work.run_chains("learning models anew", chains)
    looks = looks_of([one.name for one in lessons], str(movie.attrs["pose"]) == "hidden")
    chains = [[(f"look-{one.name}", partial(look, work.run, seed, setting, one, frames[one.frames]))] for one in looks]
    work.run_chains("explaining frames", chains)
    about = {
        "recipe": recipe.name,
        "fingerprint": work.fingerprint,
        "embedded": str(work.read("latents").attrs["fingerprint"]),
        "against": other_name or None,
    }
    out = work.folder / "checks.json"
    work.run_chains(
        "verdicts", [[("verdicts", partial(write_checks, work.folder, str(movie.attrs["pose"]), about, out))]]
    )


def lessons_of(modes_from: str, *, with_other: bool) -> list[Lesson]:
    """Models to be learned."""
    found = [Lesson("half-0", 0), Lesson("half-1", 1), Lesson("noise", 0, "noise"), Lesson("still", 0, "still")]
    if modes_from == "ensemble":
        found.append(Lesson("free", 0, start="mean"))
    if with_other:
        found.append(Lesson("other", 0, start="other"))
    return found


def looks_of(learned: list[str], is_hidden: bool) -> list[Look]:
    """What is to be explained by which model."""
    found = [Look(name) for name in (*MADE, *learned) if name != "noise"]
    found += [Look("rigid-other")] * ("other" in learned)
    found += [Look("run", images="moving"), Look("run", images="noise"), Look("noise", images="noise")]
    found += [Look(name, images="still") for name in ("run", "rigid", "still")]
    found += [Look(name, frames) for name in ("half-0", "half-1") for frames in ("half-0", "half-1")]
    return found + [Look("run", grid=1)] * is_hidden


def begin(run: Path, recipe: EmbedRecipe, seed: int, spans: list[Span], out: Path, other: np.ndarray | None) -> None:
    """The noise that the run's model leaves over at its poses, and the models that need no learning."""
    movie, latents = read(run, "check", "movie"), read(run, "check", "latents")
    camera = imaging.camera_of(movie)
    own = Modes(latents["mean_structure"].values.astype(float), latents["mode_shape"].values.astype(float))
    if other is not None and other.shape != own.mean.shape:
        raise DataError(
            f"The structure to check against has {len(other)} beads, and the run's {len(own.mean)}. Give a form of the"
            " same molecule, with the same residues."
        )
    every = max(1, sum(map(len, spans)) // NOISE_FRAMES)
    parts, found = ([span.of(stored).isel(time=slice(0, None, every)) for span in spans] for stored in (movie, latents))
    joined = lambda name, of: np.concatenate([part[name].values for part in of])  # noqa: E731
    views = Views(camera, joined("image", parts).astype(np.float32), [joined(name, parts) for name in imaging.FOCUS])
    rotation = Rotation.from_quat(joined("pose_quaternion", found)).as_matrix()
    shift, spread = joined("pose_shift_A", found), float(latents.attrs.get("shift_deviation_A", 0.0))
    kind, precision = str(movie.attrs["pose"]), stated_precision(movie)
    prior = hidden(len(rotation), spread) if kind == "hidden" else None
    if kind == "approximate":
        stated = Rotation.from_quat(joined("pose_quaternion", parts)).as_matrix()
        prior = PosePrior(stated, joined("pose_shift_A", parts), precision)
    scatterers = Scatterers(camera.scatterer_amplitude_A, camera.scatterer_width_A)
    noise = estimate_noise(views, scatterers, own, rotation, shift, recipe.n_iterations, prior)
    radius = choose_radius(views, scatterers, own, noise)
    for name, model in made(own, seed, other).items():
        _save(out.parent, name, model)
    Setting(
        camera.scatterer_amplitude_A,
        camera.scatterer_width_A,
        np.array(noise.variance),
        noise.power,
        np.array(radius),
        np.array(spread),
        np.array(signal(views, scatterers, own.mean, noise)),
        np.zeros((0, *own.mean.shape)),
        np.zeros(len(own.mean)),
    ).save(out)


def made(own: Modes, seed: int, other: np.ndarray | None) -> dict[str, Modes]:
    """Models that need no learning, by name."""
    shape = models.folded_differently(own, seeds.generator(seed, "check shape"))
    found = dict(
        zip(
            MADE,
            (
                own,
                replace(own, shape=own.shape[:0]),
                shape,
                models.mirrored(own),
                models.reversed_motion(own),
                models.soft_motion_of(shape, own),
            ),
            strict=True,
        )
    )
    if other is not None:
        found["rigid-other"] = models.superposed(Modes(other, own.shape[:0]), own.mean)
    return found


def learn(run: Path, recipe: EmbedRecipe, seed: int, setting_file: Path, lesson: Lesson, spans: list[Span]) -> None:
    """Learn a model, and keep it."""
    setting, folder = Setting.load(setting_file), setting_file.parent
    own = _load(folder, "run")
    sample = load(run, setting, own, spans, lesson.images, seed)
    known = not sample.is_hidden and sample.prior is None
    if lesson.start == "run":
        state = for_frames(first_state(recipe, run), len(sample))
    else:
        form = own.mean if lesson.start == "mean" else _load(folder, "rigid-other").mean
        state = _elastic_start(form, len(own.shape), len(sample), rigid=known)
    _save(folder, lesson.name, learn_model(sample, setting.scatterers, state, len(own.shape), _grid(0, own.mean)))


def _elastic_start(form: np.ndarray, n_modes: int, n_frames: int, *, rigid: bool) -> State:
    n_basis = max(n_modes, min(N_ELASTIC, form.size - RIGID)) + RIGID * rigid
    return elastic_start(form, n_basis, n_frames, rigid=rigid)


def look(run: Path, seed: int, setting_file: Path, which: Look, spans: list[Span]) -> None:
    """Explain frames by a model, and keep what it says."""
    setting, folder = Setting.load(setting_file), setting_file.parent
    own = _load(folder, "run")
    sample = load(run, setting, own, spans, which.images, seed)
    found = explain(sample, setting.scatterers, _load(folder, which.model), _grid(which.grid, own.mean))
    files.save_arrays(folder / f"look-{which.name}.npz", **vars(found))


def _grid(number: int, position: np.ndarray) -> Grid:
    """The grid of the stage for a structure, or the same turned as a whole by some angle."""
    grid = rotation_grid(rotations_for(position))
    turn = Rotation.random(rng=np.random.default_rng(number)) if number else Rotation.identity()
    return replace(grid, quaternion=(turn * Rotation.from_quat(grid.quaternion)).as_quat())


def _save(folder: Path, name: str, model: Modes) -> None:
    files.save_arrays(folder / f"model-{name}.npz", **vars(model))


def _load(folder: Path, name: str) -> Modes:
    return Modes(**files.load_arrays(folder / f"model-{name}.npz"))
