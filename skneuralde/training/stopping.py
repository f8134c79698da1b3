"""Stopping rule of training, with a cooldown of the step size."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class StoppingRule:
    """Rule that trains at full step size, then cools down, then stops.

    The step size falls linearly to zero over the last ``cooldown`` epochs before ``max_iter``, or earlier: from the
    epoch at which the watched loss has not improved by ``tol`` for ``patience`` epochs. Without ``patience`` it never
    stops early, as for a loss with Monte Carlo noise. Without a cooldown it stops at once, as with a validation loss,
    whose best weights are kept. A cumulative ``tol`` applies to the improvement over all ``patience`` epochs together,
    so that slow and steady progress continues; otherwise it applies to that of a single epoch.
    """

    max_iter: int
    tol: float
    patience: int | None
    cooldown: int
    cumulative: bool = False

    def __post_init__(self) -> None:
        self.cooldown = min(self.cooldown, self.max_iter)
        self.begin = self.max_iter - self.cooldown
        self.best = math.inf
        self.stale = 0

    def factor(self, epoch: int) -> float:
        """Factor of the step size in this epoch, counted from 1."""
        return 1.0 if epoch <= self.begin else 1.0 - (epoch - 1 - self.begin) / self.cooldown

    def is_over(self, epoch: int, loss: float) -> bool:
        """Record an epoch's loss; return True if it was the last epoch."""
        improved = loss < self.best - self.tol
        self.stale = 0 if improved else self.stale + 1
        if improved or not self.cumulative:
            self.best = min(self.best, loss)
        if self.patience is not None and self.stale >= self.patience and epoch < self.begin:
            self.begin = epoch
        return epoch >= self.begin + self.cooldown
