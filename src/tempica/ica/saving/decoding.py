"""Values from the JSON and arrays that `encoding` makes of them; runs no code that the JSON could choose."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tempica.ica.saving import format_1
from tempica.ica.saving.classes import class_named
from tempica.ica.saving.encoding import Arrays


def decode(tree: Any, arrays: Arrays) -> Any:
    """The value; objects are made without calling their constructors.

    Raises ValueError, KeyError, TypeError or AttributeError for what `encode` does not write.
    """
    if not isinstance(tree, dict):
        if tree is None or isinstance(tree, (bool, int, float, str)):
            return tree
        raise ValueError(f"a bare {type(tree).__name__}")
    return _KINDS[tree["kind"]](tree, arrays)


def _decode_text(tree: dict[str, Any], arrays: Arrays) -> np.ndarray:
    items = [str(each) for each in tree["items"]]
    return np.array(items, dtype=object if tree["dtype"] == "O" else str).reshape([int(n) for n in tree["shape"]])


def _decode_tensor(tree: dict[str, Any], arrays: Arrays) -> Any:
    import torch

    found = torch.from_numpy(arrays[tree["array"]].copy())
    return found.bfloat16() if tree["bfloat16"] else found


def _decode_object(tree: dict[str, Any], arrays: Arrays) -> Any:
    kind = class_named(tree["class"])
    state = {_attribute(key): decode(value, arrays) for key, value in tree["state"].items()}
    if tree.get("format") == 1:
        state = format_1.attributes(kind, state)
    made: Any = object.__new__(kind)
    for key, value in state.items():
        object.__setattr__(made, key, value)
    return made


def _decode_network(tree: dict[str, Any], arrays: Arrays) -> Any:
    import torch

    kind = class_named(tree["class"])
    if not issubclass(kind, torch.nn.Module):
        raise ValueError(f"{tree['class']} is no network")
    made: Any = kind.__new__(kind)
    torch.nn.Module.__init__(made)
    for key, value in tree["state"].items():
        setattr(made, _attribute(key), decode(value, arrays))
    for key, value in tree["_parameters"].items():
        tensor = decode(value, arrays)
        made._parameters[str(key)] = None if tensor is None else torch.nn.Parameter(tensor)
    for key, value in tree["_buffers"].items():
        made._buffers[str(key)] = decode(value, arrays)
    made._non_persistent_buffers_set = {str(name) for name in tree["unsaved_buffers"]}
    for key, value in tree["_modules"].items():
        made._modules[str(key)] = decode(value, arrays)
    made.training = bool(tree["training"])
    return made


def _attribute(name: str) -> str:
    if not name.isidentifier() or name.startswith("__"):
        raise ValueError(f"{name!r} is no attribute")
    return name


_KINDS: dict[str, Callable[[dict[str, Any], Arrays], Any]] = {
    "float": lambda tree, _: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[tree["value"]],
    "list": lambda tree, arrays: [decode(each, arrays) for each in tree["items"]],
    "tuple": lambda tree, arrays: tuple(decode(each, arrays) for each in tree["items"]),
    "dict": lambda tree, arrays: {decode(key, arrays): decode(value, arrays) for key, value in tree["items"]},
    "scalar": lambda tree, arrays: arrays[tree["array"]][()],
    "array": lambda tree, arrays: arrays[tree["array"]],
    "text": _decode_text,
    "tensor": _decode_tensor,
    "object": _decode_object,
    "network": _decode_network,
}
