"""Prints the relative L2 error of the GPU kernels against those of the CPU, and whether they repeat themselves.

Run by test_kernels_gpu.py under the simulator, and by hand on a card: python tests/imaging/gpu_against_cpu.py
"""

import json

import numpy as np

from tempica import imaging
from tempica.imaging.afm import Probe


def main():
    rng = np.random.default_rng(5)
    worst, repeated = {"image": 0.0, "jacobian": 0.0}, True
    # 6 pixels are no whole number of the simulator's tiles, nor 19 atoms of its blocks; some lie far outside
    for n_terms, n_atoms, n_frames in ((3, 17, 1), (1, 5, 2)):
        xy = 3 + rng.normal(scale=3, size=(n_frames, n_atoms, 2))
        xy[0, 0] = -1e30, 3.0
        amplitude, width = rng.uniform(1, 3, (n_atoms, n_terms)), rng.uniform(0.5, 2.5, (n_atoms, n_terms))
        velocity = rng.normal(size=(n_frames, 9, n_atoms, 2))
        image = imaging.project(xy, amplitude, width, 6, 1.5, device="cuda")
        columns = imaging.project_with_jacobian(xy, velocity, amplitude, width, 6, 1.5, device="cuda")
        expected = imaging.project_with_jacobian(xy, velocity, amplitude, width, 6, 1.5)
        repeated &= bool((image[:1] == imaging.project(xy[:1], amplitude, width, 6, 1.5, device="cuda")).all())
        for name, value, twin in (
            ("image", image, expected[:, 0]),
            ("image", columns[:, 0], expected[:, 0]),
            ("jacobian", columns[:, 1:], expected[:, 1:]),
        ):
            error = np.linalg.norm(value - twin) / np.linalg.norm(twin)
            worst[name] = max(worst[name], float(error))
    worst["heights"] = error_of_heights(rng)
    print(json.dumps(worst | {"repeated": repeated}))


def error_of_heights(rng):
    """The largest difference of heights in nm: frames taken at once or scanned, with or without parachuting."""
    worst = 0.0
    for n_times, fall, tip in (
        (1, np.inf, None),
        (3, np.inf, None),
        (4, 0.3, None),
        (1, 0.3, ((-1.0, 0.0, -1.0),) * 3),
    ):
        probe = Probe(radius_nm=0.4, half_angle=0.2, n_pixels=7, pixel_nm=0.4, fall_nm=fall, tip=tip)
        position = rng.uniform([-1.5, -1.5, 0.2], [1.5, 1.5, 2.0], (2, n_times, 5, 3))
        radius = rng.uniform(0.1, 0.3, 5)
        twins = [probe.images(position, radius, device) for device in ("cpu", "cuda")]
        worst = max(worst, float(np.abs(twins[0] - twins[1]).max()))
    return worst


if __name__ == "__main__":
    main()
