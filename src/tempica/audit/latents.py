"""Audits of latents that lie in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tempica.audit.auditing import audit
from tempica.errors import DataError, StoreError
from tempica.progress import Progress
from tempica.stores import files
from tempica.stores.reading import open_store

ARRAYS = ("latents", "latent", "X", "z", "arr_0")  # names under which an .npz may hold them


def audit_file(
    path: Path,
    *,
    method: str,
    components: int | None,
    lag: int | None,
    replicas: Path | None,
    labels: Path | None,
    out: Path | None,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], Path | None]:
    """Audit the latents of a file, and write what was found if asked to; returns that, and where it was written.

    Raises StoreError for a file that is not there or would be overwritten, DataError for what cannot be audited.
    """
    if out is not None and out.exists():
        raise StoreError(f"{out} exists already; nothing was changed. Give --out another name.")
    X, covariance, own = read_latents(path)
    series = own if replicas is None else read_column(replicas)
    found = audit(
        X,
        method=method,
        replicas=series,
        labels=None if labels is None else read_column(labels),
        covariance=covariance,
        n_components=components,
        lag=lag or 1,
        progress=progress or Progress(),
    )
    told = {"name": path.name, **found.as_dict()}
    if out is not None:
        files.write_json(out, told)
    return told, out


def read_latents(path: Path) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Latents (frame, feature), their covariances and replicas, the latter two where a latents.zarr tells them.

    Raises StoreError for a file that is not there, DataError for one without an array (frame, feature).
    """
    if path.suffix == ".zarr":
        latents = open_store(path, "latents")
        mean, covariance = latents["latent"].values, latents["latent_covariance"].values
        n = mean.shape[-1]
        return mean.reshape(-1, n), covariance.reshape(-1, n, n), np.repeat(np.arange(len(mean)), mean.shape[1])
    return _array(path), None, None


def read_column(path: Path) -> np.ndarray:
    """One number or word a frame, from .npy or a text file with a line a frame."""
    if not path.is_file():
        raise StoreError(f"There is no file {path}. Give a .npy, or text with a line a frame.")
    if path.suffix == ".npy":
        return np.asarray(_loaded(path)).reshape(-1)
    return np.array(path.read_text(encoding="utf-8").split())


def _array(path: Path) -> np.ndarray:
    if not path.is_file():
        raise StoreError(f"There is no file or run folder {path}. Give a run, latents.zarr, .npy, .npz or text.")
    if path.suffix in (".npy", ".npz"):
        loaded = _loaded(path)
        if path.suffix == ".npy":
            return np.asarray(loaded)
        names = [name for name in (*ARRAYS, *loaded.files) if name in loaded.files]
        if not names:
            raise DataError(f"{path} holds no array. Give latents (frame, feature).")
        return np.asarray(loaded[names[0]])
    try:
        return _of_text(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is no table of numbers: {error}. Give .npy, .npz, or text with a line a frame."
        ) from None


def _of_text(path: Path) -> np.ndarray:
    """Numbers of a text file, separated by commas or spaces; a first line of names is left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comma = "," if lines and "," in lines[0] else None
    head = [part.strip() for part in lines[0].split(comma)] if lines else []
    named = any(part and not _number(part) for part in head)
    return np.loadtxt(lines[int(named) :], delimiter=comma, ndmin=2)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _loaded(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an array: {error}.") from None
