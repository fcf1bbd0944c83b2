"""Latents of other programs: rows of numbers, with whatever other columns their file has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tempica.errors import FormatError
from tempica.exchange.columns import Columns, columns_of_frame, columns_of_records, read_frame, row_names
from tempica.exchange.plain_pickle import read_pickle

_COMPONENT = re.compile(r"components_mode_(\d+)/value")
MOST_TOLD = 12  # features that a note names
_ZDIM = re.compile(r"zdim_(\d+)")


@dataclass(frozen=True)
class Latents:
    """Rows of numbers of another program, in the order of its file."""

    source: str  # what they were read from
    values: np.ndarray  # (row, feature); may be a memory map
    features: list[str]
    columns: Columns  # what else the same file says of each row
    variance: np.ndarray | None = None  # (row, feature), where the program states one
    notes: tuple[str, ...] = field(default=())  # what a reader of the results should know of how they were read

    def __len__(self) -> int:
        return len(self.values)


def read_latents(
    path: str | Path, *, array: str | None = None, features: Sequence[str] | None = None, other: Sequence[str] = ()
) -> Latents:
    """Latents of a file or a RECOVAR folder; the ending says how it is read.

    | ending | read as |
    |---|---|
    | .npy | an array (row, feature); a structured one as .cs |
    | .npz | the array (row, feature) named by `array`, or the only one; vectors of as many rows are columns |
    | .pkl, .pickle | arrays, as cryoDRGN's z.N.pkl (latents, then the logarithm of their variance); nothing is run |
    | .cs | cryoSPARC's components_mode_N/value of 3D variability analysis and 3D flex |
    | .csv, .tsv, .parquet | a table; `features` names its latents, all columns of numbers if not given |
    | a folder | RECOVAR's: model/zdim_N/latent_coords.npy or model/embeddings.pkl, with N as `array` |

    Parameters:
        path: the file or folder.
        array: which array of several.
        features: columns that are latents.
        other: columns of a table that are no latents, where `features` is not given.

    Raises FormatError for whatever cannot be used, with what the file has instead. Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "z.csv"
        >>> _ = path.write_text("z1,z2,delay\\n0.1,0.2,5\\n0.3,0.5,10\\n")
        >>> found = read_latents(path, other=["delay"])
        >>> found.features, found.values.shape, found.columns["delay"].tolist()
        (['z1', 'z2'], (2, 2), [5, 10])
    """
    path = Path(path)
    if not path.exists():
        raise FormatError(f"There is no file {path}. Check the path.")
    if path.is_dir():
        _unused(path, "is a folder", features=features)
        return _checked(_recovar(path, array), path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise FormatError(
            f"{path} ends in '{path.suffix}'; latents are read from {', '.join(_READERS)}, or a RECOVAR folder."
            " Convert it, for example to CSV."
        )
    if path.stat().st_size == 0:
        raise FormatError(f"{path} is empty: it has 0 bytes. Copy it again.")
    return _checked(reader(path, array, features, other), path)


def latents_of(data: Any, *, features: Sequence[str] | None = None, other: Sequence[str] = ()) -> Latents:
    """Latents of an array, a pandas DataFrame, or an xarray DataArray or Dataset, (row, feature)."""
    if hasattr(data, "to_dataframe") and hasattr(data, "data_vars"):
        data = data.to_dataframe().reset_index()
    elif hasattr(data, "to_pandas"):
        data = data.to_pandas()
    if hasattr(data, "columns"):
        return _checked(_of_frame("the table", data, features, other), None)
    values = np.asarray(data.detach().cpu() if hasattr(data, "detach") else data)
    return _checked(_of_array("the array", values), None)


def _npy(path: Path, array: str | None, features: Sequence[str] | None, other: Sequence[str]) -> Latents:
    values = _load(path, mmap_mode="r")
    _unused(path, "holds one array", array=array)
    if values.dtype.names:
        return _of_records(path, values, features)
    _unused(path, "has no columns", features=features)
    return _of_array(str(path), values)


def _npz(path: Path, array: str | None, features: Sequence[str] | None, other: Sequence[str]) -> Latents:
    _unused(path, "holds arrays, no table", features=features)
    with _load(path) as file:
        try:
            arrays = {name: file[name] for name in file.files}
        except ValueError as error:
            raise FormatError(f"{path} holds Python objects ({error}). Save arrays of numbers.") from None
    return _of_several(str(path), arrays, array)


def _pickle(path: Path, array: str | None, features: Sequence[str] | None, other: Sequence[str]) -> Latents:
    _unused(path, "holds arrays, no table", features=features)
    first, *more = read_pickle(path)
    if isinstance(first, dict):
        return _of_several(str(path), _flat(first), array)
    if isinstance(first, list):
        return _of_several(str(path), _flat(dict(enumerate(first))), array)
    if not isinstance(first, np.ndarray):
        raise FormatError(f"{path} holds {type(first).__name__}, not an array. Save the latents as an array.")
    _unused(path, "holds one array of latents", array=array)
    found = _of_array(str(path), first)
    if more and isinstance(more[0], np.ndarray) and more[0].shape == first.shape:
        variance = np.exp(more[0].astype(np.float64))  # as cryoDRGN writes it: the logarithm
        return Latents(found.source, found.values, found.features, {}, variance, found.notes)
    return found


def _table(path: Path, array: str | None, features: Sequence[str] | None, other: Sequence[str]) -> Latents:
    _unused(path, "is a table", array=array)
    return _of_frame(str(path), read_frame(path), features, other)


def _cryosparc(path: Path, array: str | None, features: Sequence[str] | None, other: Sequence[str]) -> Latents:
    _unused(path, "is a table", array=array)
    values = _load(path, mmap_mode="r")
    if not values.dtype.names:
        raise FormatError(
            f"{path} is an array without columns, and no .cs file of cryoSPARC. Name it .npy if it is one."
        )
    return _of_records(path, values, features)


_READERS: Mapping[str, Callable[[Path, str | None, Sequence[str] | None, Sequence[str]], Latents]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".pkl": _pickle,
    ".pickle": _pickle,
    ".cs": _cryosparc,
    ".csv": _table,
    ".tsv": _table,
    ".parquet": _table,
}


def _unused(path: Path, what: str, **options: Any) -> None:
    """Refuse options that such a file has no use for."""
    for name, value in options.items():
        if value is not None:
            raise FormatError(f"{path} {what}; --{name} has nothing to choose from there. Leave it out.")


def _load(path: Path, **how: Any) -> Any:
    try:
        return np.load(path, allow_pickle=False, **how)
    except MemoryError:
        raise
    except Exception as error:  # numpy raises errors of many kinds for damaged headers
        why = "it holds Python objects, which could run code" if "allow_pickle" in str(error) else str(error)
        raise FormatError(f"{path} cannot be read: {why}. Save an array of numbers with numpy.save.") from None


def _of_array(source: str, values: np.ndarray) -> Latents:
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise FormatError(
            f"{source} has an array of shape {values.shape} and dtype {values.dtype}; latents are numbers (row,"
            " feature)."
        )
    return Latents(source, values, [f"z{i + 1}" for i in range(values.shape[1])], {})


def _of_several(source: str, arrays: dict[str, Any], array: str | None) -> Latents:
    """One array of several, by name; vectors of as many rows become columns."""
    tables = {name: each for name, each in arrays.items() if isinstance(each, np.ndarray) and each.ndim == 2}
    if array is None and "zs" in {name.partition("/")[0] for name in tables}:  # RECOVAR's embeddings.pkl
        tables = {name: each for name, each in tables.items() if name.startswith("zs/") and "noreg" not in name}
    named = {name for name in tables if array is not None and array in (name, name.removeprefix("zs/"))}
    if array is None and len(tables) == 1:
        named = set(tables)
    if len(named) != 1:
        there = ", ".join(f"{name} {each.shape}" for name, each in tables.items()) or "none"
        raise FormatError(f"{source} has the arrays (row, feature): {there}. Say which with --array NAME.")
    (name,) = named
    found = _of_array(f"{source}, {name}", tables[name])
    vectors = {
        key: each
        for key, each in arrays.items()
        if isinstance(each, np.ndarray) and each.shape == (len(found),) and each.dtype.kind in "fiubUS"
    }
    return Latents(found.source, found.values, found.features, vectors)


def _flat(tree: dict[Any, Any], above: str = "") -> dict[str, Any]:
    """Arrays in dicts of dicts by their path, as zs/10."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{above}{key}"
        found |= _flat(value, f"{name}/") if isinstance(value, dict) else {name: value}
    return found


