"""Run folders with a movie made up for a test, and the embed stage on them."""

import tomllib
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from tempica import imaging
from tempica.embed import stage
from tempica.embed.modes.elastic import elastic_modes, rigid_motions
from tempica.embed.poses.rotations import turned
from tempica.progress import Progress
from tempica.recipe.experiment import Recipe
from tempica.runs.work import Work
from tempica.stores import reading, store

from .toy import MODES, N_ATOMS, N_PIXELS, OPTICS, PIXEL_A

CONTENT = tomllib.loads(
    (Path(__file__).parents[2] / "simulations" / "adenylate_kinase.toml").read_text(encoding="utf-8")
)
N_REPLICAS = 4  # two to train
RHO = np.array([0.95, 0.6])  # of the amplitudes from frame to frame
TURN, SHIFT_A = 4.0, 0.7  # errors in degrees and Å of poses that are approximate
RMS_NM = 0.06  # displacement of a bead by one mode of unit amplitude


class Inline(Executor):
    """Does at once what it is given, and stops dead before task number `most`."""

    def __init__(self, most=None):
        self.left = most

    def submit(self, task, /, *args, **kwargs):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left = None if self.left is None else self.left - 1
        future = Future()
        future.set_result(task(*args, **kwargs))
        return future


@dataclass
class Made:
    """A run folder with movie, ensemble and structure and no truth, and the truth."""

    run: Path
    n_frames: int
    amplitude: np.ndarray  # (R, T, 2)
    position: np.ndarray  # (R, T, N, 3) nm
    rotation: np.ndarray  # (R, T, 3, 3)
    shift_A: np.ndarray  # (R, T, 2)
    noise_variance: float

    def embed(self, folder, executor=None, **options):
        changed = {
            "simulate": CONTENT["simulate"] | {"n_replicas": N_REPLICAS, "n_frames": self.n_frames},
            "train": CONTENT["train"] | {"held_out_replicas": 1},
            "embed": {"n_modes": 2} | options,
        }
        recipe = Recipe.model_validate(CONTENT | changed)
        folder.mkdir(exist_ok=True)
        progress = Progress(terminal=False)
        stage.run(Work("embed", self.run, folder, recipe, "", "0" * 16, executor or Inline(), progress))
        store.seal(folder / "latents.zarr")
        return reading.open_store(folder / "latents.zarr", "latents")

    def at(self, run):
        """The same in another folder."""
        return replace(self, run=run)

    def score(self, latents):
        """Squared errors (F,) of latents in units of their own covariance; 1 on average where that is right.

        True amplitudes of the modes learned are those by which they come closest to the true structures, turned and
        shifted as may be: the frame in which a molecule is described is a convention.
        """
        mean, shape = latents["mean_structure"].values, latents["mode_shape"].values
        fields = np.concatenate([shape, rigid_motions(mean)]).reshape(8, -1)
        error = []
        for true, latent in zip(
            self.position.reshape(-1, *mean.shape), latents["latent"].values.reshape(-1, 2), strict=True
        ):
            centred = true - true.mean(0)
            turn = Rotation.align_vectors(mean - mean.mean(0), centred)[0]
            away = turn.apply(centred) + mean.mean(0) - mean
            error.append(latent - np.linalg.lstsq(fields.T, away.ravel(), rcond=None)[0][:2])
        precision = np.linalg.inv(latents["latent_covariance"].values.reshape(-1, 2, 2))
        return np.einsum("fk,fkl,fl->f", np.array(error), precision, np.array(error)) / 2

    def pose_error_deg(self, latents):
        """Angles (F,) by which beads as embedded are turned from those in the images, whatever moves in them."""
        mean, shape = latents["mean_structure"].values, latents["mode_shape"].values
        found = Rotation.from_quat(latents["pose_quaternion"].values.reshape(-1, 4))
        structure = mean + np.tensordot(latents["latent"].values.reshape(-1, 2), shape, 1)
        true = np.einsum("fij,fnj->fni", self.rotation.reshape(-1, 3, 3), self.position.reshape(structure.shape))
        angle = []
        for turn, one, other in zip(found, structure, true, strict=True):
            angle.append(Rotation.align_vectors(turn.apply(one - one.mean(0)), other - other.mean(0))[0].magnitude())
        return np.degrees(angle)

    def explained(self, latents):
        """Share of the variance of each true amplitude that a linear map of the latents explains."""
        latent, truth = latents["latent"].values.reshape(-1, 2), self.amplitude.reshape(-1, 2)
        design = np.column_stack([latent, np.ones(len(latent))])
        rest = truth - design @ np.linalg.lstsq(design, truth, rcond=None)[0]
        return 1 - rest.var(0) / truth.var(0)


