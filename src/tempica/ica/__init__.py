"""Room: latents to sources, by temporal ICA. Makes sources.zarr; never sees the truth."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tempica.ica.linear import TICA
    from tempica.ica.pcl import PCL
    from tempica.ica.smoothing import smooth
    from tempica.ica.tcl import TCL

__all__ = ["PCL", "TCL", "TICA", "smooth"]
_HOME = {"TICA": "linear", "PCL": "pcl", "TCL": "tcl", "smooth": "smoothing"}


def __getattr__(name: str) -> Any:
    # contrastive learning needs torch, whose import takes seconds; TICA does not
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
