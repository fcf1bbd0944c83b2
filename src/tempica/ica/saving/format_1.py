"""Estimators of format 1, whose classes were named by the file that held them, as format 2 writes them."""

from __future__ import annotations

from typing import Any

# file: classes that format 1 may name
CLASSES = {
    "auxiliary": ("SeparableScore",),
    "chains": ("Emission", "Innovations"),
    "fastica": ("FastICA",),
    "flow": ("Flow",),
    "gcl": ("GCL",),
    "generative": ("IVAE", "SlowVAE"),
    "hidden_markov": ("Chain", "HMNLICA"),
    "images": ("ImageFeatures", "Pixels"),
    "linear": ("SOBI", "TICA"),
    "networks": ("Features",),
    "nonstationary": ("NonstationaryICA",),
    "pcl": ("PCL",),
    "second_stage": ("Stage",),
    "state_space": ("SNICA",),
    "tcl": ("TCL",),
    "vae": ("Autoencoder", "Chart", "GeneralNormal"),
}


def upgraded(tree: Any) -> Any:
    """The JSON of an estimator in format 1 as format 2 has it. Raises ValueError for a class that is not of tempica."""
    if isinstance(tree, list):
        return [upgraded(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    tree = {key: upgraded(each) for key, each in tree.items()}
    if tree.get("kind") in ("object", "network"):
        tree["class"] = _class(tree["class"])
    return tree


def _class(name: str) -> str:
    module, _, kind = name.partition(":")
    if module == "torch.nn":
        return name
    if kind not in CLASSES.get(module, ()):
        raise ValueError(f"{name} is no class of tempica.ica")
    return kind
