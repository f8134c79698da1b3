"""Dimensions and coordinates of a y that is an xarray object; the only module that imports xarray."""

from __future__ import annotations

import copy
import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

#: Names of a last dimension of fields; "variable" is the name that xarray gives it.
_FIELD_NAMES = ("field", "fields", "variable")
#: Tolerances, relative to a step: for uneven steps of a coordinate, and for its difference from fit's.
_UNEVEN, _APART = 1e-6, 1e-3


def is_xarray(data: Any) -> bool:
    """Whether the data are a DataArray or a Dataset of xarray."""
    xarray = sys.modules.get("xarray")
    return xarray is not None and isinstance(data, (xarray.DataArray, xarray.Dataset))


def as_array(data: Any) -> np.ndarray:
    """Return the values as an array, the variables of a Dataset along the last axis."""
    if not _is_dataset(data):
        return np.asarray(data)
    _dims_of(data)
    return np.stack([variable.to_numpy() for variable in data.data_vars.values()], axis=-1)


def field_shape(y: Any, grid: Sequence[int] | None) -> tuple[int, ...]:
    """Return ``(n_rows, *grid, fields)`` for an xarray object, or ``(n_rows, fields)`` if it has no grid.

    The first dimension holds the rows. A Dataset has one variable per field. The last dimension of a DataArray holds
    the fields if it is not among the dimensions of a given ``grid``; without ``grid``, if it is called "field",
    "fields" or "variable" or its coordinate holds text. Without such a dimension there is one field.
    """
    dims = _dims_of(y)
    shape = tuple(int(y.sizes[dim]) for dim in dims)
    if _is_dataset(y):
        return (*shape, len(y.data_vars))
    if grid is None:
        is_field = len(dims) > 1 and (dims[-1] in _FIELD_NAMES or _is_text(y, dims[-1]))
    else:
        is_field = shape[1:] != tuple(grid)
    return shape if is_field or len(shape) == 1 else (*shape, 1)


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Names and coordinates of a y that was an xarray object, stored without xarray."""

    dims: tuple[Hashable, ...]  # of y, the rows first
    shape: tuple[int, ...]  # of a row of y, without the variables of a Dataset
    #: A row of y as returned by xarray's ``to_dict``, without the values: names, attributes, and coordinates as numpy
    #: arrays, except those along the rows.
    schema: dict[str, Any]

    @classmethod
    def of(cls, y: Any) -> Coordinates | None:
        """Return the coordinates of y; None if it is not an xarray object."""
        if not is_xarray(y):
            return None
        dims = _dims_of(y)
        along_rows = [name for name, coordinate in y.coords.items() if dims[0] in coordinate.dims]
        row = y.isel({dims[0]: slice(0, 1)}).drop_vars(along_rows)
        schema = row.to_dict(data="array")
        for variable in schema.get("data_vars", {"": schema}).values():
            del variable["data"]
        return cls(dims, tuple(int(y.sizes[dim]) for dim in dims[1:]), copy.deepcopy(schema))

    @property
    def variables(self) -> tuple[Hashable, ...] | None:
        """Names of the variables; None for a DataArray."""
        return tuple(self.schema["data_vars"]) if "data_vars" in self.schema else None

    def read(self, y: Any) -> np.ndarray:
        """Return the values of another y, whose variables, dimensions and coordinates must be the same."""
        if _is_dataset(y) != (self.variables is not None):
            raise ValueError(f"y is a {type(y).__name__}, but it was another kind of xarray object in fit. Give that.")
        if self.variables is not None:
            if set(y.data_vars) != set(self.variables):
                raise ValueError(f"y has the variables {list(y.data_vars)}, but {list(self.variables)} in fit.")
            y = y[list(self.variables)]
        dims = _dims_of(y)
        if dims[1:] != self.dims[1:]:
            raise ValueError(
                f"y has the dimensions {dims}, but {self.dims} in fit: rows first, then these in this order. Use "
                "y.transpose(...)."
            )
        for dim in dims[1:]:
            mine = self._coordinate(dim)
            if mine is not None and dim in y.coords:
                _refuse_other(dim, y.coords[dim].to_numpy(), mine)
        return as_array(y)

    def spacing(self, grid: Sequence[int]) -> tuple[float, ...]:
        """Distance between neighbouring points along each axis; 1 for axes without coordinates.

        Coordinates must be numbers, uniform to a millionth of a step plus their rounding.
        """
        if self.shape[: len(grid)] != tuple(grid):
            return (1.0,) * len(grid)  # flat rows: no dimension is an axis of the grid
        steps = []
        for dim in self.dims[1 : 1 + len(grid)]:
            values = self._coordinate(dim)
            steps.append(1.0 if values is None or len(values) < 2 else _step(dim, values))
        return tuple(steps)

    def like(self, array: np.ndarray, X: Any) -> Any:
        """Return an object like y from an array ``(n_rows, *row)``, with X's coordinates along the rows."""
        import xarray

        schema = copy.deepcopy(self.schema)
        coordinates = {name: {"dims": self.dims[:1], "data": data} for name, data in _along_rows(X, self.dims[0])}
        schema["coords"] |= coordinates
        if self.variables is None:
            return xarray.DataArray.from_dict({**schema, "dims": self.dims, "data": array})
        for k, name in enumerate(self.variables):
            schema["data_vars"][name] |= {"dims": self.dims, "data": array[..., k]}
        return xarray.Dataset.from_dict(schema)

    def _coordinate(self, dim: Hashable) -> np.ndarray | None:
        coordinate = self.schema["coords"].get(dim)
        return None if coordinate is None else np.asarray(coordinate["data"])


