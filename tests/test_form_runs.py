"""A movie of a scanning probe with a structure: distances of domains by one command, and what is wrong with input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica import pipeline
from tempica.embed.heights.foreign import Fitted
from tempica.embed.heights.form import distances
from tempica.embed.modes.elastic import elastic_modes
from tempica.embed.posterior import Posterior
from tempica.errors import TempicaError
from tempica.imaging.afm import Probe, flat_faces, radii_nm
from tempica.imaging.heights import Heights
from tempica.imaging.modes import Modes
from tempica.importing import import_film
from tempica.progress import Progress
from tempica.simulate.structures import load_molecule
from tempica.starting.protein import domains_of
from tempica.stores.reading import open_store

from .conftest import in_this_process, tempica

STRUCTURE = Path(__file__).parents[1] / "simulations" / "structures" / "adk_open.pdb"
DOMAINS = {"CORE": "1-29, 68-117, 161-214", "AMPbd": "30-67", "LID": "118-160"}
BEADS = [np.r_[0:29, 67:117, 160:214], np.arange(29, 67), np.arange(117, 160)]
PIXEL, TIP, N = 0.5, 1.0, 24


@pytest.fixture(scope="module")
def filmed() -> tuple[np.ndarray, np.ndarray]:
    """Heights of adenylate kinase that lies flat, turns and swings along its softest motion; true distances."""
    rng = np.random.default_rng(0)
    molecule = load_molecule(STRUCTURE)
    modes = elastic_modes(molecule.position, 1)
    position = modes.mean + 2 * np.sin(np.arange(N) / 3)[:, None, None] * modes.shape[0]
    turn = np.cumsum(0.2 * rng.normal(size=N))[:, None] * [0.0, 0.0, 1.0]
    rotation = Rotation.from_rotvec(turn).as_matrix() @ flat_faces(molecule.position)[0]
    probe = Probe(TIP, np.radians(10.0), 40, PIXEL)
    seen = Heights(np.zeros((N, 40, 40), np.float32), radii_nm(molecule.formula), probe, 0.1)
    height = seen.model(position, rotation, 3 * rng.normal(size=(N, 2))) + 0.1 * rng.normal(size=(N, 40, 40))
    centre = np.stack([position[:, beads].mean(1) for beads in BEADS], 1)
    return height, np.stack(
        [np.linalg.norm(centre[:, a] - centre[:, b], axis=-1) for a, b in ((0, 1), (0, 2), (1, 2))], 1
    )


def test_a_film_with_a_structure_tells_distances(filmed, tmp_path) -> None:
    height, true = filmed
    np.save(tmp_path / "film.npy", 1e-9 * height[:, ::-1])  # in metres, and upside down
    with in_this_process():
        out, done = import_film(
            [tmp_path / "film.npy"], pixel_nm=PIXEL, interval_s=1.0, structure=STRUCTURE, domains=DOMAINS, lying="flat",
            out=tmp_path / "run", progress=Progress(),
        )  # fmt: skip
        assert done == ["simulate", "render"]
        pipeline.run(out, jobs=1, progress=Progress())
    latents, movie = open_store(out / "latents.zarr", "form_latents"), open_store(out / "movie.zarr", "crops")
    assert latents.attrs["mirrored"]
    assert latents.attrs["tip_radius_nm"] == pytest.approx(TIP, rel=0.25)
    assert latents.attrs["pairs"] == ["CORE – AMPbd", "CORE – LID", "AMPbd – LID"]
    frame = movie["frame"].values.reshape(-1)
    found = latents["distance"].values.reshape(len(frame), 3)
    widest = true.std(0).argmax()
    assert np.corrcoef(found[:, widest], true[frame, widest])[0, 1] > 0.9
    assert np.abs(found - true[frame]).mean() < 0.5 * np.abs(true - load_distances()).mean()
    page = (out / "report.html").read_text()
    assert "By the structure" in page
    assert "CORE – LID" in page
    assert "No structure was used" not in page


def load_distances() -> np.ndarray:
    """Those of the structure as it is."""
    position = load_molecule(STRUCTURE).position
    centre = [position[beads].mean(0) for beads in BEADS]
    return np.array([np.linalg.norm(centre[a] - centre[b]) for a, b in ((0, 1), (0, 2), (1, 2))])


def test_deviations_of_distances_are_those_of_draws() -> None:
    rng = np.random.default_rng(1)
    modes = Modes(rng.normal(size=(20, 3)) * 3, 0.3 * rng.normal(size=(2, 20, 3)))
    covariance = 0.01 * np.array([[[1.0, 0.3], [0.3, 0.5]]])
    nothing = np.zeros((1, 2))
    found = Posterior(nothing + 0.4, covariance, np.ones(1), np.eye(3)[None], nothing, np.zeros((1, 5, 5)))
    halves = [np.arange(10), np.arange(10, 20)]
    told = Fitted(found, modes, None, False, 0.0)  # type: ignore[arg-type]
    value, deviation = distances(told, halves)
    draws = rng.multivariate_normal(found.mean[0], covariance[0], 4000)
    position = modes.mean + np.tensordot(draws, modes.shape, 1)
    apart = np.linalg.norm(position[:, :10].mean(1) - position[:, 10:].mean(1), axis=1)
    assert deviation[0, 0] == pytest.approx(apart.std(), rel=0.06)
    assert value[0, 0] == pytest.approx(apart.mean(), abs=4 * apart.std() / np.sqrt(4000) + 1e-3)


def test_domains_of_a_structure_cover_it_once() -> None:
    domains = domains_of(STRUCTURE, lambda text: None)
    from tempica.recipe.residues import residues

    every = [residue for text in domains.values() for residue in residues(text)]
    assert len(domains) >= 2
    assert sorted(every) == [("", n) for n in range(1, 215)]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"tip_radius_nm": -1.0}, "tip_radius_nm"),
        ({"pixel_nm": 0.05}, "larger than"),
        ({"domains": {"all": "1-214"}}, "two domains or more"),
        ({"domains": {"a": "1-100", "b": "900-950"}}, "domain b"),
    ],
)
def test_what_cannot_be_explained_is_refused(filmed, tmp_path, more, says) -> None:
    np.save(tmp_path / "film.npy", filmed[0])
    given = {"pixel_nm": PIXEL, "interval_s": 1.0, "structure": STRUCTURE, "domains": DOMAINS} | more
    with in_this_process(), pytest.raises(TempicaError, match=says):
        import_film([tmp_path / "film.npy"], **given, out=tmp_path / "run", progress=Progress())
    assert not (tmp_path / "run").exists()


def test_a_structure_without_atoms_is_one_sentence(filmed, tmp_path) -> None:
    np.save(tmp_path / "film.npy", filmed[0])
    atom = "HETATM    1  O   HOH A   1       0.000   0.000   0.000  1.00  0.00           O"
    (tmp_path / "empty.pdb").write_text(f"{atom}\nEND\n")
    done = tempica(
        "import", tmp_path / "film.npy", "--structure", tmp_path / "empty.pdb", "--pixel-nm", PIXEL, "--interval", 1,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 2
    assert "0 Cα atoms" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
