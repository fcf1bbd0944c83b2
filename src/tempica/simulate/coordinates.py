"""Collective variables, each defined once: as an OpenMM energy expression and as a numpy measurement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openmm


@dataclass(frozen=True)
class HingeAngle:
    """Angle (rad) at the centroid of the second of three groups of beads.

    θ = arccos( (c₁ − c₂)·(c₃ − c₂) / |c₁ − c₂||c₃ − c₂| ), c_i the unweighted centroid of group i.
    For adenylate kinase: Beckstein et al., J. Mol. Biol. 394, 160 (2009).
    """

    name: str
    groups: tuple[tuple[int, ...], ...]  # three

    def measure(self, position: np.ndarray) -> np.ndarray:
        """Angles (…,) in radians of positions (…, atom, space)."""
        a, b, c = (position[..., list(group), :].mean(-2, dtype=np.float64) for group in self.groups)
        u, v = a - b, c - b
        # atan2 keeps its precision where arccos loses it, near 0 and π
        return np.arctan2(np.linalg.norm(np.cross(u, v), axis=-1), (u * v).sum(-1))

    def restraint(self, stiffness: float) -> openmm.CustomCentroidBondForce:
        """½ k (θ − θ₀)², with θ₀ the global parameter `target_<name>` (rad) and k in kJ/mol/rad²."""
        target = self.target
        force = openmm.CustomCentroidBondForce(
            3, f"0.5*stiffness*(angle(g1,g2,g3)-{target})^2; stiffness={stiffness!r}"
        )
        force.addGlobalParameter(target, 0.0)
        for group in self.groups:
            force.addGroup(list(group), [1.0] * len(group))
        force.addBond([0, 1, 2], [])
        return force

    @property
    def target(self) -> str:
        return f"target_{self.name}"
