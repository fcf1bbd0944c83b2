"""Room: latents to sources, by temporal ICA. Makes sources.zarr; never sees the truth."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tempica.ica.dimension import count_sources
    from tempica.ica.fastica import FastICA
    from tempica.ica.gcl import GCL
    from tempica.ica.generative import IVAE, SlowVAE
    from tempica.ica.hidden_markov import HMNLICA
    from tempica.ica.linear import SOBI, TICA
    from tempica.ica.nonstationary import NonstationaryICA
    from tempica.ica.pcl import PCL
    from tempica.ica.saving import load, save
    from tempica.ica.smoothing import smooth
    from tempica.ica.state_space import SNICA
    from tempica.ica.tcl import TCL

__all__ = [
    "GCL",
    "HMNLICA",
    "IVAE",
    "PCL",
    "SNICA",
    "SOBI",
    "TCL",
    "TICA",
    "FastICA",
    "NonstationaryICA",
    "SlowVAE",
    "count_sources",
    "load",
    "save",
    "smooth",
]
_HOME = {
    "FastICA": "fastica",
    "GCL": "gcl",
    "HMNLICA": "hidden_markov",
    "IVAE": "generative",
    "NonstationaryICA": "nonstationary",
    "PCL": "pcl",
    "SNICA": "state_space",
    "SOBI": "linear",
    "SlowVAE": "generative",
    "TCL": "tcl",
    "TICA": "linear",
    "count_sources": "dimension",
    "load": "saving",
    "save": "saving",
    "smooth": "smoothing",
}


def __getattr__(name: str) -> Any:
    # some need torch, whose import takes seconds; the linear ones do not
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
