"""Transitions between the rows of observed series, copied one batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from skneuralde.inference.transitions.segments import Transitions, consecutive


@dataclass(frozen=True)
class LazyRows:
    """Selected rows of a tensor, copied only when they are read."""

    source: Tensor
    rows: Tensor

    def index_select(self, dim: int, items: Tensor) -> Tensor:
        """The same as `torch.Tensor.index_select` of the selected rows."""
        return self.source.index_select(dim, self.rows.index_select(dim, items))


@dataclass(frozen=True)
class FlatSeries:
    """States and inputs of many series as flat tensors; the rows of a series are consecutive and ordered in time."""

    times: Tensor  #: float64 (n,)
    state: Tensor  #: (n, dim), the initial states of transitions that start at each row
    context: Tensor  #: (n, p)
    controls: Tensor  #: (n, q)
    interpolation: str  #: of the controls between rows: "next", "previous" or "linear"
    cov: Tensor | None = None  #: (n, dim, dim), covariance of the states; None if they are known exactly

    def inputs(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs at both ends of the segments between neighbouring rows; the same tensor if they are constant."""
        context = self.context.index_select(0, right)
        if not self.controls.shape[1]:
            return context, context
        begin = torch.cat([context, self.controls.index_select(0, right if self.interpolation == "next" else left)], 1)
        if self.interpolation != "linear":
            return begin, begin
        return begin, torch.cat([context, self.controls.index_select(0, right)], 1)


@dataclass(frozen=True)
class SeriesTransitions:
    """Transitions between rows of series.

    Without controls a transition is one segment. With controls every row in between ends a segment.
    """

    series: FlatSeries
    start: Tensor  #: int (n,), rows
    stop: Tensor  #: int (n,), later rows of the same series

    def __len__(self) -> int:
        return len(self.start)

    @property
    def device(self) -> torch.device:
        """The device of all tensors."""
        return self.start.device

    @cached_property
    def is_direct(self) -> bool:
        """Whether every transition is a single segment."""
        return not self.series.controls.shape[1] or bool((self.stop - self.start == 1).all())

    def select(self, items: Tensor) -> Transitions:
        """The transitions at these positions, in this order."""
        series, start, stop = self.series, self.start.index_select(0, items), self.stop.index_select(0, items)
        if self.is_direct:
            offsets, left, right = torch.arange(len(items) + 1, device=items.device), start, stop
        else:
            offsets, left = consecutive(start, stop)
            right = left + 1
        begin, end = series.times.index_select(0, left), series.times.index_select(0, right)
        return Transitions(
            series.state.index_select(0, start),
            begin if self.is_direct else series.times.index_select(0, start),
            offsets,
            end - begin,
            *series.inputs(left, right),
            None if series.cov is None else series.cov.index_select(0, start),
        )

    def all(self) -> Transitions:
        """Every transition."""
        return self.select(torch.arange(len(self), device=self.device))
