"""The jumps of a solution."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class JumpRecord(NamedTuple):
    """Jumps of a batch of paths, one per entry; all columns are (n,)."""

    path: Tensor  #: int64
    elapsed: Tensor  #: float64, time since the start of the path
    channel: Tensor  #: int64
    number: Tensor  #: int64, number of the arrival on its channel

    @classmethod
    def empty(cls, device: torch.device) -> JumpRecord:
        """No jumps."""
        none = torch.zeros(0, dtype=torch.int64, device=device)
        return cls(none, none.double(), none, none)

    def followed_by(self, other: JumpRecord) -> JumpRecord:
        """The jumps of both records, each once."""
        both = JumpRecord(*map(torch.cat, zip(self, other, strict=True)))
        if len(other.path) == 0:
            return both
        keys = torch.stack([both.path, both.channel, both.number], 1)
        _, group = keys.unique(dim=0, return_inverse=True)
        place = torch.arange(len(group), device=group.device)
        first = torch.full_like(group, len(group)).scatter_reduce(0, group, place, "amin")
        return both.where(first[group] == place)

    def of_side_steps(self, path: Tensor, counts: Tensor) -> JumpRecord:
        """The jumps of side steps, as those of the paths (n,) that they start from, where a side step counts (n,)."""
        own = self.where(counts[self.path])
        return own._replace(path=path[own.path])

    def where(self, chosen: Tensor) -> JumpRecord:
        """Some of the jumps."""
        return JumpRecord(*(column[chosen] for column in self))

    def of_channel(self, channel: int) -> JumpRecord:
        """Those of one channel, path by path and in order."""
        own = self.where(self.channel == channel)
        own = own.where(own.elapsed.argsort(stable=True))
        return own.where(own.path.argsort(stable=True))

    def padded(self, values: Tensor, batch: int) -> Tensor:
        """Values (n, ...) of jumps that are sorted by path, as (batch, most, ...) padded with NaN."""
        count = torch.bincount(self.path, minlength=batch)
        place = torch.arange(len(self.path), device=self.path.device) - (count.cumsum(0) - count)[self.path]
        most = int(count.max()) if batch else 0
        table = values.new_full((batch, most, *values.shape[1:]), torch.nan)
        table[self.path, place] = values
        return table
