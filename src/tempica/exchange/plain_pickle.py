"""Pickles of NumPy arrays, read by an unpickler that builds arrays and nothing else.

A pickle is a program: it names functions, and loading calls them. Here only the few names by which NumPy rebuilds an
array are known, and each stands for a class of this module that keeps shape, dtype and bytes; no function that a file
names is ever looked up.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tempica.errors import FormatError

_CODE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|[SU]\d+|[?bBhHiIlLqQefd])")
_MOST_NESTED = 20


class _Refused(Exception):
    """What a file asks for and does not get."""


def read_pickle(path: Path) -> list[Any]:
    """Every object of a file that holds one pickle or several: arrays, numbers, text, and containers of these.

    cryoDRGN writes two into z.N.pkl, the latents and the logarithm of their variance. Raises FormatError for a file
    that asks for anything else; nothing in it is run.
    """
    found = []
    try:
        with path.open("rb") as file:
            while file.peek(1):
                found.append(_plain(_Unpickler(file).load(), 0))
    except _Refused as error:
        raise FormatError(
            f"{path} asks for {error}; only NumPy arrays of numbers are read from pickles, and nothing in the file was"
            " run. Save the array itself with numpy.save, or as CSV."
        ) from None
    except MemoryError:
        raise
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error}.") from None
    except Exception as error:  # a damaged pickle raises whatever its bytes provoke
        raise FormatError(
            f"{path} cannot be read as a pickle ({type(error).__name__}: {error}); it is damaged, truncated, or of"
            " another format. Write it again, or save the array with numpy.save."
        ) from None
    if not found:
        raise FormatError(f"{path} is empty. Copy it again.")
    return found


class _Dtype:
    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]
        if any(part is not None for part in state[2:5]):
            raise _Refused("an array of records")

    def made(self) -> np.dtype[Any]:
        code = self.code.decode("ascii") if isinstance(self.code, bytes) else self.code
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise _Refused(f"an array of dtype {code!r}" + (", Python objects" if code == "O8" else ""))
        return np.dtype(code).newbyteorder(">" if self.order == ">" else "<" if self.order == "<" else "=")


class _Array:
    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        shape, dtype, by_column, raw = state[-4:]
        if isinstance(raw, list):
            raise _Refused("an array of Python objects")
        self.value = _from_bytes(raw, dtype, shape, "F" if by_column else "C")


class _Ndarray:
    """Stands for the class numpy.ndarray, which is named and never called."""


def _rebuilt(kind: Any, *_: Any) -> _Array:
    if kind is not _Ndarray:
        raise _Refused("a subclass of numpy.ndarray")
    return _Array()


def _from_bytes(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    values = np.frombuffer(raw.encode("latin-1") if isinstance(raw, str) else raw, dtype.made())
    return values.reshape(shape, order="F" if order == "F" else "C").copy()


def _scalar(dtype: Any, raw: Any) -> Any:
    return _from_bytes(raw, dtype, (1,))[0].item()


def _encoded(text: Any, encoding: Any) -> bytes:  # how protocols below 3 write bytes
    return str(text).encode("latin-1")


_KNOWN: dict[str, Callable[..., Any]] = {
    "_reconstruct": _rebuilt,
    "scalar": _scalar,
    "_frombuffer": _from_bytes,
    "ndarray": _Ndarray,
    "dtype": _Dtype,
    "encode": _encoded,
}
_HOMES = {
    "numpy": ("ndarray", "dtype"),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.numeric": ("_frombuffer",),
    "numpy._core.numeric": ("_frombuffer",),
    "_codecs": ("encode",),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _HOMES.get(module, ()):
            raise _Refused(f"{module}.{name}")
        # a class of its own for each use, so that what a file sets on it ends with the file
        known = _KNOWN[name]
        return known if known is _Ndarray else lambda *given: known(*given)

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused(f"the object {pid!r} of another file")


def _plain(value: Any, depth: int) -> Any:
    """A value with arrays in the place of what stood for them. Raises _Refused for anything else."""
    if depth > _MOST_NESTED:
        raise _Refused(f"containers nested more than {_MOST_NESTED} deep")
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    if isinstance(value, dict):
        return {key: _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, depth + 1) for each in value]
    if value is None or isinstance(value, bool | int | float | str | bytes | np.ndarray):
        return value
    raise _Refused(f"an object of type {type(value).__name__}")
