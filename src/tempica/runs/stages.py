"""The table of stages."""

from __future__ import annotations

# stage -> (room, what it makes)
STAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "simulate": ("simulate", ("ensemble.zarr", "trajectory.zarr")),
    "render": ("render", ("poses.zarr", "movie.zarr")),
    "embed": ("embed", ("latents.zarr",)),
    "train": ("ica", ("sources.zarr",)),
    "evaluate": ("evaluate", ("scores.json",)),
    "report": ("report", ("report.html",)),
}
