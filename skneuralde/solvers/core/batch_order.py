"""Orders of the paths of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


def by_count(count: Tensor) -> tuple[Tensor, list[int]]:
    """Order of paths by their ``count (batch,)`` of steps, most first, and the number of paths that make each step."""
    permutation = count.argsort(descending=True, stable=True)
    return permutation, (len(count) - count.bincount().cumsum(0))[:-1].tolist()


def rank(permutation: Tensor) -> Tensor:
    """Position of each path in an order, (batch,)."""
    return torch.empty_like(permutation).index_copy(
        0, permutation, torch.arange(len(permutation), device=permutation.device)
    )
