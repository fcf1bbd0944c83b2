"""What a bead is made of: chemical formulas, and the hydrogens that structure files leave out."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tempica.errors import StructureError

# hydrogens of a residue within a chain at pH 7
HYDROGENS = {
    "ALA": 5, "ARG": 13, "ASN": 6, "ASP": 4, "CYS": 5, "GLN": 8, "GLU": 6, "GLY": 3, "HIS": 7, "ILE": 11,
    "LEU": 11, "LYS": 13, "MET": 9, "PHE": 9, "PRO": 7, "SER": 5, "THR": 7, "TRP": 10, "TYR": 9, "VAL": 9,
}  # fmt: skip
HYDROGENS_A_HEAVY_ATOM = 1.0  # of the average residue: C4.9 N1.35 O1.48 S0.04 has 7.76


def formula(counts: Mapping[str, float]) -> str:
    """Numbers of atoms as a chemical formula, carbon and hydrogen first; numbers need not be whole.

    Example:
        >>> formula({"N": 1, "O": 1, "H": 5, "C": 3})
        'C3H5NO'
        >>> formula({"C": 4.9, "S": 0.04, "N": 0})
        'C4.9S0.04'
    """
    first = [element for element in ("C", "H") if element in counts]
    order = first + sorted(set(counts) - {"C", "H"})
    return "".join(f"{e}{'' if counts[e] == 1 else f'{counts[e]:.6g}'}" for e in order if counts[e])


def composition(text: str) -> dict[str, float]:
    """Numbers of atoms of a chemical formula. Raises StructureError when it is none.

    Example:
        >>> composition("C4.9H5NO")
        {'C': 4.9, 'H': 5.0, 'N': 1.0, 'O': 1.0}
    """
    parts = re.findall(r"([A-Z][a-z]?)(\d+(?:\.\d+)?(?:e-?\d+)?)?", text)
    if not text or "".join(element + number for element, number in parts) != text:
        raise StructureError(f"'{text}' is no chemical formula such as C3H5NO. Simulate or import it again.")
    counts: dict[str, float] = {}
    for element, number in parts:
        counts[element] = counts.get(element, 0.0) + float(number or 1)
    return counts


def hydrogens_of(residue: str, n_heavy: int) -> float:
    """Hydrogens of a residue by its name; of one that is not listed, as many as the average protein has.

    Structures by X-ray diffraction or electron microscopy show none, and they hold an eighth of the electrons.
    """
    return HYDROGENS.get(residue, HYDROGENS_A_HEAVY_ATOM * n_heavy)
