"""Estimators on disk: arrays as safetensors, all else as JSON; loading runs no code that the files could choose."""

from __future__ import annotations

import importlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from tempica._version import __version__
from tempica.errors import DataError, FormatError
from tempica.ica.saving import safetensors

FORMAT = 1
ROOM = "tempica.ica."
Arrays = dict[str, np.ndarray]


def save(estimator: Any, path: str | os.PathLike[str]) -> Path:
    """Write an estimator, fitted or not, into the new folder `path`: estimator.json and arrays.safetensors.

    Kept are its parameters and all attributes: numbers, text, arrays, containers, networks, other estimators of
    this room. Raises FormatError when the folder exists, and DataError, naming the attribute, for what cannot be kept.
    """
    path = Path(path)
    if path.exists():
        raise FormatError(f"{path} exists already; nothing was written. Give a folder that does not exist.")
    if not (isinstance(estimator, BaseEstimator) and _is_ours(type(estimator))):
        raise DataError(f"{type(estimator).__name__} is no estimator of tempica.ica; save it with its own library.")
    arrays: Arrays = {}
    tree = _encode(estimator, type(estimator).__name__, arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    # written beside and renamed, so that an interruption leaves no half of an estimator
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        described = {"format": FORMAT, "tempica": __version__, "estimator": tree}
        (part / "estimator.json").write_text(json.dumps(described, indent=1, allow_nan=False) + "\n")
        safetensors.write(part / "arrays.safetensors", arrays)
        part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return path


def load(path: str | os.PathLike[str]) -> Any:
    """The estimator that `save` wrote into the folder `path`.

    Only classes of tempica.ica and layers of torch.nn are made, without calling their constructors, and only
    numbers, text, arrays and containers of these are put into them. Raises FormatError for missing or damaged files.
    """
    path = Path(path)
    try:
        described = json.loads((path / "estimator.json").read_text())
        arrays = safetensors.read(path / "arrays.safetensors")
    except OSError as problem:
        raise FormatError(f"{path} holds no saved estimator: {problem}.") from None
    except ValueError as problem:
        raise FormatError(f"{path} is damaged: {problem}. Save the estimator again.") from None
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        found = described.get("format") if isinstance(described, dict) else None
        raise FormatError(f"{path} has format {found!r}; this version reads format {FORMAT}. Save the estimator again.")
    try:
        estimator = _decode(described["estimator"], arrays)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as problem:
        raise FormatError(f"{path} is damaged: {problem!r}. Save the estimator again.") from None
    if not isinstance(estimator, BaseEstimator):
        raise FormatError(f"{path} holds a {type(estimator).__name__}, not an estimator. Save the estimator again.")
    return estimator


def _encode(value: Any, where: str, arrays: Arrays) -> Any:
    """JSON of a value; every object is {"kind": …}, so that nothing in the file is taken for something else."""
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"kind": "float", "value": str(value)}
    if type(value) in (list, tuple):
        return {
            "kind": type(value).__name__,
            "items": [_encode(each, f"{where}[{k}]", arrays) for k, each in enumerate(value)],
        }
    if type(value) is dict:
        pairs = [[_encode(k, where, arrays), _encode(v, f"{where}[{k!r}]", arrays)] for k, v in value.items()]
        return {"kind": "dict", "items": pairs}
    if isinstance(value, np.generic):
        return {"kind": "scalar", "array": _keep(np.asarray(value), where, arrays)}
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "OUT" and all(isinstance(each, str) for each in value.flat):
            kind = "O" if value.dtype.kind == "O" else "U"
            return {"kind": "text", "shape": list(value.shape), "dtype": kind, "items": [str(x) for x in value.flat]}
        return {"kind": "array", "array": _keep(value, where, arrays)}
    if type(value).__module__.split(".")[0] == "torch":
        found = _encode_torch(value, where, arrays)
        if found is not None:
            return found
    if _is_ours(type(value)):
        name = f"{type(value).__module__.removeprefix(ROOM)}:{type(value).__qualname__}"
        if _is_network(value):
            return _encode_network(value, name, where, arrays)
        state = {f.name: getattr(value, f.name) for f in fields(value)} if is_dataclass(value) else vars(value)
        encoded = {key: _encode(each, f"{where}.{key}", arrays) for key, each in state.items()}
        return {"kind": "object", "class": name, "state": encoded}
    raise DataError(
        f"{where} is a {type(value).__name__}, which cannot be saved: numbers, text, arrays, containers of these and"
        " tempica's own classes can. Give random_state as a whole number, and no functions."
    )


