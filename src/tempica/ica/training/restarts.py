"""Several models of one kind, trained side by side.

Shape legend: R restart, B frame or pair of a batch, K feature of the input, N component.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tempica.ica.training.networks import PairScore


class Restarts(nn.Module):
    """Several models [features, scores] of one kind, their parameters stacked: one batched step trains them all."""

    def __init__(self, models: Sequence[Any]) -> None:
        super().__init__()
        self._models = list(models)  # their own parameters are only read, and written by `model`
        self._names = [name for name, _ in models[0].named_parameters()]
        every = [dict(model.named_parameters()) for model in models]
        self.stacked = nn.ParameterList(torch.stack([each[n].detach() for each in every]) for n in self._names)

    @property
    def network(self) -> list[nn.Parameter]:
        """Parameters of the features."""
        return self._of("0.")

    @property
    def is_maxout_with_reference(self) -> bool:
        """Whether features have two hidden layers or more, and pairs the reference score."""
        return len(self.network) >= 7 and all(len(score.parameters) == 1 for score in self.scores)

    @property
    def hidden(self) -> list[nn.Parameter]:
        """Weights of hidden layers, (R, …)."""
        found = zip(self._names, self.stacked, strict=True)
        return [p for name, p in found if name.startswith("0.hidden") and name.endswith("weight")]

    def features(self, x_BK: Tensor) -> Tensor:
        return self._models[0][0].run(x_BK, *self._of("0."))

    @property
    def scores(self) -> list[ScoreOf]:
        """Of each lag."""
        return [ScoreOf(self._of(f"1.{number}.")) for number in range(len(self._models[0][1]))]

    @property
    def head(self) -> list[nn.Parameter]:
        """Weight and bias of what follows the features, where that is a linear layer."""
        return self._of("1.")

    def narrow(self, kept: Sequence[int]) -> None:
        """Leave these restarts of all."""
        self._models = [self._models[r] for r in kept]
        for p in self.stacked:
            p.data, p.grad = p.data[list(kept)].clone(), None

    def model(self, restart: int) -> Any:
        """One of the models, with the values that it has now."""
        model = self._models[restart]
        with torch.no_grad():
            for p, values in zip(model.parameters(), self.stacked, strict=True):
                p.data = values[restart].detach().clone()
        return model

    def _of(self, prefix: str) -> list[nn.Parameter]:
        return [p for name, p in zip(self._names, self.stacked, strict=True) if name.startswith(prefix)]


class ScoreOf:
    """PairScore's two functions of given parameters, which may be stacked."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.parameters = list(parameters)

    def run(self, a: Tensor, b: Tensor, **options: Any) -> Tensor:
        return PairScore.run(a, b, *self.parameters, **options)

    def each(self, a: Tensor, b: Tensor) -> np.ndarray:
        return PairScore.run_each(a, b, *self.parameters)
