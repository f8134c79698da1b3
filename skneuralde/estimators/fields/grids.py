"""The grid of a field: its shape as y has it, and parameters that need one."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import numpy as np

from skneuralde.data.coordinates import field_shape, is_xarray


def state_shape(y: Any, grid: Any) -> tuple[int, ...] | None:
    """``(*grid, fields)`` of y's rows; None if they are single points.

    Raises
    ------
    ValueError
        If y does not fit the grid.
    """
    sizes = None if grid is None else _read_grid(grid)
    if is_xarray(y):
        shape = field_shape(y, sizes)
    elif hasattr(y, "shape"):
        shape = tuple(y.shape)
    else:
        shape = np.asarray(y).shape
    if len(shape) > 2:
        state = shape[1:]
        if sizes not in (None, state[:-1]):
            raise ValueError(f"y has snapshots of shape {state}, fields last, but grid={grid!r}.")
        return state
    if sizes is None:
        return None
    width = shape[1] if len(shape) == 2 else 1
    points = math.prod(sizes)
    if width % points:
        raise ValueError(
            f"y has {width} column(s), but grid={grid!r} has {points} points: their number must be a multiple, one "
            "column per point and field, fields changing fastest."
        )
    return (*sizes, width // points)


def _read_grid(grid: Any) -> tuple[int, ...]:
    sizes = (grid,) if isinstance(grid, Integral) else tuple(grid)
    if not 1 <= len(sizes) <= 3 or any(not isinstance(n, Integral) or isinstance(n, bool) or n < 2 for n in sizes):
        raise ValueError(f"grid must hold one to three numbers of points, each at least 2, got {grid!r}.")
    return tuple(int(n) for n in sizes)


def refuse_space(estimator: Any) -> None:
    """Refuse parameters of space if y has none.

    Raises
    ------
    ValueError
    """
    given = {
        "spacing": estimator.spacing is not None,
        "boundary": estimator.boundary != "neumann",
        "operator": estimator.operator is not None,
        "sparsity": estimator.sparsity is not None,
        "diffusivity": not (isinstance(estimator.diffusivity, str) or estimator.diffusivity is None),
    }
    for name, is_given in given.items():
        if is_given:
            raise ValueError(
                f"{name}={getattr(estimator, name)!r} needs a grid, but each row of y is a single point. Give y as "
                "(n_rows, *grid, fields), or name grid=."
            )