def _keep(array: np.ndarray, where: str, arrays: Arrays) -> str:
    if array.dtype.newbyteorder("<") not in safetensors.NAMES:
        raise DataError(f"{where} has dtype {array.dtype}, which cannot be saved; numbers and truth values can.")
    name = where if where not in arrays else f"{where}#{len(arrays)}"
    arrays[name] = array
    return name


def _encode_torch(value: Any, where: str, arrays: Arrays) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        wide = value.detach().cpu()
        half = wide.dtype is torch.bfloat16
        name = _keep((wide.float() if half else wide).numpy(), where, arrays)
        return {"kind": "tensor", "array": name, "bfloat16": half}
    if isinstance(value, torch.nn.Module) and getattr(torch.nn, type(value).__name__, None) is type(value):
        return _encode_network(value, f"torch.nn:{type(value).__name__}", where, arrays)
    return None


_INNER = ("_parameters", "_buffers", "_modules")


def _is_network(value: Any) -> bool:
    return hasattr(value, "_modules") and hasattr(value, "_parameters")


def _encode_network(value: Any, name: str, where: str, arrays: Arrays) -> Any:
    """A network by its plain attributes, tensors and layers, so that no constructor need be called again."""
    import torch

    inner, own = {part: getattr(value, part) for part in _INNER}, vars(torch.nn.Module())
    plain = {key: _encode(each, f"{where}.{key}", arrays) for key, each in vars(value).items() if key not in own}
    return {
        "kind": "network",
        "class": name,
        "state": plain,
        "training": bool(value.training),
        "unsaved_buffers": sorted(value._non_persistent_buffers_set),
        **{
            part: {key: _encode(each, f"{where}.{key}", arrays) for key, each in found.items()}
            for part, found in inner.items()
        },
    }


def _decode(tree: Any, arrays: Arrays) -> Any:
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
    made: Any = object.__new__(_class(tree["class"]))
    for key, value in tree["state"].items():
        object.__setattr__(made, _attribute(key), _decode(value, arrays))
    return made


def _decode_network(tree: dict[str, Any], arrays: Arrays) -> Any:
    import torch

    kind = _class(tree["class"])
    if not issubclass(kind, torch.nn.Module):
        raise ValueError(f"{tree['class']} is no network")
    made: Any = kind.__new__(kind)
    torch.nn.Module.__init__(made)
    for key, value in tree["state"].items():
        setattr(made, _attribute(key), _decode(value, arrays))
    for key, value in tree["_parameters"].items():
        tensor = _decode(value, arrays)
        made._parameters[str(key)] = None if tensor is None else torch.nn.Parameter(tensor)
    for key, value in tree["_buffers"].items():
        made._buffers[str(key)] = _decode(value, arrays)
    made._non_persistent_buffers_set = {str(name) for name in tree["unsaved_buffers"]}
    for key, value in tree["_modules"].items():
        made._modules[str(key)] = _decode(value, arrays)
    made.training = bool(tree["training"])
    return made


_KINDS: dict[str, Callable[[dict[str, Any], Arrays], Any]] = {
    "float": lambda tree, _: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[tree["value"]],
    "list": lambda tree, arrays: [_decode(each, arrays) for each in tree["items"]],
    "tuple": lambda tree, arrays: tuple(_decode(each, arrays) for each in tree["items"]),
    "dict": lambda tree, arrays: {_decode(key, arrays): _decode(value, arrays) for key, value in tree["items"]},
    "scalar": lambda tree, arrays: arrays[tree["array"]][()],
    "array": lambda tree, arrays: arrays[tree["array"]],
    "text": _decode_text,
    "tensor": _decode_tensor,
    "object": _decode_object,
    "network": _decode_network,
}


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith(ROOM)


def _attribute(name: str) -> str:
    if not name.isidentifier() or name.startswith("__"):
        raise ValueError(f"{name!r} is no attribute")
    return name


def _class(name: str) -> type:
    """A class of this room, or a layer of torch.nn, by its name; nothing else can be asked for."""
    module, _, kind = name.partition(":")
    if module == "torch.nn":
        import torch

        found = getattr(torch.nn, kind, None)
        if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
            raise ValueError(f"{name} is no layer of torch.nn")
        return found
    room = Path(__file__).parents[1]
    names = {".".join(path.relative_to(room).with_suffix("").parts) for path in room.rglob("*.py")}
    if module not in names or not kind.isidentifier():
        raise ValueError(f"{name} is no class of tempica.ica")
    found = vars(importlib.import_module(ROOM + module)).get(kind)
    if not isinstance(found, type) or not _is_ours(found):
        raise ValueError(f"{name} is no class of tempica.ica")
    return found
