"""Exported particles in the hands of other programs, and back; ends with one line of JSON.

    python -m venv /tmp/peer
    /tmp/peer/bin/pip install 'torch==2.13.*' 'numpy<3' scipy scikit-learn pandas healpy pyyaml matplotlib seaborn \
        igraph umap-learn nbformat starfile mrcfile
    /tmp/peer/bin/pip install --no-deps cryodrgn
    python tests/benchmarks/interop.py --peer-python /tmp/peer/bin/python --out /tmp/interop

The open form of adenylate kinase, 10,000 times the same (Cα beads, 64², 2 Å a pixel, random poses, shifts, astigmatic
defocus), without noise and at SNR 0.1, goes through `tempica import`, `render` and `export`; cryoDRGN parses poses and
CTF and back-projects the images with its default flags. Figures: Fourier shell correlation (FSC) with the true map by
shell, of 32. Five controls, each one convention turned over, must fail: that shows that the test would see it.
`starfile` and `mrcfile` read the same table and the same pixels; `tempica import` brings the same movie back.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import mdtraj
import numpy as np

from tempica import open_store
from tempica.exchange.relion import EXACT, KEPT_TABLES
from tempica.exchange.star import read_star, write_block

STRUCTURE = Path(__file__).parents[2] / "simulations" / "structures" / "adk_open.pdb"
N_PIXELS, PIXEL_A = 64, 2.0
SHELLS = (4, 8, 16, 21, 24)  # of 32, the Nyquist frequency: 21 is two thirds, 24 three quarters
CONTROLS = {  # columns turned over, each by what it becomes
    "rotation of the other sense": {"rlnAngleRot": ("rlnAnglePsi", -1.0), "rlnAngleTilt": ("rlnAngleTilt", -1.0),
                                    "rlnAnglePsi": ("rlnAngleRot", -1.0)},
    "tilt of the other sign": {"rlnAngleTilt": ("rlnAngleTilt", -1.0)},
    "shift of the other sign": {"rlnOriginXAngst": ("rlnOriginXAngst", -1.0),
                                "rlnOriginYAngst": ("rlnOriginYAngst", -1.0)},
    "astigmatism across": {"rlnDefocusU": ("rlnDefocusV", 1.0), "rlnDefocusV": ("rlnDefocusU", 1.0)},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, required=True, help="with cryodrgn, starfile and mrcfile")
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    parser.add_argument("--particles", type=int, default=10_000, help="a multiple of 8")
    parser.add_argument("--control-particles", type=int, default=3_000)
    arguments = parser.parse_args()
    out, peer = arguments.out.resolve(), arguments.peer_python.absolute()
    out.mkdir(parents=True)
    molecule = one_conformation(out, arguments.particles)
    figures: dict[str, object] = {"particles": arguments.particles, "shells": SHELLS, "of": N_PIXELS // 2}
    for name, snr in (("noise_free", "inf"), ("snr_0.1", "0.1")):
        run, particles = out / name, out / f"{name}_particles"
        recipe = out / f"{name}.toml"
        recipe.write_text(recipe_text(name, snr, arguments.particles // 8))
        tempica("import", *molecule, "--recipe", recipe, "--out", run)
        tempica("render", run)
        seconds = tempica("export", run, "--to", "relion", particles)
        truth = true_map(run)
        found = {"seconds_export": round(seconds, 1), "fsc": curve(particles, truth, peer, "whole")}
        found["read_by_peers"] = read_by_peers(run, particles, peer)
        found["round_trip"] = round_trip(run, particles, molecule)
        figures[name] = found
        if snr == "inf":
            fewer = ("--first", str(arguments.control_particles))
            found["fsc_of_fewer"] = curve(particles, truth, peer, "fewer", fewer)
            found["controls"] = {
                control: curve(turned(particles, changes), truth, peer, control, fewer)
                for control, changes in CONTROLS.items()
            }
            found["controls"]["contrast uninverted"] = curve(
                particles, truth, peer, "contrast", (*fewer, "--uninvert-data")
            )
    figures["peak_MB_of_children"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    print(json.dumps(figures))


def one_conformation(out: Path, n_particles: int) -> list[str]:
    """A trajectory that hardly moves (1e-5 nm), as arguments of `tempica import`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = mdtraj.load(str(STRUCTURE))
    alpha = whole.atom_slice(whole.topology.select("name CA"))
    alpha.save(str(out / "one.pdb"))
    jitter = 1e-5 * np.random.default_rng(0).standard_normal((n_particles, alpha.n_atoms, 3))
    mdtraj.Trajectory(alpha.xyz[0] + jitter, alpha.topology).save(str(out / "one.dcd"))
    return [str(out / "one.dcd"), "--topology", str(out / "one.pdb")]


