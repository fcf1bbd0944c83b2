"""What a fit writes down as it goes: states from which it can go on, and lines of a log."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tempica.errors import DataError
from tempica.ica.training import parallel
from tempica.ica.training.trainer import Trainer


class Checkpoint:
    """States of a fit's trainings in one file, written whole; a fit with the same key and file goes on from it."""

    def __init__(self, path: str | os.PathLike | None, key: str) -> None:
        self.path, self.key = None if path is None else Path(path), key
        self.states: dict[str, Any] = {}
        if self.path is not None:
            _check_folder("checkpoint", self.path)
        if self.path is not None and self.path.exists():
            found = _read(self.path)
            if found["key"] != key:
                raise DataError(
                    f"checkpoint {self.path} belongs to other data or parameters. Name another file, or remove it."
                )
            self.states = found["states"]

    def save(self, name: str, training: Trainer) -> None:
        if self.path is None:
            return
        self.states[name] = training.state()
        if parallel.world()[0] == 0:
            part = self.path.with_name(self.path.name + ".part")
            torch.save({"key": self.key, "states": self.states, "digest": _digest(self.states)}, part)
            os.replace(part, self.path)


class Progress:
    """What is told at each check of a fit's trainings: a state to its checkpoint, a line to its log, then `callback`.

    `log` names a file that gets one JSON object a line: training, step, loss, held_out (its loss), best, and seconds
    since the fit began, and `restarts`, the held-out losses of those that are trained at once; or is a function that is
    called with these; or a TensorBoard SummaryWriter. An interrupted fit that goes on writes behind what is there. Of
    several processes the first tells.
    """

    def __init__(
        self,
        saved: Checkpoint,
        log: Any = None,
        callback: Callable[[int, int, float], None] | None = None,
    ) -> None:
        self.saved, self.log, self.callback = saved, log, callback
        if isinstance(log, (str, os.PathLike)):
            _check_folder("log", Path(log))
        self.began = time.monotonic()

    def begin(self, run: int, name: str, make: Callable[[Callable[[Trainer], None]], Trainer]) -> Trainer:
        """The training that `make(on_check)` makes, where its checkpoint left it."""
        training = make(lambda training: self._tell(run, name, training))
        if name in self.saved.states:
            training.restore(self.saved.states[name])
        return training

    def _tell(self, run: int, name: str, training: Trainer) -> None:
        self.saved.save(name, training)
        step, loss, held_out = training.curve[-1]
        line: dict[str, Any] = {"training": name, "step": step, "loss": loss, "held_out": held_out}
        line |= {"best": training.best, "seconds": round(time.monotonic() - self.began, 3)}
        if len(training.bests) > 1:
            line["restarts"] = training.history[-1][2]
        if parallel.world()[0] > 0:
            return
        if hasattr(self.log, "add_scalar"):
            for kind in ("loss", "held_out", "best"):
                self.log.add_scalar(f"{name}/{kind}", line[kind], step)
        elif callable(self.log):
            self.log(**line)
        elif self.log is not None:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if self.callback is not None:
            self.callback(run, training.step, held_out)


def _read(path: Path) -> dict[str, Any]:
    """What a checkpoint file holds. Raises DataError for any other file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about what the file may be instead
            found = torch.load(path, weights_only=True)
        whole = set(found) == {"key", "states", "digest"} and found["digest"] == _digest(found["states"])
    except Exception:  # torch's unpickler answers other bytes with errors of nearly every kind
        whole = False
    if not whole:
        raise DataError(
            f"checkpoint {path} is no checkpoint of a fit, or is damaged. Name another file, or remove it: the fit then"
            " begins anew."
        )
    return found


def _digest(states: Any) -> str:
    """Of nested dicts, lists and tuples of tensors and plain values, in their order."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, (dict, list, tuple)):
            digest.update(f"{type(value).__name__}{len(value)}".encode())
            for each in value.items() if isinstance(value, dict) else value:
                add(each)
        else:
            digest.update(f"{value!r};".encode())

    add(states)
    return digest.hexdigest()


def _check_folder(kind: str, path: Path) -> None:
    """Raises DataError where a file could not be written only after the first steps."""
    if not path.parent.is_dir():
        raise DataError(f"{kind} = {str(path)!r} is in a folder that does not exist. Make it first.")


def fingerprint(*parts: Any) -> str:
    """A digest of arrays and plain values, to know a fit's data and parameters by."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).data if isinstance(part, np.ndarray) else repr(part).encode())
    return digest.hexdigest()