def _is_dataset(data: Any) -> bool:
    return is_xarray(data) and hasattr(data, "data_vars")


def _dims_of(y: Any) -> tuple[Hashable, ...]:
    """Dimensions of y, the rows first."""
    if _is_dataset(y):
        kinds = {variable.dims for variable in y.data_vars.values()}
        if len(kinds) != 1:
            raise ValueError(
                "The variables of a Dataset y are the fields, so all must have the same dimensions in one order, but "
                + (f"they have {sorted(map(str, kinds))}." if kinds else "there are none.")
                + " Take those that are fields, as in y[['a', 'b']]."
            )
        dims = next(iter(kinds))
    else:
        dims = y.dims
    if not dims:
        raise ValueError("y has no dimensions, but its first one must be the rows of X.")
    return tuple(dims)


def _is_text(y: Any, dim: Hashable) -> bool:
    return dim in y.coords and y.coords[dim].to_numpy().dtype.kind in "OUST"


def _along_rows(X: Any, rows: Hashable) -> list[tuple[Hashable, Any]]:
    """Names and values of X's coordinates along the rows."""
    if is_xarray(X):
        found = [(name, c.to_numpy()) for name, c in X.coords.items() if c.dims == X.dims]
        dim = X.dims[0]
        named = [(rows if name == dim else name, values) for name, values in found]
        return named if any(name == rows for name, _ in named) else [(rows, X.to_numpy()), *named]
    index = X if isinstance(X, pd.Index) else getattr(X, "index", None)
    if not isinstance(index, pd.Index) or (isinstance(index, pd.RangeIndex) and index.name is None):
        return []
    if isinstance(index, pd.MultiIndex):
        levels = range(index.nlevels)
        return [(f"level_{k}" if index.names[k] is None else index.names[k], index.get_level_values(k)) for k in levels]
    return [(rows, index)]


def _step(dim: Hashable, values: np.ndarray) -> float:
    """Return the distance between the points of a coordinate."""
    if values.dtype.kind not in "fiu":
        raise ValueError(
            f"The coordinate {dim!r} holds {values.dtype}, so the distance of its points is not known. Give spacing=."
        )
    rounding = np.finfo(values.dtype).eps * np.nanmax(np.abs(values)) if values.dtype.kind == "f" else 0.0
    steps = np.diff(values.astype(np.float64))
    usual = float(np.nanmedian(steps))
    uneven = ~(np.abs(steps - usual) <= _UNEVEN * abs(usual) + 2 * rounding)
    if uneven.any() or usual == 0:
        first = int(np.argmax(uneven))
        raise ValueError(
            f"The coordinate {dim!r} is not uniform: its usual step is {usual:.6g}, but that from {values[first]!s} to "
            f"{values[first + 1]!s} (positions {first} and {first + 1}) is {steps[first]:.6g}. Interpolate y to even "
            f"steps, as by y.interp({dim}=...), or give spacing= if the true points are even."
        )
    return float(np.abs(steps.mean()))


def _refuse_other(dim: Hashable, given: np.ndarray, mine: np.ndarray) -> None:
    """Refuse a coordinate that differs from that of fit."""
    if given.shape != mine.shape:
        raise ValueError(f"y has {len(given)} points along {dim!r}, but {len(mine)} in fit.")
    if mine.dtype.kind in "fiu" and given.dtype.kind in "fiu":
        least = np.abs(np.diff(mine.astype(np.float64))).min(initial=np.inf)
        same = np.abs(given.astype(np.float64) - mine) <= _APART * (least if np.isfinite(least) else 1.0)
    else:
        same = given == mine
    if not np.all(same):
        first = int(np.argmin(same))
        raise ValueError(
            f"y's coordinate {dim!r} differs from that in fit: {given[first]!s} instead of {mine[first]!s} at position "
            f"{first}. Interpolate y to fit's grid, or drop its coordinates if they mean the same."
        )
