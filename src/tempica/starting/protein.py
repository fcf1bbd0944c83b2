"""From one form or two of a protein to a recipe of its domains, and the structure files that it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tempica.recipe.residues import spans
from tempica.recipe.simulate import NetworkRecipe
from tempica.simulate.structures import load_molecule
from tempica.starting import dividing, turning, variables
from tempica.starting.forms import Form, read_forms
from tempica.starting.text import camera, list_of, quoted, table

LEAST_STEPS, MOST_STEPS = 300, 3000
# A domain of reduced mass 32 residues (the lid of adenylate kinase against its core) loses its undriven motions within
# 12 ps: 600 steps. In a play of fixed width that takes a time in proportion to its mass.
STEPS_PER_RESIDUE = 600 / 32
MOST_PLAY_NM = 0.3


@dataclass(frozen=True)
class Begun:
    """A recipe, and the structure files that belong beside it."""

    name: str
    text: str
    forms: dict[str, Form]  # file name to form


def begin(paths: Sequence[Path], chains: Sequence[str], name: str, folder: str, tell: Callable[[str], None]) -> Begun:
    """A recipe for a protein of which there are one or two forms.

    Parameters:
        paths: PDB or mmCIF files, one or two.
        chains: which to take; see `forms.read_forms`.
        name: of the recipe.
        folder: where structure files will be, relative to the recipe.
        tell: says what was found and chosen.

    Raises StructureError for what is wrong with the files.
    """
    first, second = read_forms(paths, chains, tell)
    position, numbers = first.position, np.array(first.numbers)
    soft, evidence = _soft(position)
    motion = soft
    if second is not None:
        both = np.stack([position, second.position])
        evidence = {"comparing the forms": dividing.changes_of_frames(both)} | evidence
        motion = (second.position - position)[None]
    division = dividing.divide(position, motion, evidence)
    explained = second is not None and division.left <= turning.EXPLAINED
    _tell_domains(division, numbers, second is not None, explained, tell)
    end = None if second is None else second.position
    moves = turning.moves_of(position, end if explained else None, soft, division, numbers)
    last, turns, moves = turning.second_form(position, end, division.label, moves)
    kept = second is not None and last is second.position
    proposals = variables.propose((position, last), division.label, moves)
    for proposal in proposals:
        tell(_told(proposal, numbers))
    if not kept:
        tell(
            "form 2 is made by turning "
            + ("the second form's" if second is not None else "the")
            + " domains about these hinges: a guess of where its motion leads, not an observation"
        )
    made = second if second is not None else first
    moved = made if kept else replace(made, position=last, turn=_compose(turns, made.turn))
    files = {"form_1.pdb": first, "form_2.pdb": moved}
    text = _recipe(name, folder, paths, first, division, proposals, last, kept)
    return Begun(name, text, files)


def domains_of(path: Path, tell: Callable[[str], None]) -> dict[str, str]:
    """Domains of one structure by its elastic network, as residue ranges: as few as explain its softest motions.

    Raises StructureError for what is wrong with the file.
    """
    molecule = load_molecule(path)
    division = dividing.divide(molecule.position, *_soft(molecule.position))
    found = {}
    chains = np.unique(molecule.chain)
    for k in range(division.n_domains):
        parts = []
        for chain in chains:
            numbers = molecule.residue[(division.label == k) & (molecule.chain == chain)].tolist()
            prefix = f"{chain}:" if len(chains) > 1 else ""
            parts += [prefix + part for part in spans(numbers, len(numbers)).split(", ") if part]
        found[_domain(k)] = ", ".join(parts)
    tell(f"{path.name}: domains by {division.by}: " + "; ".join(f"{name} {text}" for name, text in found.items()))
    return found


def _soft(position: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The softest displacements of a structure (N, 3), and what they say of which beads go together."""
    soft = dividing.soft_motions(position)
    return soft, {
        "its elastic network": dividing.changes_of_modes(position, soft),
        "its three softest motions": dividing.changes_of_modes(position, soft[:3]),
    }


