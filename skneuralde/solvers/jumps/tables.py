"""The jumps of a solution as padded tables, one per channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.noise import PoissonProcesses
from skneuralde.problems import Jump
from skneuralde.solvers.core.jump_record import JumpRecord


@dataclass(frozen=True)
class JumpTables:
    """Times, marks and numbers of the jumps of paths; times and marks have one tensor per channel."""

    times: tuple[Tensor, ...]  #: float64 (batch, most), in order, padded with NaN
    marks: tuple[Tensor, ...]  #: (batch, most, ...), likewise; the last axis has length 0 if the affect uses no marks
    counts: Tensor  #: int64 (batch, n_channels)

    @classmethod
    def make(
        cls,
        log: JumpRecord,
        jumps: Sequence[Jump],
        poisson: PoissonProcesses,
        start: Tensor,
        dim: int,
        dtype: torch.dtype,
    ) -> JumpTables:
        """From the log of paths that begin at ``start (batch,)``."""
        times, marks, counts = [], [], []
        for k, jump in enumerate(jumps):
            own = log.of_channel(k)
            times.append(own.padded(start[own.path] + own.elapsed, len(start)))
            marks.append(own.padded(_marks(jump, k, own, poisson, dim, dtype), len(start)))
            counts.append(torch.bincount(own.path, minlength=len(start)))
        return cls(tuple(times), tuple(marks), torch.stack(counts, 1))


def _marks(
    jump: Jump, channel: int, log: JumpRecord, poisson: PoissonProcesses, dim: int, dtype: torch.dtype
) -> Tensor:
    if not jump.affect.uses_marks:
        return torch.zeros(len(log.path), 0, dtype=dtype, device=log.path.device)
    return jump.draw(poisson.normals(channel, log.path, log.number, dim).to(dtype)).detach()
