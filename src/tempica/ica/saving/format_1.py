"""Estimators of format 1, whose classes were named by the file that held them, as format 2 writes them."""

from __future__ import annotations

import inspect
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
        tree = tree | {"class": _class(tree["class"]), "format": 1}
    return tree


def attributes(kind: type, state: dict[str, Any]) -> dict[str, Any]:
    """Attributes of an object of format 1 as its class has them today; parameters it did not have are the default."""
    if "segments_" in state:
        state["labels_"] = state.pop("segments_")
    if hasattr(kind, "_from_format_1"):
        state = kind._from_format_1(state)
    if hasattr(kind, "get_params"):
        known = list(inspect.signature(kind.__init__).parameters.values())[1:]  # type: ignore[misc]
        state = {each.name: each.default for each in known if each.default is not each.empty} | state
    return state


def _class(name: str) -> str:
    module, _, kind = name.partition(":")
    if module == "torch.nn":
        return name
    if kind not in CLASSES.get(module, ()):
        raise ValueError(f"{name} is no class of tempica.ica")
    return kind
