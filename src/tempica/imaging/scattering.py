"""How strongly atoms scatter electrons, as sums of Gaussians; and the solvent they push aside.

An atom's scattering factor is f(k) = Σ_i a_i exp(−b_i k²/4), k in 1/Å. In real space each term is a Gaussian of
standard deviation s_i = √(b_i / 8π²), projected a_i / (2π s_i²) exp(−r²/2 s_i²).

Shape legend: N atom, K Gaussian of an atom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tempica.errors import DataError, StructureError
from tempica.imaging.peng import PENG

SCATTERING_LENGTH_A = {element: round(sum(terms[:5]), 4) for element, terms in PENG.items()}  # f(0)

HYDROGEN_A = 1.05  # mean distance of a hydrogen from the heavy atom it rides on
ICE_PER_A3 = 0.0311  # water molecules in low-density amorphous ice, 0.93 g/cm³
ICE_A2 = ICE_PER_A3 * (SCATTERING_LENGTH_A["O"] + 2 * SCATTERING_LENGTH_A["H"])  # scattering length of 1 Å³ of ice

# Volume (Å³) of solvent that an atom displaces. H to P, S: Fraser, MacRae & Suzuki, J. Appl. Cryst. 11, 693 (1978).
# Metals: sphere of the metallic radius, as CRYSOL takes it (Svergun, Barberato & Koch, J. Appl. Cryst. 28, 768, 1995).
# Halogens, B, Si, Se: sphere of the van der Waals radius (Bondi, J. Phys. Chem. 68, 441, 1964).
DISPLACED_A3 = {"H": 5.15, "C": 16.44, "N": 2.49, "O": 9.13, "P": 5.73, "S": 19.86}
DISPLACED_A3 |= {"Mg": 17.16, "Ca": 31.89, "Mn": 9.20, "Fe": 7.99, "Cu": 8.78, "Zn": 9.85}
DISPLACED_A3 |= {"Na": 26.95, "K": 48.99, "Co": 8.18, "Ni": 8.18}
DISPLACED_A3 |= {"B": 29.65, "F": 13.31, "Si": 38.79, "Cl": 22.45, "Se": 28.73, "Br": 26.52, "I": 32.52}

_NODE, _WEIGHT = np.polynomial.legendre.leggauss(48)


def gaussians(
    elements: Sequence[str],
    n_terms: int = 2,
    *,
    pixel_A: float,
    b_factor_A2: float | np.ndarray = 0.0,
    hydrogens: np.ndarray | int = 0,
    solvent: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude (N, K) in Å and standard deviation (N, K) in Å of the Gaussians of each atom, for `project`.

    `elements` (N,): chemical symbols, upper or lower case. `n_terms`: 5 for the table of Peng et al. as it is;
    2 or 1 for the sum that is nearest to it over all frequencies that a pixel of `pixel_A` can hold (`refit`;
    the error is `refit_error`). `b_factor_A2`: one or (N,), broadens every term, b_i + B.
    `hydrogens`: number of hydrogens, one or (N,), that ride on each atom and are not among the atoms: their
    scattering, averaged over directions, f_H(k) sin(2πkd)/(2πkd) with d = 1.05 Å, is part of the refit.
    `solvent`: one more, negative, Gaussian per atom for the ice that it displaces (`solvent_gaussians`).

    Raises StructureError for an element that is not in the table, DataError for other values out of range.
    Source: Peng et al., Acta Cryst. A52, 257 (1996), equation 1.
    """
    if n_terms not in (1, 2, 5):
        raise DataError(f"n_terms = {n_terms}: an atom is 1, 2 or 5 Gaussians. Use 2, or 5 for the table itself.")
    symbols, riding, b_factor = _checked(elements, hydrogens, b_factor_A2)
    if n_terms == 5 and riding.any():
        raise DataError("n_terms = 5 is the table of bare atoms; hydrogens can ride with n_terms = 1 or 2 only.")
    kinds, which = np.unique(np.array([f"{s} {h}" for s, h in zip(symbols, riding, strict=True)]), return_inverse=True)
    a, b = np.empty((2, len(kinds), n_terms))
    for row, kind in enumerate(kinds):
        element, count = kind.split()
        a[row], b[row], _ = refit(element, n_terms, pixel_A, int(count))
    amplitude, width = a[which], np.sqrt((b[which] + b_factor[:, None]) / (8 * np.pi**2))
    if not solvent:
        return amplitude, width
    ice, spread = solvent_gaussians(symbols, b_factor_A2=b_factor, hydrogens=riding)
    return np.concatenate([amplitude, ice], axis=1), np.concatenate([width, spread], axis=1)


