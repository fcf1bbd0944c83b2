"""How fast a training learns at each step, and when it is over.

A schedule holds `ends`, the step at which training ends, `check_every`, the steps from one check of the held-out loss
to the next, and two functions. `rate(step, highest)` is the learning rate of a step. `check(curve, last_gain)` hears of
each check, (step, training loss, held-out loss) of the best restart so far and the last step at which any restart has
improved; it may move `ends`, and says whether training is to go on from the best weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

WARM_STEPS, DECAY = 300, 0.4  # the rate rises over the first steps and falls over the last share of all
LEAST_STEPS, MOST_STEPS = 1000, 20_000  # before the fall, and altogether, where no number is given
WORTH = 0.02  # share of the information that the last third of the steps must have brought
RISE, FIRST, LAST = (
    0.1,
    25.0,
    1e4,
)  # of the cycle: share of steps in which it rises; divisors of the first and last rate

Curve = Sequence[tuple[int, float, float]]


class Plateau:
    """A constant rate until nothing is gained any more, then a fall to zero from the best weights.

    The fall begins when the last third of the steps has brought less than the share `worth` of the information (a
    held-out loss of 0 stands for none), or after 0.6 `max_steps`.
    """

    def __init__(self, max_steps: int | None = None, worth: float = WORTH) -> None:
        self.plan, self.worth = max_steps, worth
        self.most = max_steps or MOST_STEPS
        self.warm = max(1, min(WARM_STEPS, self.most // 10))
        self.check_every = min(100, max(10, self.most // 40))
        self.falls_from, self.ends = -1, self.most

    def rate(self, step: int, highest: float) -> float:
        rate = highest * min(1.0, (step + 1) / self.warm)
        if self.falls_from >= 0:
            rate *= max(1e-3, (self.ends - step) / (self.ends - self.falls_from))
        return rate

    def check(self, curve: Curve, last_gain: int) -> bool:
        step, best = curve[-1][0], min(held_out for _, _, held_out in curve)
        if self.falls_from >= 0 or not (self._enough(curve, step, best) or step >= (1 - DECAY) * self.most):
            return False
        best_step = next((at for at, _, held_out in curve if held_out == best), 0)
        self.falls_from = step
        share = DECAY / (1 - DECAY) * max(best_step, step // 3)
        self.ends = min(self.most, step + max(self.check_every, int(share)))
        return True

    def _enough(self, curve: Curve, step: int, best: float) -> bool:
        """Whether the last third of the steps has brought too little to go on at this rate."""
        least = LEAST_STEPS if self.plan is None else self.plan // 5
        before = min(held_out for at, _, held_out in curve if at <= 2 * step / 3)
        return step >= least and before - best <= self.worth * max(-best, 0.0)


class OneCycle:
    """A rate that rises over a tenth of the steps and falls over the others, both as a cosine (Smith & Topin 2018).

    Training ends before `max_steps` when no restart has improved in as many checks as `patience` says.
    """

    def __init__(self, max_steps: int, checks: int = 40, patience: int = 20) -> None:
        self.most, self.patience = max_steps, patience
        self.check_every, self.ends = max(10, max_steps // checks), max_steps

    def rate(self, step: int, highest: float) -> float:
        peak = RISE * (self.most + 1) - 1
        if step <= peak and peak > 0:
            return _cosine(highest / FIRST, highest, step / peak)
        return _cosine(highest, highest / FIRST / LAST, (step - peak) / (self.most - peak))

    def check(self, curve: Curve, last_gain: int) -> bool:
        if curve[-1][0] - last_gain >= self.patience * self.check_every:
            self.ends = curve[-1][0]
        return False


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)
