"""One plain training loop that stops when the data say so, and goes on exactly where it was stopped."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tempica.errors import DataError
from tempica.ica.training import parallel
from tempica.ica.training.orthogonal import Orthogonal
from tempica.ica.training.schedules import OneCycle, Plateau


class Trainer:
    """Minimises `loss(items)` over a module's parameters; `items` (batch,) come once in each pass over `n_items`.

    `validate()` is asked at every check, and the weights with its lowest answer are kept; `schedule` sets the rate of
    each step, up to `learning_rate`, and the end. `Orthogonal` moves the `hidden` weights and lets them `decay`, AdamW
    all others. Deterministic by `seed`. `advance`, `state` and `restore` stop and resume: what follows is the same to
    the last bit.

    Several restarts are trained at once where `loss` and `validate` answer with one number each (R,) and every
    parameter has the restart's dimension first: each keeps its own best weights, and the best restart decides when
    the rate falls. `narrow` leaves some of them. On several processes each takes its share of a batch. A loss that
    needs no gradient has left the gradients in the parameters itself.

    Parameters:
        module: holds the parameters; `narrow` asks it for a method of that name.
        loss: of a batch of items, a number or (R,).
        validate: held-out loss, a number or (R,).
        n_items: items of a pass.
        batch_size: items of a step; all, where there are fewer.
        learning_rate: the highest rate.
        schedule: `Plateau(max_steps)` or `OneCycle(max_steps)`, a new one for each trainer.
        seed: of the order of the items.
        generator: where the loss draws numbers, the generator that it takes: the order of the items comes from it as
            well, and its state is saved with everything else.
        hidden: weights for `Orthogonal`; their weight decay is `decay`, that of the others `weight_decay`.
        longest: norm to which the gradient of each restart is shortened, if any.
        on_check: called at each check, after it.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[Tensor], Tensor],
        validate: Callable[[], Any],
        n_items: int,
        *,
        batch_size: int,
        learning_rate: float,
        schedule: Plateau | OneCycle,
        seed: int = 0,
        generator: torch.Generator | None = None,
        hidden: Sequence[nn.Parameter] = (),
        decay: float = 0.0,
        weight_decay: float = 1e-4,
        longest: float | None = None,
        on_check: Callable[[Trainer], None] | None = None,
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
        self.highest, self.schedule, self._generator, self._longest = learning_rate, schedule, generator, longest
        special = {id(weight) for weight in hidden}
        others = [weight for weight in module.parameters() if id(weight) not in special]
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=learning_rate, weight_decay=weight_decay, fused=True)
        ]
        if hidden:
            self.optimisers.append(Orthogonal(list(hidden), lr=learning_rate, weight_decay=decay))
        self.step, self.bests, self.kept = 0, self._validated(), _weights(module)
        self.alive = list(range(len(self.bests)))
        self.best_steps, self.every = [0] * len(self.bests), list(self.bests)  # every: of those left behind too
        # step, training losses and validation losses of the restarts
        self.history = [(0, list(self.bests), list(self.bests))]
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def advance(self, until: int | None = None) -> Trainer:
        """Train up to a step, or to the end; at the end the module has its best weights."""
        while self.step < min(self.schedule.ends, until or self.schedule.ends):
            value = self._step()
            if self.step % self.schedule.check_every == 0 or self.step == self.schedule.ends:
                self._check(torch.atleast_1d(parallel.total(value.detach())).double().tolist())
        if self.ended:
            self.settle()
        return self

    def settle(self) -> None:
        """Give the module the best weights so far."""
        self.module.load_state_dict(self.kept)

    @property
    def ended(self) -> bool:
        return self.step >= self.schedule.ends

    @property
    def leader(self) -> int:
        """The place, among the restarts that are left, of the one with the lowest validation loss."""
        return self.ranked[0]

    @property
    def ranked(self) -> list[int]:
        """The places of the restarts that are left, the one with the lowest validation loss first."""
        losses = [math.inf if math.isnan(loss) else loss for loss in self.bests]
        return sorted(range(len(losses)), key=losses.__getitem__)

    @property
    def best(self) -> float:
        """The lowest validation loss so far."""
        return self.bests[self.leader]

    def best_until(self, step: int) -> float:
        """The lowest validation loss, of any restart, up to a step."""
        return min(loss for at, _, held in self.history if at <= step for loss in held)

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
            "schedule": vars(self.schedule),
            **{name: getattr(self, name) for name in _PLAIN},
        }
        if self._generator is not None:  # else the order follows from seed and step
            found |= {"generator": self._generator.get_state(), "epoch": self._epoch, "order": self._order}
        return copy.deepcopy(found)

    def restore(self, state: dict[str, Any]) -> None:
        if len(state["alive"]) < len(self.alive):
            self.narrow(state["alive"])
        self.module.load_state_dict(state["module"])
        for optimiser, found in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(found)
        vars(self.schedule).update(state["schedule"])
        for name in _PLAIN:
            setattr(self, name, copy.deepcopy(state[name]))
        if self._generator is not None:
            self._generator.set_state(state["generator"])
            self._epoch, self._order = state["epoch"], state["order"].clone()

    def _step(self) -> Tensor:
        rate = self.schedule.rate(self.step, self.highest)
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
        if self._longest is not None:
            shorten(self.module, self._longest)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        return value

    def _items(self) -> Tensor:
        a_pass = self.n_items // self.batch_size
        epoch, place = divmod(self.step, a_pass)
        if epoch != self._epoch:
            # without a generator the order follows from seed and epoch alone, so that a checkpoint need not hold it
            draw = self._generator or torch.Generator().manual_seed(self.seed + 7919 * epoch)
            self._epoch, self._order = epoch, torch.randperm(self.n_items, generator=draw)
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
        if self.schedule.check(self.curve, max(self.best_steps)):
            self.module.load_state_dict(self.kept)
        if self.on_check is not None:
            self.on_check(self)


_PLAIN = ("step", "bests", "best_steps", "every", "alive", "kept", "history")


def shorten(module: nn.Module, longest: float) -> None:
    """Shorten each restart's gradient to a norm; one that is not finite becomes 0, and moves no other."""
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    norm = torch.stack([grad.flatten(1).norm(dim=1) for grad in grads]).norm(dim=0)
    factor = torch.where(norm.isfinite(), (longest / norm.clamp(min=longest)), 0.0)
    for grad in grads:
        grad.nan_to_num_(0.0, 0.0, 0.0).mul_(factor.view(-1, *[1] * (grad.ndim - 1)))


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
