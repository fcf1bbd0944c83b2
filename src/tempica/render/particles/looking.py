"""What images of another program are: digital levels or not, how noisy, and how strongly they show the molecule.

Where poses are stated the molecule's strength is a regression of images on its projections; where they are not, it
comes from the power of the images' Fourier coefficients (`imaging.strength`), and its sign is what the recipe says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tempica import imaging
from tempica.errors import FormatError
from tempica.exchange.mrc import open_stack
from tempica.imaging.linearise import Scatterers
from tempica.imaging.strength import Rings, power_on_plane, rings_of, rings_of_models, strength_of
from tempica.recipe.particles import ParticlesRecipe
from tempica.runs.reading import read
from tempica.stores import files

SCALE_FRAMES = 500  # particles from which the scale of a stack is learned where poses are stated
POWER_FRAMES = 2000  # and where they are not
SCALE_STRUCTURES = 16  # structures of the ensemble that are expected in them
POWER_STRUCTURES = 4
AGREES = 0.7  # correlation below which poses are doubted: less is left where they are 12° off
CERTAIN = 5.0  # standard errors of that scale below which the images do not show the molecule
HANDS = ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1))  # a molecule and its mirror images
VIEW = ("pose_quaternion", "pose_shift_A", "defocus_u_A", "defocus_v_A", "defocus_angle")


@dataclass(frozen=True)
class Beads:
    """Structures that images are expected to show."""

    position: np.ndarray  # (structure, atom, 3) nm
    scattering_length_A: np.ndarray  # (atom,)
    bead_width: np.ndarray  # (atom,) nm
    attributes: dict[str, object]  # of the store they are from

    def scatterers(self, optics: imaging.Optics) -> Scatterers:
        return Scatterers(self.scattering_length_A[:, None], optics.width_A(self.bead_width)[:, None])

    def some(self, most: int) -> np.ndarray:
        """At most so many structures, evenly spread."""
        return self.position[np.unique(np.linspace(0, len(self.position) - 1, most).astype(int))]


def beads_of(run: Path, kind: str) -> Beads:
    """The structures of a run's store of `kind`, ensemble or structure."""
    found = read(run, "render", kind)
    position = found["position"].values
    return Beads(
        position if kind == "ensemble" else position[None],
        found["scattering_length_A"].values,
        found["bead_width"].values,
        found.attrs,
    )


def expected_power(beads: Beads, optics: imaging.Optics) -> np.ndarray:
    """Mean power over all views (D, D//2 + 1) of the structures' projections on the images' pixels."""
    n, pixel_A, scatterers = optics.n_pixels, optics.pixel_size_A, beads.scatterers(optics)
    return np.mean([power_on_plane(one, scatterers, n, pixel_A) for one in beads.some(POWER_STRUCTURES)], axis=0)