def _of_frame(source: str, frame: Any, features: Sequence[str] | None, other: Sequence[str]) -> Latents:
    columns, notes = columns_of_frame(frame), tuple[str, ...]()
    if features is None:
        without = {name for each in (*other, *row_names(columns)) for name in (each, f"_{each}", each.lstrip("_"))}
        features = [name for name, each in columns.items() if each.dtype.kind in "fiub" and name not in without]
        shown = ", ".join(features[:MOST_TOLD]) + (", …" if len(features) > MOST_TOLD else "")
        notes = (f"all columns of numbers that have no other use are latents: {shown}; --features names others",)
    absent = [name for name in features if name not in columns or columns[name].dtype.kind not in "fiub"]
    if absent or not features:
        named = f"has no column of numbers '{absent[0]}'" if absent else "has no column of numbers"
        raise FormatError(f"{source} {named}. Its columns: {', '.join(columns)}. Name latents with --features.")
    values = np.stack([columns[name] for name in features], axis=1).astype(np.float64)
    rest = {name: each for name, each in columns.items() if name not in features}
    return Latents(source, values, list(features), rest, notes=notes)


def _of_records(path: Path, values: np.ndarray, features: Sequence[str] | None) -> Latents:
    columns = columns_of_records(values)
    found = {int(match[1]): name for name in columns if (match := _COMPONENT.fullmatch(name))}
    chosen = list(features) if features is not None else [found[number] for number in sorted(found)]
    absent = [name for name in chosen if name not in columns]
    if not chosen or absent:
        raise FormatError(
            f"{path} has no column {absent[0] if absent else 'components_mode_0/value'}, which 3D variability analysis"
            f" and 3D flex of cryoSPARC write. Its columns: {', '.join(columns)}. Name latents with --features."
        )
    latents = np.stack([columns[name] for name in chosen], axis=1).astype(np.float64)
    rest = {name: each for name, each in columns.items() if name not in chosen}
    return Latents(str(path), latents, chosen, rest)


