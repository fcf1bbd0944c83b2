"""One fit on several processes: each takes its share of every batch, and all end with the same model.

The processes are those that `torchrun` has started, or of a process group that the caller has made; every one is given
the same data. Without either, there is one process and everything here does nothing.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed, nn


def join() -> None:
    """Make the process group of a `torchrun`, if there is one and the caller has not: gloo, or NCCL with a GPU.

    It is left when the process ends: its threads would be ended with the interpreter, which now and then aborts.
    """
    if distributed.is_available() and not distributed.is_initialized() and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(_leave)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def world() -> tuple[int, int]:
    """Rank and number of processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def share(items: Tensor) -> Tensor:
    """This process's part of a batch (item,): contiguous, in the order of ranks."""
    rank, n = world()
    return items if n == 1 else items.tensor_split(n)[rank]


def gather(b_QN: Tensor) -> tuple[Tensor, int]:
    """The rows of all processes, in the order of ranks, and how many come before this one's own; differentiable.

    The gradient of a row is the sum of what all processes send back. Shares may differ in length.
    """
    rank, n = world()
    if n == 1:
        return b_QN, 0
    counts = torch.zeros(n, dtype=torch.int64, device=b_QN.device)
    counts[rank] = b_QN.shape[-2]
    distributed.all_reduce(counts)
    lengths = counts.tolist()
    return _Gather.apply(b_QN, lengths, rank), sum(lengths[:rank])


def add_up(module: nn.Module) -> None:
    """Sum the gradients of all processes, each of which has the loss of its share over the length of the whole."""
    if world()[1] > 1:
        for p in module.parameters():
            if p.requires_grad:
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
                distributed.all_reduce(p.grad)


def total(value: Tensor) -> Tensor:
    """The sum of what all processes have."""
    if world()[1] > 1:
        value = value.clone()
        distributed.all_reduce(value)
    return value


def agree(values: Tensor) -> Tensor:
    """What the first process has, so that rounding on another machine cannot part their ways."""
    if world()[1] > 1:
        on = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        told = values.to(on)
        distributed.broadcast(told, 0)
        values = told.to(values.device)
    return values


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, b_QN: Tensor, lengths: Iterable[int], rank: int) -> Tensor:
        ctx.lengths, ctx.rank = list(lengths), rank
        longest = max(ctx.lengths)
        padded = b_QN.new_zeros(*b_QN.shape[:-2], longest, b_QN.shape[-1])
        padded[..., : b_QN.shape[-2], :] = b_QN
        every = [torch.empty_like(padded) for _ in ctx.lengths]
        distributed.all_gather(every, padded)
        return torch.cat([each[..., :n, :] for each, n in zip(every, ctx.lengths, strict=True)], -2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0].contiguous().clone()
        distributed.all_reduce(grad)
        before = sum(ctx.lengths[: ctx.rank])
        return grad[..., before : before + ctx.lengths[ctx.rank], :], None, None
