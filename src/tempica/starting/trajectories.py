"""From frames of another program to a recipe: which beads, which replicas, and what of their motion to follow."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np

from tempica.errors import RecipeError, StructureError, TempicaError
from tempica.recipe.molecule import TrajectoryRecipe
from tempica.recipe.residues import spans
from tempica.recipe.simulate import CollectiveVariableRecipe, SimulateRecipe
from tempica.simulate.foreign import files
from tempica.simulate.foreign.layout import frame_interval
from tempica.simulate.foreign.molecule import Foreign, build_foreign, read_block
from tempica.starting import dividing, turning, variables
from tempica.starting.text import camera, list_of, quoted

LEAST_FRAMES = 40  # in all; of fewer neither training nor held-out replicas tell anything
MOST_FRAMES = 16_000  # in all, beyond which frames are passed over
MOST_LOOKED_AT = 200
LEAST_DOMAINS = 40  # residues from which on domains are looked for; in peptides pieces of the chain are
N_PRINCIPAL = 3
APART = 0.8  # correlation of two variables from which on the second says nothing of its own
MARGIN = 0.02  # of the frames, beyond which a hinge angle is not counted as near 0° or 180°


@dataclass(frozen=True)
class Measured:
    """A variable of the frames, and the groups of residues it is between."""

    name: str
    kind: str
    groups: tuple[np.ndarray, ...]  # beads
    series: np.ndarray  # (frame,) rad or nm


def is_trajectory(path: Path) -> bool:
    """Whether a file is one of frames, by its ending."""
    return path.suffix.lower() in files.SUFFIXES


def begin(
    paths: Sequence[Path], topology: Path | None, chain: str | None, name: str, out: Path, tell: Callable[[str], None]
) -> str:
    """The text of a recipe for trajectories, with what was chosen told.

    Parameters:
        paths: trajectories, in order.
        topology: structure file of their atoms; not needed where the first is HDF5.
        chain: name of the protein chain to take; the longest if none.
        name: of the recipe.
        out: where the recipe will be, which its paths are relative to.
        tell: says what was chosen.

    Raises TempicaError for what is wrong with the files.
    """
    if topology is None and not files.is_hdf5(paths[0]):
        raise RecipeError(
            f"{paths[0]} holds coordinates alone, not what atoms they are of. Give the structure file that it was made"
            f" of too: tempica new {' '.join(map(str, paths))} --topology system.pdb"
        )
    atoms = files.topology_of(topology or paths[0])
    counts = [files.count(path) for path in paths]
    selection = _selection(atoms, chain, tell)
    stride = max(1, sum(counts) // MOST_FRAMES)
    n_replicas, n_frames = _replicas([-(-count // stride) for count in counts], tell)
    if stride > 1:
        tell(f"{sum(counts)} frames: every {stride}th is taken (simulate.molecule.stride)")
    plain = _plain(paths, topology, selection, stride, n_replicas, n_frames)
    interval = _interval(plain, tell)
    foreign, position = _look(plain, counts, stride)
    chosen, body = _variables(foreign, position, tell)
    held_out = 2 if n_replicas >= 6 else 1
    n_ensemble = int(np.clip((n_replicas - held_out - 1) * n_frames, 10, 300))
    lines = [
        f"# {', '.join(path.name for path in paths)}: what moves in it, imaged and recovered.",
        "# Written by tempica new, to be changed at will.",
        f"name = {quoted(name)}",
        "seed = 1",
        "",
        "[simulate]",
        f"n_replicas = {n_replicas}          # {'one a file' if len(paths) >= n_replicas else 'pieces of the files'}",
        f"n_frames = {n_frames}",
        f"ensemble_frames = {n_ensemble}   # of the training replicas",
        "",
        *_molecule(paths, topology, out, stride, selection, body, interval),
    ]
    for one in chosen:
        lines += _table(one, foreign)
    return (
        "\n".join(lines)
        + "\n"
        + camera(position[:: max(1, len(position) // 20)]).replace(
            "held_out_replicas = 2", f"held_out_replicas = {held_out}"
        )
    )


def _molecule(
    paths: Sequence[Path],
    topology: Path | None,
    out: Path,
    stride: int,
    selection: str,
    body: str | None,
    interval: float | None,
) -> list[str]:
    return [
        "[simulate.molecule]",
        'kind = "trajectory"',
        *([f"topology = {quoted(_relative(topology, out))}"] if topology is not None else []),
        f"files = {list_of([_relative(path, out) for path in paths])}",
        *([f"stride = {stride}"] if stride > 1 else []),
        f"selection = {quoted(selection)}  # in MDTraj's words; each atom a bead",
        *([f"body = {quoted(body)}  # frames are superposed on it, and poses refer to it"] if body else []),
        *([] if interval is None else [f"frame_interval = {interval:g}  # ps: the files do not tell; correct it"]),
    ]


def _relative(path: Path, out: Path) -> str:
    return os.path.relpath(path.resolve(), out.resolve().parent)


def _selection(topology: mdtraj.Topology, asked: str | None, tell: Callable[[str], None]) -> str:
    """MDTraj's words for the Cα atoms of one protein chain."""
    lengths = {
        chain.index: sum(
            residue.is_protein and any(atom.name == "CA" for atom in residue.atoms) for residue in chain.residues
        )
        for chain in topology.chains
    }
    lengths = {index: length for index, length in lengths.items() if length >= 4}
    if not lengths:
        raise StructureError(
            "The topology has no protein chain of 4 residues or more, each with its Cα atom, so tempica new cannot"
            " choose what to follow. Write the recipe with a selection of your own: see tempica import --help."
        )
    called = {index: (topology.chain(index).chain_id or "").strip() or str(index) for index in lengths}
    if asked is not None and asked not in called.values():
        raise StructureError(f"--chain {asked}: the protein chains are {', '.join(called.values())}. Give one of them.")
    index = max(lengths, key=lambda i: (called[i] == asked, lengths[i]))
    if len(lengths) > 1:
        listed = ", ".join(f"{called[i]} ({length} residues)" for i, length in lengths.items())
        tell(f"protein chains {listed}: {called[index]} is taken; another with --chain NAME")
    return "protein and name CA" if len(lengths) == 1 else f"protein and name CA and chainid {index}"


