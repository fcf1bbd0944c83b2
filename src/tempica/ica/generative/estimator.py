"""What the generative estimators share: devices, held-out chunks, what is kept of each training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from tempica.errors import DataError
from tempica.ica.base import check_seed, check_validation
from tempica.ica.training.batched import keep_restart, train_batched
from tempica.ica.training.estimator import NetworkEstimator
from tempica.ica.training.networks import PRECISIONS, check_device
from tempica.ica.training.progress import Progress
from tempica.ica.training.trainer import Trainer
from tempica.series import check_replicas, chunks


class GenerativeEstimator(NetworkEstimator):
    """Base of estimators that model how frames arise, and train all restarts as one batch."""

    own_training: ClassVar[Mapping[str, Any]] = {
        "batch_size": 256,
        "learning_rate": 4e-3,
        "width": 64,
        "n_layers": 2,
        "precision": "float32",
    }
    max_steps: int
    device: str
    random_state: int

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        replicas: Any = None,
        validation: Any = None,
        checkpoint: Any = None,
        log: Any = None,
        callback: Callable[[int, int, float], None] | None = None,
    ) -> Self:
        """Fit to frames X (frame, feature).

        Parameters:
            replicas: label (frame,) of the series of each frame; one series when None.
            validation: mask (frame,) of frames that give no gradients; one block of successive frames in ten when None.
            checkpoint: file from which a fit that was interrupted goes on, to the same result.
            log: file that gets a line of JSON at each check, or a function, or a SummaryWriter (`Progress`).
            callback: called as callback(run, step, loss) at each check of training number `run`.

        Raises DataError for too short series, constant features or impossible parameters.
        """
        X = self._frames(X, fitting=True)
        series, held_out = check_replicas(replicas, len(X)), check_validation(validation, len(X))
        self._learn(X, series, held_out, partial(self._progress, checkpoint, log, callback))
        return self

    def _learn(
        self, X: np.ndarray, series: np.ndarray, held_out: np.ndarray | None, progress: Callable[..., Progress]
    ) -> None:
        """Fit to checked frames; `progress(*data)` is what is told of a fit of these data."""
        raise NotImplementedError

    def _options(self) -> Any:
        options = super()._options()
        if options.precision == "bfloat16":
            raise DataError(f"precision = 'bfloat16': {type(self).__name__} takes float32 or float64.")
        return options

    def _generator(self) -> torch.Generator:
        """The generator that a fit draws from; parameters, device and precision are checked."""
        check_device(self.device, self._options().precision)
        return torch.Generator().manual_seed(check_seed(self.random_state))

    def _tensor(self, array: Any) -> Tensor:
        """An array in the precision of the fit, on its device."""
        return torch.as_tensor(array, dtype=PRECISIONS[self._options().precision]).to(self.device)

    def _trained(
        self,
        progress: Progress,
        name: str,
        module: nn.Module,
        losses: Callable[[Tensor, torch.Generator], Tensor],
        learned: Tensor,
        held_out: Tensor,
        generator: torch.Generator,
        *,
        run: int = 0,
        per_item: int = 1,
        max_steps: int | None = None,
        rate: float = 1.0,
    ) -> Trainer:
        """Restarts of a module, trained to the end by `losses(items, generator)` (R,) of the items that are learned.

        The held-out loss is that of other items, always with the same draws. A batch has as many frames as the options
        say, `per_item` of them an item; `rate` is in units of their learning rate.
        """
        options = self._options()

        def validate() -> Tensor:
            with torch.no_grad():
                return losses(held_out, torch.Generator().manual_seed(0))

        return train_batched(
            progress,
            run,
            name,
            module,
            lambda items: losses(learned[items], generator),
            validate,
            len(learned),
            batch_size=max(1, options.batch_size // per_item),  # type: ignore[operator]
            max_steps=max_steps or self.max_steps,
            learning_rate=rate * options.learning_rate,  # type: ignore[operator]
            generator=generator,
        )


def lowest_so_far(trainer: Trainer) -> list[tuple[int, float]]:
    """Step and lowest held-out loss so far, of any restart, at each check."""
    steps = [step for step, _, _ in trainer.history]
    losses = np.array([held_out for _, _, held_out in trainer.history])
    return list(zip(steps, np.fmin.accumulate(np.nanmin(losses, axis=1)).tolist(), strict=True))


def best_and_rival(trainer: Trainer, *modules: Any) -> tuple[list[Any], list[Any] | None]:
    """The best restart of modules, and the second best, or None where there was one; both on the CPU."""
    ranked, found = trainer.ranked, []
    for restart in ranked[:2]:
        kept = [copy.deepcopy(module).cpu() for module in modules]
        for module in kept:
            keep_restart(module, restart)
        found.append(kept)
    return found[0], found[1] if len(found) > 1 else None


def split_chunks(labels: np.ndarray, longest: int, held_out: np.ndarray | None) -> tuple[np.ndarray, int, np.ndarray]:
    """First frames (chunk,) of chunks, their length, and which (chunk,) are held out.

    Those in `held_out` (frame,), or else one in ten, and the last one where there are fewer. Raises DataError when
    there are too few to learn from some and hold out others.
    """
    if held_out is None:
        first, n_frames = chunks(labels, longest)
        held = np.arange(len(first)) % 10 == 9 if len(first) >= 10 else np.arange(len(first)) == len(first) - 1
        return first, n_frames, held
    sides = np.cumsum(np.r_[0, (np.diff(labels) != 0) | (np.diff(held_out.astype(int)) != 0)])
    first, n_frames = chunks(sides, longest)
    held = held_out[first]
    if held.all() or not held.any():
        raise DataError(
            f"validation leaves {np.count_nonzero(~held)} chunks of {n_frames} frames to learn from, and"
            f" {np.count_nonzero(held)} to ask. Mark some successive frames, or give longer series."
        )
    return first, n_frames, held
