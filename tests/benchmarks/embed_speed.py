"""Frames a second of embedding's inner steps on one core, side by side with the whole-image twin.

    python tests/benchmarks/embed_speed.py
    python tests/benchmarks/embed_speed.py --radius 22 --rounds 9

Images of a made-up molecule of beads (214 unless said), 64² at 1.5 Å, SNR 0.1, poses known. Every figure is the median
over rounds of CPU time on one thread, ours and the yardstick's in turns, so that other processes on the machine disturb
both alike. The yardstick takes all coefficients of the images through `imaging.linearise.Whitened` in float32, and for
whole embeddings the damped Gauss–Newton steps of this program's first version. Ours takes the disc of `--radius`.

Then what the cost grows with: frames, beads, modes, pixels of the box; and errors of float32 and of the grid, against
`Whitened` in float64 on the same disc. Prints tables in Markdown and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import numpy as np

from tempica import imaging
from tempica.embed.micrographs import Micrographs
from tempica.embed.posterior import compress, posterior
from tempica.embed.quadratic import linearise, observe
from tempica.imaging.linearise import Images, Scatterers, Whitened
from tempica.imaging.modes import Modes

PIXEL_A, SNR, N_ITERATIONS = 1.5, 0.1, 8


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--radius", type=int, default=29, help="of the disc at 64²; 29 keeps 99 % of what images say")
    parser.add_argument("--frames", type=int, default=200, help="of a call")
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


class Case:
    """Frames of a random walk of beads, its smoothest modes of displacement, and images of it."""

    def __init__(self, n_beads=214, n_modes=4, n_frames=200, n_pixels=64, radius=29):
        rng = np.random.default_rng(0)
        walk = np.cumsum(rng.normal(size=(n_beads, 3)), 0)
        walk -= walk.mean(0)
        mean = 1.9 * (n_beads / 214) ** (1 / 3) * walk / np.sqrt((walk**2).sum(1).mean())
        mean *= np.minimum(1, 0.4 * n_pixels * PIXEL_A / 10 / np.linalg.norm(mean, axis=1))[:, None]
        phase = np.linspace(0, np.pi, n_beads)
        waves = np.stack([np.cos((k // 3 + 1) * phase) for k in range(n_modes)])
        self.modes = Modes(
            mean,
            0.25
            / np.arange(1, n_modes + 1)[:, None, None] ** 0.5
            * np.stack([np.outer(wave, np.eye(3)[k % 3]) for k, wave in enumerate(waves)]),
        )
        width = rng.uniform(0.9, 1.9, (n_beads, 1))
        self.scatterers = Scatterers(rng.uniform(10, 28, (n_beads, 1)), width)
        optics = imaging.Optics(n_pixels, PIXEL_A, 300.0, 2.7, 0.1, 40.0, 20.0)
        self.camera = imaging.Camera(
            optics, self.scatterers.amplitude, width, np.array([0.0, 0.3]), np.ones(2), np.ones(2)
        )
        quaternion = rng.normal(size=(n_frames, 4))
        quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
        self.rotation, self.shift_A = imaging.rotation_matrix(quaternion), rng.normal(0, 2, (n_frames, 2))
        defocus = rng.uniform(8_000, 15_000, n_frames)
        self.focus = [defocus + 100, defocus - 100, rng.uniform(0, np.pi, n_frames), np.zeros(n_frames)]
        self.amplitude = rng.standard_normal((n_frames, n_modes))
        position = self.position(self.amplitude)
        clean = self.camera.clean_images(position, quaternion, self.shift_A, *self.focus)
        self.variance = float(clean.var((1, 2)).mean() / SNR)
        self.image = clean + np.float32(np.sqrt(self.variance)) * rng.standard_normal(clean.shape, dtype=np.float32)
        self.radius, self.n_frames = radius, n_frames
        self.observed = self.observe()

    def position(self, amplitude):
        return self.modes.mean + np.tensordot(amplitude, self.modes.shape, 1)

    def observe(self):
        return observe(self.camera, self.image, self.focus, self.variance, self.radius)

    def linearised(self, pose):
        place = self.scatterers, self.position(self.amplitude), self.rotation, self.shift_A
        return linearise(self.observed, *place, self.modes.shape, pose=pose)

    def likelihood(self):
        return Micrographs(self.observe(), self.scatterers)

    def compressed(self):
        place = self.amplitude, self.rotation, self.shift_A
        return compress(self.likelihood(), self.modes, *place)

    def embedded(self):
        return posterior(self.likelihood(), self.modes, self.rotation, self.shift_A, N_ITERATIONS)

    def whitened(self, dtype=np.float32):
        transfer = self.camera.transfer(*self.focus)
        images = Images(self.image, self.rotation, self.shift_A, transfer, self.camera.power())
        return Whitened(images, self.modes.shape, self.scatterers, PIXEL_A, self.variance, dtype)

    def whole_expansion(self, whitened, amplitude, frames):
        """Information, evidence and misfit of all coefficients."""
        residual, jacobian = whitened.linearise(self.position(amplitude), frames)
        residual, jacobian = (_real(wave.reshape(*wave.shape[:-2], -1)) for wave in (residual, jacobian))
        information = (jacobian @ jacobian.swapaxes(1, 2)).astype(np.float64)
        evidence = (jacobian @ residual[..., None])[..., 0].astype(np.float64)
        return information, evidence, np.einsum("fp,fp->f", residual, residual).astype(np.float64)

    def whole_compressed(self):
        information, evidence, _ = self.whole_expansion(self.whitened(), self.amplitude, slice(None))
        return information, evidence + (information @ self.amplitude[..., None])[..., 0]

    def whole_embedded(self):
        """Damped Gauss–Newton on all coefficients, as the first version took them."""
        whitened, identity = self.whitened(), np.eye(len(self.modes.shape))
        active, amplitude = np.arange(self.n_frames), np.zeros_like(self.amplitude)
        now = [*self.whole_expansion(whitened, amplitude, active)]
        damping = np.zeros(self.n_frames)
        for _ in range(N_ITERATIONS):
            left = now[0][active] + (1 + damping[active])[:, None, None] * identity
            step = np.linalg.solve(left, (now[1][active] - amplitude[active])[..., None])[..., 0]
            trial = amplitude[active] + step
            seen = self.whole_expansion(whitened, trial, active)
            better = seen[2] + (trial**2).sum(1) <= now[2][active] + (amplitude[active] ** 2).sum(1)
            kept = active[better]
            amplitude[kept] = trial[better]
            for old, new in zip(now, seen, strict=True):
                old[kept] = new[better]
            damping[active] = np.where(better, damping[active] / 4, np.maximum(1.0, 8 * damping[active]))
            active = active[~better | (np.abs(step).max(1) > 1e-3)]
            if len(active) == 0:
                break
        return amplitude, np.linalg.inv(now[0] + identity)


def _real(wave):
    return np.ascontiguousarray(wave).view(np.float32)


def in_turns(works, n_frames, rounds):
    """Median CPU microseconds a frame of each of several functions."""
    times = [[] for _ in works]
    for number in range(rounds + 1):
        for work, found in zip(works, times, strict=True):
            start = time.process_time()
            work()
            if number:  # the first compiles
                found.append((time.process_time() - start) / n_frames * 1e6)
    return [statistics.median(found) for found in times]


def errors(case):
    """Worst error of information and evidence, in units of √(H_kk H_ll) and √H_kk, on the disc."""
    seen, gather = case.linearised(False), case.observed.disc.gather
    residual, jacobian = case.whitened(np.float64).linearise(case.position(case.amplitude), slice(None))
    residual, jacobian = gather(residual), gather(jacobian)
    information = np.einsum("fkm,flm->fkl", jacobian.conj(), jacobian, optimize=True).real
    evidence = np.einsum("fkm,fm->fk", jacobian.conj(), residual).real
    size = np.sqrt(np.einsum("fkk->fk", information))
    return (
        float(np.abs((seen.information - information) / (size[:, :, None] * size[:, None])).max()),
        float(np.abs((seen.evidence - evidence) / size).max()),
    )


def main():
    options = arguments()
    size = {"n_frames": options.frames, "radius": options.radius}
    four, eight, thirty = (Case(n_modes=n, **size) for n in (4, 8, 30))
    figures = {"radius": options.radius}
    print(f"\n| 214 beads, 64², radius {options.radius} | µs a frame | frames/s | all coefficients, µs | gain |")
    print("|---|---|---|---|---|")

    def row(name, key, work, twin=None):
        found = in_turns([work] if twin is None else [work, twin], options.frames, options.rounds)
        figures[key] = round(1e6 / found[0])
        beside = f"{found[1]:.0f} | {found[1] / found[0]:.1f}" if twin else " | "
        print(f"| {name} | {found[0]:.0f} | {figures[key]} | {beside} |", flush=True)
        if twin:
            figures[key + "_before"] = round(1e6 / found[1])

    row("whole embedding, 4 modes", "embed_4", four.embedded, four.whole_embedded)
    row("H, u in 8 modes, images included", "compress_8", eight.compressed, eight.whole_compressed)
    row("images to coefficients, transfer included", "observe", four.observe, four.whitened)
    row("4 columns (4 modes)", "columns_4", lambda: four.linearised(False))
    row("9 columns (4 modes, pose)", "columns_9", lambda: four.linearised(True))
    row("30 columns (30 modes)", "columns_30", lambda: thirty.linearised(False))
    row("35 columns (30 modes, pose)", "columns_35", lambda: thirty.linearised(True))
    figures["error_information"], figures["error_evidence"] = errors(four)
    print(f"\nErrors: information {figures['error_information']:.1e}, evidence {figures['error_evidence']:.1e}\n")

    print("| 9 columns | µs a frame |\n|---|---|")
    scaling = {
        **{f"{n} frames": {"n_frames": n} for n in (10, 100, 1000)},
        **{f"{n} beads": {"n_beads": n} for n in (50, 214, 500, 1500)},
        **{f"{n} modes": {"n_modes": n} for n in (1, 4, 8, 16, 32, 64)},
        **{f"box of {n}², the same resolution": {"n_pixels": n, "radius": options.radius * n // 64} for n in (96, 128)},
    }
    for name, change in scaling.items():
        case = Case(**(size | {"n_frames": 100} | change))
        (found,) = in_turns([lambda case=case: case.linearised(True)], case.n_frames, options.rounds)
        figures[name] = round(found, 1)
        print(f"| {name} | {found:.0f} |", flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
