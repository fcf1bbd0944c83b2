"""Does the audit's verdict predict recovery? Dynamics × mixings × seeds, each audited and scored.

python tests/benchmarks/phase_diagram.py --seeds 1 2 3 4 5 --layers 1 2 4
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import lfilter

N, FRAMES, LABELS = 3, 6000, 60
RATES = np.array([0.9, 0.8, 0.6])
Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray | None]]


def ar(rng: np.random.Generator, rho, noise: np.ndarray) -> np.ndarray:
    """AR(1) series (frame, n) of unit variance, driven by noise (frame + 300, n) of unit variance."""
    rho = np.broadcast_to(np.asarray(rho, float), noise.shape[1])
    columns = [lfilter([1], [1, -r], np.sqrt(1 - r * r) * e) for r, e in zip(rho, noise.T, strict=True)]
    return np.stack(columns, axis=1)[300:]


def size() -> tuple[int, int]:
    return FRAMES + 300, N


def normal(rho) -> Draw:
    return lambda rng: (ar(rng, rho, rng.normal(size=size())), None)


def laplace(rho) -> Draw:
    return lambda rng: (ar(rng, rho, rng.laplace(size=size()) / np.sqrt(2)), None)


def student(rng):
    return ar(rng, 0.8, rng.standard_t(4, size=size()) / np.sqrt(2)), None


def jumps(rng):
    happens = rng.random(size()) < 0.1
    return ar(rng, 0.9, happens * rng.normal(size=size()) / np.sqrt(0.1)), None


def wells(barrier: float) -> Draw:
    """Overdamped motion in V = barrier (s² − 1)², kT = 1, four Euler steps of 0.01 a frame and barrier."""

    def draw(rng):
        step = 0.04 / barrier
        s = rng.choice([-1.0, 1.0], size=N)
        found = np.empty((FRAMES, N))
        for t in range(-300, FRAMES):
            for _ in range(8):
                s = s - step * 4 * barrier * s * (s * s - 1) + np.sqrt(2 * step) * rng.normal(size=N)
            if t >= 0:
                found[t] = s
        return found, None

    return draw


def burst(rng):
    """White normal noise whose log-amplitude is an AR(1) of its own for each source."""
    amplitude = np.exp(0.8 * ar(rng, 0.97, rng.normal(size=size())))
    return amplitude * rng.normal(size=(FRAMES, N)), None


def modulated(kind: str) -> Draw:
    def draw(rng):
        scale = rng.uniform(0.1, 1, size=(LABELS, N))
        noise = (
            rng.laplace(size=(LABELS, FRAMES // LABELS, N))
            if kind == "laplace"
            else rng.normal(size=(LABELS, FRAMES // LABELS, N))
        )
        return (scale[:, None] * noise).reshape(-1, N), np.repeat(np.arange(LABELS), FRAMES // LABELS)

    return draw


def one_control(rng):
    scale = np.repeat(rng.uniform(0.1, 1, size=(LABELS, 1)), FRAMES // LABELS, axis=0)
    return scale * rng.normal(size=(FRAMES, N)), np.repeat(np.arange(LABELS), FRAMES // LABELS)


def temperature_jump(rng):
    label = np.repeat(np.arange(4), FRAMES // 4)
    return np.sqrt(np.array([250, 300, 350, 400]) / 300)[label][:, None] * rng.normal(size=(FRAMES, N)), label


def coupled(rng):
    """Laplace innovations whose amplitudes follow the first source: dynamics that no map makes independent."""
    noise = rng.laplace(size=size()) / np.sqrt(2)
    s = np.zeros(N)
    found = np.empty((FRAMES, N))
    for t, e in enumerate(noise):
        past = s.copy()
        gain = np.r_[1, 0.2 + np.abs(past[:-1])]
        s = 0.8 * past + 0.6 * gain * e
        if t >= 300:
            found[t - 300] = s
    return found, None


def ring(rng):
    """Overdamped motion in V = 4 (|s|² − 1)²: sources held together by the shell on which they lie."""
    s = rng.normal(size=N)
    found = np.empty((FRAMES, N))
    for t in range(-300, FRAMES):
        for _ in range(4):
            s = s - 0.01 * 16 * s * (s @ s - 1) + np.sqrt(0.02) * rng.normal(size=N)
        if t >= 0:
            found[t] = s
    return found, None


def white(rng):
    return rng.normal(size=(FRAMES, N)), None


DYNAMICS: dict[str, Draw] = {
    "ou_equal": normal(0.8),
    "ou_distinct": normal(RATES),
    "laplace_equal": laplace(0.8),
    "laplace_distinct": laplace(RATES),
    "student": student,
    "jumps": jumps,
    "wells_1kT": wells(1.0),
    "wells_3kT": wells(3.0),
    "bursts": burst,
    "modulated_laplace": modulated("laplace"),
    "modulated_normal": modulated("normal"),
    "one_control": one_control,
    "temperature_jump": temperature_jump,
    "coupled": coupled,
    "ring": ring,
    "white": white,
}
NEGATIVE = ("ou_equal", "one_control", "temperature_jump", "coupled", "ring", "white")
