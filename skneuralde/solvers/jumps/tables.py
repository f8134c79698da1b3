"""The jumps of a solution as padded tables, one per channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.noise import Clocks
from skneuralde.problems import Jump
from skneuralde.solvers.core.jump_record import JumpRecord


@dataclass(frozen=True)
class JumpTables:
    """When paths jumped, and with which marks.

    Attributes
    ----------
    times : tuple of float64 Tensor of shape (batch, most)
        One per channel, in order, padded with NaN.
    marks : tuple of Tensor of shape (batch, most, mark...)
        Likewise; of a last axis of length 0 where the affect sees none.
    counts : int64 Tensor of shape (batch, n_channels)
    """

    times: tuple[Tensor, ...]
    marks: tuple[Tensor, ...]
    counts: Tensor

    @classmethod
    def make(
        cls, log: JumpRecord, jumps: Sequence[Jump], clocks: Clocks, start: Tensor, dim: int, dtype: torch.dtype
    ) -> JumpTables:
        """From the log of paths that begin at ``start (batch,)``."""
        times, marks, counts = [], [], []
        for k, jump in enumerate(jumps):
            own = log.of_channel(k)
            times.append(own.padded(start[own.path] + own.elapsed, len(start)))
            marks.append(own.padded(_marks(jump, k, own, clocks, dim, dtype), len(start)))
            counts.append(torch.bincount(own.path, minlength=len(start)))
        return cls(tuple(times), tuple(marks), torch.stack(counts, 1))


def _marks(jump: Jump, channel: int, log: JumpRecord, clocks: Clocks, dim: int, dtype: torch.dtype) -> Tensor:
    if not jump.affect.uses_marks:
        return torch.zeros(len(log.path), 0, dtype=dtype, device=log.path.device)
    return jump.draw(clocks.normals(channel, log.path, log.number, dim).to(dtype)).detach()