def recipe_text(name: str, snr: str, n_frames: int) -> str:
    return f"""name = "{name.replace(".", "_")}"
[simulate]
n_replicas = 8
n_frames = {n_frames}
ensemble_frames = 10
[simulate.molecule]
kind = "trajectory"
frame_interval = 1.0
[[simulate.collective_variables]]
name = "LID"
residues = ["179-185", "115-125", "125-153"]
[render]
n_pixels = {N_PIXELS}
pixel_size_A = {PIXEL_A}
snr = {snr}
shift_deviation_A = 4.0
astigmatism_A = 1500.0
"""


def true_map(run: Path) -> np.ndarray:
    """The beads' potential on the grid [z, y, x], voxel i at (i − D//2) pixel sizes, without any tempica kernel."""
    movie, trajectory = open_store(run / "movie.zarr", "movie"), open_store(run / "trajectory.zarr", "trajectory")
    place = 10 * trajectory["position"][0, 0].values.astype(np.float64)
    width = movie["scatterer_width_A"].values[:, 0]
    grid = PIXEL_A * (np.arange(N_PIXELS) - N_PIXELS // 2)
    factor = np.exp(-((grid - place[..., None]) ** 2) / (2 * width[:, None, None] ** 2))  # (atom, space, D)
    weight = movie["scatterer_amplitude_A"].values[:, 0] / width**3
    return np.einsum("n,nz,ny,nx->zyx", weight, factor[:, 2], factor[:, 1], factor[:, 0], optimize=True)


def curve(
    particles: Path, truth: np.ndarray, peer: Path, name: str, more: tuple[str, ...] = ()
) -> dict[str, float | list[float]]:
    """cryoDRGN's parsing and back-projection; FSC at SHELLS with the truth, and the least up to two thirds."""
    star, work = particles / "particles.star", particles / name.replace(" ", "_")
    drgn = str(peer.parent / "cryodrgn")
    work.mkdir()
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = time.perf_counter()
    subprocess.run([drgn, "parse_pose_star", str(star), "-o", str(work / "pose.pkl")], **quiet)  # type: ignore
    subprocess.run([drgn, "parse_ctf_star", str(star), "-o", str(work / "ctf.pkl")], **quiet)  # type: ignore
    given = ["--poses", str(work / "pose.pkl"), "--ctf", str(work / "ctf.pkl"), "-o", str(work), "--no-half-maps"]
    subprocess.run([drgn, "backproject_voxel", str(star), *given, *more], **quiet)  # type: ignore
    content = (work / "backproject.mrc").read_bytes()
    volume = np.frombuffer(content, "<f4", offset=1024).reshape(truth.shape)
    shells = shell_correlation(volume, truth)
    return {
        "at_shells": [round(float(shells[s]), 4) for s in SHELLS],
        "least_to_two_thirds": round(float(shells[1 : SHELLS[3] + 1].min()), 4),
        "least_to_three_quarters": round(float(shells[1 : SHELLS[4] + 1].min()), 4),
        "seconds": round(time.perf_counter() - started, 1),
    }


def shell_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Σ F G* / √(Σ|F|² Σ|G|²) over the Fourier coefficients of each shell |k| = 0 … D/2."""
    F, G = np.fft.fftn(one), np.fft.fftn(other)
    k = np.fft.fftfreq(len(one), 1 / len(one))
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int).ravel()
    cross, a, b = (np.bincount(shell, x.ravel()) for x in ((F * G.conj()).real, np.abs(F) ** 2, np.abs(G) ** 2))
    return (cross / np.sqrt(a * b))[: len(one) // 2 + 1]


def turned(particles: Path, changes: dict[str, tuple[str, float]]) -> Path:
    """A copy of the STAR file beside, with columns replaced by others, times a factor; the same images."""
    folder = particles.with_name(f"{particles.name}_{'_'.join(changes)}_{len(list(particles.parent.iterdir()))}")
    folder.mkdir()
    (folder / "particles.mrcs").symlink_to(particles / "particles.mrcs")
    content = (particles / "particles.star").read_text()
    labels = [line.split()[0][1:] for line in content.splitlines() if line.startswith("_")]
    text = {"rlnImageName", "rlnMicrographName", "rlnOpticsGroupName", "tempicaPose", "tempicaNoise"}
    text |= {*EXACT, *KEPT_TABLES.values()}
    blocks = read_star(particles / "particles.star", {label: str if label in text else float for label in labels})
    table = blocks["particles"].columns
    new = table | {label: factor * table[source] for label, (source, factor) in changes.items()}
    with (folder / "particles.star").open("w") as file:
        for name, columns in (("optics", blocks["optics"].columns), ("particles", new)):
            lists = [[int(x) if "Group" in label else x for x in c.tolist()] if label not in text else c.tolist()
                     for label, c in columns.items()]  # fmt: skip
            write_block(file, name, list(columns), zip(*lists, strict=True))
    return folder


PEER = """
import json, sys, mrcfile, numpy as np, starfile
folder = sys.argv[1]
tables = starfile.read(folder + "/particles.star")
with mrcfile.mmap(folder + "/particles.mrcs", permissive=False) as stack:
    np.save(sys.argv[2], stack.data)
    about = [bool(stack.is_image_stack()), float(stack.voxel_size.x), stack.data.dtype.str, list(stack.data.shape)]
columns = {c: tables["particles"][c].tolist() for c in tables["particles"] if tables["particles"][c].dtype.kind in "if"}
json.dump({"stack": about, "valid": bool(mrcfile.validate(folder + "/particles.mrcs", print_file=sys.stderr)),
           "columns": columns}, open(sys.argv[2] + ".json", "w"))
"""


def read_by_peers(run: Path, particles: Path, peer: Path) -> dict[str, object]:
    """Whether starfile and mrcfile find exactly the movie's pixels, times, shifts and defocus."""
    kept = particles.with_name(particles.name + "_peer.npy")
    subprocess.run([str(peer), "-c", PEER, str(particles), str(kept)], check=True, stdout=sys.stderr)
    about = json.loads(Path(f"{kept}.json").read_text())
    movie = open_store(run / "movie.zarr", "movie")
    n = movie.sizes["replica"] * movie.sizes["time"]
    images, flat = np.load(kept, mmap_mode="r"), {}
    for label, name, part, factor in (
        ("rlnDefocusU", "defocus_u_A", None, 1),
        ("rlnDefocusV", "defocus_v_A", None, 1),
        ("rlnOriginXAngst", "pose_shift_A", 0, -1),
        ("rlnOriginYAngst", "pose_shift_A", 1, -1),
    ):
        values = movie[name].values.reshape(n, -1)[:, part or 0]
        flat[label] = bool((np.array(about["columns"][label]) == factor * values).all())
    each = movie.sizes["time"]
    same = all(
        np.array_equal(images[r * each : (r + 1) * each], movie["image"][r].values.astype(np.float32))
        for r in range(movie.sizes["replica"])
    )
    return {"mrcfile_valid": about["valid"], "mrcfile": about["stack"], "pixels_equal": same, "starfile_equal": flat}


def round_trip(run: Path, particles: Path, molecule: list[str]) -> dict[str, object]:
    """Largest differences between a movie and what `tempica import` makes of its export; 0 for images means that
    every level is the same."""
    trajectory, _, topology = molecule
    recipe, back = run.with_name(f"{run.name}_back.toml"), run.with_name(f"{run.name}_back")
    text = (run.parent / f"{run.name}.toml").read_text()
    text = text[: text.index("[render]")].replace(
        'kind = "trajectory"', f'kind = "trajectory"\ntopology = "{topology}"\nfiles = ["{trajectory}"]'
    )
    recipe.write_text(text)
    seconds = tempica("import", particles / "particles.star", "--recipe", recipe, "--out", back)
    one, other = (open_store(path / "movie.zarr", "movie") for path in (run, back))
    a, b = one["pose_quaternion"].values, other["pose_quaternion"].values
    differences = {
        name: float(np.abs(one[name].values - other[name].values).max())
        for name in ("pose_shift_A", "defocus_u_A", "defocus_v_A", "defocus_angle", "time", "label", "molecule")
    }
    differences["pose_rad"] = float(np.abs(b - np.sign((a * b).sum(-1, keepdims=True)) * a).max() * 2)
    differences["image"] = max(
        float(np.abs(one["image"][r].values - other["image"][r].values).max()) for r in range(one.sizes["replica"])
    )
    stored = str(other["image"].encoding["dtype"]) == str(one["image"].encoding["dtype"])
    return {"seconds_import": round(seconds, 1), "same_dtype": stored, "largest_difference": differences}


def tempica(*arguments: object) -> float:
    """One command; returns its seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tempica.cli", *map(str, arguments)], check=True, stdout=sys.stderr)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
