"""Runs of particles without an atomic model: a consensus map stands for the molecule."""

import mdtraj
import numpy as np
import pytest
from scipy import fft
from scipy.spatial.transform import Rotation

from tempica import imaging, pipeline
from tempica.errors import FormatError, RecipeError, TempicaError
from tempica.exchange.mrc import StackWriter
from tempica.exchange.mrc_volume import write_volume
from tempica.exchange.relion import euler_angles
from tempica.exchange.star import write_block
from tempica.imaging.linearise import Scatterers
from tempica.imaging.pseudo_atoms import density_of
from tempica.recipe.experiment import parse_recipe
from tempica.stores import reading

from .conftest import ROOT, tempica

pytestmark = pytest.mark.usefixtures("one_process")

N_REPLICAS, N_FRAMES, N_PIXELS, PIXEL_A, STRENGTH = 4, 25, 48, 2.0, 0.02
OPTICS = imaging.Optics(N_PIXELS, PIXEL_A, 300.0, 2.7, 0.1, b_factor_A2=0.0, bead_b_factor_A2=0.0)


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    """A stack with its STAR file and consensus map, on a scale of its own; and the density."""
    folder = tmp_path_factory.mktemp("particles")
    whole = mdtraj.load(ROOT / "simulations" / "structures" / "adk_open.pdb")
    place = whole.xyz[0, whole.topology.select("name CA")].astype(np.float64)
    place -= place.mean(0)
    scatterers = Scatterers(np.full((214, 1), 20.0), np.full((214, 1), 2.4))
    rng, n = np.random.default_rng(0), N_REPLICAS * N_FRAMES
    quaternion = Rotation.random(n, rng=rng).as_quat()
    shift = rng.normal(0, 2, (n, 2))
    u = rng.uniform(8e3, 15e3, n)
    xy = imaging.to_pixels(
        np.broadcast_to(place, (n, 214, 3)), imaging.rotation_matrix(quaternion), shift, N_PIXELS, PIXEL_A
    )
    clean = imaging.project(xy, scatterers.amplitude, scatterers.width_A, N_PIXELS, PIXEL_A)
    clean = imaging.through_optics(clean, OPTICS.transfer(u, u, np.zeros(n)))
    image = STRENGTH * (clean + clean.std() / np.sqrt(0.5) * rng.normal(size=clean.shape))
    with (folder / "particles.mrcs").open("wb") as file:
        writer = StackWriter(file, N_PIXELS, PIXEL_A)
        writer.append(image)
        writer.finish()
    angles, name = euler_angles(quaternion), [f"{i + 1:06d}@particles.mrcs" for i in range(n)]
    labels = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst")
    poses = dict(zip(labels, [*angles.T, *-shift.T], strict=True))
    columns = {"rlnImageName": name, "rlnOpticsGroup": [1] * n, "rlnDefocusU": u, "rlnDefocusV": u}
    columns |= {"rlnDefocusAngle": np.zeros(n)}
    optics = {"rlnOpticsGroup": 1, "rlnImagePixelSize": PIXEL_A, "rlnVoltage": 300.0}
    optics |= {"rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.1}
    for star, table in (
        ("posed", columns | poses),
        ("unposed", columns),
        ("partly", columns | dict([*poses.items()][:2])),
    ):
        with (folder / f"{star}.star").open("w") as file:
            write_block(file, "optics", list(optics), [list(optics.values())])
            write_block(
                file, "particles", list(table), zip(*(np.asarray(v).tolist() for v in table.values()), strict=False)
            )
    density = density_of(place, scatterers, N_PIXELS, PIXEL_A)
    write_volume(folder / "consensus.mrc", 7.0 * density, PIXEL_A)
    write_volume(folder / "mirrored.mrc", np.roll(density[::-1], 1, axis=0), PIXEL_A)
    write_volume(folder / "coarse.mrc", density, 1.5 * PIXEL_A)
    write_volume(folder / "noise.mrc", rng.normal(size=density.shape), PIXEL_A)
    return folder, density, quaternion


def recipe(folder, name="consensus.mrc", more="", about=""):
    path = folder / "recipe.toml"
    path.write_text(
        f"""name = "map"
[simulate]
n_replicas = {N_REPLICAS}
n_frames = {N_FRAMES}
molecule = {{ kind = "map", map = "{name}" }}
[particles]
observation = "movie"
b_factor_A2 = 0.0
{about}
[embed]
modes_from = "structure"
n_modes = 2
[train]
methods = ["tica"]
held_out_replicas = 1
{more}
"""
    )
    return path


def agreement(one, other):
    k = fft.fftfreq(N_PIXELS) * N_PIXELS
    low = (k[:, None, None] ** 2 + k[:, None] ** 2 + k**2 < 12**2) & (
        k[:, None, None] ** 2 + k[:, None] ** 2 + k**2 > 0
    )
    a, b = fft.fftn(one)[low], fft.fftn(other)[low]
    return (a * b.conj()).sum().real / np.sqrt((abs(a) ** 2).sum() * (abs(b) ** 2).sum())


@pytest.mark.parametrize(("star", "pose"), [("posed", "known"), ("unposed", "hidden")])
def test_a_map_and_particles_become_a_structure_and_a_movie(star, pose, particles, tmp_path):
    folder, density, quaternion = particles
    done = tempica("import", folder / f"{star}.star", "--recipe", recipe(folder), "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "pseudo-atoms, " in done.stderr
    run = tmp_path / "run"
    assert {path.name for path in run.glob("*.zarr")} == {"structure.zarr", "movie.zarr"}
    movie, structure = (
        reading.open_store(run / "movie.zarr", "movie"),
        reading.open_store(run / "structure.zarr", "structure"),
    )
    assert movie.attrs["pose"] == pose
    camera = imaging.camera_of(movie)
    assert len(camera.scatterer_amplitude_A) == structure.sizes["atom"]
    scatterers = Scatterers(camera.scatterer_amplitude_A, camera.scatterer_width_A)
    assert agreement(density_of(structure["position"].values, scatterers, N_PIXELS, PIXEL_A), density) > 0.98
    # images are on the scale of the molecule that is stored
    clean = camera.clean_images(
        np.broadcast_to(structure["position"].values, (N_FRAMES, *structure["position"].shape)),
        quaternion[:N_FRAMES],
        np.zeros((N_FRAMES, 2)) if pose == "hidden" else movie["pose_shift_A"].values[0],
        *(movie[name].values[0] for name in imaging.FOCUS),
    )
    if pose == "known":
        image = movie["image"].values[0]
        clean -= clean.mean((1, 2), keepdims=True)
        assert (image * clean).sum() / (clean * clean).sum() == pytest.approx(1, abs=0.05)
    power = movie["image"].values.var() - movie.attrs["noise_std"] ** 2
    assert power == pytest.approx(clean.var(), rel=0.25)
    again = pipeline.import_particles(folder / f"{star}.star", recipe(folder), out=run, jobs=1)
    assert again == (run, [])


@pytest.mark.parametrize(
    ("star", "given", "told"),
    [
        ("posed", {"name": "coarse.mrc"}, "voxels of 3 Å and the images pixels of 2 Å, in boxes of 48 both"),
        ("posed", {"name": "noise.mrc"}, "shows no molecule"),
        ("posed", {"name": "none.mrc"}, "none.mrc cannot be read"),
        ("posed", {"name": "particles.mrcs"}, "but a stack: its header says 100 sections"),
        ("partly", {}, "has poses in part: it lacks _rlnAnglePsi"),
        ("unposed", {"about": "pose_error_deg = 2.0"}, "has no poses, and particles.pose_error_deg = 2"),
        ("posed", {"about": 'structure = "docked"'}, "a molecule of a map's pseudo-atoms has none"),
    ],
)
def test_what_does_not_go_together_is_one_message(star, given, told, particles, tmp_path):
    path = recipe(particles[0], **given)
    with pytest.raises(TempicaError) as error:
        pipeline.import_particles(particles[0] / f"{star}.star", path, out=tmp_path / "run", jobs=1)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('modes_from = "structure"', "", "needs a simulation of the molecule, and a map has none"),
        ("[particles]", "[evaluate]", "needs particles"),
        ("[particles]\n", "[[simulate.collective_variables]]\nname = 'a'\nkind = 'distance'\nresidues = ['1', '2']\n"
         "[particles]\n", "a map or an unknown molecule has no residues"),
        ("n_frames = 25", "n_frames = 1", "n_frames = 1 must be at least 2|greater than or equal to 2"),
        ('modes_from = "structure"', 'modes_from = "images"', "needs a simulation of the molecule, and a map has none"),
        ("n_frames = 25", "n_frames = 25\nsteps_per_frame = 7", "so steps_per_frame would have no effect"),
    ],
)  # fmt: skip
def test_recipes_that_ask_too_much_of_a_map(old, new, told, particles):
    path = recipe(particles[0])
    text = path.read_text().replace("[particles]", "[particles]\nstar = 'posed.star'")
    assert old in text
    changed = text.replace(old, new)
    if "[evaluate]" in changed:  # without what belongs to particles
        start = changed.index("[evaluate]")
        changed = changed[:start] + changed[changed.index("[embed]") :]
    with pytest.raises(RecipeError, match=told):
        parse_recipe(changed, path)


