"""The ensemble of a run as complete atomic models with populations; models and density maps along each source."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np

from tempica.errors import DataError, StoreError
from tempica.exchange.mmcif import write_mmcif
from tempica.exchange.mrc_volume import write_volume
from tempica.exchange.trajectories import topology_of
from tempica.ica.methods import trainable
from tempica.imaging.linearise import Scatterers
from tempica.imaging.pseudo_atoms import density_of
from tempica.recipe.experiment import parse_recipe
from tempica.runs.layout import structure_path
from tempica.simulate.structures import read_structure
from tempica.stores import files, store
from tempica.stores.reading import open_store
from tempica.unmix.frames import read
from tempica.unmix.internal import turns_onto
from tempica.unmix.traversals import traverse

WINDOW = 2  # residues on each side by whose alpha carbons a residue's atoms are turned
SCRIPT = """# ChimeraX: a morph along source {number}; the others are at their median
open source_{number}.cif coordsets true
hide atoms
show cartoons
color bychain
view
coordset #1 1,{n} loop 0
"""


def export_models(run: str | Path, out: str | Path, *, n_models: int = 20, method: str | None = None) -> Path:
    """Write a run's ensemble as mmCIF into a new folder; returns it.

    ensemble.cif holds `n_models` models: frames are clustered by their sources (k-means), and a model is the mean
    structure of a cluster, as embed's modes tell it, with all atoms of the recipe's structure; populations.csv has the
    share of frames that each stands for. source_N.cif are models along one source, the others at their median, and
    source_N.cxc shows them in ChimeraX. All are in the frame of the recipe's body. Where the movie is an electron
    microscope's, volumes_source_N/vol_K.mrc are their densities too, of the recorded scatterers, in its pixels.

    Parameters:
        run: folder of a run that has been trained.
        out: folder to make.
        n_models: 2 to 100.
        method: whose sources; the last one that the recipe trains if not given.

    Raises StoreError for a folder that exists or a run without sources, DataError for other values.
    """
    run, out = Path(run), Path(out)
    if not 2 <= n_models <= 100:
        raise DataError(f"{n_models} models: 2 to 100 can be made.")
    if out.exists():
        raise StoreError(f"{out} exists already. Nothing was changed. Give another name.")
    latents, sources = (open_store(run / store.file_name(kind), kind) for kind in ("latents", "sources"))
    S, X = _frames(sources, latents, method)
    topology, build = _builder(run, latents)
    number = _clusters(S, n_models)
    order = np.argsort(-np.bincount(number), kind="stable")
    share = np.bincount(number)[order] / len(number)
    centres = np.stack([X[number == k].mean(0) for k in order])
    fresh = files.fresh_name(out)
    try:
        fresh.mkdir(parents=True)
        write_mmcif(fresh / "ensemble.cif", topology, build(centres), "ensemble", share)
        heads = ["model", "population", *(f"source_{i + 1}" for i in range(S.shape[1]))]
        middle = np.stack([S[number == k].mean(0) for k in order])
        table = np.column_stack([np.arange(1, len(share) + 1), share, middle])
        np.savetxt(fresh / "populations.csv", table, "%.9g", ",", header=",".join(heads), comments="")
        for i, path in enumerate(traverse(read(X), S), 1):
            write_mmcif(fresh / f"source_{i}.cif", topology, build(path.latent), f"source_{i}")
            files.write_text(fresh / f"source_{i}.cxc", SCRIPT.format(number=i, n=len(path.latent)))
            _write_volumes(fresh / f"volumes_source_{i}", run, _beads(latents, path.latent))
        os.rename(fresh, out)
    except OSError as error:
        raise StoreError(f"{out} cannot be written: {error}. Nothing was changed.") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return out


def _frames(sources: Any, latents: Any, method: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Sources (frame, component) of a method, smoothed where they are, and latents (frame, mode)."""
    names = sources["estimator"].values.tolist()
    known = [row.name for row in trainable() if row.name in names]
    if method is None:
        method = [name for name in names if name in known][-1] if known else None
    if method is None or method not in names:
        raise DataError(f"The run has no sources of {method or 'a trained method'}. It has: {', '.join(names)}.")
    every = sources["source"].values[names.index(method)]
    found = next(each for each in every[::-1] if np.isfinite(each).any())
    found = found.reshape(-1, found.shape[-1])
    found = found[:, np.isfinite(found).all(0)]
    return found, latents["latent"].values.reshape(len(found), -1)


