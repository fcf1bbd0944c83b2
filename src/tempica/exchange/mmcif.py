"""Models of one molecule as mmCIF, several in one file, with a population each.

Source: PDBx/mmCIF dictionary, category atom_site; populations are items of a category of our own, which readers pass
over.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica.stores.files import write_text

if TYPE_CHECKING:
    import mdtraj

_ITEMS = (
    "group_PDB",
    "id",
    "type_symbol",
    "label_atom_id",
    "label_alt_id",
    "label_comp_id",
    "label_asym_id",
    "label_entity_id",
    "label_seq_id",
    "pdbx_PDB_ins_code",
    "Cartn_x",
    "Cartn_y",
    "Cartn_z",
    "occupancy",
    "B_iso_or_equiv",
    "auth_seq_id",
    "auth_asym_id",
    "pdbx_PDB_model_num",
)


def write_mmcif(
    path: Path, topology: mdtraj.Topology, position: np.ndarray, name: str, population: np.ndarray | None = None
) -> None:
    """Write models (model, atom, space) in nm; `population` (model,) is the share of frames that each stands for."""
    lines = [f"data_{name}", "#", f"_entry.id {name}", "#"]
    if population is not None:
        lines += ["loop_", "_tempica_model.number", "_tempica_model.population"]
        lines += [f"{i} {share:.6f}" for i, share in enumerate(population.tolist(), 1)]
        lines.append("#")
    lines += ["loop_", *(f"_atom_site.{item}" for item in _ITEMS)]
    known = [_known(atom) for atom in topology.atoms]
    number = 0
    for model, xyz in enumerate(10 * position, 1):
        for (before, after), (x, y, z) in zip(known, xyz.tolist(), strict=True):
            number += 1
            lines.append(f"ATOM {number} {before} {x:.3f} {y:.3f} {z:.3f} 1.00 0.00 {after} {model}")
    write_text(path, "\n".join([*lines, "#"]) + "\n")


def _known(atom: mdtraj.core.topology.Atom) -> tuple[str, str]:
    """What of an atom's row stands before and after its coordinates."""
    chain = chr(ord("A") + atom.residue.chain.index % 26) * (1 + atom.residue.chain.index // 26)
    name = f'"{atom.name}"' if "'" in atom.name else atom.name
    element = atom.element.symbol if atom.element is not None else "C"
    before = f"{element} {name} . {atom.residue.name} {chain} {1 + atom.residue.chain.index} {atom.residue.resSeq} ?"
    return before, f"{atom.residue.resSeq} {chain}"