def solvent_gaussians(
    elements: Sequence[str], *, b_factor_A2: float | np.ndarray = 0.0, hydrogens: np.ndarray | int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude (N, 1), negative, and standard deviation (N, 1) in Å of the ice that each atom displaces.

    −ρ V exp(−π V^⅔ k²), V the volume of the atom and its hydrogens (`displaced_volume_A3`), ρ the scattering
    length of amorphous ice in 1 Å³, whose molecules are not resolved.
    Source: Fraser, MacRae & Suzuki, J. Appl. Cryst. 11, 693 (1978), equation 5.
    """
    symbols, riding, b_factor = _checked(elements, hydrogens, b_factor_A2)
    volume = displaced_volume_A3(symbols, hydrogens=riding)
    width = np.sqrt(volume ** (2 / 3) / (2 * np.pi) + b_factor / (8 * np.pi**2))
    return -ICE_A2 * volume[:, None], width[:, None]


def displaced_volume_A3(elements: Sequence[str], *, hydrogens: np.ndarray | int = 0) -> np.ndarray:
    """Volume (N,) of solvent that each atom, with the hydrogens riding on it, displaces.

    Raises StructureError for an element whose volume is not known.
    """
    symbols, riding, _ = _checked(elements, hydrogens, 0.0)
    unknown = next((n for n, symbol in enumerate(symbols) if symbol not in DISPLACED_A3), None)
    if unknown is not None:
        raise StructureError(
            f"The volume of solvent that atom {unknown} ({symbols[unknown]}) displaces is not known; it is for"
            f" {', '.join(DISPLACED_A3)}. Render without solvent, or take the atom out."
        )
    return np.array([DISPLACED_A3[symbol] for symbol in symbols]) + DISPLACED_A3["H"] * riding


def refit_error(
    elements: Sequence[str], n_terms: int, *, pixel_A: float, hydrogens: np.ndarray | int = 0
) -> np.ndarray:
    """Relative L2 error (N,) of the Gaussians of `gaussians` over the Nyquist disc, before any B factor.

    ‖Σ_i a_i exp(−b_i k²/4) − f(k)‖ / ‖f(k)‖ over the disc |k| ≤ 1/(2 pixel). For two terms and C, N, O, S:
    3e-8 at 3 Å, 6e-6 at 1.5 Å, 8e-4 at 0.75 Å; for one: 4e-4, 5e-3, 4e-2.
    """
    symbols, riding, _ = _checked(elements, hydrogens, 0.0)
    return np.array([refit(s, n_terms, pixel_A, int(h))[2] for s, h in zip(symbols, riding, strict=True)])


@lru_cache(maxsize=4096)
def refit(
    element: str, n_terms: int, pixel_A: float, hydrogens: int = 0
) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    """a, b and relative error of the `n_terms` Gaussians nearest to an atom's f(k) on the disc |k| ≤ 1/(2 pixel).

    Least squares over the disc, ∫ |Σ a exp(−b k²/4) − f|² d(k²); a is linear, so only ln b is searched.
    """
    if not (math.isfinite(pixel_A) and pixel_A > 0):
        raise DataError(f"pixel_A = {pixel_A}: the edge of a pixel is a positive number of Å.")
    terms = PENG[element]
    if n_terms == 5:
        return terms[:5], terms[5:], 0.0
    from scipy.optimize import least_squares

    k2 = (0.5 / pixel_A) ** 2 * 0.5 * (_NODE + 1)
    target = _factor(element, k2)
    if hydrogens:
        target = target + hydrogens * _factor("H", k2) * np.sinc(2 * HYDROGEN_A * np.sqrt(k2))
    scale = np.sqrt(_WEIGHT) / np.linalg.norm(np.sqrt(_WEIGHT) * target)

    def solved(log_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shapes = scale[:, None] * np.exp(-0.25 * np.exp(log_b) * k2[:, None])
        a = np.linalg.lstsq(shapes, scale * target, rcond=None)[0]
        return a, shapes @ a - scale * target

    mean_b = np.dot(terms[:5], terms[5:]) / sum(terms[:5])
    starts = ([1.0],) if n_terms == 1 else ([0.7, 1.3], [0.2, 1.2])
    tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
    found = [least_squares(lambda log_b: solved(log_b)[1], np.log(mean_b * np.array(s)), **tight) for s in starts]
    log_b = np.sort(min(found, key=lambda fit: fit.cost).x)
    a, residual = solved(log_b)
    return tuple(a.tolist()), tuple(np.exp(log_b).tolist()), float(np.linalg.norm(residual))


def _factor(element: str, k2: np.ndarray) -> np.ndarray:
    a, b = np.array(PENG[element]).reshape(2, 5)
    return np.exp(-0.25 * b * k2[:, None]) @ a


def _checked(
    elements: Sequence[str], hydrogens: np.ndarray | int, b_factor_A2: float | np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    symbols = [str(element).strip().capitalize() for element in elements]
    unknown = next((n for n, symbol in enumerate(symbols) if symbol not in PENG), None)
    if unknown is not None:
        raise StructureError(
            f"Atom {unknown} has the element '{elements[unknown]}', for which there are no electron scattering"
            " factors; the table has every element from H to Cf. Correct its symbol, or take the atom out."
        )
    riding = np.broadcast_to(np.asarray(hydrogens), len(symbols))
    if not np.issubdtype(riding.dtype, np.integer) or (riding < 0).any():
        raise DataError(f"hydrogens = {hydrogens}: the number that ride on an atom is 0 or a positive integer.")
    b_factor = np.broadcast_to(np.asarray(b_factor_A2, dtype=np.float64), len(symbols))
    if not (np.isfinite(b_factor).all() and (b_factor >= 0).all()):
        raise DataError(f"b_factor_A2 = {b_factor_A2}: a B factor is finite and not negative.")
    return symbols, riding, b_factor
