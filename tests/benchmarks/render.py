"""Images a second on the CPU, side by side with cryojax: each round ours, then theirs, on one core; medians.

    python -m venv peer && peer/bin/pip install cryojax
    python tests/benchmarks/render.py --peer-python peer/bin/python

Cases: 214 beads of adenylate kinase at 64²; its 1,656 heavy atoms with Peng's factors at 128²; 10,000 such atoms
(copies side by side) at 256². Every frame has positions of its own, as in a movie. Ours takes the
refit to two Gaussians. cryojax gets the same sampling (at pixel centres) by each of its methods, dense and spread, the
latter with the least n_spread whose error is below --accuracy; with the five Gaussians of its own table, and once more
with our two. Its NUFFT (GaussianFourierProjection) is given too: it leaves out what lies beyond the Nyquist frequency,
which is another image where atoms are narrower than a pixel, so it has a twin of its own (the Nyquist frequency itself,
which it treats in a way of its own, is left out of the comparison). Errors are relative L2 against twins in float64.

Calls are of 100, 50 and 25 frames, as blocks of a movie are. Rates are images a second of CPU time, so that other
processes on the machine disturb little; the gain of the second thread is wall time and needs a quiet machine. The share
of the multiply-add peak counts the sums over windows alone, and again with the exponentials.

Ends by printing one line of JSON with the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STRUCTURE = Path(__file__).parents[2] / "simulations" / "structures" / "adk_open.pdb"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="interpreter of an environment with cryojax; none: ours alone")
    parser.add_argument("--structure", type=Path, default=STRUCTURE)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.3, help="CPU time of a measurement")
    parser.add_argument("--b-factor", type=float, default=20.0, help="Å²")
    parser.add_argument("--pixel", type=float, default=1.5, help="Å, of images of atoms; at 1.5 the refit is at 3e-5")
    parser.add_argument("--accuracy", type=float, default=1e-4)
    parser.add_argument("--cases", nargs="+", default=["beads", "atoms", "many"])
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def rate(work, n_images, seconds, clock=time.process_time):
    """Images a second of `work`, which makes n_images, repeated for a while."""
    start, done = clock(), 0
    while clock() - start < seconds:
        work()
        done += n_images
    return done / (clock() - start)


def error(value, twin):
    return float(np.linalg.norm(value - twin) / np.linalg.norm(twin))


def point_twin(xy, amplitude, width_A, n_pixels, pixel_A):
    """The formula of `imaging.project` in float64 over the whole box, one frame."""
    image = np.zeros((n_pixels, n_pixels))
    for a, s in zip(amplitude.T, width_A.T / pixel_A, strict=True):
        gx, gy = (np.exp(-0.5 * ((np.arange(n_pixels) - v[:, None]) / s[:, None]) ** 2) for v in xy.T)
        image += (gy * (a / (2 * np.pi * s**2 * pixel_A**2))[:, None]).T @ gx
    return image


def band_twin(xy, amplitude, width_A, n_pixels, pixel_A):
    """The same without what lies beyond the Nyquist frequency, in float64, one frame: a sum over waves."""
    k = np.fft.fftfreq(n_pixels)
    wave = np.zeros((n_pixels, n_pixels), dtype=complex)
    for a, s in zip(amplitude.T, width_A.T / pixel_A, strict=True):
        ex, ey = (np.exp(-2j * np.pi * v[:, None] * k - 2 * np.pi**2 * s[:, None] ** 2 * k**2) for v in xy.T)
        wave += (ey * a[:, None]).T @ ex
    return np.fft.ifft2(wave).real / pixel_A**2


def within_band(image):
    """The image without its Nyquist frequency, float64."""
    wave = np.fft.fft2(image.astype(np.float64))
    wave[len(wave) // 2], wave[:, len(wave) // 2] = 0, 0
    return np.fft.ifft2(wave).real


# ours


def read_atoms(path):
    """Positions (N, 3) in Å about their centre, elements and names of a PDB file's heavy atoms."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("ATOM")]
    lines = [line for line in lines if line[76:78].strip() != "H"]
    position = np.array([[float(line[c : c + 8]) for c in (30, 38, 46)] for line in lines])
    return position - position.mean(0), [line[76:78].strip() for line in lines], [line[12:16].strip() for line in lines]


