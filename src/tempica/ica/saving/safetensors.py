"""The safetensors format: a length, a JSON header, and the arrays' bytes. Nothing in it can be run.

https://huggingface.co/docs/safetensors: eight bytes of little-endian header length, the header
{name: {dtype, shape, data_offsets}}, then the data without holes. Written here, since it is shorter than a dependency.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

_TYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
DTYPES = {name: np.dtype(code) for name, code in _TYPES.items()}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LONGEST_HEADER = 100_000_000


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays by name. Raises KeyError for a dtype that the format does not know."""
    header, parts, at = {}, [], 0
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<")
        data = np.ascontiguousarray(array, dtype=dtype).tobytes()
        header[name] = {
            "dtype": NAMES[dtype],
            "shape": list(array.shape),
            "data_offsets": [at, at + len(data)],
        }
        parts.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for data in parts:
            file.write(data)


def read(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name. Raises ValueError for a file that is not what the format says."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or size > min(LONGEST_HEADER, len(raw) - 8):
        raise ValueError(f"{path.name} has {len(raw)} bytes and speaks of a header of {size}")
    header = json.loads(raw[8 : 8 + size])
    if not isinstance(header, dict):
        raise ValueError(f"{path.name} has a header that is no object")
    header.pop("__metadata__", None)
    data, arrays, covered = memoryview(raw)[8 + size :], {}, 0
    for name, entry in header.items():
        try:
            dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
            start, stop = entry["data_offsets"]
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{path.name} describes {name!r} in a way that cannot be read") from None
        whole = all(type(n) is int and n >= 0 for n in (*shape, start, stop))
        if not whole or stop > len(data) or stop - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{path.name} gives {name!r} the shape {shape} and the bytes {start} to {stop}")
        arrays[name] = np.frombuffer(data[start:stop], dtype=dtype).reshape(shape).copy()
        covered += stop - start
    if covered != len(data):
        raise ValueError(f"{path.name} holds {len(data)} bytes of data, of which {covered} are described")
    return arrays
