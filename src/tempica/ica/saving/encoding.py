"""Values as JSON, with their arrays beside it."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from tempica.errors import DataError
from tempica.ica.saving import safetensors
from tempica.ica.saving.classes import name_of

Arrays = dict[str, np.ndarray]
INNER = ("_parameters", "_buffers", "_modules")  # of a network


def encode(value: Any, where: str, arrays: Arrays) -> Any:
    """JSON of a value, whose arrays are added to `arrays`; `where` is the attribute that an error names.

    Every object is {"kind": …}, so that nothing in the file can be mistaken for something else. Raises DataError for
    what cannot be saved.
    """
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"kind": "float", "value": str(value)}
    if type(value) in (list, tuple):
        items = [encode(each, f"{where}[{k}]", arrays) for k, each in enumerate(value)]
        return {"kind": type(value).__name__, "items": items}
    if type(value) is dict:
        pairs = [[encode(k, where, arrays), encode(v, f"{where}[{k!r}]", arrays)] for k, v in value.items()]
        return {"kind": "dict", "items": pairs}
    if isinstance(value, np.generic):
        return {"kind": "scalar", "array": _keep(np.asarray(value), where, arrays)}
    if isinstance(value, np.ndarray):
        return _encode_array(value, where, arrays)
    if type(value).__module__.split(".")[0] == "torch" and hasattr(value, "detach"):
        return _encode_tensor(value, where, arrays)
    name = name_of(value)
    if name is None:
        raise DataError(
            f"{where} is a {type(value).__name__}, which cannot be saved: numbers, text, arrays, containers of these"
            " and tempica's own classes can. Give random_state as a whole number, and no functions."
        )
    if hasattr(value, "_modules") and hasattr(value, "_parameters"):
        return _encode_network(value, name, where, arrays)
    state = {f.name: getattr(value, f.name) for f in fields(value)} if is_dataclass(value) else vars(value)
    encoded = {key: encode(each, f"{where}.{key}", arrays) for key, each in state.items()}
    return {"kind": "object", "class": name, "state": encoded}


def _encode_array(value: np.ndarray, where: str, arrays: Arrays) -> Any:
    if value.dtype.kind in "OUT" and all(isinstance(each, str) for each in value.flat):
        kind = "O" if value.dtype.kind == "O" else "U"
        return {"kind": "text", "shape": list(value.shape), "dtype": kind, "items": [str(x) for x in value.flat]}
    return {"kind": "array", "array": _keep(value, where, arrays)}


def _keep(array: np.ndarray, where: str, arrays: Arrays) -> str:
    if array.dtype.newbyteorder("<") not in safetensors.NAMES:
        raise DataError(f"{where} has dtype {array.dtype}, which cannot be saved; numbers and truth values can.")
    name = where if where not in arrays else f"{where}#{len(arrays)}"
    arrays[name] = array
    return name


def _encode_tensor(value: Any, where: str, arrays: Arrays) -> Any:
    import torch

    wide = value.detach().cpu()
    half = wide.dtype is torch.bfloat16
    name = _keep((wide.float() if half else wide).numpy(), where, arrays)
    return {"kind": "tensor", "array": name, "bfloat16": half}


def _encode_network(value: Any, name: str, where: str, arrays: Arrays) -> Any:
    """A network by its plain attributes, tensors and layers, so that no constructor need be called again."""
    import torch

    inner, own = {part: getattr(value, part) for part in INNER}, vars(torch.nn.Module())
    plain = {key: encode(each, f"{where}.{key}", arrays) for key, each in vars(value).items() if key not in own}
    return {
        "kind": "network",
        "class": name,
        "state": plain,
        "training": bool(value.training),
        "unsaved_buffers": sorted(value._non_persistent_buffers_set),
        **{
            part: {key: encode(each, f"{where}.{key}", arrays) for key, each in found.items()}
            for part, found in inner.items()
        },
    }
