"""Room: latents to sources, by temporal ICA. Makes sources.zarr; never sees the truth."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tempica import kernel_cache  # noqa: F401  # first: it must be there before any kernel is declared

if TYPE_CHECKING:
    from tempica.ica.contrastive.gcl import GCL
    from tempica.ica.contrastive.pcl import PCL
    from tempica.ica.contrastive.tcl import TCL
    from tempica.ica.generative.hidden_markov import HMNLICA
    from tempica.ica.generative.ivae import IVAE
    from tempica.ica.generative.slow_vae import SlowVAE
    from tempica.ica.generative.state_space import SNICA
    from tempica.ica.linear.dimension import count_sources
    from tempica.ica.linear.fastica import FastICA
    from tempica.ica.linear.linear import SOBI, TICA
    from tempica.ica.linear.nonstationary import NonstationaryICA
    from tempica.ica.options import Training
    from tempica.ica.saving.saving import load, save
    from tempica.ica.smoothing.smoothing import smooth

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
    "Training",
    "count_sources",
    "load",
    "save",
    "smooth",
]
_HOME = {
    "FastICA": "linear.fastica",
    "GCL": "contrastive.gcl",
    "HMNLICA": "generative.hidden_markov",
    "IVAE": "generative.ivae",
    "NonstationaryICA": "linear.nonstationary",
    "PCL": "contrastive.pcl",
    "SNICA": "generative.state_space",
    "SOBI": "linear.linear",
    "SlowVAE": "generative.slow_vae",
    "TCL": "contrastive.tcl",
    "TICA": "linear.linear",
    "Training": "options",
    "count_sources": "linear.dimension",
    "load": "saving.saving",
    "save": "saving.saving",
    "smooth": "smoothing.smoothing",
}


def __getattr__(name: str) -> Any:
    # some need torch, whose import takes seconds; the linear ones do not
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