def make_case(name, options):
    """Pixel coordinates (F, N, 2), Gaussians of ours and of Peng's table, box."""
    from scipy.spatial.transform import Rotation

    from tempica import imaging

    position, elements, names = read_atoms(options.structure)
    n_pixels, pixel_A, n_frames = {
        "beads": (64, 1.5, 100),
        "atoms": (128, options.pixel, 50),
        "many": (256, options.pixel, 25),
    }[name]
    if name == "many":
        corners = 30.0 * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        position = np.concatenate([position + corner for corner in corners])[:10_000]
        elements = (elements * 8)[:10_000]
    if name == "beads":
        alpha = np.array([n == "CA" for n in names])
        owner = np.cumsum([n == "N" for n in names]) - 1
        length = np.array([imaging.SCATTERING_LENGTH_A[e] for e in elements])
        centre = np.array([position[owner == r].mean(0) for r in range(alpha.sum())])
        spread = np.array([np.square(position[owner == r] - centre[r]).sum(1).mean() for r in range(alpha.sum())])
        position = position[alpha]
        ours = np.bincount(owner, length)[:, None], np.sqrt(spread / 3 + options.b_factor / (8 * np.pi**2))[:, None]
        table = ours
    else:
        ours = imaging.gaussians(elements, 2, pixel_A=pixel_A, b_factor_A2=options.b_factor)
        table = imaging.gaussians(elements, 5, pixel_A=pixel_A, b_factor_A2=options.b_factor)
    rng = np.random.default_rng(1)
    rotation = Rotation.random(n_frames, rng=rng).as_matrix()
    moved = position + 0.3 * rng.normal(size=(n_frames, *position.shape))
    xy = np.einsum("fij,fnj->fni", rotation[:, :2], moved) / pixel_A + n_pixels // 2
    return {
        "xy": xy,
        "amplitude": ours[0],
        "width": ours[1],
        "table_amplitude": table[0],
        "table_width": table[1],
        "element": np.unique(elements, return_inverse=True)[1] if name != "beads" else np.arange(len(position)),
        "n_pixels": n_pixels,
        "pixel_A": pixel_A,
    }


def peak_gflops(seconds):
    """Multiply-adds in float32 that a matrix product reaches on one core, 2 flop each."""
    a, b = np.random.default_rng(0).normal(size=(2, 512, 512)).astype(np.float32)
    return 2e-9 * 512**3 * rate(lambda: a @ b, 1, seconds)


def measure(name, options, peer):
    import numba

    from tempica import imaging
    from tempica.imaging.windows import pairs_of

    case = make_case(name, options)
    xy, box = case["xy"], (int(case["n_pixels"]), float(case["pixel_A"]))
    ours = case["amplitude"], case["width"]
    n_frames, n_atoms, n_terms = len(xy), *ours[0].shape
    velocity = np.random.default_rng(2).normal(size=(n_frames, 7, n_atoms, 2))
    twin = point_twin(xy[0], *ours, *box)
    result = {"error": error(imaging.project(xy[:1], *ours, *box)[0], twin)}
    if n_terms == 2:  # over the frequencies that pixels hold
        band = [band_twin(xy[0], case[f"{k}amplitude"], case[f"{k}width"], *box) for k in ("", "table_")]
        result["error_of_the_refit"] = error(*band)
    methods = []
    if peer:
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "case.npz", **case)
            methods = peer.ask({"case": str(Path(folder) / "case.npz"), "accuracy": options.accuracy})
    numba.set_num_threads(1)
    imaging.project_with_jacobian(xy[:1], velocity[:1], *ours, *box)
    image, jacobian, theirs = [], [], {method["name"]: [] for method in methods}
    for _ in range(options.rounds):
        image.append(rate(lambda: imaging.project(xy, *ours, *box), n_frames, options.seconds))
        for method, rates in theirs.items():
            rates.append(peer.ask({"run": method, "seconds": options.seconds}))
        jacobian.append(
            rate(lambda: imaging.project_with_jacobian(xy, velocity, *ours, *box), n_frames, options.seconds)
        )
    pairs = pairs_of(*ours, box[1])
    flop = 2.0 * n_terms * (pairs.rows_NC * pairs.columns_NC).sum()
    factors = 22.0 * n_terms * (8 * np.ceil(pairs.rows_NC / 8) + pairs.columns_NC).sum()
    result["images_per_s"] = statistics.median(image)
    result["gflops"] = 1e-9 * flop * result["images_per_s"]
    result["gflops_with_factors"] = 1e-9 * (flop + factors) * result["images_per_s"]
    result["jacobian_over_image"] = statistics.median(a / b for a, b in zip(image, jacobian, strict=True))
    for method in methods:
        rates = theirs[method["name"]]
        method["images_per_s"] = statistics.median(rates)
        method["ratio"] = statistics.median(a / b for a, b in zip(image, rates, strict=True))
    result["cryojax"] = methods
    return result