def _recovar(folder: Path, array: str | None) -> Latents:
    """Latents of RECOVAR's output folder, or of the folder model in it, in the order of its particles."""
    model = folder / "model" if (folder / "model").is_dir() else folder
    widths = {int(m[1]): path for path in model.glob("zdim_*") if (m := _ZDIM.fullmatch(path.name))}
    known = {n: path / "latent_coords.npy" for n, path in sorted(widths.items())}
    known = {n: path for n, path in known.items() if path.is_file()}
    if known:
        if array is None and len(known) == 1:
            array = str(next(iter(known)))
        if array is None or not array.isdecimal() or int(array) not in known:
            there = ", ".join(map(str, known))
            raise FormatError(f"{folder} has latents of {there} dimensions. Say which with --array N.")
        return _of_array(str(known[int(array)]), _load(known[int(array)]))
    if (model / "embeddings.pkl").is_file():
        return _pickle(model / "embeddings.pkl", array, None, ())
    raise FormatError(
        f"{folder} is no output folder of RECOVAR: it has neither model/zdim_N/latent_coords.npy nor"
        " model/embeddings.pkl. Give the file of the latents."
    )


def _checked(found: Latents, path: Path | None) -> Latents:
    if len(found) < 2 or not found.features:
        raise FormatError(f"{found.source} has {len(found)} rows; latents to unmix need many. Check the file.")
    if len(set(found.features)) < len(found.features):
        raise FormatError(f"{found.source} names a feature twice: {', '.join(found.features)}. Rename one.")
    return found
