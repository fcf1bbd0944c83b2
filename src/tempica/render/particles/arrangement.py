"""Which particle of a STAR file is which frame of a movie, and where its image lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tempica.errors import FormatError, RecipeError
from tempica.exchange.mrc import Stack, open_stack
from tempica.exchange.particle_file import Particles
from tempica.exchange.particle_optics import AGREES
from tempica.recipe.experiment import Recipe
from tempica.recipe.particles import ParticlesRecipe


@dataclass(frozen=True)
class Plan:
    """Which particle of the file is which frame."""

    row: np.ndarray  # (replica, time)
    replica: np.ndarray
    time: np.ndarray  # ps
    label: np.ndarray  # (replica, time)
    molecule: np.ndarray  # (replica, time)
    unused: int


def arrange(recipe: Recipe, particles: Particles, star: Path) -> Plan:
    """Deals particles out to replicas and frames. Raises FormatError or RecipeError where they do not fit."""
    n_replicas, n_frames = recipe.simulate.n_replicas, recipe.simulate.n_frames
    about, place, n = about_particles(recipe), particles.place, len(particles.image)
    if "tempicaReplica" in place:
        return _as_exported(particles, n_replicas, n_frames, star)
    if n < n_replicas * n_frames:
        raise RecipeError(
            f"{star} has {n} particles, and simulate.n_replicas × n_frames = {n_replicas} × {n_frames} are asked for."
            " Lower one of them."
        )
    if about.observation is None:
        raise RecipeError(
            f"{star} does not say what follows what. Write particles.observation = 'movie' if neighbouring particles"
            " are one molecule at neighbouring times, or 'snapshots' if each is another molecule."
        )
    row = np.arange(n_replicas * n_frames).reshape(n_replicas, n_frames)
    return Plan(
        row=row,
        replica=np.arange(n_replicas),
        time=about.frame_interval * np.arange(n_frames),
        label=np.zeros_like(row),
        molecule=np.zeros_like(row) if about.observation == "movie" else row - row[:, :1],
        unused=n - row.size,
    )


def _as_exported(particles: Particles, n_replicas: int, n_frames: int, star: Path) -> Plan:
    place = particles.place
    absent = [f"tempica{name}" for name in ("Frame", "Time", "Label", "Molecule") if f"tempica{name}" not in place]
    if absent:
        raise FormatError(f"{star} has the column _tempicaReplica, but no _{absent[0]}. Take all of them out, or none.")
    replicas, which = np.unique(place["tempicaReplica"], return_inverse=True)
    frames, frame = np.unique(place["tempicaFrame"], return_inverse=True)
    if (len(replicas), len(frames)) != (n_replicas, n_frames):
        raise RecipeError(
            f"{star} has {len(replicas)} replicas of {len(frames)} frames (tempicaReplica, tempicaFrame), and the"
            f" recipe asks for {n_replicas} of {n_frames}. Write simulate.n_replicas = {len(replicas)} and n_frames ="
            f" {len(frames)}."
        )
    row = np.full((n_replicas, n_frames), -1)
    row[which, frame] = np.arange(len(which))
    if (row < 0).any() or len(which) != row.size:
        raise FormatError(
            f"{star} has {len(which)} particles for {n_replicas} × {n_frames} frames: some are missing or there twice,"
            " and a movie has no gaps. Give the whole file, or take the columns called tempica… out of it."
        )
    time = place["tempicaTime"][row]
    if (time != time[0]).any():
        raise FormatError(f"The replicas of {star} have frames at different times (tempicaTime); a movie's are equal.")
    label, molecule = (place[f"tempica{name}"][row].astype(np.int64) for name in ("Label", "Molecule"))
    return Plan(row, replicas.astype(np.int64), time[0], label, molecule, 0)


def open_stacks(particles: Particles, star: Path) -> list[Stack]:
    """The stacks, which must agree in size and have the images that are asked of them."""
    stacks = [open_stack(Path(path)) for path in particles.stacks]
    for number, stack in enumerate(stacks):
        if stack.n_pixels != stacks[0].n_pixels:
            raise FormatError(
                f"The images of {stack.path} have {stack.n_pixels} pixels along an edge, those of {stacks[0].path}"
                f" {stacks[0].n_pixels}. Import them apart."
            )
        _check_pixel(stack, particles, star)
        most = int(particles.image[particles.stack == number].max()) + 1
        if most > stack.n_images:
            raise FormatError(f"{star} asks for image {most} of {stack.path}, which has {stack.n_images}.")
    if particles.image_size not in (None, stacks[0].n_pixels):
        raise FormatError(
            f"{star} has rlnImageSize = {particles.image_size}, and the images of {stacks[0].path} have"
            f" {stacks[0].n_pixels} pixels along an edge. Give the STAR file of these images."
        )
    return stacks


def _check_pixel(stack: Stack, particles: Particles, star: Path) -> None:
    """Raise FormatError where a stack's header contradicts the STAR file; 0 and 1 Å are what programs leave unset."""
    header, stated = stack.pixel_A, particles.optics["pixel_size_A"]
    if header in (0.0, 1.0) or particles.pixel_label.startswith("particles.") or abs(header / stated - 1) <= AGREES:
        return
    raise FormatError(
        f"The header of {stack.path} says {header:.4g} Å a pixel, and {particles.pixel_label} of {star} {stated:.4g} Å:"
        " one of them is of images that were not binned like these. Say in the recipe which is right:"
        " particles.pixel_size_A."
    )


def about_particles(recipe: Recipe) -> ParticlesRecipe:
    assert recipe.particles is not None
    return recipe.particles
