"""Orders of the paths of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


def by_count(count: Tensor) -> tuple[Tensor, list[int]]:
    """Order of paths by their ``count (batch,)`` of steps, most first, and the number of paths that make each step."""
    order = count.argsort(descending=True, stable=True)
    return order, (len(count) - count.bincount().cumsum(0))[:-1].tolist()


def rank(order: Tensor) -> Tensor:
    """Position of each path in an order, (batch,)."""
    return torch.empty_like(order).index_copy(0, order, torch.arange(len(order), device=order.device))
