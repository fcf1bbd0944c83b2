"""One plain training loop: mini-batches from memory, Adam on one cycle, early stop on data that gives no gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Trained:
    """How a training went; the module itself is left with its best weights."""

    validation_loss: float
    step: int  # at which the best weights were found
    curve: list[tuple[int, float, float]] = field(default_factory=list)  # step, training loss, validation loss


def train(
    module: nn.Module,
    loss: Callable[[Tensor], Tensor],
    validate: Callable[[], float],
    n_items: int,
    *,
    batch_size: int,
    max_steps: int,
    learning_rate: float,
    generator: torch.Generator,
    weight_decay: float = 1e-4,
    checks: int = 40,
    patience: int = 16,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Trained:
    """Minimise `loss(items)` over a module's parameters; `items` (batch,) are drawn without repetition in an epoch.

    `validate()` is asked `checks` times, evenly; the weights with its lowest answer are kept, and the loop ends
    `patience` checks after the last improvement: a large share of the cycle, since the answer improves most as
    the rate falls. Deterministic given the generator's state.
    """
    optimiser = torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=max_steps + 1)
    batch_size, check_every = min(batch_size, n_items), max(10, max_steps // checks)
    best, best_step = validate(), 0
    kept = _weights(module)
    curve = [(0, best, best)]
    order, cursor = torch.randperm(n_items, generator=generator), 0
    for step in range(1, max_steps + 1):
        if cursor + batch_size > n_items:
            order, cursor = torch.randperm(n_items, generator=generator), 0
        value = loss(order[cursor : cursor + batch_size])
        cursor += batch_size
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        schedule.step()
        if step % check_every == 0 or step == max_steps:
            now = validate()
            curve.append((step, float(value.detach()), now))
            if now < best:
                best, best_step, kept = now, step, _weights(module)
            if on_step is not None:
                on_step(step, max_steps, now)
            if step - best_step >= patience * check_every:
                break
    module.load_state_dict(kept)
    return Trained(best, best_step, curve)


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
