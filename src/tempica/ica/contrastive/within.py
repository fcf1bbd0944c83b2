"""The permutation contrast with alternatives from the same replica."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tempica.ica.contrastive.contrast import Contrast
from tempica.ica.training import parallel
from tempica.ica.training.trainer import Trainer

SPARE, STEPS = 6, 200  # components to choose from, beyond those asked for; steps in which one is judged


class WithinReplicas(Contrast):
    """A contrast whose batches come from as few replicas as fill half of one.

    What stays as it is for a whole replica, a loop that is stuck or the way a molecule lies, tells a frame's successor
    from frames of other replicas without saying anything about the dynamics; among frames of its own replica it tells
    nothing. Replicas too short for that are taken together. Chunks of a batch do not overlap.
    """

    def __init__(self, Z: Tensor, labels: np.ndarray, *args: Any) -> None:
        super().__init__(Z, labels, *args)
        replica = labels[self.starts.numpy()]
        self._ends = np.searchsorted(replica, np.unique(replica), side="right")
        self._replica = np.searchsorted(np.unique(replica), replica)

    def training(self, *args: Any, **options: Any) -> Trainer:
        training = super().training(*args, **options)
        if len(self._ends) > 1:
            training.arrange = self.together
        return training

    def together(self, items: Tensor) -> Tensor:
        """Other items, of the replica of the first and as many more as are needed, randomly, seeded by the items.

        Every item comes about as often as any other, since the first of a batch does.
        """
        rng = np.random.default_rng([int(items[0]), int(items.sum())])
        first = self._replica[int(items[0])]
        others = rng.permutation(len(self._ends) - 1)
        span = self.chunk * self.lags[0]
        found: list[np.ndarray] = []
        for replica in (first, *(others + (others >= first))):
            own = np.arange(self._ends[replica - 1] if replica else 0, self._ends[replica])
            apart = (self.starts.numpy()[own] - rng.integers(span)) % span < self.lags[0]
            found.append(rng.permutation(own[apart]))
            if 2 * sum(map(len, found)) >= len(items):
                break
        together = torch.as_tensor(np.concatenate(found)[: len(items)])
        # where replicas are so short that chance leaves next to nothing, the batch stays as it is
        return together if len(together) >= min(len(items), max(2, parallel.world()[1])) else items

    def choose(self, n: int) -> list[int]:
        """The n of the first components of Z that have the best held-out contrast together, found one by one.

        The slowest two of TICA may be a source and its square, or a state that held out replicas do not know; learning
        that starts from them may end there.
        """
        S, chosen = self.Z.cpu().numpy()[:, : n + SPARE], list[int]()
        if S.shape[1] <= n:
            return list(range(n))
        while len(chosen) < n:
            others = [j for j in range(S.shape[1]) if j not in chosen]
            losses = [self.losses_of(S[:, [*chosen, j]], STEPS).mean() for j in others]
            chosen.append(others[int(np.argmin(losses))])
        return chosen
