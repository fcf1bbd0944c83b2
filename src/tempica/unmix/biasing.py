"""A source as a bias: OpenMM's CustomCVForce and PLUMED's input, so that the next simulation can be driven along it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openmm

from tempica.errors import DataError
from tempica.unmix.frames import Frames

AFFINE = 1e-5  # of a source's deviation: how near a model must be to an affine function of the coordinates
ENERGY = "0.5*tempica_k*(source-tempica_target)^2"


@dataclass(frozen=True)
class Bias:
    """A source as a sum over internal coordinates v: s = Σ_i w_i (v_i − v̄_i).

    Attributes:
        kind: distances (nm), or torsions, of which v are all sines, then all cosines.
        atoms: (coordinate, 2 or 4) numbers of atoms from 0.
        weight: (value,) w; of torsions twice as many as coordinates.
        mean: (value,) v̄.
    """

    kind: str
    atoms: np.ndarray
    weight: np.ndarray
    mean: np.ndarray


def biases(frames: Frames, model: Any, sources: np.ndarray, options: dict[str, Any]) -> list[Bias]:
    """One bias a source (frame, component) where the model is affine and coordinates are distances or torsions.

    Raises DataError otherwise: superposed coordinates have no force of their own in OpenMM, and a network is no sum.
    """
    internal = frames.internal
    if internal is None or internal.atoms is None:
        raise DataError(
            "No bias was made: superposed coordinates have no force in OpenMM or PLUMED that holds them. Give"
            " --coordinates distances or torsions."
        )
    n = frames.X.shape[1]
    zero = np.asarray(model.transform(np.zeros((1, n)), **options), dtype=np.float64)
    slope = np.asarray(model.transform(np.eye(n), **options), dtype=np.float64) - zero
    left = np.abs(frames.X @ slope + zero - sources) / np.maximum(sources.std(0), 1e-300)
    if left.max() > AFFINE:
        raise DataError(
            "No bias was made: these sources are a network's, and a bias is a sum over distances or torsions. Give a"
            " linear method last, as in --method tica, or drive the simulation along its sources."
        )
    weight = slope.T @ internal.matrix
    # what the coordinates' own mean leaves of the offset goes into one of their means
    mean = np.repeat(internal.mean[None], len(weight), axis=0)
    largest = np.abs(weight).argmax(1)
    rows = np.arange(len(weight))
    mean[rows, largest] -= zero[0] / weight[rows, largest]
    return [Bias(internal.kind, internal.atoms, w, m) for w, m in zip(weight, mean, strict=True)]


def openmm_force(bias: Bias) -> openmm.CustomCVForce:
    """½ k (s − target)², with the context's parameters tempica_k (kJ/mol) and tempica_target.

    Example:
        >>> bias = Bias("distances", np.array([[0, 1]]), np.array([2.0]), np.array([0.5]))
        >>> openmm_force(bias).getCollectiveVariableName(0)
        'source'
    """
    outer = openmm.CustomCVForce(ENERGY)
    outer.addGlobalParameter("tempica_k", 0.0)
    outer.addGlobalParameter("tempica_target", 0.0)
    if bias.kind == "distances":
        inner: Any = openmm.CustomBondForce("w*(r-m)")
        for name in ("w", "m"):
            inner.addPerBondParameter(name)
        for pair, w, m in zip(bias.atoms.tolist(), bias.weight.tolist(), bias.mean.tolist(), strict=True):
            inner.addBond(*pair, [w, m])
    else:
        n = len(bias.atoms)
        inner = openmm.CustomTorsionForce("a*(sin(theta)-b)+c*(cos(theta)-d)")
        for name in "abcd":
            inner.addPerTorsionParameter(name)
        columns = (bias.weight[:n], bias.mean[:n], bias.weight[n:], bias.mean[n:])
        for quad, *given in zip(bias.atoms.tolist(), *(each.tolist() for each in columns), strict=True):
            inner.addTorsion(*quad, given)
    outer.addCollectiveVariable("source", inner)
    return outer


def plumed_text(bias: Bias, name: str) -> str:
    """Input of PLUMED 2 in its default units: the source as COMBINE, and a restraint of no strength."""
    lines, arguments = [], []
    for number, atoms in enumerate(bias.atoms.tolist(), 1):
        listed = ",".join(str(atom + 1) for atom in atoms)
        if bias.kind == "distances":
            lines.append(f"d{number}: DISTANCE ATOMS={listed} NOPBC")
            arguments.append(f"d{number}")
        else:
            lines.append(f"t{number}: TORSION ATOMS={listed} NOPBC")
            lines += [f"{f}{number}: CUSTOM ARG=t{number} FUNC={f}(x) PERIODIC=NO" for f in ("sin", "cos")]
    if bias.kind == "torsions":
        arguments = [f"{f}{number}" for f in ("sin", "cos") for number in range(1, len(bias.atoms) + 1)]
    coefficients, parameters = (",".join(f"{x:.9g}" for x in values) for values in (bias.weight, bias.mean))
    lines.append(
        f"{name}: COMBINE ARG={','.join(arguments)} COEFFICIENTS={coefficients} PARAMETERS={parameters} PERIODIC=NO"
    )
    lines.append(f"restraint: RESTRAINT ARG={name} AT=0 KAPPA=0")
    return "\n".join(lines) + "\n"


def write_biases(folder: Path, found: list[Bias]) -> None:
    """source_N.xml, for openmm.XmlSerializer, and source_N.dat, for PLUMED."""
    folder.mkdir(exist_ok=True)
    for number, bias in enumerate(found, 1):
        xml = openmm.XmlSerializer.serialize(openmm_force(bias))
        (folder / f"source_{number}.xml").write_text(xml, encoding="utf-8")
        (folder / f"source_{number}.dat").write_text(plumed_text(bias, f"source_{number}"), encoding="utf-8")
