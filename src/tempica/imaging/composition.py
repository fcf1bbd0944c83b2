"""What a bead is made of: chemical formulas, and the hydrogens that structure files leave out."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tempica.errors import StructureError

# residues within a chain at pH 7; names of protonation states as Amber and CHARMM write them
RESIDUES = {
    "ALA": "C3H5NO", "ARG": "C6H13N4O", "ASN": "C4H6N2O2", "ASP": "C4H4NO3", "CYS": "C3H5NOS", "GLN": "C5H8N2O2",
    "GLU": "C5H6NO3", "GLY": "C2H3NO", "HIS": "C6H7N3O", "ILE": "C6H11NO", "LEU": "C6H11NO", "LYS": "C6H13N2O",
    "MET": "C5H9NOS", "PHE": "C9H9NO", "PRO": "C5H7NO", "SER": "C3H5NO2", "THR": "C4H7NO2", "TRP": "C11H10N2O",
    "TYR": "C9H9NO2", "VAL": "C5H9NO", "MSE": "C5H9NOSe", "ASH": "C4H5NO3", "GLH": "C5H7NO3", "LYN": "C6H12N2O",
    "CYX": "C3H4NOS", "CYM": "C3H4NOS", "HIP": "C6H8N3O", "HSP": "C6H8N3O",
} | dict.fromkeys(("HID", "HIE", "HSD", "HSE"), "C6H7N3O")  # fmt: skip
AVERAGE_RESIDUE = {"C": 4.9, "N": 1.35, "O": 1.48, "S": 0.04, "H": 7.76}  # of globular proteins
HYDROGENS_A_HEAVY_ATOM = 1.0  # of the average residue


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
    return composition(RESIDUES[residue])["H"] if residue in RESIDUES else HYDROGENS_A_HEAVY_ATOM * n_heavy
