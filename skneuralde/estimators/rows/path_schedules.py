"""The number of simulated paths in each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral

import numpy as np

from skneuralde.data.panel import Panel
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.rows.snapshots import first_snapshot
from skneuralde.losses import GrowingPaths

#: The number of paths for n_paths="auto": to start with, at most, for validation, and the values of a batch at most.
_FEW_PATHS, _MOST_PATHS, _VALIDATION_PATHS, _MOST_VALUES = 16, 256, 256, 4_000_000
#: Number of times that the noise of the gradient is measured in a training.
_LOOKS = 20


def growing_paths(panel: Panel, setup: Setup, max_iter: int, *, least: int, at_once: bool) -> GrowingPaths:
    """The number of paths for n_paths="auto", bounded so that a batch of paths and their distances fits into memory.

    With ``at_once`` it is the largest number from the start, for optimizers that need the same loss throughout.
    """
    size = panel.values.size
    if setup.loss.of_snapshots:
        first = first_snapshot(panel)
        size = len(first) * (len(first) * len(np.unique(panel.times)) + len(panel.times))
    most = int(np.clip(_MOST_VALUES // max(1, size), least, _MOST_PATHS))
    return GrowingPaths(most if at_once else max(least, _FEW_PATHS), most, every=max(1, max_iter // _LOOKS))


def validation_schedule(schedule: Callable[[int], int], least: int) -> Callable[[int], int]:
    """The number of paths of validation losses, constant so that they can be compared."""
    if not isinstance(schedule, GrowingPaths):
        return schedule
    number = max(least, min(schedule.most, _VALIDATION_PATHS))
    return lambda epoch: number


def path_schedule(
    n_paths: int | Sequence[int] | Callable[[int], int], max_iter: int, *, least: int
) -> Callable[[int], int]:
    """The number of paths as a function of the epoch: constant, stages of equal length, or the caller's own.

    Raises
    ------
    ValueError
        If an epoch has fewer than ``least`` paths.
    """
    numbers: list[int]
    if callable(n_paths):
        numbers = [n_paths(epoch) for epoch in range(1, max_iter + 1)]
    else:
        stages = list(n_paths) if isinstance(n_paths, Sequence) else [n_paths]
        numbers = [stages[epoch * len(stages) // max_iter] for epoch in range(max_iter)] if stages else [0]
    for epoch, number in enumerate(numbers, 1):
        if not isinstance(number, Integral) or number < least:
            raise ValueError(
                f"n_paths must be an integer of at least {least} for this loss, got {number!r} in epoch {epoch}."
            )
    return lambda epoch: int(numbers[epoch - 1])
