"""When training slows down and stops."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class StoppingRule:
    """Train at full step size, then cool down, then stop.

    Steps shrink linearly to zero over the last ``cooldown`` epochs before ``max_iter``, or sooner: from the epoch at
    which the watched loss has not improved by ``tol`` for ``patience`` epochs.

    Parameters
    ----------
    max_iter : int
    tol : float
    patience : int or None
        None never stops early, as for a loss with Monte Carlo noise.
    cooldown : int
        Zero stops at once, as for a validation loss, whose best weights are kept.
    together : bool
        Whether the improvements of the ``patience`` epochs count together, so that slow and steady progress goes on;
        else each of them must be by ``tol``.
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
        """What the step size is multiplied by in this epoch, counted from 1."""
        return 1.0 if epoch <= self.begin else 1.0 - (epoch - 1 - self.begin) / self.cooldown

    def is_over(self, epoch: int, loss: float) -> bool:
        """Take note of an epoch's loss; True when it was the last."""
        improved = loss < self.best - self.tol
        self.stale = 0 if improved else self.stale + 1
        if improved or not self.cumulative:
            self.best = min(self.best, loss)
        if self.patience is not None and self.stale >= self.patience and epoch < self.begin:
            self.begin = epoch
        return epoch >= self.begin + self.cooldown