def look_block(
    run: Path,
    kind: str,
    plan_file: Path,
    optics: imaging.Optics,
    levels: imaging.Scale | None,
    every: int,
    out: Path,
    replica: int,
    first: int,
    last: int,
) -> None:
    """What a block's images are, into `out`.

    Whether they are digital levels; the spread of their background; and how strongly every N-th of the movie, N =
    `every`, shows the molecule of the store `kind`: ⟨image, model⟩ and ⟨model, model⟩, both without their means, where
    poses are stated, else the sums of `imaging.strength`. Digital images have a scale, but a map has none; and a map
    may have been mirrored, so that its mirror images along x, y and z are looked at too.
    """
    plan = files.load_arrays(plan_file)
    image = images(plan, replica, first, last)
    digital = levels is not None and as_levels(image, levels) is not None
    background = image[:, _corners(optics.n_pixels)].astype(np.float64)
    background -= background.mean(1, keepdims=True)
    number = replica * plan["image"].shape[1] + np.arange(first, last)
    chosen = np.flatnonzero(number % every == 0)
    hands = HANDS if kind == "structure" else HANDS[:1]
    overlap, rings = np.zeros((len(hands), 2, len(chosen))), np.zeros((3, optics.n_pixels // 2))
    needed = len(chosen) > 0 and (kind == "structure" or not digital)
    if needed and "power" in plan:
        transfer = optics.transfer(*(plan[name][replica, first + chosen] for name in VIEW[2:]))
        sums = rings_of(image[chosen], transfer, plan["power"])
        rings = np.stack([sums.power, sums.model, sums.count])
    elif needed:
        beads = beads_of(run, kind)
        for flip, hand in zip(hands, overlap, strict=True):
            turned = replace(beads, position=beads.position * np.array(flip))
            model = _model(turned, plan, optics, replica, first + chosen)
            model -= model.mean((1, 2), keepdims=True)
            hand[:] = (image[chosen] * model).sum((1, 2)), np.square(model).sum((1, 2))
            if flip == HANDS[0]:
                sums = rings_of_models(image[chosen], model)
                rings = np.stack([sums.power, sums.model, sums.count])
    seen = {"squares": np.square(background).sum(), "count": background.size, "overlap": overlap, "rings": rings}
    files.save_arrays(out, digital=digital, **seen)


def images(plan: dict[str, np.ndarray], replica: int, first: int, last: int) -> np.ndarray:
    """Images (frame, y, x) first … last − 1 of a replica."""
    which, number = plan["stack"][replica, first:last], plan["image"][replica, first:last]
    parts = {k: open_stack(Path(str(plan["stacks"][k]))) for k in np.unique(which).tolist()}
    image = np.empty((last - first, *2 * [next(iter(parts.values())).n_pixels]), np.float32)
    for k, stack in parts.items():
        image[which == k] = stack.read(number[which == k])
    return image


def as_levels(image: np.ndarray, levels: imaging.Scale) -> np.ndarray | None:
    """The digital levels that images were made of, if they give exactly these images."""
    level = np.rint((image.astype(np.float64) - levels.offset) / levels.factor)
    if level.min() < 0 or level.max() > levels.levels:
        return None
    same = (level * levels.factor + levels.offset).astype(np.float32) == image
    return level.astype(levels.dtype) if same.all() else None


def strength_at_poses(about: ParticlesRecipe, seen: list[dict[str, np.ndarray]], star: Path) -> float:
    """s of image = s × model + noise, by least squares; the standard error comes from image to image."""
    hands = np.concatenate([part["overlap"] for part in seen], axis=-1)
    shown, norm = hands[0]
    strength = float(shown.sum() / norm.sum())
    error = float(np.sqrt(np.square(shown - strength * norm).sum()) / norm.sum())
    if not abs(strength) > CERTAIN * error:
        raise FormatError(
            f"The images of {star} do not show the molecule where their poses say: on {len(shown)} of them it stands"
            f" out by {abs(strength) / error if error else 0:.1f} standard errors. Is it the same molecule, and does"
            " the structure stand in the map as particles.structure says? If the poses are not to be relied on, write"
            " particles.poses = 'hidden'."
        )
    if (strength > 0) != (about.contrast == "positive"):
        sign = "positive" if strength > 0 else "negative"
        raise FormatError(
            f"Protein is {sign} in the images of {star}. Write particles.contrast = '{sign}', if it is not the poses"
            " that are wrong."
        )
    _check_hand(hands, star)
    return strength


def doubt_of_poses(strength: float, seen: list[dict[str, np.ndarray]], star: Path) -> str | None:
    """A warning where images show far more of a molecule than is seen of it at the stated poses; else none.

    The strength at the poses over that by power, which needs no poses, is the correlation of the molecule with what
    images show beyond noise, where their noise is white.
    """
    whole = strength_of(Rings(*np.sum([part["rings"] for part in seen], axis=0)))
    if whole.strength < CERTAIN * whole.error or abs(strength) >= AGREES * (whole.strength - 2 * whole.error):
        return None
    share = abs(strength) / whole.strength
    return (
        f"warning: where the poses of {star} say, images correlate with the molecule by {share:.2f} alone, noise taken"
        " out. Poses may be off, of another convention or of mirrored images, or the molecule another, or a part. If"
        " they are not to be relied on, write particles.poses = 'hidden'"
    )


def _check_hand(hands: np.ndarray, star: Path) -> None:
    """Raise FormatError where images go better with a mirror image (hand, 2, frame) than with the molecule itself.

    Images explain |image|² − |image − s model|² = 2 s ⟨image, model⟩ − s² |model|² each, with the best s of a hand.
    """
    best = hands[:, 0].sum(1, keepdims=True) / hands[:, 1].sum(1, keepdims=True)
    explained = 2 * best * hands[:, 0] - best**2 * hands[:, 1]
    for axis, mirrored in zip("xyz", explained[1:], strict=False):
        more = mirrored - explained[0]
        error = float(more.std() / np.sqrt(len(more)))
        if more.mean() > CERTAIN * error:
            raise FormatError(
                f"The map has the other hand than the poses of {star}: its mirror image along {axis} explains the"
                f" images better, by {more.mean() / error:.0f} standard errors. Mirror it, or give the map as it was"
                " refined."
            )


def strength_by_power(about: ParticlesRecipe, seen: list[dict[str, np.ndarray]], star: Path) -> float:
    """The same s without poses; its sign is that of the stated contrast."""
    found = strength_of(Rings(*np.sum([part["rings"] for part in seen], axis=0)))
    if not found.strength > CERTAIN * found.error:
        raise FormatError(
            f"The images of {star} do not show the molecule: beyond noise, their power stands out by"
            f" {found.strength / found.error if found.error else 0:.1f} standard errors where the molecule's would be."
            " Is it the same molecule, and are voltage, defocus and pixel size right?"
        )
    return found.strength if about.contrast == "positive" else -found.strength


def _model(
    beads: Beads, plan: dict[str, np.ndarray], optics: imaging.Optics, replica: int, frames: np.ndarray
) -> np.ndarray:
    """What some frames of a replica show on average over the structures."""
    scatterers, chosen = beads.scatterers(optics), beads.some(SCALE_STRUCTURES)
    view = {name: plan[name][replica, frames] for name in VIEW}
    rotation = imaging.rotation_matrix(view["pose_quaternion"])
    potential = np.zeros((len(frames), optics.n_pixels, optics.n_pixels), np.float32)
    for structure in chosen:
        place = np.broadcast_to(structure, (len(frames), *structure.shape))
        xy = imaging.to_pixels(place, rotation, view["pose_shift_A"], optics.n_pixels, optics.pixel_size_A)
        potential += imaging.project(xy, scatterers.amplitude, scatterers.width_A, optics.n_pixels, optics.pixel_size_A)
    return imaging.through_optics(potential / len(chosen), optics.transfer(*(view[name] for name in VIEW[2:])))


def _corners(n_pixels: int) -> np.ndarray:
    """Pixels beyond the circle that touches the edges."""
    x = np.arange(n_pixels) - n_pixels // 2
    return x[:, None] ** 2 + x**2 > (n_pixels / 2) ** 2