def second_thread(options):
    """Wall time of one thread over that of two, turn by turn: the median, and the fastest call of each.

    Others may compute on the same cores. Beside it the same of a plain loop without memory or Python in two threads
    of its own, which says what a second core is worth on this machine at this hour.
    """
    import threading

    import numba

    from tempica import imaging

    case = make_case("atoms", options)
    xy = np.concatenate([case["xy"]] * max(1, 256 // len(case["xy"])))
    ours, box = (case["amplitude"], case["width"]), (int(case["n_pixels"]), float(case["pixel_A"]))

    @numba.njit(nogil=True, fastmath=True)
    def spin(n):
        x = 0.5
        for _ in range(n):
            x = 3.7 * x * (1 - x)
        return x

    def project_all(_):
        imaging.project(xy, *ours, *box)

    def spin_in(n_threads, n=8_000_000):
        threads = [threading.Thread(target=spin, args=(2 * n // n_threads,)) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    spin(1)
    found = {(what, n): [] for what in ("project", "spin") for n in (1, 2)}
    for _ in range(4 * options.rounds):
        for n_threads in (1, 2):
            numba.set_num_threads(n_threads)
            for what, call, argument in (("project", project_all, None), ("spin", spin_in, n_threads)):
                started = time.perf_counter()
                call(argument)
                found[what, n_threads].append(time.perf_counter() - started)
    return {
        f"{what}_{name}": float(of(found[what, 1], found[what, 2]))
        for what in ("project", "spin")
        for name, of in (
            ("median", lambda one, two: np.median(np.divide(one, two))),
            ("fastest", lambda one, two: min(one) / min(two)),
        )
    }


class Peer:
    """cryojax in a process of its own, asked by lines of JSON."""

    def __init__(self, python):
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        self.process = subprocess.Popen(
            [python, __file__, "--peer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("the process with cryojax ended; see its message above")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# theirs


def serve():
    """Answer questions until standard input ends."""
    works = {}
    for line in sys.stdin:
        question = json.loads(line)
        if "case" in question:
            answer, works = peer_methods(np.load(question["case"]), question["accuracy"])
        else:
            answer = rate(*works[question["run"]], question["seconds"])
        print(json.dumps(answer), flush=True)


def peer_methods(case, accuracy):
    """The fastest way of each kind that reaches the accuracy: descriptions, and what runs them."""
    import cryojax.simulator as cxs
    import jax
    import jax.numpy as jnp
    from cryojax.ndimage import FourierGaussian

    xy, n_pixels, pixel_A = case["xy"], int(case["n_pixels"]), float(case["pixel_A"])
    position = np.zeros((*xy.shape[:2], 3), dtype=np.float32)
    position[..., :2] = (xy - n_pixels // 2) * pixel_A
    position = jnp.asarray(position)
    config = cxs.BasicImageConfig((n_pixels, n_pixels), pixel_A, voltage_in_kilovolts=300.0)

    def over_frames(image, batched):
        loop = jax.vmap(image) if batched else (lambda p: jax.lax.map(image, p))
        work = jax.jit(loop)
        return lambda: work(position).block_until_ready()

    def mixture(amplitude, variance, integrator):
        def image(p):
            volume = cxs.GaussianMixtureVolume(p, amplitude, variance)
            return integrator.integrate(volume, config, outputs_real_space=True)

        return image

    def fourier(amplitude, variance, eps):
        integrator = cxs.GaussianFourierProjection(sampling_mode="point", eps=eps)
        kinds = [np.flatnonzero(case["element"] == e) for e in np.unique(case["element"])]
        kernels = [
            jax.vmap(lambda a, b: FourierGaussian(amplitude=a, b_factor=b))(
                jnp.asarray(amplitude[k[0]]), jnp.asarray(8 * np.pi**2 * variance[k[0]])
            )
            for k in kinds
        ]

        def image(p):
            volume = cxs.GaussianFourierVolume(tuple(p[k] for k in kinds), tuple(kernels))
            return integrator.integrate(volume, config, outputs_real_space=True)

        return image

    answer, works = [], {}

    def keep(name, image, twin, seen=lambda value: value):
        """The faster of a loop over frames and a batch of them, and its error on the first frame."""
        both = {batched: over_frames(image, batched) for batched in (False, True)}
        found = error(seen(np.asarray(both[False]())[0]), twin)
        both[True]()
        fastest = max(both, key=lambda batched: rate(both[batched], len(xy), 0.2))
        works[name] = both[fastest], len(xy)
        answer.append({"name": name, "error": found, "batched": fastest})

    for label, prefix in (("table", "table_"), ("our two Gaussians", "")):
        a, s = case[f"{prefix}amplitude"], case[f"{prefix}width"]
        variance = s**2
        twin = point_twin(xy[0], a, s, n_pixels, pixel_A)
        for n_sigma in np.arange(3.0, 6.0, 0.25):  # the least width that reaches the accuracy
            spread = tuple(max(2, int(np.ceil(2 * n_sigma * np.sqrt(v) / pixel_A))) for v in variance.max(0))
            image = mixture(a, variance, cxs.GaussianMixtureProjection(sampling_mode="point", n_spread=spread))
            if error(np.asarray(jax.jit(image)(position[0])), twin) <= accuracy:
                keep(f"spread {spread}, {label}", image, twin)
                break
        if a.shape[0] <= 2000:
            keep(f"dense, {label}", mixture(a, variance, cxs.GaussianMixtureProjection(sampling_mode="point")), twin)
        if a.shape[1] == 1:
            break  # beads: one Gaussian each, a kernel of their own each, which the NUFFT does not take
    if case["amplitude"].shape[1] > 1:
        a, variance = case["table_amplitude"], case["table_width"] ** 2
        twin = within_band(band_twin(xy[0], a, case["table_width"], n_pixels, pixel_A))
        for eps in (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6):
            image = fourier(a, variance, eps)
            if error(within_band(np.asarray(jax.jit(image)(position[0]))), twin) <= accuracy or eps == 1e-6:
                keep(f"NUFFT eps {eps:g}, table (band-limited)", image, twin, within_band)
                break
    return answer, works


def main():
    options = arguments()
    if options.peer:
        return serve()
    cores = os.sched_getaffinity(0)
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["NUMBA_NUM_THREADS"] = str(len(cores))
    os.sched_setaffinity(0, {max(cores)})
    from threadpoolctl import threadpool_limits

    peer = Peer(options.peer_python) if options.peer_python else None
    figures = {}
    with threadpool_limits(1):
        peaks = []
        for name in options.cases:
            peaks.append(peak_gflops(options.seconds))
            figures[name] = measure(name, options, peer)
            print(name, json.dumps(figures[name], indent=1), flush=True)
    for name in options.cases:
        for key in ("gflops", "gflops_with_factors"):
            figures[name][key.replace("gflops", "of_gemm_peak")] = figures[name][key] / statistics.median(peaks)
    figures["gemm_gflops"] = statistics.median(peaks)
    if peer:
        peer.close()
    os.sched_setaffinity(0, cores)
    if len(cores) > 1:
        figures["two_threads_over_one"] = second_thread(options)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
