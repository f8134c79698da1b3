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


def distinct(points: Tensor) -> Tensor:
    """Each row in order and without repetitions, padded with infinity."""
    points = points.sort(-1).values
    points[:, 1:].masked_fill_(points[:, 1:] == points[:, :-1], torch.inf)
    return points.sort(-1).values
