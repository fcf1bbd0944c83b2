"""Modes of a molecule learned from its images: rounds of expanding, learning and moving what one expands about.

A structure is x = x₀ + Σ_b c_b B_b in a rich basis B: principal modes of an ensemble, or an elastic network's of one
structure. A round expands every frame's log-likelihood at its own c⁰_t (images are seen there alone), learns
c_t = μ + W s_t (`state_space`), and goes on at c⁰_t = μ + W ⟨s_t⟩. Where the basis is elastic, the reference moves too:
x₀ becomes the structure nearest to x₀ + B μ that locally is the first one, the network's modes are those there, with
the springs of the first, and μ, W are expressed in them.

Shape legend: F frame, N bead, B basis, K source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tempica.embed.elastic import RMS_NM, Isometry, Network, elastic_modes, rigid_motions
from tempica.embed.state_space import Learned, learn
from tempica.imaging.modes import Modes

Expand = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Elastic:
    """The network of the first form, from which a basis is made anew wherever the reference moves."""

    form: np.ndarray  # (N, 3) nm
    springs: Network
    body: np.ndarray | None = None  # mask (N,) of beads that define the frame of the poses
    rigid: bool = False  # whether rigid motions are part of the basis
    rms_nm: float = RMS_NM

    def basis(self, position: np.ndarray, n_modes: int) -> np.ndarray:
        n_modes = n_modes - 6 * self.rigid
        shape = elastic_modes(position, n_modes, contacts=self.springs, body=self.body, rms_nm=self.rms_nm).shape
        if self.rigid:
            motion = rigid_motions(position)
            size = np.sqrt((shape**2).sum((1, 2)).mean())
            motion = motion * (size / np.sqrt((motion**2).sum((1, 2), keepdims=True)))
            shape = np.concatenate([shape, motion])
        return shape


@dataclass(frozen=True)
class State:
    reference: np.ndarray  # (N, 3) nm x₀
    shape: np.ndarray  # (B, N, 3) nm
    amplitude: np.ndarray  # (F, B) c⁰
    learned: Learned | None = None
    elastic: Elastic | None = None
    change: float = np.inf


def start(basis: Modes, n_frames: int) -> State:
    return State(basis.mean, basis.shape, np.zeros((n_frames, len(basis.shape))))


def start_elastic(elastic: Elastic, n_modes: int, n_frames: int) -> State:
    return State(elastic.form, elastic.basis(elastic.form, n_modes), np.zeros((n_frames, n_modes)), None, elastic)


def step(state: State, information, evidence, molecule, n_sources, train=None, **options) -> State:
    learned = learn(information, evidence, molecule, n_sources, train=train, start=state.learned, **options)
    new = replace(state, learned=learned, amplitude=learned.amplitude)
    if state.elastic is not None:
        new = move(new)
    old, now = (
        s.reference + np.tensordot(s.amplitude[:: max(1, len(s.amplitude) // 200)], s.shape, 1) for s in (state, new)
    )
    motion = now - now.mean(0)
    change = np.sqrt(((now - old) ** 2).mean() / (motion**2).mean())
    return replace(new, change=float(change))


def move(state: State) -> State:
    learned, elastic = state.learned, state.elastic
    mean = state.reference + np.tensordot(learned.centre, state.shape, 1)
    place = Isometry(elastic.form).nearest(mean)
    shape = elastic.basis(place, len(state.shape))
    fields = np.concatenate([(mean - place)[None], np.tensordot(learned.weight.T, state.shape, 1)])
    right = fields.reshape(len(fields), -1).T
    found = np.linalg.lstsq(shape.reshape(len(shape), -1).T, right, rcond=None)[0]
    learned = replace(learned, centre=found[:, 0], weight=found[:, 1:])
    return replace(state, reference=place, shape=shape, learned=learned, amplitude=learned.amplitude)
