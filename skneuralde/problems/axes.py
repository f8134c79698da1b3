"""Axes of a grid: spacing and boundaries."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skneuralde.problems.boundaries import Boundary, as_boundary

#: Grids have at most this many axes.
MAX_AXES = 3


@dataclass(frozen=True)
class Axes:
    """Spacing and boundary of every axis of a grid; one of each for all axes if their number is open."""

    spacing: tuple[float, ...]
    boundary: tuple[Boundary, ...]
    ndim: int | None  # number of axes; None if the grid may have any

    @classmethod
    def read(cls, spacing: Any, boundary: Any, ndim: int | None) -> Axes:
        """Read a spacing and a boundary for all axes, or one for each; they must agree on the number of axes."""
        lengths = {len(value) for value in (spacing, boundary) if _is_sequence(value)}
        lengths |= set() if ndim is None else {ndim}
        if len(lengths) > 1:
            raise ValueError(
                f"spacing={spacing!r}, boundary={boundary!r} and ndim={ndim!r} disagree on the number of axes"
            )
        n_axes = lengths.pop() if lengths else None
        if n_axes is not None and not 1 <= n_axes <= MAX_AXES:
            raise ValueError(f"a grid has 1 to {MAX_AXES} axes, got {n_axes}")
        copies = n_axes or 1
        steps = tuple(spacing) if _is_sequence(spacing) else (spacing,) * copies
        ends = tuple(boundary) if _is_sequence(boundary) else (boundary,) * copies
        for step in steps:
            if not isinstance(step, numbers.Real) or not 0.0 < float(step) < math.inf:
                raise ValueError(f"spacing must be positive, got {step!r}")
        return cls(tuple(map(float, steps)), tuple(map(as_boundary, ends)), n_axes)

    def on(self, grid: Sequence[int]) -> list[tuple[int, float, Boundary]]:
        """Number, spacing and boundary of every axis of a field ``(batch, *grid, fields)``.

        A grid with another number of axes, or too few points along one of them, raises a ValueError.
        """
        if self.ndim not in (None, len(grid)):
            raise ValueError(f"the operator is for {self.ndim} axes, but the grid is {tuple(grid)}")
        copies = 1 if self.ndim is not None else len(grid)
        axes = list(zip(range(1, len(grid) + 1), self.spacing * copies, self.boundary * copies, strict=True))
        for axis, _, boundary in axes:
            if grid[axis - 1] < boundary.min_points:
                raise ValueError(
                    f"a {boundary.name!r} axis needs at least {boundary.min_points} points, but the grid is "
                    f"{tuple(grid)}"
                )
        return axes

    def volumes(self, grid: Sequence[int]) -> Tensor:
        """Quadrature weights of the points, float64 ``(*grid)``: their inner product with a field is its mass."""
        total = torch.ones(tuple(grid), dtype=torch.float64)
        for axis, spacing, boundary in self.on(grid):
            total *= along(spacing * boundary.volumes(grid[axis - 1]), axis - 1, len(grid))
        return total


def along(values: Tensor, axis: int, ndim: int) -> Tensor:
    """Reshape values ``(n,)`` to lie along one of ``ndim`` axes."""
    return values.view([-1 if i == axis else 1 for i in range(ndim)])


def neighbours(u: Tensor, axis: int, boundary: Boundary) -> tuple[Tensor, Tensor]:
    """Return the values of u at the points before and after each point along an axis, both shaped as u."""
    low, high = boundary.ghosts(u, axis)
    n = u.shape[axis]
    before = torch.cat([low, u.narrow(axis, 0, n - 1)], axis)
    return before, torch.cat([u.narrow(axis, 1, n - 1), high], axis)


def value_of(coefficient: float | Tensor | Callable[[], Tensor], u: Tensor) -> Tensor:
    """Return an operator's coefficient, a number, tensor or module without arguments, in dtype and device of u."""
    value = coefficient() if callable(coefficient) else coefficient
    return value.to(u) if isinstance(value, Tensor) else u.new_tensor(value)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (tuple, list))
