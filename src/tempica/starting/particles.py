"""From a particle stack and what its molecule looks like to a recipe that imports it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tempica.errors import RecipeError, StructureError
from tempica.exchange.particle_file import Particles, read_particles
from tempica.starting.text import quoted

LEAST_PARTICLES = 40
N_REPLICAS = 8


def looked_at(star: Path, tell: Callable[[str], None]) -> Particles:
    """What a STAR file says. Raises FormatError for what it lacks, and StructureError for too few particles."""
    found = read_particles(star)
    n = len(found.image)
    if n < LEAST_PARTICLES:
        raise StructureError(
            f"{star} has {n} particles; tempica new needs {LEAST_PARTICLES}, since some must be held out. Give a larger"
            " set."
        )
    tell(f"{star.name}: {n} particles, poses {found.pose}, {found.optics['pixel_size_A']:g} Å a pixel")
    return found


def sections(star: Path, out: Path, found: Particles) -> tuple[str, int, int]:
    """The recipe's text behind `simulate`, the number of replicas, and of frames in each."""
    ours = "tempicaReplica" in found.place
    if ours:
        replica = found.place["tempicaReplica"]
        n_replicas = int(replica.max()) + 1
        n_frames = len(replica) // n_replicas
    else:
        n_replicas = N_REPLICAS
        n_frames = len(found.image) // n_replicas
    observation = (
        ""
        if ours
        else 'observation = "snapshots"  # each another molecule; "movie" where particles follow each other in time\n'
    )
    hidden = 'poses = "hidden"        # the file has none: they are found\n' if found.pose == "hidden" else ""
    held_out = 2 if n_replicas >= 6 else 1
    return (
        f"""
[particles]
star = {quoted(os.path.relpath(star.resolve(), out.resolve().parent))}
{observation}{hidden}contrast = "positive"   # of protein in the images; negative where it is dark

[embed]
modes_from = "structure"  # motions are learned from the images
n_modes = 4

[train]
n_components = 2        # methods are those that such data allow: tempica methods
validation_replicas = 1
held_out_replicas = {held_out}
""",
        n_replicas,
        n_frames,
    )


def with_map(name: str, star: Path, volume: Path, out: Path, found: Particles) -> str:
    """A recipe for particles and the consensus map that they were reconstructed to."""
    rest, n_replicas, n_frames = sections(star, out, found)
    return (
        f"""# {star.name}, with {volume.name} in place of a structure. Written by tempica new, to be changed at will.
name = {quoted(name)}
seed = 1

[simulate]
n_replicas = {n_replicas}          # parts of the particles: most to train, one to validate, the last held out
n_frames = {n_frames}

[simulate.molecule]
kind = "map"
map = {quoted(os.path.relpath(volume.resolve(), out.resolve().parent))}
"""
        + rest
    )


def with_structure(text: str, star: Path, out: Path, found: Particles) -> str:
    """A protein's recipe with particles in place of its camera; only structures are simulated then, to explain them."""
    rest, n_replicas, n_frames = sections(star, out, found)
    head = text.partition("\n[render]")[0]
    lines = []
    for line in head.split("\n"):
        if line.startswith("n_replicas ="):
            line = f"n_replicas = {n_replicas}          # parts of the particles"
        elif line.startswith("n_frames ="):
            line = f"n_frames = {n_frames}"
        lines.append(line)
    return "\n".join(lines) + rest


def needs_more(star: Path) -> RecipeError:
    """What to say where particles come alone."""
    return RecipeError(
        f"{star} says how particles were imaged, not what molecule they are of. Give its structure, or the consensus"
        f" map of the particles, too: tempica new {star} my.pdb, or tempica new {star} map.mrc"
    )
