"""Weighted sums of stages, by the fixed weights of a tableau."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def combine(base: Tensor, weights: Sequence[float], stages: Sequence[Tensor]) -> Tensor:
    """``base + sum(weight * stage)``; what has no weight costs nothing."""
    for weight, stage in zip(weights, stages, strict=True):
        if weight != 0.0:
            base = torch.add(base, stage, alpha=weight)
    return base


def weighted_sum(weights: Sequence[float], stages: Sequence[Tensor]) -> Tensor:
    """``sum(weight * stage)``."""
    return combine(weights[0] * stages[0], weights[1:], stages[1:])