def _compose(turns: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    return turns if before is None else turns @ before


def _tell_domains(
    division: dividing.Division, numbers: np.ndarray, two: bool, explained: bool, tell: Callable[[str], None]
) -> None:
    share = 100 * (1 - division.left)
    of_what = "the difference of the forms" if two else "its soft motions"
    tell(f"{division.n_domains} domains, found by {division.by}; they explain {share:.0f} % of {of_what}:")
    for k in range(division.n_domains):
        beads = numbers[division.label == k]
        tell(f"  {_domain(k)} ({len(beads)} residues): {spans(beads.tolist(), 12)}")
    if two and not explained:
        tell("the forms hardly differ by turns of domains: what moves is proposed by the elastic network instead")


def _told(proposal: variables.Proposal, numbers: np.ndarray) -> str:
    unit = "nm" if proposal.variable.unit == "nm" else "°"
    low, high = sorted(float(proposal.variable.to_recipe(end)) for end in proposal.ends)
    lowest, highest = proposal.mean - 3 * proposal.deviation, proposal.mean + 3 * proposal.deviation
    kind = proposal.variable.kind.replace("_", " ")
    return (
        f"variable {proposal.name}, a {kind} of {_domain(proposal.move.joint.domain)} against"
        f" {_domain(proposal.move.joint.parent)}: {low:.2f} to {high:.2f} {unit} between the forms, driven within"
        f" {lowest:.2f} to {highest:.2f} {unit}"
    )


def _domain(number: int) -> str:
    return "body" if number == 0 else f"domain_{number + 1}"


def _recipe(
    name: str,
    folder: str,
    paths: Sequence[Path],
    first: Form,
    division: dividing.Division,
    proposals: list[variables.Proposal],
    last: np.ndarray,
    kept: bool,
) -> str:
    numbers, label = np.array(first.numbers), division.label
    moves = [proposal.move for proposal in proposals]
    steps = _steps(label, moves)
    second = "the other form" if kept else "made by tempica new, domains turned about their hinges: not an observation"
    lines = [
        f"# {' and '.join(path.name for path in paths)}: domains of {first.chain.told}, moved along",
        f"# {' and '.join(proposal.name for proposal in proposals)}. Written by tempica new, to be changed at will.",
        f"name = {quoted(name)}",
        "seed = 1",
        "",
        "[simulate]",
        "n_replicas = 8          # five to train, one to validate, two held out",
        "n_frames = 600          # frames a replica; more frames, better sources",
        f"steps_per_frame = {steps}   # {steps * 0.02:g} ps: undriven motions of domains this heavy are over by then",
        "ensemble_frames = 300",
        "",
        "[simulate.molecule]",
        f"structure = {quoted(folder + '/form_1.pdb')}",
        f"# {second}",
        f"second_structure = {quoted(folder + '/form_2.pdb')}",
        f"# by {division.by}",
        f"domains = {table(_domains(numbers, division))}",
        'body = "body"           # frames are superposed on it, and poses refer to it',
        "",
        *_network((first.position, last), division, moves),
    ]
    for proposal in proposals:
        lines += _variable(proposal, numbers)
    for proposal, coefficient in zip(proposals, (0.8, 0.95), strict=False):
        lines += _dynamics(proposal, coefficient)
    return "\n".join(lines) + "\n" + camera(np.stack([first.position, last]))


def _domains(numbers: np.ndarray, division: dividing.Division) -> dict[str, str]:
    label = division.label
    return {_domain(k): spans(numbers[label == k].tolist(), len(label)) for k in range(division.n_domains)}


def _network(forms: tuple[np.ndarray, np.ndarray], division: dividing.Division, moves: list[turning.Move]) -> list[str]:
    default = NetworkRecipe()
    play = turning.free_play(forms, division.label, moves, default.contact_cutoff)
    margin = round(float(np.clip(play, default.contact_margin, MOST_PLAY_NM)), 2)
    joined = {frozenset((move.joint.domain, move.joint.parent)) for move in moves}
    pairs = [(i, j) for i in range(division.n_domains) for j in range(i) if frozenset((i, j)) not in joined]
    lines = [
        "[simulate.network]",
        f"contact_margin = {margin}   # nm, free play of contacts between domains beyond the two forms",
    ]
    if pairs:
        lines.append(f"no_contacts = {list_of([[_domain(i), _domain(j)] for i, j in pairs])}  # no hinge joins them")
    return lines


def _dynamics(proposal: variables.Proposal, coefficient: float) -> list[str]:
    return [
        "",
        "[[simulate.dynamics]]",
        f"collective_variable = {quoted(proposal.name)}",
        'process = "ar1"         # autoregression',
        'innovation = "laplace"  # not Gaussian, so that PCL identifies it (theorem 1)',
        f"coefficient = {coefficient:<10g}# of one frame to the next; rates that differ are what TICA needs",
        f"mean = {proposal.mean:.4g}",
        f"deviation = {proposal.deviation:.3g}",
    ]


def _variable(proposal: variables.Proposal, numbers: np.ndarray) -> list[str]:
    groups = [spans(numbers[list(group)].tolist(), len(numbers)) for group in proposal.variable.groups]
    low, high = (float(proposal.variable.to_recipe(end)) for end in proposal.ends)
    unit = "nm" if proposal.variable.unit == "nm" else "°"
    return [
        "",
        f"# {low:.3g} {unit} in form 1, {high:.3g} {unit} in form 2; shows {100 * proposal.shown:.0f} % of the move",
        "[[simulate.collective_variables]]",
        f"name = {quoted(proposal.name)}",
        f"kind = {quoted(proposal.variable.kind)}",
        f"residues = {list_of(groups)}",
    ]


def _steps(label: np.ndarray, moves: list[turning.Move]) -> int:
    """Steps between frames, by the heaviest pair of domains: see STEPS_PER_RESIDUE."""
    sizes = np.bincount(label)
    reduced = [1 / (1 / sizes[move.joint.domain] + 1 / sizes[move.joint.parent]) for move in moves]
    steps = STEPS_PER_RESIDUE * max(reduced)
    return int(np.clip(50 * round(steps / 50), LEAST_STEPS, MOST_STEPS))