def _replicas(counts: list[int], tell: Callable[[str], None]) -> tuple[int, int]:
    """Number of replicas and frames a replica, by the number of frames in each file."""
    total = sum(counts)
    if total < LEAST_FRAMES:
        raise StructureError(
            f"The trajectory has {total} frames; tempica new needs {LEAST_FRAMES}, since some must be held out. Give"
            " more files."
        )
    if len(counts) >= 4 and min(counts) >= LEAST_FRAMES // 4:
        tell(f"{len(counts)} files of {min(counts)} to {max(counts)} frames: one replica each, of {min(counts)} frames")
        return len(counts), min(counts)
    wanted = 8 if total >= 800 else 4
    n_frames = max(n for n in range(1, max(counts) + 1) if sum(count // n for count in counts) >= wanted)
    tell(
        f"{total} frames in {len(counts)} file{'s' if len(counts) > 1 else ''}: cut into {wanted} replicas of"
        f" {n_frames} frames, which are not independent of each other"
    )
    return wanted, n_frames


def _plain(
    paths: Sequence[Path], topology: Path | None, selection: str, stride: int, n_replicas: int, n_frames: int
) -> SimulateRecipe:
    """A recipe that reads the beads; its one variable stands for those that are not chosen yet."""
    about = files.topology_of(topology or paths[0])
    beads = [about.atom(i).residue.resSeq for i in about.select(selection)]
    ends = CollectiveVariableRecipe(name="ends", kind="distance", residues=[str(beads[0]), str(beads[-1])])
    return SimulateRecipe(
        molecule=TrajectoryRecipe(
            kind="trajectory",
            topology=None if topology is None else str(topology.resolve()),
            files=[str(path.resolve()) for path in paths],
            selection=selection,
            stride=stride,
        ),
        collective_variables=[ends],
        n_replicas=n_replicas,
        n_frames=n_frames,
    )


def _interval(recipe: SimulateRecipe, tell: Callable[[str], None]) -> float | None:
    """An interval to write down where the files do not tell theirs; None where they do."""
    try:
        tell(f"frames are {frame_interval(recipe, Path()):g} ps apart")
    except TempicaError:
        tell("the files do not tell how far frames are apart: 1 ps is written, to be corrected (frame_interval)")
        return 1.0
    return None


def _look(recipe: SimulateRecipe, counts: list[int], stride: int) -> tuple[Foreign, np.ndarray]:
    """The beads, and some frames (F, N, 3) in nm, evenly spread over all files and superposed on the first."""
    foreign = build_foreign(recipe, Path())
    total = sum(counts)
    wanted = np.unique(np.linspace(0, total - 1, min(total, MOST_LOOKED_AT)).astype(int))
    pieces, before = [], 0
    assert isinstance(recipe.molecule, TrajectoryRecipe)
    for name, count in zip(recipe.molecule.files, counts, strict=True):
        here = wanted[(wanted >= before) & (wanted < before + count)] - before
        if len(here):
            pieces.append((Path(name), here))
        before += count
    frames = read_block(foreign, pieces, "the trajectory", 0, None)
    position = frames.position.astype(float)
    return foreign, dividing.superposed(position, position[0])


def _variables(
    foreign: Foreign, position: np.ndarray, tell: Callable[[str], None]
) -> tuple[list[Measured], str | None]:
    """Two variables of what moves, and the residues on which frames are superposed."""
    numbers = foreign.molecule.residue
    if position.shape[1] < LEAST_DOMAINS:
        chosen, body = _of_pieces(position), None
    else:
        mean = dividing.superposed(position, position.mean(0)).mean(0)
        placed = dividing.superposed(position, mean)
        motion = _principal(placed - mean)
        division = dividing.divide(
            mean,
            motion,
            {
                "how distances change": dividing.changes_of_frames(position),
                "its largest motions": dividing.changes_of_modes(mean, motion),
            },
        )
        tell(f"{division.n_domains} domains, found by {division.by}:")
        for k in range(division.n_domains):
            told = spans(numbers[division.label == k].tolist(), 12)
            tell(f"  {'body' if k == 0 else f'domain_{k + 1}'} ({(division.label == k).sum()} residues): {told}")
        chosen = _of_domains(position, mean, motion, division, numbers)
        body = spans(numbers[division.label == 0].tolist(), len(numbers))
    for one in chosen:
        unit, scale = ("nm", 1.0) if one.kind == "distance" else ("°", 180 / np.pi)
        low, high = np.quantile(scale * one.series, [0.02, 0.98])
        tell(f"variable {one.name}, a {one.kind.replace('_', ' ')}: mostly {low:.2f} to {high:.2f} {unit}")
    return chosen, body


def _principal(displacement: np.ndarray) -> np.ndarray:
    """The largest motions (K, N, 3) nm of displacements (F, N, 3), as deviations."""
    flat = displacement.reshape(len(displacement), -1)
    value, vector = np.linalg.svd(flat, full_matrices=False)[1:]
    k = min(N_PRINCIPAL, len(value))
    return (vector[:k] * value[:k, None] / np.sqrt(len(flat))).reshape(k, -1, 3)


def _of_domains(
    position: np.ndarray, mean: np.ndarray, motion: np.ndarray, division: dividing.Division, numbers: np.ndarray
) -> list[Measured]:
    """The proposals for the motions of domains, measured on the frames."""
    moves = turning.moves_of(mean, None, motion, division, numbers)
    found = []
    for proposal in variables.propose((mean, mean), division.label, moves):
        variable = proposal.variable
        found.append(
            Measured(
                proposal.name,
                variable.kind,
                tuple(np.array(group) for group in variable.groups),
                variable.measure(position),
            )
        )
    return found


def _of_pieces(position: np.ndarray) -> list[Measured]:
    """Two distances within a short chain: that which varies most, and another that varies most beside it."""
    n = position.shape[1]
    pairs = [(i, j) for i in range(n) for j in range(i + 3, n)] or [(0, n - 1)]
    series = np.stack([np.linalg.norm(position[:, i] - position[:, j], axis=-1) for i, j in pairs], 1)
    spread = series.std(0)
    first = int(spread.argmax())
    correlation = np.abs(np.corrcoef(series.T)[first]) if len(pairs) > 1 else np.ones(1)
    second = int((spread * np.sqrt(np.maximum(1 - correlation**2, 0))).argmax())
    chosen = [first] if second == first else [first, second]
    return [
        Measured(f"distance_{k + 1}", "distance", tuple(np.array([bead]) for bead in pairs[i]), series[:, i])
        for k, i in enumerate(chosen)
    ]


def _table(one: Measured, foreign: Foreign) -> list[str]:
    numbers = foreign.molecule.residue
    return [
        "",
        "[[simulate.collective_variables]]",
        f"name = {quoted(one.name)}",
        f"kind = {quoted(one.kind)}",
        f"residues = {list_of([spans(numbers[group].tolist(), len(numbers)) for group in one.groups])}",
    ]
