"""How strongly beads and atoms scatter X-rays.

Shape legend: N bead, S kind of bead, E element, P pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tempica.errors import StructureError
from tempica.imaging.composition import composition
from tempica.imaging.scattering import HYDROGEN_A
from tempica.imaging.waasmaier import WAASMAIER_KIRFEL


def form_factor(element: str, s: np.ndarray) -> np.ndarray:
    """X-ray scattering factor f0(s) in electrons at s = sin θ / λ (1/Å): c + Σ_i a_i exp(−b_i s²); f0(0) ≈ Z.

    Good to s = 6 /Å, far from absorption edges. Raises StructureError for an unknown element.
    Source: Waasmaier & Kirfel, Acta Cryst. A51, 416 (1995).
    """
    if element not in WAASMAIER_KIRFEL:
        raise StructureError(
            f"The element '{element}' has no X-ray scattering factor here; known are H to Cf. Correct the structure."
        )
    terms = np.array(WAASMAIER_KIRFEL[element])
    s2 = np.square(np.asarray(s, dtype=np.float64))[..., None]
    return (terms[:5] * np.exp(-terms[5:10] * s2)).sum(-1) + terms[10]


@dataclass(frozen=True)
class Scatterers:
    """Beads as X-rays see them, sorted into kinds; made by `scatterers_of`."""

    elements: tuple[str, ...]
    counts: np.ndarray  # (S, E) atoms at the bead's place, or spread about it
    riding: np.ndarray  # (S,) hydrogens on an atom
    width_A: np.ndarray  # (S,) standard deviation per axis of the atoms' places
    kind: np.ndarray  # (N,)

    def factors(self, q: np.ndarray, b_factor_A2: float = 0.0) -> np.ndarray:
        """Scattering factor (S, P), float32, in electrons, of each kind at |q| (P,) = 2 sin θ / λ, 1/Å.

        f(q) = exp(−2π² w² q² − B q²/4) [Σ_e n_e f0_e(q/2) + h f0_H(q/2) sin(2πqd)/(2πqd)], w the width, h hydrogens
        riding at d = 1.05 Å in directions that are averaged over.
        """
        each = np.stack([form_factor(element, 0.5 * q) for element in self.elements])
        value = self.counts @ each
        if self.riding.any():
            value += np.outer(self.riding, form_factor("H", 0.5 * q) * np.sinc(2 * HYDROGEN_A * q))
        value *= np.exp(-(2 * np.pi**2 * self.width_A[:, None] ** 2 + 0.25 * b_factor_A2) * q**2)
        return value.astype(np.float32)


def scatterers_of(formula: Sequence[str], bead_width: np.ndarray) -> Scatterers:
    """Beads (N,) of a formula such as "C3H5NO" and a width (N,) in nm.

    A bead of one heavy atom is that atom, its hydrogens riding on it. One of several stands for all of them, spread
    about it like a Gaussian of the bead's width: f = exp(−2π² w² q²) Σ f0. That is good as long as the bead's own shape
    is not resolved (residues: to about 8 Å).

    Raises StructureError where a formula cannot be read or names an unknown element.
    """
    beads = list(zip(formula, np.asarray(bead_width).tolist(), strict=True))
    kinds = {bead: row for row, bead in enumerate(dict.fromkeys(beads))}
    parts = [composition(text) for text, _ in kinds]
    elements = tuple(sorted({element for part in parts for element in part}))
    for element in elements:
        form_factor(element, np.zeros(1))
    counts, riding, width_A = np.zeros((len(parts), len(elements))), np.zeros(len(parts)), np.zeros(len(parts))
    for row, (part, (_, width)) in enumerate(zip(parts, kinds, strict=True)):
        heavy = sum(number for element, number in part.items() if element != "H")
        if heavy == 1:
            riding[row] = part.pop("H", 0.0)
        elif heavy > 0:
            width_A[row] = 10 * width
        for element, number in part.items():
            counts[row, elements.index(element)] = number
    return Scatterers(elements, counts, riding, width_A, np.array([kinds[bead] for bead in beads]))
