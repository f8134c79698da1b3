"""Times in cells of a fixed length."""

from __future__ import annotations

import torch
from torch import Tensor

#: A time this close to the boundary of a cell, in cells, lies on it.
SNAP = 1e-9


def snapped(position: Tensor) -> Tensor:
    """Times in cells, moved onto the boundary of a cell where only rounding separates them."""
    nearest = position.round()
    return torch.where((position - nearest).abs() <= SNAP, nearest, position)
