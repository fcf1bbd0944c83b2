"""Models are complete, move with their beads, and say whom they stand for."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pandas
import pytest
from scipy.spatial.transform import Rotation

from tempica.errors import DataError, StoreError
from tempica.exchange.mmcif import write_mmcif
from tempica.exchange.mrc_volume import read_volume
from tempica.stores.reading import open_store
from tempica.unmix.models import complete, export_models

from ..conftest import ROOT

STRUCTURE = ROOT / "simulations" / "structures" / "trpzip2.pdb"


def test_mmcif_is_read_by_mdtraj_as_it_was(tmp_path: Path) -> None:
    template = mdtraj.load(STRUCTURE)
    position = template.xyz[0].astype(float) + np.arange(3)[:, None, None]
    write_mmcif(tmp_path / "m.cif", template.topology, position, "m", np.array([0.5, 0.3, 0.2]))
    found = mdtraj.load(str(tmp_path / "m.cif"))
    assert found.xyz.shape == position.shape
    np.testing.assert_allclose(found.xyz, position, atol=1e-4)
    assert [str(atom) for atom in found.topology.atoms] == [str(atom) for atom in template.topology.atoms]


def test_atoms_follow_their_beads() -> None:
    """A model that is the template turned and moved has every atom where the template has it."""
    template = mdtraj.load(STRUCTURE)
    xyz = template.xyz[0].astype(float)
    alpha = template.topology.select("name CA")
    bead = np.array([atom.residue.index for atom in template.topology.atoms])
    turn = Rotation.random(4, random_state=0).as_matrix()
    whole = xyz @ turn + np.arange(4)[:, None, None]
    np.testing.assert_allclose(complete(whole[:, alpha], xyz[alpha], xyz, bead), whole, atol=1e-10)


def test_the_ensemble_of_a_run_is_complete_and_its_populations_sum_to_one(small_run: Path, tmp_path: Path) -> None:
    out = export_models(small_run, tmp_path / "models", n_models=5)
    table = pandas.read_csv(out / "populations.csv")
    assert table["population"].sum() == pytest.approx(1, abs=1e-6)
    assert (np.diff(table["population"]) <= 0).all()
    models, template = mdtraj.load(str(out / "ensemble.cif")), mdtraj.load(ROOT / "simulations/structures/adk_open.pdb")
    assert models.n_frames == len(table) == 5
    assert models.n_atoms == template.topology.select("protein").size
    alpha = models.topology.select("name CA")
    step = np.linalg.norm(np.diff(models.xyz[:, alpha], axis=1), axis=-1)
    assert step.min() > 0.25
    assert step.max() < 0.5
    spread = models.xyz[:, alpha] - models.xyz[:, alpha].mean(0)
    assert np.sqrt((spread**2).sum(-1).mean(1)).max() < 0.6  # nm, without superposition: they lie in one frame
    path = mdtraj.load(str(out / "source_1.cif"))
    assert path.n_frames == 10
    assert "open source_1.cif coordsets true" in (out / "source_1.cxc").read_text()
    maps = [read_volume(file) for file in sorted((out / "volumes_source_1").glob("*.mrc"))]
    movie, alpha = open_store(small_run / "movie.zarr", "movie"), path.topology.select("name CA")
    assert len(maps) == 10
    weight, pixel = movie["scatterer_amplitude_A"].values[:, 0], np.arange(movie.sizes["x"]) - movie.sizes["x"] // 2
    for model, found in zip(10 * path.xyz[:, alpha], maps, strict=True):
        assert found.density.sum() * found.pixel_A**3 == pytest.approx(weight.sum(), rel=0.01)
        centre = [(found.density.sum(axes) @ pixel) / found.density.sum() for axes in ((0, 1), (0, 2), (1, 2))]
        np.testing.assert_allclose(found.pixel_A * np.array(centre), weight @ model / weight.sum(), atol=0.2)  # Å
    with pytest.raises(StoreError, match="exists already"):
        export_models(small_run, out)
    with pytest.raises(DataError, match="has no sources of tcl"):
        export_models(small_run, tmp_path / "other", method="tcl")
