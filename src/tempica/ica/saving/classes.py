"""Classes that a saved estimator may hold, by the names that its file gives them."""

from __future__ import annotations

import functools
from typing import Any


def class_named(name: str) -> type:
    """The class of a name: `PCL`, or `torch.nn:Linear` for a layer of torch. Raises ValueError for any other name."""
    module, _, layer = name.rpartition(":")
    if module == "torch.nn":
        import torch

        found = getattr(torch.nn, layer, None)
        if isinstance(found, type) and issubclass(found, torch.nn.Module):
            return found
    elif name in _linear():  # without importing torch, which takes seconds
        return _linear()[name]
    elif name in _networks():
        return _networks()[name]
    raise ValueError(f"{name!r} is no class of tempica.ica and no layer of torch.nn")


def name_of(value: Any) -> str | None:
    """The name of an object's class, or None for a class that cannot be saved."""
    kind = type(value)
    name = f"torch.nn:{kind.__name__}" if kind.__module__.startswith("torch.nn.modules") else kind.__name__
    try:
        return name if class_named(name) is kind else None
    except ValueError:
        return None


@functools.cache
def _linear() -> dict[str, type]:
    from tempica.ica.linear.fastica import FastICA
    from tempica.ica.linear.linear import SOBI, TICA
    from tempica.ica.linear.nonstationary import NonstationaryICA

    return {kind.__name__: kind for kind in (FastICA, SOBI, TICA, NonstationaryICA)}


@functools.cache
def _networks() -> dict[str, type]:
    from tempica.ica.contrastive.auxiliary import SeparableScore
    from tempica.ica.contrastive.gcl import GCL
    from tempica.ica.contrastive.image_networks import ImageFeatures
    from tempica.ica.contrastive.images import Pixels
    from tempica.ica.contrastive.pcl import PCL
    from tempica.ica.contrastive.second_stage import Stage
    from tempica.ica.contrastive.tcl import TCL
    from tempica.ica.generative.chains import Emission, Innovations
    from tempica.ica.generative.flow import Flow
    from tempica.ica.generative.hidden_markov import HMNLICA
    from tempica.ica.generative.ivae import IVAE
    from tempica.ica.generative.markov import Chain
    from tempica.ica.generative.slow_vae import SlowVAE
    from tempica.ica.generative.state_space import SNICA
    from tempica.ica.generative.vae import Autoencoder, Chart, GeneralNormal
    from tempica.ica.options import Training
    from tempica.ica.training.networks import Features

    estimators = (GCL, PCL, TCL, IVAE, SlowVAE, SNICA, HMNLICA)
    contrastive = (Features, ImageFeatures, SeparableScore, Pixels, Stage)
    generative = (Emission, Innovations, Flow, Chain, Autoencoder, Chart, GeneralNormal)
    return {kind.__name__: kind for kind in (*estimators, Training, *contrastive, *generative)}
