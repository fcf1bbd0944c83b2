"""RELION's conventions (3.1 to 5): Euler angles, origins and the columns of particles.star.

A = R_z(−psi) R_y(−tilt) R_z(−rot) takes the molecule to the view; `rlnOriginX/YAngst` centres the image, so that
the particle lies at minus origin. cryoDRGN and RECOVAR read the same. Columns called tempica… are our own, for the
way back; other programs pass over them. Programs that write a table anew do so with six decimals: numbers of ours that
must come back to the last bit are hexadecimal text.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempica.errors import FormatError

# attributes of a movie and the columns of data_optics that keep them
KEPT = {
    "noise_std": "tempicaNoiseStd",
    "bead_b_factor_A2": "tempicaBeadBfactor",
    "electrons_per_pixel": "tempicaElectronsPerPixel",
    "signal_std": "tempicaSignalStd",
    "pose_error_deg": "tempicaPoseErrorDeg",
    "pose_error_A": "tempicaPoseErrorA",
    "turn_deg": "tempicaTurnDeg",
}
OF_POSES = {name: KEPT[name] for name in ("pose_error_deg", "pose_error_A", "turn_deg")}  # not of the images
EXACT = (
    "tempicaImageScale", "tempicaImageOffset", "tempicaImageLevels", "tempicaScattering", "tempicaScatterers",
    *KEPT.values(),
)  # fmt: skip
KEPT_TABLES = {"frequency": "tempicaFrequency", "noise_power": "tempicaNoisePower", "dqe": "tempicaDqe"}
UNIFORM = {"frequency": np.zeros(1), "noise_power": np.ones(1), "dqe": np.ones(1)}  # where there are no such tables


def exact_text(value: float) -> str:
    """A number as hexadecimal text, which no program takes for a number and rounds."""
    return float(value).hex()


def exact_number(star: Path, label: str, text: str) -> float:
    """The number of a column of EXACT; exports of older versions have it in decimals. Raises FormatError."""
    try:
        value = float.fromhex(text) if "0x" in text.lower() else float(text)
    except (ValueError, OverflowError):
        value = np.nan
    if not np.isfinite(value):
        raise FormatError(f"{star} has {label} = '{text}'; it must be a finite number. Export it again.")
    return value


def euler_angles(quaternion: np.ndarray) -> np.ndarray:
    """rot, tilt, psi (…, 3) in degrees of unit quaternions (…, 4), order x y z w, of molecule to view.

    From half angles: tilt = 2 atan2(√(x² + y²), √(z² + w²)) in 0 … 180°, psi ± rot from (z, w) and (x, y), so that
    nothing is lost near the poles, where only their sum or difference means something.
    """
    x, y, z, w = np.moveaxis(np.asarray(quaternion, dtype=np.float64), -1, 0)
    total, difference = 2 * np.arctan2(-z, w), 2 * np.arctan2(-x, -y)
    tilt = 2 * np.arctan2(np.hypot(x, y), np.hypot(z, w))
    rot, psi = (total - difference) / 2, (total + difference) / 2
    return np.degrees(np.stack([_wrapped(rot), tilt, _wrapped(psi)], -1))


def quaternions(euler: np.ndarray) -> np.ndarray:
    """Unit quaternions (…, 4), order x y z w, of rot, tilt, psi (…, 3) in degrees: the inverse of `euler_angles`."""
    rot, tilt, psi = np.moveaxis(np.radians(np.asarray(euler, dtype=np.float64)), -1, 0)
    total, difference, half = (psi + rot) / 2, (psi - rot) / 2, tilt / 2
    return np.stack(
        [
            -np.sin(half) * np.sin(difference),
            -np.sin(half) * np.cos(difference),
            -np.cos(half) * np.sin(total),
            np.cos(half) * np.cos(total),
        ],
        -1,
    )


def _wrapped(angle: np.ndarray) -> np.ndarray:
    """Angles in −π … π."""
    return np.remainder(angle + np.pi, 2 * np.pi) - np.pi