def _clusters(S: np.ndarray, n: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    found = KMeans(n, n_init=4, random_state=0).fit_predict(S / np.maximum(S.std(0), 1e-300))
    return np.unique(found, return_inverse=True)[1]


def _builder(run: Path, latents: Any) -> tuple[mdtraj.Topology, Any]:
    """Topology of the models, and the function from latents (model, mode) to positions (model, atom, 3) in nm."""
    beads = topology_of(open_store(run / store.file_name("structure"), "structure"))
    of_beads = partial(_beads, latents)
    molecule = parse_recipe(latents.attrs["recipe"], run / "recipe.toml").simulate.molecule
    name = getattr(molecule, "structure", None)
    if name is None or any(atom.name != "CA" for atom in beads.atoms):
        return beads, of_beads  # what was simulated has all its atoms
    template, _ = read_structure(structure_path(run, name))
    place = {_name(atom): atom.index for atom in template.topology.atoms if atom.name == "CA"}
    alpha = np.array([place[_name(atom)] for atom in beads.atoms])
    owner = {_name(atom): i for i, atom in enumerate(beads.atoms)}
    kept = np.array([a.index for a in template.topology.atoms if _name(a) in owner])
    bead = np.array([owner[_name(template.topology.atom(a))] for a in kept.tolist()])
    xyz = template.xyz[0].astype(np.float64)
    return template.topology.subset(kept), lambda z: complete(of_beads(z), xyz[alpha], xyz[kept], bead)


def _beads(latents: Any, z: np.ndarray) -> np.ndarray:
    """Positions (model, bead, 3) in nm of latents (model, mode)."""
    return latents["mean_structure"].values + np.einsum("km,mas->kas", z, latents["mode_shape"].values)


def _write_volumes(folder: Path, run: Path, position: np.ndarray) -> None:
    """Maps of beads (model, bead, 3) as an electron microscope's movie shows them; nothing for other movies."""
    movie = open_store(run / store.file_name("movie"), "movie")
    if "scatterer_amplitude_A" not in movie:
        return
    scatterers = Scatterers(*(movie[f"scatterer_{name}_A"].values.astype(float) for name in ("amplitude", "width")))
    n, pixel_A = movie.sizes["x"], float(movie.attrs["pixel_size_A"])
    folder.mkdir()
    for number, beads in enumerate(position, 1):
        write_volume(folder / f"vol_{number:03d}.mrc", density_of(beads, scatterers, n, pixel_A), pixel_A)


def _name(atom: Any) -> tuple[int, int]:
    return atom.residue.chain.index, atom.residue.resSeq


def complete(beads: np.ndarray, alpha: np.ndarray, atoms: np.ndarray, bead: np.ndarray) -> np.ndarray:
    """Positions (model, atom, 3) of a template's atoms that follow beads (model, bead, 3).

    The atoms of a residue move with it as a rigid body: turned as the alpha carbons of five residues about it are
    turned from the template (`alpha` (bead, 3)) to the model, and moved with their own.

    Parameters:
        atoms: (atom, 3) of the template.
        bead: (atom,) the bead of each atom's residue.
    """
    out = np.empty((len(beads), *atoms.shape))
    for b in np.unique(bead).tolist():
        first = int(np.clip(b - WINDOW, 0, max(0, len(alpha) - 2 * WINDOW - 1)))
        near = slice(first, first + 2 * WINDOW + 1)
        own = bead == b
        turn = np.swapaxes(turns_onto(beads[:, near], alpha[near]), 1, 2)  # of the template onto the model
        out[:, own] = beads[:, None, b] + (atoms[own] - alpha[b]) @ turn
    return out
