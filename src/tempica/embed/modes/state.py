"""Modes of a molecule learned from its images: rounds of expanding, learning and moving what one expands about.

A structure is x = x₀ + Σ_b c_b B_b in a rich basis B: principal modes of an ensemble, or those of an elastic network of
one structure. A round expands every frame's log-likelihood at its own c⁰_t (the only step that sees images), learns
c_t = μ + W s_t (`state_space.learn`), and goes on at c⁰_t = μ + W ⟨s_t⟩. Where the basis is elastic the reference moves
too: x₀ becomes the structure nearest to x₀ + B μ that locally is the first form, turned; the basis is made anew there
with the springs of the first form, and μ and W are expressed in it by least squares.

    state = start_elastic(elastic, 30, n_frames)
    while not converged(state):
        state = step(state, *expand(state.amplitude, state.reference, state.shape), molecule, 4)

Shape legend: F frame, N bead, B basis, K source, R round.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tempica.embed.modes.elastic import CUTOFF_NM, RMS_NM, Isometry, Network, elastic_modes, network, rigid_motions
from tempica.embed.modes.leftover import place_variance, rest_scale
from tempica.embed.modes.state_space import Learned, learn, project, single_frames
from tempica.errors import DataError
from tempica.imaging.modes import Modes

MOST_ROUNDS = 14
TOLERANCE = 0.05
MOVES = 6  # rounds that move the reference
# detail that the first rounds look at: a wave tells where a bead is as far as about a third of its length off
RESOLUTION_A = (12.0, 12.0, 12.0, 9.6, 8.0, 6.0)
RESOLUTION_OF_ENSEMBLE_A = (12.0, 8.0)  # the same where the basis is that of an ensemble, whose mean is near
SAMPLE = 200  # frames whose structures tell how far a round has moved them


@dataclass(frozen=True)
class Elastic:
    """The network of the first form, of which a basis is made wherever the reference is."""

    form: np.ndarray  # (N, 3) nm
    springs: Network
    rigid: (
        bool  # whether the basis ends with six rigid motions, as it must where poses are known in a frame of their own
    )
    rms_nm: float

    def basis(self, position: np.ndarray, n_basis: int) -> np.ndarray:
        """Displacements (B, N, 3) in nm at a position of the beads."""
        n_modes = n_basis - 6 * self.rigid
        shape = elastic_modes(position, n_modes, contacts=self.springs, rms_nm=self.rms_nm).shape
        if not self.rigid:
            return shape
        motion = rigid_motions(position)
        typical = np.sqrt((shape**2).sum((1, 2)).mean())
        return np.concatenate([shape, motion * (typical / np.sqrt((motion**2).sum((1, 2), keepdims=True)))])


@dataclass(frozen=True)
class State:
    """Where the rounds are."""

    reference: np.ndarray  # (N, 3) nm x₀
    shape: np.ndarray  # (B, N, 3) nm
    amplitude: np.ndarray  # (F, B) c⁰, where to expand next
    learned: Learned | None = None  # in this basis; none before the first round
    elastic: Elastic | None = None
    change: np.ndarray = field(
        default_factory=lambda: np.empty(0)
    )  # (R,) rms move of structures in a round, in rms motions
    rest: float = 0.0  # α of the motion in this basis that the learned modes leave out; see `leftover`


def start(basis: Modes, n_frames: int) -> State:
    """Before the first round: every frame at the mean of a basis that stays."""
    return State(basis.mean, basis.shape, np.zeros((n_frames, len(basis.shape))))


def elastic_start(
    form: np.ndarray,
    n_basis: int,
    n_frames: int,
    *,
    cutoff: float = CUTOFF_NM,
    rigid: bool = False,
    rms_nm: float = RMS_NM,
) -> State:
    """Before the first round: every frame at the one structure (N, 3) in nm that is known, whose network's basis moves.

    Parameters:
        n_basis: B; with `rigid`, six of them are rigid motions.
        cutoff: nm, of the network.
        rigid: True where poses are those of a frame that the structure need not keep, False where each frame's pose is
            found, or eliminated.
        rms_nm: displacement of a bead over the elastic modes at unit amplitudes, in which the ridge of `learn` counts.
    """
    elastic = Elastic(np.array(form, dtype=float), network(form, cutoff), rigid, rms_nm)
    return State(elastic.form, elastic.basis(elastic.form, n_basis), np.zeros((n_frames, n_basis)), None, elastic)


def step(
    state: State,
    information: np.ndarray,
    evidence: np.ndarray,
    molecule: np.ndarray,
    n_sources: int,
    **options: Any,
) -> State:
    """One round from the expansions of all frames at `state.amplitude`; parameters and errors are those of `learn`."""
    learned = learn(information, evidence, molecule, n_sources, start=state.learned, **options)
    every = max(1, len(evidence) // SAMPLE)
    rest = rest_scale(information[::every], evidence[::every], state.amplitude[::every])
    new = replace(state, learned=learned, amplitude=learned.amplitude, rest=rest)
    if state.elastic is not None and len(state.change) < MOVES:
        # the reference stays where its network would hang loose, as a structure of another molecule's does when pulled
        with contextlib.suppress(DataError):
            new = _moved(new, state.elastic)
    before, after = (s.reference + np.tensordot(s.amplitude[::every], s.shape, 1) for s in (state, new))
    change = np.sqrt(((after - before) ** 2).mean() / max(((after - after.mean(0)) ** 2).mean(), 1e-300))
    return replace(new, change=np.append(state.change, change))


def converged(state: State, tolerance: float = TOLERANCE, most: int = MOST_ROUNDS) -> bool:
    """Whether the last round moved structures by less than `tolerance` of their motion, or was number `most`."""
    done = len(state.change)
    return done >= most or (done > 0 and resolution_A(state) == 0 and bool(state.change[-1] < tolerance))


def resolution_A(state: State) -> float:
    """Finest detail (Å) that frames should be expanded at in the next round; 0 for all that there is.

    Coarse to fine, so that frames far from where they are expanded are not seen in waves that do not reach them.
    """
    steps, done = RESOLUTION_OF_ENSEMBLE_A if state.elastic is None else RESOLUTION_A, len(state.change)
    return steps[done] if done < len(steps) else 0.0


def product(state: State) -> Modes:
    """The molecule as learned: mean x₀ + B μ, and shapes Σ_b W_bk B_b of sources of unit variance."""
    if state.learned is None:
        raise ValueError("there is no model before the first round")
    centre, weight = state.learned.centre, state.learned.weight
    return Modes(state.reference + np.tensordot(centre, state.shape, 1), np.tensordot(weight.T, state.shape, 1))


def unsure(state: State) -> np.ndarray:
    """Variance (N,) in nm² along an axis of where beads are, given the frames that were learned from; 0 before that."""
    if state.learned is None:
        return np.zeros(len(state.reference))
    return place_variance(state.shape, product(state).shape, state.learned.covariance.mean(0), state.rest)


def foreseen(state: State) -> np.ndarray:
    """The same of structures that are only known to be near the reference: amplitudes ~ N(0, I) of the basis."""
    return np.asarray((state.shape**2).sum((0, 2)) / 3)


def latents(learned: Learned, information: np.ndarray, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes (F, K) of the learned modes and covariances (F, K, K), each frame for itself under the prior N(0, 1).

    Unlike the sources of `learned` they hold nothing of other frames but where they were expanded.
    """
    return single_frames(*project(information, evidence, learned.centre, learned.weight))


