"""What tempica finds on this machine: versions, OpenMM's platforms, cores, GPU, disk, and a torch that fits."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tempica._version import __version__
from tempica.runs import pool

NEEDED = ("numpy", "scipy", "scikit-learn", "numba", "openmm", "mdtraj", "zarr", "xarray", "torch")
OPTIONAL = {"tables": "hdf5", "h5py": "cxi", "distributed": "dask", "pyarrow": "parquet"}  # package: extra
TORCH = "torch==2.13.*"
LEAST_DISK = 2 * 10**9  # bytes, that a run of the default recipe leaves room in


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    what: str
    found: str
    remedy: str = ""  # what to do; empty where all is well
    bad: bool = False  # whether runs cannot work


def examine(folder: Path = Path()) -> Iterator[Finding]:
    """What is there, and what to do about what is not.

    Parameters:
        folder: where runs would be made.
    """
    yield Finding(
        "tempica", f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    for name in NEEDED:
        yield _package(name)
    missing = [f"{name} ({extra})" for name, extra in OPTIONAL.items() if _version(name) is None]
    if missing:
        extras = ",".join(sorted(extra for name, extra in OPTIONAL.items() if _version(name) is None))
        yield Finding("optional", f"without {', '.join(missing)}", f"if you need them: pip install 'tempica[{extras}]'")
    yield _openmm()
    yield _cores()
    yield _disk(folder)
    cards = _cards()
    yield Finding("GPU", "; ".join(cards) if cards else "none that nvidia-smi sees; everything runs on the CPU")
    yield _torch(bool(cards))
    if cards:
        yield _numba()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package(name: str) -> Finding:
    version = _version(name)
    if version is None:
        return Finding(name, "is not installed", "pip install --force-reinstall tempica", bad=True)
    return Finding(name, version)


def _openmm() -> Finding:
    try:
        import openmm

        names = [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]
        system = openmm.System()
        system.addParticle(1.0)
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
        context.setPositions([openmm.Vec3(0, 0, 0)])
        context.getIntegrator().step(1)
    except Exception as error:  # a broken library fails in many ways
        return Finding("OpenMM", f"does not work ({error})", "pip install --force-reinstall openmm", bad=True)
    failed = openmm.Platform.getPluginLoadFailures()
    told = f"platforms {', '.join(names)}; a step on Reference works"
    return Finding("platforms", told + (f"; {len(failed)} plugins did not load" if failed else ""))


def _cores() -> Finding:
    usable, all_cores = pool.usable_cores(), os.cpu_count() or 1
    told = f"{usable} of {all_cores} usable; runs start as many workers, of one thread each"
    return Finding("cores", told)


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder.resolve()).free
    told = f"{free / 1e9:.1f} GB free at {folder.resolve()}"
    if not os.access(folder, os.W_OK):
        return Finding("disk", f"{told}, which cannot be written to", "go to another folder, or give --out", bad=True)
    if free < LEAST_DISK:
        return Finding("disk", told, "a run of the default recipe takes up to 0.3 GB: make room, or give --out")
    return Finding("disk", told)


def _cards() -> list[str]:
    """Names, drivers and compute capabilities of NVIDIA cards."""
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def _torch(has_card: bool) -> Finding:
    """Whether torch works, and fits the card if there is one."""
    try:
        import torch

        torch.ones(2) @ torch.ones(2)
    except Exception as error:
        return Finding("torch", f"does not work ({error})", f"pip install --force-reinstall '{TORCH}'", bad=True)
    built = f"{torch.__version__}, " + (f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only")
    if not has_card:
        return Finding("torch", built)
    if torch.version.cuda is None:
        remedy = f"{sys.executable} -m pip install --force-reinstall '{TORCH}'  (the default build for Linux has CUDA)"
        return Finding("torch", f"{built}: --device cuda cannot train", remedy)
    if not torch.cuda.is_available():
        return Finding("torch", f"{built}, but it sees no card", "update the NVIDIA driver, or use --device cpu")
    major, minor = torch.cuda.get_device_capability()
    archs = [int(name.partition("_")[2].rstrip("af")) for name in torch.cuda.get_arch_list() if name.startswith("sm_")]
    if archs and not min(archs) <= 10 * major + minor:
        remedy = f"pick a build of {TORCH} for an older CUDA at pytorch.org/get-started; or use --device cpu"
        return Finding(
            "torch", f"{built}, for cards from {min(archs) / 10:.1f} on; this one is {major}.{minor}", remedy
        )
    return Finding("torch", f"{built}, and it fits the card")


def _numba() -> Finding:
    from tempica.errors import DeviceError
    from tempica.imaging import kernels_gpu

    try:
        kernels_gpu.check()
    except DeviceError as error:
        return Finding("CUDA kernels", str(error), "pip install 'numba-cuda', or make images with --device cpu")
    return Finding("CUDA kernels", "work: images can be made with --device cuda")
