"""Two forms of one protein, from one file or two: the residues that they have in common, as PDB files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np

from tempica.errors import StructureError
from tempica.starting.aligning import pair_residues
from tempica.starting.chains import LEAST, Chain, chains_of, choose
from tempica.starting.dividing import superposed

SAME_NM = 0.01  # two forms that differ by less are one, up to how coordinates are rounded


@dataclass(frozen=True)
class Form:
    """Residues of a chain in one conformation."""

    chain: Chain
    places: np.ndarray  # (residue,) which of the chain's residues
    numbers: tuple[int, ...]  # (residue,) numbers to be written, the first form's
    position: np.ndarray  # (residue, space) nm, Cα atoms
    turn: np.ndarray | None = None  # (residue, 3, 3) if atoms have been turned with their Cα atom

    def __len__(self) -> int:
        return len(self.places)

    def write(self, path: Path) -> None:
        """Write it as a PDB file; `path` must be free."""
        atoms = [self.chain.atoms[place] for place in self.places]
        topology, xyz = mdtraj.Topology(), []
        chain = topology.add_chain(chain_id=self.chain.name or "A")
        old = self.chain.model.topology
        for k, indices in enumerate(atoms):
            residue = topology.add_residue(self.chain.names[self.places[k]], chain, resSeq=self.numbers[k])
            for index in indices:
                topology.add_atom(old.atom(index).name, old.atom(index).element, residue)
            where = self.chain.model.xyz[0, indices] - self.chain.model.xyz[0, self.chain.alpha[self.places[k]]]
            xyz.append(self.position[k] + (where if self.turn is None else where @ self.turn[k].T))
        position = np.concatenate(xyz)
        mdtraj.Trajectory(position[None] - position.mean(0), topology).save_pdb(str(path), force_overwrite=False)


def read_forms(paths: Sequence[Path], asked: Sequence[str], tell: Callable[[str], None]) -> tuple[Form, Form | None]:
    """One or two forms of a protein, of which the second is superposed onto the first.

    Parameters:
        paths: one file or two.
        asked: names of chains, none, one for all files, or one for each form; two of one file are its two forms.
        tell: says what was chosen.

    Raises StructureError for files without a protein, and forms that have too little in common or do not differ.
    """
    if len(asked) > 2 or (len(paths) == 2 and len(asked) not in (0, 1, 2)):
        raise StructureError(f"--chain is given {len(asked)} times; there are at most two forms. Give it once a form.")
    files, mistakes = [], []
    for path in paths:
        try:
            files.append(chains_of(path, tell))
        except StructureError as error:
            mistakes.append(str(error))
    if mistakes:
        raise StructureError("\n".join(mistakes))
    wanted: list[str | None]
    if len(paths) == 1 and len(asked) == 2:
        files, wanted = [files[0], files[0]], list(asked)
    else:
        wanted = [*asked, *[asked[0] if asked else None] * (len(files) - len(asked))]
    chosen = [choose(chains, name, tell) for chains, name in zip(files, wanted, strict=True)]
    first = chosen[0]
    if len(chosen) == 1:
        return Form(first, np.arange(len(first)), first.numbers, first.position), None
    return _common(first, chosen[1], tell)


def _common(first: Chain, second: Chain, tell: Callable[[str], None]) -> tuple[Form, Form]:
    pairs = pair_residues((first.numbers, second.numbers), (first.names, second.names), LEAST)
    number = [first.numbers[i] for i in pairs.first]
    tell(
        f"two forms: {first.told} ({len(first)} residues) and {second.told} ({len(second)}); {len(number)} residues are"
        f" common by {pairs.by}, {100 * pairs.identity:.0f} % of them identical, and those are taken"
    )
    one = Form(first, pairs.first, tuple(number), first.position[pairs.first])
    position = superposed(second.position[pairs.second][None], one.position)[0]
    off = float(np.sqrt(((position - one.position) ** 2).sum(1).mean()))
    if off < SAME_NM:
        raise StructureError(
            f"The two forms are the same within {off:.3f} nm: {first.told} and {second.told}. Give another form, or"
            " one file alone, whose hinges are then proposed by its elastic network."
        )
    tell(f"the forms differ by {off:.2f} nm (root mean square over Cα atoms, superposed)")
    turn = _rotation(second.position[pairs.second], position)
    return one, Form(second, pairs.second, tuple(number), position, np.broadcast_to(turn, (len(number), 3, 3)))


def _rotation(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) that brought one set of positions to the other."""
    x, y = before - before.mean(0), after - after.mean(0)
    u, _, v = np.linalg.svd(y.T @ x)
    u[:, -1] *= np.sign(np.linalg.det(u @ v))
    return u @ v
