"""One plain training loop that stops when the data say so, and goes on exactly where it was stopped."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tempica.errors import DataError

WARM_STEPS, DECAY = 300, 0.4  # the rate rises over the first steps and falls over the last share of all
LEAST_STEPS, MOST_STEPS = 1000, 20_000  # before the fall, and altogether, where no number is given
WORTH = 0.02  # share of the information that the last third of the steps must have brought


class Orthogonal(torch.optim.Optimizer):
    """Steps whose matrix is orthogonal: momentum with all singular values brought near one (Muon, Jordan et al. 2024).

    On maxout layers the contrast needs half the steps that Adam needs (measured, 10 components).
    """

    def __init__(self, parameters: Sequence[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                update = _orthogonalised(weight.grad.lerp(state["momentum"], group["momentum"]))
                weight.add_(update, alpha=-group["lr"] * max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5)


def _orthogonalised(matrix: Tensor) -> Tensor:
    """The nearest orthogonal matrix, roughly: five Newton–Schulz steps with the coefficients of Jordan et al."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.T if tall else x


class Training:
    """Minimises `loss(items)` over a module's parameters; `items` (batch,) come once in each pass over `n_items`.

    `validate()` is asked at every check, and the weights with its lowest answer are kept. The rate is constant until
    the last third of the steps has brought less than 2 % of the information (a loss of 0 stands for none), or for 0.6
    `max_steps`; then training goes on from the best weights, while the rate falls to zero. `Orthogonal` moves the
    `hidden` weights, Adam all others. Deterministic by `seed`. `advance`, `state` and `restore` stop and resume: what
    follows is the same to the last bit.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[Tensor], Tensor],
        validate: Callable[[], float],
        n_items: int,
        *,
        batch_size: int,
        max_steps: int | None,
        learning_rate: float,
        seed: int,
        hidden: Sequence[nn.Parameter] = (),
        on_check: Callable[[Training], None] | None = None,
    ) -> None:
        self.module, self.loss, self.validate, self.on_check = module, loss, validate, on_check
        self.n_items, self.batch_size, self.seed = n_items, min(batch_size, n_items), seed
        self.max_steps, self.rate = max_steps or MOST_STEPS, learning_rate
        self.plan = max_steps
        self.warm = max(1, min(WARM_STEPS, self.max_steps // 10))
        self.check_every = min(100, max(10, self.max_steps // 40))
        special = {id(weight) for weight in hidden}
        others = [weight for weight in module.parameters() if id(weight) not in special]
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=learning_rate, weight_decay=1e-4, fused=True)
        ]
        if hidden:
            self.optimisers.append(Orthogonal(list(hidden), lr=learning_rate))
        self.step, self.falls_from, self.ends = 0, -1, self.max_steps
        self.best, self.best_step, self.kept = self.validate(), 0, _weights(module)
        self.curve = [(0, self.best, self.best)]  # step, training loss, validation loss
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def advance(self, until: int | None = None) -> Training:
        """Train up to a step, or to the end; at the end the module has its best weights."""
        while self.step < min(self.ends, until or self.ends):
            value = self._step()
            if self.step % self.check_every == 0 or self.step == self.ends:
                self._check(float(value.detach()))
        if self.ended:
            self.module.load_state_dict(self.kept)
        return self

    @property
    def ended(self) -> bool:
        return self.step >= self.ends

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, as tensors and plain values."""
        return {
            "module": _weights(self.module),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            **{name: getattr(self, name) for name in _PLAIN},
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        for optimiser, found in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(found)
        for name in _PLAIN:
            setattr(self, name, state[name])

    def _step(self) -> Tensor:
        rate = self.rate * min(1.0, (self.step + 1) / self.warm)
        if self.falls_from >= 0:
            rate *= max(1e-3, (self.ends - self.step) / (self.ends - self.falls_from))
        for optimiser in self.optimisers:
            optimiser.param_groups[0]["lr"] = rate
        value = self.loss(self._items())
        self.module.zero_grad(set_to_none=True)
        value.backward()
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        return value

    def _items(self) -> Tensor:
        a_pass = self.n_items // self.batch_size
        epoch, place = divmod(self.step, a_pass)
        if epoch != self._epoch:  # the order follows from seed and epoch alone, so that a checkpoint need not hold it
            generator = torch.Generator().manual_seed(self.seed + 7919 * epoch)
            self._epoch, self._order = epoch, torch.randperm(self.n_items, generator=generator)
        return self._order[place * self.batch_size : (place + 1) * self.batch_size]

    def _check(self, value: float) -> None:
        now = self.validate()
        self.curve.append((self.step, value, now))
        if now < self.best:
            self.best, self.best_step, self.kept = now, self.step, _weights(self.module)
        if self.falls_from < 0 and (self._enough() or self.step >= (1 - DECAY) * self.max_steps):
            self.module.load_state_dict(self.kept)
            self.falls_from = self.step
            share = DECAY / (1 - DECAY) * max(self.best_step, self.step // 3)
            self.ends = min(self.max_steps, self.step + max(self.check_every, int(share)))
        if self.on_check is not None:
            self.on_check(self)

    def _enough(self) -> bool:
        """Whether the last third of the steps has brought too little to go on at this rate."""
        least = LEAST_STEPS if self.plan is None else self.plan // 5
        before = min(loss for step, _, loss in self.curve if step <= 2 * self.step / 3)
        return self.step >= least and before - self.best <= WORTH * max(-self.best, 0.0)


_PLAIN = ("step", "falls_from", "ends", "best", "best_step", "kept", "curve")


class Checkpoint:
    """States of a fit's trainings in one file, written whole; a fit with the same key and file goes on from it."""

    def __init__(self, path: str | os.PathLike | None, key: str) -> None:
        self.path, self.key = None if path is None else Path(path), key
        self.states: dict[str, Any] = {}
        if self.path is not None and self.path.exists():
            found = torch.load(self.path, weights_only=True)
            if found["key"] != key:
                raise DataError(
                    f"checkpoint {self.path} belongs to other data or parameters. Name another file, or remove it."
                )
            self.states = found["states"]

    def save(self, name: str, training: Training) -> None:
        self.states[name] = training.state()
        if self.path is not None:
            part = self.path.with_name(self.path.name + ".part")
            torch.save({"key": self.key, "states": self.states}, part)
            os.replace(part, self.path)


class Progress:
    """What is told at each check of a fit's trainings: a state to its checkpoint, a line to its log, then `callback`.

    `log` names a file that gets one JSON object a line: training, step, loss, held_out (its loss), best, and seconds
    since the fit began; or is a function that is called with these. An interrupted fit that goes on writes behind
    what is there.
    """

    def __init__(
        self,
        saved: Checkpoint,
        log: str | os.PathLike | Callable[..., None] | None = None,
        callback: Callable[[int, int, float], None] | None = None,
    ) -> None:
        self.saved, self.log, self.callback = saved, log, callback
        self.began = time.monotonic()

    def begin(self, run: int, name: str, make: Callable[[Callable[[Training], None]], Training]) -> Training:
        """The training that `make(on_check)` makes, where its checkpoint left it."""
        training = make(lambda training: self._tell(run, name, training))
        if name in self.saved.states:
            training.restore(self.saved.states[name])
        return training

    def _tell(self, run: int, name: str, training: Training) -> None:
        self.saved.save(name, training)
        step, loss, held_out = training.curve[-1]
        line = {"training": name, "step": step, "loss": loss, "held_out": held_out, "best": training.best}
        line["seconds"] = round(time.monotonic() - self.began, 3)
        if callable(self.log):
            self.log(**line)
        elif self.log is not None:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if self.callback is not None:
            self.callback(run, training.step, held_out)


def fingerprint(*parts: Any) -> str:
    """A digest of arrays and plain values, to know a fit's data and parameters by."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return digest.hexdigest()


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
