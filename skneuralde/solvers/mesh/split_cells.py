"""Cells of a fixed-step grid, split where a path stops inside."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SplitCells:
    """Stops of paths between the boundaries of cells; positions are counted in cells.

    Boundaries and stops together are the mesh points of a path, counted from 0 at the start. There is one row per path,
    or one for all.
    """

    position: Tensor  #: float64 (rows, n), each row in order and without repetitions, padded with infinity
    point: Tensor  #: int64 (rows, n), their mesh points; padding lies beyond all points that are reached

    @classmethod
    def make(cls, position: Tensor, furthest: int) -> SplitCells:
        """From positions (rows, n) in any order; positions on boundaries, and infinity, split nothing.

        No mesh point beyond the number ``furthest`` is used.
        """
        position = torch.where(position > position.floor(), position, torch.inf).sort(-1).values
        repeated = (position[:, 1:] == position[:, :-1]) & position[:, 1:].isfinite()
        if bool(repeated.any()):
            position[:, 1:].masked_fill_(repeated, torch.inf)
            position = position.sort(-1).values
        most = int(position.isfinite().sum(-1).max()) if position.numel() else 0
        position = position[:, :most].contiguous()
        before = torch.arange(most, device=position.device)
        return cls(position, position.floor().clamp_max(furthest).long() + before + 1)

    def __len__(self) -> int:
        return self.position.shape[1]

    def before(self, position: Tensor) -> Tensor:
        """Number of splits of a row up to positions (rows, m)."""
        return torch.searchsorted(self.position, position, right=True)

    def cell(self, point: Tensor) -> Tensor:
        """The cell of each of the mesh points (rows, m); a boundary belongs to the cell that begins there."""
        return point - torch.searchsorted(self.point, point, right=True)

    def place(self, point: Tensor) -> Tensor:
        """The positions of mesh points (rows, m)."""
        passed = torch.searchsorted(self.point, point, right=True)
        whole = (point - passed).double()
        if len(self) == 0:
            return whole
        last = (passed - 1).clamp_min(0)
        is_split = (passed > 0) & (self.point.gather(-1, last) == point)
        return torch.where(is_split, self.position.gather(-1, last), whole)
