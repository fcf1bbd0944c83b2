"""Audits of latents that lie in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tempica.audit.auditing import audit
from tempica.errors import DataError, FormatError, StoreError
from tempica.exchange.latents import Latents, read_latents
from tempica.progress import Progress
from tempica.stores import files
from tempica.stores.reading import open_store


def audit_file(
    path: Path,
    *,
    method: str = "auto",
    n_components: int | None = None,
    lag: int | None = None,
    replicas: str | None = None,
    labels: str | None = None,
    array: str | None = None,
    features: str | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Audit the latents of a file, and write what was found if asked to; returns it as JSON holds it.

    `replicas` and `labels` are columns of the file, or files with one value a frame: .npy, or text with a line each.
    Raises FormatError for a file that cannot be read, StoreError for one that would be overwritten, DataError for what
    cannot be audited.
    """
    if out is not None and out.exists():
        raise StoreError(f"{out} exists already; nothing was changed. Give --out another name.")
    covariance: np.ndarray | None
    series: np.ndarray | None
    if path.suffix == ".zarr":
        X, covariance, series = _of_store(path)
        latents = Latents(str(path), X, [], {})
    else:
        other = [name for name in (replicas, labels) if name is not None]
        names = None if features is None else features.split(",")
        latents = read_latents(path, array=array, features=names, other=other)
        X, series = np.asarray(latents.values), None
        covariance = _diagonal(latents.variance)
    found = audit(
        X,
        method=method,
        replicas=series if replicas is None else _column(replicas, latents),
        labels=None if labels is None else _column(labels, latents),
        covariance=covariance,
        n_components=n_components,
        lag=lag or 1,
        progress=progress or Progress(),
    )
    told = {"name": path.name, **found.as_dict()}
    if out is not None:
        files.write_json(out, told)
    return told


def _of_store(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents (frame, mode) of a latents.zarr, their covariances, and the replica of each frame."""
    latents = open_store(path, "latents")
    mean, covariance = latents["latent"].values, latents["latent_covariance"].values
    n = mean.shape[-1]
    return mean.reshape(-1, n), covariance.reshape(-1, n, n), np.repeat(np.arange(len(mean)), mean.shape[1])


def _diagonal(variance: np.ndarray | None) -> np.ndarray | None:
    """Covariances (frame, feature, feature) of the variances that a program states."""
    return None if variance is None else variance[..., None] * np.eye(variance.shape[1])


def _column(name: str, latents: Latents) -> np.ndarray:
    """A column of the file, or the values of another file, one a frame."""
    for known in (name, f"_{name}", name.lstrip("_")):
        if known in latents.columns:
            return latents.columns[known]
    path = Path(name)
    if not path.is_file():
        there = f"its columns are {', '.join(latents.columns)}" if latents.columns else "it has no other columns"
        raise FormatError(f"{latents.source} has no column {name}, and there is no such file; {there}.")
    if path.suffix != ".npy":
        return np.array(path.read_text(encoding="utf-8").split())
    try:
        return np.asarray(np.load(path, allow_pickle=False)).reshape(-1)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an array: {error}.") from None
