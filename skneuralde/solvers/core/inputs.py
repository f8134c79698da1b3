"""Inputs of the coefficients over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class GridContext(Protocol):
    """Inputs that can be evaluated at several times of each path in one call."""

    def on_grid(self, t: Tensor) -> Tensor:
        """``(batch, n)`` float64 times to ``(batch, n, k)``."""


@runtime_checkable
class KnottedContext(Protocol):
    """Inputs that say where they are not smooth, so that steps end there.

    Attributes
    ----------
    knots : float64 Tensor of shape (n,) or (batch, n)
        Times at which the value or the slope of an input changes, in any order; NaN and infinity only fill up rows.
    """

    knots: Tensor


class InputsOverTime:
    """Inputs ``(n, k)`` of some paths, from a function of times ``(batch,)`` that gives them for all paths at once.

    A path that is selected several times, as for its side steps, is evaluated at several times: in one call if the
    function offers `GridContext.on_grid`, else in one call each. The function is called at the times ``home (batch,)``
    for paths that are not among ``rows``; by default all paths are selected, once each.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], home: Tensor, rows: Tensor | None = None):
        self.function, self.home, self.rows = function, home, rows
        if rows is not None:
            self.mention = _rank_within_groups(rows)
            self.n_mentions = int(self.mention.max()) + 1 if len(rows) else 1

    def select(self, rows: Tensor) -> InputsOverTime:
        """The inputs of these rows of the present ones."""
        return InputsOverTime(self.function, self.home, rows if self.rows is None else self.rows[rows])

    def along(self, t: Tensor) -> Sequence[Tensor]:
        """Inputs at several times of each row, ``(n, m)`` to m times ``(n, k)``."""
        if self.rows is None and t.shape[1] > 1 and isinstance(self.function, GridContext):
            return self.function.on_grid(t).unbind(1)
        return [self(column) for column in t.unbind(1)]

    def __call__(self, t: Tensor) -> Tensor:
        """Inputs at one time per row, ``(n,)`` to ``(n, k)``."""
        if self.rows is None:
            return self.function(t)
        if self.n_mentions == 1:
            return self.function(self.home.index_copy(0, self.rows, t))[self.rows]
        grid = self.home[:, None].repeat(1, self.n_mentions)
        grid[self.rows, self.mention] = t
        if isinstance(self.function, GridContext):
            return self.function.on_grid(grid)[self.rows, self.mention]
        return torch.stack([self.function(column) for column in grid.unbind(1)], 1)[self.rows, self.mention]


def _rank_within_groups(labels: Tensor) -> Tensor:
    """For each entry, the number of equal entries before it."""
    order = labels.argsort(stable=True)
    ranked = labels[order]
    position = torch.arange(len(labels), device=labels.device)
    starts = torch.ones_like(ranked, dtype=torch.bool)
    starts[1:] = ranked[1:] != ranked[:-1]
    first = torch.where(starts, position, 0).cummax(0).values
    return torch.empty_like(labels).index_copy_(0, order, position - first)
