"""Estimators on disk: arrays as safetensors, all else as JSON; loading runs no code that the files could choose."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator

from tempica._version import __version__
from tempica.errors import DataError, FormatError
from tempica.ica.saving import format_1, safetensors
from tempica.ica.saving.classes import name_of
from tempica.ica.saving.decoding import decode
from tempica.ica.saving.encoding import Arrays, encode
from tempica.stores.files import fresh_name

FORMAT = 2


def save(estimator: Any, path: str | os.PathLike[str]) -> Path:
    """Write an estimator, fitted or not, into a new folder: estimator.json and arrays.safetensors.

    All parameters and attributes are saved: numbers, text, arrays, containers, networks and other estimators of
    tempica.ica. The umask decides who may read the folder, as for any other file.

    Parameters
        estimator: any estimator of tempica.ica.
        path: the folder, which must not exist; the folders above it are made.

    Returns the path. Raises FormatError when the folder exists, and DataError, naming the attribute, for what cannot
    be saved.
    """
    path = Path(path)
    if path.exists():
        raise FormatError(f"{path} exists already; nothing was written. Give a folder that does not exist.")
    if not isinstance(estimator, BaseEstimator) or name_of(estimator) is None:
        raise DataError(f"{type(estimator).__name__} is no estimator of tempica.ica; save it with its own library.")
    arrays: Arrays = {}
    tree = encode(estimator, type(estimator).__name__, arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    # written beside and renamed, so that an interruption leaves no half of an estimator
    part = fresh_name(path)
    part.mkdir()
    try:
        described = {"format": FORMAT, "tempica": __version__, "estimator": tree}
        text = json.dumps(described, indent=1, allow_nan=False) + "\n"
        (part / "estimator.json").write_text(text, encoding="utf-8")
        safetensors.write(part / "arrays.safetensors", arrays)
        part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return path


def load(path: str | os.PathLike[str]) -> Any:
    """The estimator that `save` wrote into a folder; those of format 1 become what they would be today.

    Only classes of tempica.ica and layers of torch.nn are made, without calling their constructors, and only
    numbers, text, arrays and containers of these are put into them. Raises FormatError for missing or damaged files.
    """
    path = Path(path)
    try:
        described = json.loads((path / "estimator.json").read_text(encoding="utf-8"))
        arrays = safetensors.read(path / "arrays.safetensors")
    except OSError as problem:
        raise FormatError(f"{path} holds no saved estimator: {problem}.") from None
    except (ValueError, RecursionError) as problem:
        raise FormatError(f"{path} is damaged: {problem}. Save the estimator again.") from None
    found = described.get("format") if isinstance(described, dict) else None
    if found not in (1, FORMAT):
        raise FormatError(
            f"{path} has format {found!r}; this version of tempica reads formats 1 and {FORMAT}. Load it with the"
            " version that saved it, or save the estimator again."
        )
    try:
        tree = described["estimator"]
        estimator = decode(format_1.upgraded(tree) if found == 1 else tree, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as problem:
        raise FormatError(f"{path} is damaged: {problem!r}. Save the estimator again.") from None
    if not isinstance(estimator, BaseEstimator):
        raise FormatError(f"{path} holds a {type(estimator).__name__}, not an estimator. Save the estimator again.")
    return estimator