def as_arrays(state: State) -> dict[str, np.ndarray]:
    """A state as arrays to be saved; `from_arrays` makes it again."""
    arrays = {name: np.asarray(getattr(state, name)) for name in ("reference", "shape", "amplitude", "change", "rest")}
    if state.learned is not None:
        arrays |= {f"learned_{name}": value for name, value in vars(state.learned).items()}
    if state.elastic is not None:
        springs = {f"springs_{name}": value for name, value in vars(state.elastic.springs).items()}
        arrays |= springs | {name: np.asarray(getattr(state.elastic, name)) for name in ("form", "rigid", "rms_nm")}
    return arrays


def from_arrays(arrays: Mapping[str, np.ndarray]) -> State:
    """The state that `as_arrays` took apart."""
    part = lambda prefix: {n.removeprefix(prefix): v for n, v in arrays.items() if n.startswith(prefix)}  # noqa: E731
    learned = Learned(**part("learned_")) if "learned_centre" in arrays else None
    elastic = None
    if "form" in arrays:
        springs = Network(**part("springs_"))
        elastic = Elastic(arrays["form"], springs, bool(arrays["rigid"]), float(arrays["rms_nm"]))
    reference, shape, amplitude = (arrays[name] for name in ("reference", "shape", "amplitude"))
    return State(reference, shape, amplitude, learned, elastic, arrays["change"], float(arrays["rest"]))


def _moved(state: State, elastic: Elastic) -> State:
    """The same model about a reference of its own mean, in the basis there."""
    modes = product(state)
    place = Isometry(elastic.form).nearest(modes.mean)
    shape = elastic.basis(place, len(state.shape))
    fields = np.concatenate([(modes.mean - place)[None], modes.shape])
    found = np.linalg.lstsq(shape.reshape(len(shape), -1).T, fields.reshape(len(fields), -1).T, rcond=None)[0]
    assert state.learned is not None
    learned = replace(state.learned, centre=found[:, 0], weight=found[:, 1:])
    return replace(state, reference=place, shape=shape, learned=learned, amplitude=learned.amplitude)
