"""Collective variables, each defined once: as an OpenMM energy expression and as a numpy measurement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import openmm

from tempica.recipe.dynamics import DoubleWell, Free, Harmonic

# what OpenMM calls each kind, of its groups in order
_EXPRESSION = {
    "hinge_angle": "angle(g1,g2,g3)",
    "dihedral": "dihedral(g1,g2,g3,g4)",
    "rotation": "dihedral(g1,g2,g3,g4)",
    "distance": "distance(g1,g2)",
}


@dataclass(frozen=True)
class CollectiveVariable:
    """A degree of freedom between the unweighted centroids c₁ … c₄ of groups of beads.

    hinge_angle (rad): θ = arccos( (c₁ − c₂)·(c₃ − c₂) / |c₁ − c₂||c₃ − c₂| ), from 0 to π. For adenylate kinase:
    Beckstein et al., J. Mol. Biol. 394, 160 (2009).
    dihedral (rad): φ of c₁ c₂ c₃ c₄ about the axis c₂c₃, from −π to π, positive clockwise looking along it (IUPAC).
    rotation (rad): the same less its value `zero` in the first structure, of a domain c₄ about the axis c₂c₃ of a body
    that c₁ belongs to, from −π to π.
    distance (nm): |c₁ − c₂|.
    """

    name: str
    groups: tuple[tuple[int, ...], ...]
    kind: str = "hinge_angle"
    zero: float = 0.0

    @classmethod
    def of(cls, name: str, groups: Sequence[Sequence[int]], kind: str, structure: np.ndarray) -> CollectiveVariable:
        """A variable of a molecule, whose first structure (atom, space) is where rotations are 0."""
        variable = cls(name, tuple(tuple(group) for group in groups), kind)
        return replace(variable, zero=float(variable.measure(structure))) if kind == "rotation" else variable

    @property
    def unit(self) -> str:
        return "nm" if self.kind == "distance" else "rad"

    @property
    def limits(self) -> tuple[float, float]:
        """Range of targets (rad or nm); a hinge angle has no gradient at 0 and π."""
        if self.kind == "hinge_angle":
            return math.radians(5.0), math.radians(175.0)
        return (0.05, math.inf) if self.kind == "distance" else (-math.inf, math.inf)

    def from_recipe(self, value: float | np.ndarray) -> float | np.ndarray:
        """Recipes state degrees or nm."""
        return value if self.unit == "nm" else np.radians(value)

    def to_recipe(self, value: float | np.ndarray) -> float | np.ndarray:
        return value if self.unit == "nm" else np.degrees(value)

    def measure(self, position: np.ndarray) -> np.ndarray:
        """Values (…,) of positions (…, atom, space) in nm."""
        centroid = [position[..., list(group), :].mean(-2, dtype=np.float64) for group in self.groups]
        if self.kind == "distance":
            return np.linalg.norm(centroid[0] - centroid[1], axis=-1)
        if self.kind == "hinge_angle":
            u, v = centroid[0] - centroid[1], centroid[2] - centroid[1]
            # unlike arccos, atan2 is precise near 0 and π
            return np.arctan2(np.linalg.norm(np.cross(u, v), axis=-1), (u * v).sum(-1))
        a, b, c = (centroid[i + 1] - centroid[i] for i in range(3))
        across, normal = np.cross(a, b), np.cross(b, c)
        angle = np.arctan2((np.linalg.norm(b, axis=-1, keepdims=True) * a * normal).sum(-1), (across * normal).sum(-1))
        return angle if self.zero == 0 else (angle - self.zero + np.pi) % (2 * np.pi) - np.pi

    def restraint(self, stiffness: float) -> openmm.CustomCentroidBondForce:
        """½ k d², d the distance to the global parameter `target_<name>` (the short way round for dihedrals).

        k in kJ/mol/rad² or kJ/mol/nm², the target in rad or nm.
        """
        force = self._force(f"0.5*stiffness*d^2; {self._deviation(self.target)}; stiffness={stiffness!r}", self.target)
        return force

    def potential(self, entry: Free) -> openmm.CustomCentroidBondForce:
        """The potential in which a free variable moves; see the recipe's `harmonic`, `double_well`, `multi_well`."""
        centre = self._deviation(repr(float(self.from_recipe(entry.centre))))
        if isinstance(entry, Harmonic):
            return self._force(f"0.5*{entry.curvature!r}*d^2; {centre}")
        if isinstance(entry, DoubleWell):
            half = float(self.from_recipe(entry.half_width))
            return self._force(f"{entry.barrier!r}*((d/{half!r})^2-1)^2; {centre}")
        width = float(self.from_recipe(entry.width))
        wave = 2 * math.pi * entry.n_wells / width
        phase = 0.0 if entry.n_wells % 2 else math.pi
        return self._force(
            f"0.5*{entry.barrier!r}*(1-cos({wave!r}*inside+{phase!r}))+{0.25 * entry.barrier * wave**2!r}*(d-inside)^2;"
            f" inside=max(-{width / 2!r},min({width / 2!r},d)); {centre}"
        )

    @property
    def target(self) -> str:
        return f"target_{self.name}"

    def _deviation(self, centre: str) -> str:
        """d = x − centre, the short way round for dihedrals."""
        if self.kind in ("dihedral", "rotation"):
            turn = 2 * math.pi
            return (
                f"d=apart-{turn!r}*floor(apart/{turn!r}+0.5); apart={_EXPRESSION[self.kind]}-({self.zero!r})-{centre}"
            )
        return f"d={_EXPRESSION[self.kind]}-{centre}"

    def _force(self, energy: str, *parameters: str) -> openmm.CustomCentroidBondForce:
        force = openmm.CustomCentroidBondForce(len(self.groups), energy)
        for name in parameters:
            force.addGlobalParameter(name, 0.0)
        for group in self.groups:
            force.addGroup(list(group), [1.0] * len(group))
        force.addBond(list(range(len(self.groups))), [])
        return force
