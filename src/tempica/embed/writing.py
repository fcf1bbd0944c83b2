"""Writes what the stage has found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scipy.spatial.transform import Rotation

from tempica.embed.plan import BLOCK_FRAMES, Plan
from tempica.embed.saved import load_state, modes_of
from tempica.stores import files, store


def write_latents(plan: Plan, state: Path, about: Mapping[str, Any], noise_variance: float) -> None:
    """Modes of a state, and what tasks have left in the plan's files `embed-…`, into the store of latents."""
    work, movie = plan.work, plan.movie
    modes, rho = modes_of(load_state(state))
    (n_modes, n_atoms, _), (n_replicas, n_frames) = modes.shape.shape, movie["image"].shape[:2]
    sizes = {"replica": n_replicas, "time": n_frames, "mode": n_modes, "mode_other": n_modes, "component": n_modes}
    latents = work.create_store(
        "latents",
        sizes | {"atom": n_atoms, "space": 3, "quaternion": 4, "plane": 2, "pose": 5, "pose_other": 5},
        chunks={"replica": 1, "time": BLOCK_FRAMES},
        attributes={"noise_variance": noise_variance, "autocorrelation": rho.tolist(), **about},
    )
    store.write(latents, {"replica": movie["replica"].values, "time": movie["time"].values})
    store.write(latents, {"mode_shape": modes.shape, "mean_structure": modes.mean})
    for span in plan.long_spans:
        arrays = files.load_arrays(plan.file(f"embed-{span}"))
        quaternion = Rotation.from_matrix(arrays.pop("rotation")).as_quat()
        arrays["residual_variance"] = noise_variance * arrays["residual_variance"]
        store.write(
            latents, arrays | {"pose_quaternion": quaternion}, replica=span.replica, time=slice(span.first, span.last)
        )
