"""One plain training loop that stops when the data say so, and goes on exactly where it was stopped."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tempica.errors import DataError
from tempica.ica.training import kernels, parallel

WARM_STEPS, DECAY = 300, 0.4  # the rate rises over the first steps and falls over the last share of all
LEAST_STEPS, MOST_STEPS = 1000, 20_000  # before the fall, and altogether, where no number is given
WORTH = 0.02  # share of the information that the last third of the steps must have brought


class Orthogonal(torch.optim.Optimizer):
    """Steps whose matrix is orthogonal: momentum with all singular values brought near one (Muon, Jordan et al. 2024).

    On maxout layers the contrast needs half the steps that Adam needs (measured, 10 components).
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                if weight.device.type == "cpu" and weight.dtype is torch.float32:
                    values = [x.reshape(-1, *x.shape[-2:]).numpy() for x in (weight, weight.grad, state["momentum"])]
                    rates = (np.float32(group[name]) for name in ("momentum", "lr", "weight_decay"))
                    kernels.orthogonal_step(*values, *rates)
                    continue
                state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                update = _orthogonalised(weight.grad.lerp(state["momentum"], group["momentum"]))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * max(1.0, weight.shape[-2] / weight.shape[-1]) ** 0.5)


def _orthogonalised(matrix: Tensor) -> Tensor:
    """The nearest orthogonal matrix, or of each in a stack: five Newton–Schulz steps, coefficients of Jordan et al."""
    tall, add = matrix.shape[-2] > matrix.shape[-1], torch.addmm if matrix.ndim == 2 else torch.baddbmm
    x = matrix.mT if tall else matrix
    x = x / (x.flatten(-2).norm(dim=-1)[..., None, None] + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = add(x, add(square, square, square, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.mT if tall else x


class Training:
    """Minimises `loss(items)` over a module's parameters; `items` (batch,) come once in each pass over `n_items`.

    `validate()` is asked at every check, and the weights with its lowest answer are kept. The rate is constant until
    the last third of the steps has brought less than the share `worth` of the information (a loss of 0 stands for
    none), or for 0.6 `max_steps`; then training goes on from the best weights, while the rate falls to zero.
    `Orthogonal` moves the `hidden` weights, and lets them `decay`, Adam all others. Deterministic by `seed`. `advance`,
    `state` and `restore` stop and resume: what follows is the same to the last bit.

    Several restarts are trained at once where `loss` and `validate` answer with one number each (R,) and every
    parameter has the restart's dimension first: each keeps its own best weights, and the best restart decides when
    the rate falls. `narrow` leaves some of them. On several processes each takes its share of a batch. A loss that
    needs no gradient has left the gradients in the parameters itself.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[Tensor], Tensor],
        validate: Callable[[], Any],
        n_items: int,
        *,
        batch_size: int,
        max_steps: int | None,
        learning_rate: float,
        seed: int,
        hidden: Sequence[nn.Parameter] = (),
        worth: float = WORTH,
        decay: float = 0.0,
        on_check: Callable[[Training], None] | None = None,
    ) -> None:
        parallel.join()
        self.module, self.loss, self._ask, self.on_check = module, loss, validate, on_check
        self.n_items, self.batch_size, self.seed = n_items, min(batch_size, n_items), seed
        if self.batch_size < parallel.world()[1]:
            raise DataError(
                f"A batch has {self.batch_size} items, fewer than the {parallel.world()[1]} processes that share it."
                " Give a larger batch_size, or fewer processes."
            )
        self.arrange: Callable[[Tensor], Tensor] = lambda items: items  # before the processes take their shares
        self.max_steps, self.rate = max_steps or MOST_STEPS, learning_rate
        self.plan, self.worth = max_steps, worth
        self.warm = max(1, min(WARM_STEPS, self.max_steps // 10))
        self.check_every = min(100, max(10, self.max_steps // 40))
        special = {id(weight) for weight in hidden}
        others = [weight for weight in module.parameters() if id(weight) not in special]
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=learning_rate, weight_decay=1e-4, fused=True)
        ]
        if hidden:
            self.optimisers.append(Orthogonal(list(hidden), lr=learning_rate, weight_decay=decay))
        self.step, self.falls_from, self.ends = 0, -1, self.max_steps
        self.bests, self.kept = self._validated(), _weights(module)
        self.alive = list(range(len(self.bests)))
        self.best_steps, self.every = [0] * len(self.bests), list(self.bests)  # every: of those left behind too
        self.history = [
            (0, list(self.bests), list(self.bests))
        ]  # step, training losses, validation losses of the restarts
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def advance(self, until: int | None = None) -> Training:
        """Train up to a step, or to the end; at the end the module has its best weights."""
        while self.step < min(self.ends, until or self.ends):
            value = self._step()
            if self.step % self.check_every == 0 or self.step == self.ends:
                self._check(torch.atleast_1d(parallel.total(value.detach())).double().tolist())
        if self.ended:
            self.module.load_state_dict(self.kept)
        return self

    @property
    def ended(self) -> bool:
        return self.step >= self.ends

    @property
    def leader(self) -> int:
        """The place, among the restarts that are left, of the one with the lowest validation loss."""
        return min(range(len(self.bests)), key=lambda r: self.bests[r])

    @property
    def best(self) -> float:
        """The lowest validation loss so far."""
        return self.bests[self.leader]

    @property
    def best_step(self) -> int:
        return self.best_steps[self.leader]

    @property
    def curve(self) -> list[tuple[int, float, float]]:
        """Step, training loss and validation loss of the leader at each check."""
        r = self.leader
        return [(step, loss[r], held[r]) for step, loss, held in self.history]

    def validate(self) -> float:
        """The validation loss now, of the restart that has the lowest."""
        return min(self._validated())

    def narrow(self, kept: Sequence[int]) -> None:
        """Leave these places of all restarts, with all that is known of them."""
        kept = list(kept)
        self.module.narrow(kept)  # type: ignore[operator]
        for optimiser in self.optimisers:
            for state in optimiser.state.values():
                for name, values in state.items():
                    if isinstance(values, Tensor) and values.ndim > 0:
                        state[name] = values[kept].clone()
        self.kept = {name: values[kept].clone() for name, values in self.kept.items()}
        for name in ("bests", "best_steps", "alive"):
            setattr(self, name, [getattr(self, name)[r] for r in kept])
        self.history = [(s, [a[r] for r in kept], [b[r] for r in kept]) for s, a, b in self.history]

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, as tensors and plain values: copies, since a training goes on."""
        found = {
            "module": self.module.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            **{name: getattr(self, name) for name in _PLAIN},
        }
        return copy.deepcopy(found)

    def restore(self, state: dict[str, Any]) -> None:
        if len(state["alive"]) < len(self.alive):
            self.narrow(state["alive"])
        self.module.load_state_dict(state["module"])
        for optimiser, found in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(found)
        for name in _PLAIN:
            setattr(self, name, copy.deepcopy(state[name]))

    def _step(self) -> Tensor:
        rate = self.rate * min(1.0, (self.step + 1) / self.warm)
        if self.falls_from >= 0:
            rate *= max(1e-3, (self.ends - self.step) / (self.ends - self.falls_from))
        for optimiser in self.optimisers:
            optimiser.param_groups[0]["lr"] = rate
        items = self._items()
        mine = parallel.share(items)
        value = self.loss(mine)
        if value.requires_grad:  # else the loss has left the gradients where they belong
            value = value * (len(mine) / len(items))
            self.module.zero_grad(set_to_none=True)
            value.sum().backward()
            parallel.add_up(self.module)
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
        return self.arrange(self._order[place * self.batch_size : (place + 1) * self.batch_size])

    def _validated(self) -> list[float]:
        now = self._ask()
        return parallel.agree(torch.atleast_1d(torch.as_tensor(now, dtype=torch.float64).detach())).tolist()

    def _check(self, losses: list[float]) -> None:
        now = self._validated()
        self.history.append((self.step, losses, now))
        better = [r for r, value in enumerate(now) if value < self.bests[r]]
        for r in better:
            self.bests[r], self.best_steps[r] = now[r], self.step
            self.every[self.alive[r]] = now[r]
        if len(now) == 1 and better:
            self.kept = _weights(self.module)
        elif better:
            for name, values in self.module.state_dict().items():
                self.kept[name][better] = values[better]
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
        return self.step >= least and before - self.best <= self.worth * max(-self.best, 0.0)


_PLAIN = ("step", "falls_from", "ends", "bests", "best_steps", "every", "alive", "kept", "history")


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

    def save(self, name: str, training: Training) -> None:
        self.states[name] = training.state()
        if self.path is not None and parallel.world()[0] == 0:
            part = self.path.with_name(self.path.name + ".part")
            torch.save({"key": self.key, "states": self.states}, part)
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

    def begin(self, run: int, name: str, make: Callable[[Callable[[Training], None]], Training]) -> Training:
        """The training that `make(on_check)` makes, where its checkpoint left it."""
        training = make(lambda training: self._tell(run, name, training))
        if name in self.saved.states:
            training.restore(self.saved.states[name])
        return training

    def _tell(self, run: int, name: str, training: Training) -> None:
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
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError):
        found = None
    if not (isinstance(found, dict) and set(found) == {"key", "states"}):
        raise DataError(f"checkpoint {path} is no checkpoint of a fit. Name another file, or remove it.")
    return found


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


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
