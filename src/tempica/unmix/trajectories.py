"""Molecular dynamics as frames to unmix: internal coordinates chosen by how well they predict, and reduced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import mdtraj
import numpy as np

from tempica.errors import DataError, StructureError
from tempica.simulate.foreign import files
from tempica.simulate.foreign.wrapping import bonded_links, make_whole
from tempica.unmix.frames import Frames, Internal
from tempica.unmix.internal import Coordinates, candidates

BLOCK_FRAMES = 500
EXPLAINED, FRAMES_EACH, MOST_FIRST = 0.999, 20, 400  # of the variance; frames for each component; components
KINETIC, MOST_KEPT = 0.95, 20  # of the squared autocorrelations at the lag; components at most
N_SCORED, N_FOLDS = 5, 5
GRID_NM, OFF_GRID_NM = 1e-3, 2e-6  # of coordinates that an XTC file has rounded; what single precision takes off


# long: half of it says what its parameters are
def read_trajectory(
    trajectories: Sequence[str | Path] | str | Path,
    *,
    topology: str | Path | None = None,
    stride: int = 1,
    lag: int = 1,
    coordinates: str | None = None,
) -> Frames:
    """Trajectories of molecular dynamics as frames to unmix.

    Backbone torsions (sine and cosine), distances between residues, or superposed coordinates are taken, whichever
    predicts held-out frames a lag ahead best: by the sum of squared autocorrelations of the slowest five directions,
    learned on four fifths of the frames and evaluated on the fifth left out (VAMP-2, Wu & Noé 2020), in the mean
    over folds. Principal components, one for 20 frames at most, are reduced to the slowest directions, those that hold
    95 % of the squared autocorrelations, 20 at most.

    Parameters:
        trajectories: one or several files, DCD, XTC, TRR, HDF5 or NetCDF; each is a series.
        topology: PDB or another structure file; HDF5 needs none.
        stride: every N-th frame is used.
        lag: used frames between the two of a pair.
        coordinates: torsions, distances or "aligned coordinates", if not to be chosen.

    Raises StructureError for files that cannot be used, DataError for too few frames.
    """
    paths = [Path(trajectories)] if isinstance(trajectories, str | Path) else [Path(path) for path in trajectories]
    structure = _topology(paths, topology)
    numbers = [np.arange(0, files.count(path), stride) for path in paths]
    series = np.repeat(np.arange(len(paths)), [len(each) for each in numbers])
    if len(series) < 2 * FRAMES_EACH:
        raise DataError(f"{len(series)} frames are too few to unmix; {2 * FRAMES_EACH} are the least. Lower --stride.")
    wanted = structure.select("protein or nucleic")
    wanted = wanted if len(wanted) else np.arange(structure.n_atoms)
    atoms, links = bonded_links(structure, wanted)
    part = structure.subset(atoms)
    first = next(_blocks(paths[:1], numbers[:1], atoms, links, structure.n_atoms))[0]
    kinds = candidates(part, first)
    if coordinates is not None:
        kinds = [kind for kind in kinds if kind.kind == coordinates]
    if not kinds:
        raise DataError(f"{paths[0]} has no {coordinates or 'internal coordinates'} that vary. Name others.")
    values = _measured(paths, numbers, atoms, links, structure.n_atoms, kinds)
    maps = [_principal(each) for each in values]
    reduced = [(each - each.mean(0)) @ matrix.T for each, matrix in zip(values, maps, strict=True)]
    held_out = [_held_out(each, series, lag) for each in reduced]
    scores = [float((np.clip(each, 0, None) ** 2).sum(1).mean()) for each in held_out]
    best = int(np.argmax(scores))
    told = ", ".join(f"{kind.kind} {score:.2f}" for kind, score in zip(kinds, scores, strict=True))
    matrix, mean = _slowest(reduced[best], series, lag) @ maps[best], values[best].mean(0)
    X = (values[best] - mean) @ matrix.T
    own = kinds[best].atoms
    return Frames(
        source=", ".join(map(str, paths)),
        X=X,
        features=[f"tic {i + 1}" for i in range(X.shape[1])],
        row=np.arange(len(X)),
        n_rows=len(X),
        replicas=series,
        internal=Internal(kinds[best].kind, None if own is None else atoms[own], matrix, mean),
        counted=_counted(held_out[best], lag),
        notes=(
            f"{kinds[best].kind} of {part.n_residues} residues; held-out VAMP-2 scores at lag {lag}: {told}",
            f"{len(kinds[best].names)} coordinates reduced to {reduced[best].shape[1]} principal components, and"
            f" these to the {X.shape[1]} slowest directions",
            f"{len(paths)} series of {len(X)} frames together",
        ),
    )


def _topology(paths: Sequence[Path], topology: str | Path | None) -> mdtraj.Topology:
    for path in paths:
        if not path.is_file():
            raise StructureError(f"There is no trajectory file {path}. Check the path.")
    if topology is None and not files.is_hdf5(paths[0]):
        raise StructureError(f"{paths[0]} does not say what its atoms are. Give a structure with --topology.")
    source = paths[0] if topology is None else Path(topology)
    if not source.is_file():
        raise StructureError(f"There is no structure file {source}. Check the path.")
    return files.topology_of(source)


def _blocks(
    paths: Sequence[Path], numbers: Sequence[np.ndarray], atoms: np.ndarray, links: np.ndarray, n_atoms: int
) -> Iterator[np.ndarray]:
    """Positions (t, a, 3) in nm of the chosen atoms, made whole, some frames at a time."""
    for path, each in zip(paths, numbers, strict=True):
        found = files.read(path, each[:1]).position.shape[1]
        if found != n_atoms:
            raise StructureError(
                f"{path} has {found} atoms and the structure {n_atoms}. Give the structure of its run."
            )
        for start in range(0, len(each), BLOCK_FRAMES):
            chunk = files.read(path, each[start : start + BLOCK_FRAMES], atoms)
            position = make_whole(chunk.position.astype(np.float64), chunk.box, links)
            if not np.isfinite(position).all():
                raise DataError(f"{path} has coordinates that are not finite. Repair it.")
            # what an XTC file has rounded is put back on its grid, so that it is the same through any format
            near = np.round(position / GRID_NM) * GRID_NM
            yield near if np.abs(near - position).max() < OFF_GRID_NM else position


def _measured(
    paths: Sequence[Path],
    numbers: Sequence[np.ndarray],
    atoms: np.ndarray,
    links: np.ndarray,
    n_atoms: int,
    kinds: Sequence[Coordinates],
) -> list[np.ndarray]:
    parts: list[list[np.ndarray]] = [[] for _ in kinds]
    for position in _blocks(paths, numbers, atoms, links, n_atoms):
        for kind, kept in zip(kinds, parts, strict=True):
            kept.append(kind.measure(position))
    return [np.concatenate(kept) for kept in parts]


def _principal(values: np.ndarray) -> np.ndarray:
    """Map (component, value) to principal components of unit variance that hold most of it, as frames allow."""
    centred = values - values.mean(0)
    variance, direction = np.linalg.eigh(centred.T @ centred / len(centred))
    variance, direction = variance[::-1], direction[:, ::-1]
    enough = int(np.searchsorted(np.cumsum(variance) / variance.sum(), EXPLAINED)) + 1
    n = max(1, min(enough, MOST_FIRST, len(values) // FRAMES_EACH))
    largest = direction[np.abs(direction).argmax(0), np.arange(direction.shape[1])]
    return ((direction * np.sign(largest))[:, :n] / np.sqrt(variance[:n])).T


def _slowest(X: np.ndarray, series: np.ndarray, lag: int) -> np.ndarray:
    """Map (direction, component) to the slowest directions of components, those with most of the kinetic variance."""
    from tempica.ica import TICA

    model = TICA(lag=lag).fit(X, replicas=series)
    share = np.cumsum(model.autocorrelation_**2) / (model.autocorrelation_**2).sum()
    return model.components_[: min(MOST_KEPT, int(np.searchsorted(share, KINETIC)) + 1)]


def _held_out(X: np.ndarray, series: np.ndarray, lag: int) -> np.ndarray:
    """Autocorrelations (fold, direction) of a fifth of the frames, along the slowest directions of the others."""
    from tempica.ica import TICA

    fold = np.arange(len(X)) * N_FOLDS // len(X)
    groups = np.unique(np.stack([series, fold]), axis=1, return_inverse=True)[1].ravel()
    found = []
    for k in range(N_FOLDS):
        own, other = fold == k, fold != k
        S = TICA(min(N_SCORED, X.shape[1]), lag=lag).fit(X[other], replicas=groups[other]).transform(X[own])
        pair = np.flatnonzero(groups[own][lag:] == groups[own][:-lag])
        if len(pair) >= 3:
            here, there = S[pair] - S[pair].mean(0), S[pair + lag] - S[pair + lag].mean(0)
            found.append((here * there).mean(0) / (np.sqrt((here**2).mean(0) * (there**2).mean(0)) + 1e-300))
    if len(found) < 2:
        raise DataError(f"A lag of {lag} frames leaves no pairs in a fifth of {len(X)} frames. Use a shorter --lag.")
    return np.array(found)


def _counted(held_out: np.ndarray, lag: int) -> tuple[int, str]:
    """Number of directions, from the slowest on, whose held-out autocorrelation is above 0 (t test over folds, 5 %)."""
    from scipy.stats import t

    n = len(held_out)
    above = held_out.mean(0) > t.ppf(0.95, n - 1) * held_out.std(0, ddof=1) / np.sqrt(n)
    number = int(np.argmin(above)) if not above.all() else len(above)
    most = f", of the {len(above)} slowest that were looked at" if number == len(above) else ""
    return (
        number,
        f"{number} directions{most} are still correlated after {lag} frames in frames they were not learned on.",
    )
