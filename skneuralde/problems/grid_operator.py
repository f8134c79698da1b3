"""Operators on a grid, which they share with the other operators of their equation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

from torch import nn

from skneuralde.problems.axes import Axes
from skneuralde.problems.base import Operator
from skneuralde.problems.boundaries import as_boundary


class GridOperator(Operator):
    """An operator that knows spacing and boundary of the axes of its grid.

    An equation has one grid. What an operator is not told of it, it takes from the other operators of its equation;
    without any, the spacing is 1 and the boundary "neumann".

    Attributes
    ----------
    axes : Axes
    """

    def __init__(self, spacing: Any, boundary: Any, ndim: int | None):
        super().__init__()
        self.spacing, self.boundary = spacing, boundary
        self._set_axes(spacing, boundary, ndim)

    def on_grid(self, spacing: Any, boundary: Any) -> Self:
        """Return the operator on the grid of its equation: a copy with the same parameters if its own is another."""
        if spacing is self.spacing and boundary is self.boundary:
            return self
        other = copy.copy(self)
        other._set_axes(spacing, boundary, self.ndim)
        return other

    def _set_axes(self, spacing: Any, boundary: Any, ndim: int | None) -> None:
        given = 1.0 if spacing is None else spacing, "neumann" if boundary is None else boundary
        self.axes = Axes.read(*given, ndim)
        self.ndim = self.axes.ndim


def on_one_grid(parts: Sequence[nn.Module]) -> list[nn.Module]:
    """The operators of an equation, on the grid that some of them give.

    Raises
    ------
    ValueError
        If two of them give different spacings or boundaries.
    """
    spacing = _common("spacing", parts, float)
    boundary = _common("boundary", parts, as_boundary)
    return [part.on_grid(spacing, boundary) if isinstance(part, GridOperator) else part for part in parts]


def _common(name: str, parts: Sequence[nn.Module], read: Any) -> Any:
    """The spacing or boundary that the operators give: the one of most axes, None if none does."""
    given = {i: getattr(part, name) for i, part in enumerate(parts) if isinstance(part, GridOperator)}
    given = {i: value for i, value in given.items() if value is not None}
    chosen = max(given, key=lambda i: len(_of_axes(given[i])), default=None)
    if chosen is None:
        return None
    known = [read(value) for value in _of_axes(given[chosen])]
    for i, value in given.items():
        other = [read(x) for x in _of_axes(value)]
        if len(other) not in (1, len(known)):
            continue  # the numbers of axes differ, which is said elsewhere
        if any(a != b for a, b in zip(known, other * (len(known) // len(other)), strict=True)):
            raise ValueError(
                f"operator[{i}] has {name}={value!r}, but operator[{chosen}] has {given[chosen]!r}: an equation has "
                "one grid; give it to one of its operators, and the others take it from there"
            )
    return given[chosen]


def _of_axes(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
