"""Weighted sums of stages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def combine(base: Tensor, weights: Sequence[float], stages: Sequence[Tensor]) -> Tensor:
    """``base + sum(weight * stage)``, without the stages whose weight is 0."""
    for weight, stage in zip(weights, stages, strict=True):
        if weight != 0.0:
            base = torch.add(base, stage, alpha=weight)
    return base


def widened(h: Tensor | float, u: Tensor) -> Tensor | float:
    """Step sizes (batch, 1), expanded to the shape of the states, since broadcasting costs more at each use."""
    return h.expand_as(u).contiguous() if isinstance(h, Tensor) else h
