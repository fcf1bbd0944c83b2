"""A movie as a particle stack: particles.star and particles.mrcs, for RELION, cryoDRGN and what reads their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica.errors import StoreError
from tempica.exchange.mrc import StackWriter
from tempica.exchange.relion import KEPT, KEPT_TABLES, euler_angles, exact_text
from tempica.exchange.star import write_block

if TYPE_CHECKING:
    import xarray

    from tempica.progress import Progress

BLOCK_FRAMES = 100
STACK, STAR = "particles.mrcs", "particles.star"
POSES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst")


def write_particles(movie: xarray.Dataset, folder: Path, progress: Progress) -> None:
    """Every frame of a movie store as one particle, replica by replica, block by block.

    Images are the store's own values (protein positive, 1/Å) as 32-bit floats, together with the contrast transfer
    function they were made with, so that the defaults of cryoDRGN are right. Poses that the store calls hidden are
    left out. Raises StoreError where the box is odd, which RELION cannot read.
    """
    n_replicas, n_frames, n_pixels, _ = movie["image"].shape
    if n_pixels % 2:
        raise StoreError(f"The images have {n_pixels} × {n_pixels} pixels, and RELION needs an even box. Render again.")
    blocks = [
        (r, a, min(a + BLOCK_FRAMES, n_frames)) for r in range(n_replicas) for a in range(0, n_frames, BLOCK_FRAMES)
    ]
    with (folder / STACK).open("wb") as file, progress.task("export", "blocks of frames", len(blocks), 0) as advance:
        stack = StackWriter(file, n_pixels, float(movie.attrs["pixel_size_A"]))
        for replica, first, last in blocks:
            stack.append(movie["image"].isel(replica=replica, time=slice(first, last)).values)
            advance()
        stack.finish()
    optics = _optics(movie)
    with (folder / STAR).open("w", encoding="utf-8") as table:
        write_block(table, "optics", list(optics), [list(optics.values())])
        write_block(table, "particles", list(_rows(movie, 0, 0, 1)), _all_rows(movie, blocks))


def _optics(movie: xarray.Dataset) -> dict[str, Any]:
    about, image = movie.attrs, movie["image"]
    stored = np.dtype(image.encoding.get("dtype", image.dtype))
    return {
        "rlnOpticsGroup": 1,
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnImagePixelSize": float(about["pixel_size_A"]),
        "rlnImageSize": image.shape[-1],
        "rlnImageDimensionality": 2,
        "rlnVoltage": float(about["voltage_kV"]),
        "rlnSphericalAberration": float(about["spherical_aberration_mm"]),
        "rlnAmplitudeContrast": float(about["amplitude_contrast"]),
        "rlnCtfDataAreCtfPremultiplied": 0,
        "tempicaPose": about["pose"],
        "tempicaNoise": about["noise"],
        **{label: exact_text(about[name]) for name, label in KEPT.items() if name in about},
        **{label: ",".join(map(repr, movie[name].values.tolist())) for name, label in KEPT_TABLES.items()},
        "tempicaScattering": exact_text(float(movie["scatterer_amplitude_A"].sum())),
        "tempicaImageScale": exact_text(image.encoding.get("scale_factor", 1.0)),
        "tempicaImageOffset": exact_text(image.encoding.get("add_offset", 0.0)),
        **({"tempicaScatterers": exact_text(movie.sizes["atom"])} if movie.sizes["gaussian"] == 1 else {}),  # beads
        **({"tempicaImageLevels": np.iinfo(stored).max} if stored.kind == "u" else {}),
    }


def _all_rows(movie: xarray.Dataset, blocks: list[tuple[int, int, int]]) -> Iterator[tuple[object, ...]]:
    for replica, first, last in blocks:
        yield from zip(*_rows(movie, replica, first, last).values(), strict=True)


def _rows(movie: xarray.Dataset, replica: int, first: int, last: int) -> dict[str, list[Any]]:
    """Columns of data_particles for frames first … last − 1 of a replica."""
    part = movie.isel(replica=replica, time=slice(first, last)).drop_vars("image")
    n = last - first
    index = replica * movie.sizes["time"] + np.arange(first, last)
    columns: dict[str, Any] = {
        "rlnImageName": [f"{i + 1:06d}@{STACK}" for i in index.tolist()],
        "rlnMicrographName": [f"replica{replica:05d}.mrc"] * n,
        "rlnGroupNumber": [replica + 1] * n,
        "rlnOpticsGroup": [1] * n,
        "rlnRandomSubset": 1 + index % 2,
        "rlnDefocusU": part["defocus_u_A"].values,
        "rlnDefocusV": part["defocus_v_A"].values,
        "rlnDefocusAngle": np.degrees(part["defocus_angle"].values),
        "rlnPhaseShift": np.full(n, np.degrees(float(movie.attrs["phase_shift"]))),
        "rlnCtfBfactor": np.full(n, float(movie.attrs["b_factor_A2"])),
    }
    if movie.attrs["pose"] != "hidden":
        euler, shift = euler_angles(part["pose_quaternion"].values), part["pose_shift_A"].values
        columns |= dict(zip(POSES, [*euler.T, *-shift.T], strict=True))
    columns |= {
        "tempicaReplica": [int(part["replica"])] * n,
        "tempicaFrame": np.arange(first, last),
        "tempicaTime": part["time"].values,
        "tempicaLabel": part["label"].values,
        "tempicaMolecule": part["molecule"].values,
        "tempicaDamageDose": part["damage_dose"].values,
    }
    return {name: np.asarray(values).tolist() for name, values in columns.items()}
