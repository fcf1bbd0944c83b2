"""Diffraction patterns as patterns.cxi, the HDF5 layout of the Coherent X-ray Imaging Data Bank (CXI 1.5, SI units)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica._version import __version__
from tempica.errors import FormatError
from tempica.imaging import rotation_matrix

if TYPE_CHECKING:
    import h5py
    import xarray

    from tempica.progress import Progress

BLOCK_FRAMES = 100
FILE = "patterns.cxi"
VERSION = 150  # of the format, times 100
SHADOWED = 0x10  # CXI_PIXEL_IS_SHADOWED
JOULE_PER_EV = 1.602176634e-19
SHOT = "experiment_identifier"
TO_CXI = np.diag([-1.0, -1.0, 1.0])  # x to the left and y up, as seen along the light; ours are right and down


def write_cxi(patterns: xarray.Dataset, folder: Path, progress: Progress) -> None:
    """Every frame of a diffraction store as one shot, replica by replica, block by block.

    entry_1/data_1/data links to the detector's; mask, distance, pixel sizes, corner and basis vectors are the
    detector's, the photons' energy the source's, orientations (the molecule's x and y axes in the laboratory) the
    sample's. The group tempica holds what CXI has no word for: replica, frame, time (ps), label, molecule, quaternion
    and fluence (photons/µm²) of each shot.

    Raises FormatError without h5py.
    Source: Maia, Nat. Methods 9, 854 (2012), and the format's reference at cxidb.org.
    """
    if find_spec("h5py") is None:
        raise FormatError("CXI files need h5py: pip install 'tempica[cxi]'.")
    import h5py

    n_replicas, n_frames, n_pixels, _ = patterns["image"].shape
    with h5py.File(folder / FILE, "w") as file:
        file["cxi_version"], file["number_of_entries"] = VERSION, 1
        entry = file.create_group("entry_1")
        entry["title"] = str(patterns.attrs["title"])
        entry["program_name"] = f"tempica {__version__}"
        names = [f"replica{int(r):05d}/frame{t:07d}" for r in patterns["replica"].values for t in range(n_frames)]
        entry[SHOT] = np.array(names, dtype="S")
        detector = _instrument(entry.create_group("instrument_1"), patterns)
        data = detector.create_dataset(
            "data",
            (n_replicas * n_frames, n_pixels, n_pixels),
            patterns["image"].dtype,
            chunks=(1, n_pixels, n_pixels),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
        _by_shot(detector, data, "y:x")
        entry.create_group("data_1")["data"] = h5py.SoftLink(data.name)
        entry["data_1"][SHOT] = h5py.SoftLink(f"{entry.name}/{SHOT}")
        _sample(entry.create_group("sample_1"), patterns)
        _shots(file.create_group("tempica"), patterns)
        starts = range(0, n_frames, BLOCK_FRAMES)
        with progress.task("export", "blocks of frames", n_replicas * len(starts), 0) as advance:
            for replica in range(n_replicas):
                for first in starts:
                    part = patterns["image"].isel(replica=replica, time=slice(first, first + BLOCK_FRAMES)).values
                    at = replica * n_frames + first
                    data[at : at + len(part)] = part
                    advance()


def _instrument(instrument: h5py.Group, patterns: xarray.Dataset) -> h5py.Group:
    """The source, and the detector without its data."""
    about, n_pixels = patterns.attrs, patterns.sizes["x"]
    photon = float(about["photon_energy_eV"]) * JOULE_PER_EV
    pixel, distance = 1e-6 * float(about["pixel_size_um"]), 1e-3 * float(about["detector_distance_mm"])
    instrument["name"] = "simulated"
    source = instrument.create_group("source_1")
    source["name"], source["energy"] = "simulated X-ray free-electron laser", photon
    detector = instrument.create_group("detector_1")
    detector["description"] = "simulated; counts are photons"
    detector["distance"], detector["x_pixel_size"], detector["y_pixel_size"] = distance, pixel, pixel
    detector["counts_per_joule"] = 1 / photon
    detector["mask"] = np.where(patterns["mask"].values == 1, 0, SHADOWED).astype(np.uint32)
    edge = 0.5 * n_pixels * pixel
    detector["corner_position"] = np.array([edge, edge, distance])
    detector["basis_vectors"] = np.array([[0, -pixel, 0], [-pixel, 0, 0]])
    return detector


def _sample(sample: h5py.Group, patterns: xarray.Dataset) -> None:
    sample["name"] = str(patterns.attrs["title"])
    if patterns.attrs["pose"] == "hidden":
        return
    geometry = sample.create_group("geometry_1")
    geometry["translation"] = np.zeros(3)
    turn = TO_CXI @ rotation_matrix(patterns["pose_quaternion"].values.reshape(-1, 4))
    orientation = geometry.create_dataset("orientation", data=np.concatenate([turn[:, :, 0], turn[:, :, 1]], axis=1))
    _by_shot(geometry, orientation, "dot_product")


def _shots(group: h5py.Group, patterns: xarray.Dataset) -> None:
    n_replicas, n_frames = patterns["image"].shape[:2]
    of_shot: dict[str, Any] = {
        "replica": np.repeat(patterns["replica"].values, n_frames),
        "frame": np.tile(np.arange(n_frames), n_replicas),
        "time": np.tile(patterns["time"].values, n_replicas),
        "label": patterns["label"].values.reshape(-1),
        "molecule": patterns["molecule"].values.reshape(-1),
        "fluence": patterns["fluence"].values.reshape(-1),
    }
    if patterns.attrs["pose"] != "hidden":
        of_shot["quaternion"] = patterns["pose_quaternion"].values.reshape(-1, 4)
    for name, values in of_shot.items():
        group[name] = values
    for name, value in patterns.attrs.items():
        if isinstance(value, str | int | float):
            group.attrs[name] = value


def _by_shot(group: h5py.Group, dataset: h5py.Dataset, others: str) -> None:
    """Say that a dataset's first dimension counts shots; CXI wants the names of shots linked beside it."""
    import h5py

    entry = "/" + group.name.split("/")[1]
    dataset.attrs["axes"] = f"{SHOT}:{others}"
    group[SHOT] = h5py.SoftLink(f"{entry}/{SHOT}")
