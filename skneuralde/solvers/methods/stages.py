"""Sums of stages, by the fixed weights of a tableau and the lengths of steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor


def combine(base: Tensor, weights: Sequence[float], stages: Sequence[Tensor]) -> Tensor:
    """``base + sum(weight * stage)``; what has no weight costs nothing."""
    for weight, stage in zip(weights, stages, strict=True):
        if weight != 0.0:
            base = torch.add(base, stage, alpha=weight)
    return base


def weighted_sums(rows: tuple[tuple[float, ...], ...], stages: Sequence[Tensor]) -> Sequence[Tensor]:
    """``sum(weight * stage)`` for several rows of weights at once."""
    stacked = torch.stack(tuple(stages))
    matrix = _matrix(rows, stacked.dtype, stacked.device)
    return (matrix @ stacked.flatten(1)).unflatten(1, stages[0].shape).unbind()


def widened(h: Tensor | float, u: Tensor) -> Tensor | float:
    """Lengths of steps, (batch, 1), as a tensor of the shape of the states: to broadcast costs more at each use."""
    return h.expand_as(u).contiguous() if isinstance(h, Tensor) else h


@cache
def _matrix(rows: tuple[tuple[float, ...], ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(rows, dtype=dtype, device=device)