def test_a_map_of_the_other_hand_is_told(particles, tmp_path):
    path = recipe(particles[0], name="mirrored.mrc")
    with pytest.raises(FormatError, match=r"other hand .* its mirror image along z explains the images better"):
        pipeline.import_particles(particles[0] / "posed.star", path, out=tmp_path / "run", jobs=1)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("star", "about", "source"),
    [
        ("posed", "pose_error_deg = 2.0\npose_error_A = 0.5", "refined"),
        ("unposed", "", "searched"),
    ],
)
def test_a_map_is_all_that_embed_needs(star, about, source, particles, tmp_path):
    folder, _, quaternion = particles
    made, _ = pipeline.import_particles(
        folder / f"{star}.star", recipe(folder, about=about), out=tmp_path / "run", jobs=1
    )
    done = tempica("run", made, "--until", "train", "--jobs", 1)
    assert done.returncode == 0, done.stderr
    latents = reading.open_store(made / "latents.zarr", "latents")
    assert latents.attrs["pose_source"] == source
    found = Rotation.from_quat(latents["pose_quaternion"].values.reshape(-1, 4))
    angle = np.degrees((found * Rotation.from_quat(quaternion).inv()).magnitude())
    assert np.median(angle) < 3.0  # with whatever the learned structure is turned from the map