def make(run, n_frames, noise, pose="known", *, snapshots=False, turn=None, seed=4):
    """A movie with noise of `noise` times the images' deviation.

    Parameters:
        pose: what the movie says of its poses.
        snapshots: every frame another molecule.
        turn: degrees about each axis from a frame to the next; any pose in every frame if none.
    """
    rng = np.random.default_rng(seed)
    frames = (N_REPLICAS, n_frames)
    shape = elastic_modes(MODES.mean, 6).shape[[0, 2]]
    shape *= RMS_NM * np.sqrt(N_ATOMS / (shape**2).sum((1, 2), keepdims=True))
    amplitude = rng.standard_normal((*frames, 2))
    if not snapshots:
        for t in range(1, n_frames):
            amplitude[:, t] = RHO * amplitude[:, t - 1] + np.sqrt(1 - RHO**2) * amplitude[:, t]
    position = MODES.mean + np.tensordot(amplitude, shape, 1)
    quaternion, shift = rng.standard_normal((*frames, 4)), rng.standard_normal((*frames, 2))
    rotation = imaging.rotation_matrix(quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True))
    if turn is not None:
        shift[:] = shift[:, :1]
        for t in range(1, n_frames):
            rotation[:, t] = turned(rotation[:, t - 1], np.radians(turn) * rng.standard_normal((N_REPLICAS, 3)))
    _fill_structures(run, rng, shape)
    variance = _fill_movie(run, rng, noise, pose, snapshots, position, rotation, shift)
    return Made(run, n_frames, amplitude, position, rotation, shift, variance)


def fill(path, kind, sizes, values, attributes, scale=None):
    about = store.provenance("", 0, "0" * 16, "test") | attributes
    store.create(path, kind, sizes, attributes=about, chunks={"replica": 1, "time": 30}, scale=scale)
    store.write(path, values)
    store.seal(path)


def _beads():
    rng = np.random.default_rng(12)
    return {"scattering_length_A": rng.uniform(10, 30, N_ATOMS), "bead_width": rng.uniform(0.15, 0.25, N_ATOMS)}


def _fill_structures(run, rng, shape):
    """An ensemble about the movie's mean, and one structure away from it."""
    sizes = {"atom": N_ATOMS, "space": 3}
    drawn = MODES.mean + np.tensordot(rng.standard_normal((200, 2)), shape, 1)
    ensemble = _beads() | {"position": drawn, "time": np.arange(200)}
    fill(run / "ensemble.zarr", "ensemble", sizes | {"time": 200}, ensemble, {"topology": "{}"})
    form = MODES.mean + np.tensordot([1.0, -1.0], shape, 1)
    fill(run / "structure.zarr", "structure", sizes, _beads() | {"position": form}, {"topology": "{}"})


def _fill_movie(run, rng, noise, pose, snapshots, position, rotation, shift):
    frames, beads = position.shape[:2], _beads()
    number = np.arange(frames[1]) if snapshots else np.zeros(frames[1])
    views = {
        "defocus_u_A": rng.uniform(8_000, 15_000, frames),
        "defocus_v_A": rng.uniform(8_000, 15_000, frames),
        "defocus_angle": rng.uniform(0, np.pi, frames),
        "damage_dose": np.zeros(frames),
        "molecule": np.broadcast_to(number, frames),
        "label": np.zeros(frames),
    }
    weight, width_A = beads["scattering_length_A"], OPTICS.width_A(beads["bead_width"])
    camera = imaging.Camera(OPTICS, weight[:, None], width_A[:, None], np.zeros(1), np.ones(1), np.ones(1))
    xy = imaging.to_pixels(
        position.reshape(-1, N_ATOMS, 3), rotation.reshape(-1, 3, 3), shift.reshape(-1, 2), N_PIXELS, PIXEL_A
    )
    focus = [views[name].ravel() for name in ("defocus_u_A", "defocus_v_A", "defocus_angle")]
    clean = imaging.through_optics(imaging.project(xy, weight, width_A, N_PIXELS, PIXEL_A), OPTICS.transfer(*focus))
    deviation = float(noise * clean.std())
    image = (clean + deviation * rng.standard_normal(clean.shape)).reshape(*frames, N_PIXELS, N_PIXELS)
    factor, offset = float(np.ptp(image) / 255), float(image.min())
    about = {"pose": pose, "noise_std": deviation} | {
        name: value for name, value in vars(OPTICS).items() if name != "n_pixels"
    }
    stated, placed = rotation, shift
    if pose == "approximate":
        about |= {"pose_error_deg": TURN, "pose_error_A": SHIFT_A}
        stated = turned(rotation.reshape(-1, 3, 3), np.radians(TURN) * rng.standard_normal((np.prod(frames), 3)))
        placed = shift + SHIFT_A * rng.standard_normal(shift.shape)
    stated = Rotation.from_matrix(stated.reshape(-1, 3, 3)).as_quat().reshape(*frames, 4)
    if pose == "hidden":
        stated, placed = np.full((*frames, 4), np.nan), np.full((*frames, 2), np.nan)
    sizes = {"replica": frames[0], "time": frames[1], "y": N_PIXELS, "x": N_PIXELS}
    fill(
        run / "movie.zarr",
        "movie",
        sizes | {"quaternion": 4, "plane": 2, "atom": N_ATOMS, "gaussian": 1, "node": 1},
        views
        | {name: value for name, value in vars(camera).items() if name in imaging.PARTS}
        | {"pose_quaternion": stated, "pose_shift_A": placed}
        | {"image": np.rint((image - offset) / factor), "replica": np.arange(frames[0]), "time": np.arange(frames[1])},
        about,
        {"image": (factor, offset)},
    )
    return deviation**2
