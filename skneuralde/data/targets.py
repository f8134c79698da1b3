"""Targets from y, and predictions in the container, names and dtype of y."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from sklearn.utils import check_array, check_consistent_length

from skneuralde.data.coordinates import Coordinates, as_array, is_xarray
from skneuralde.data.roles import Roles


@dataclass(frozen=True)
class OutputFormat:
    """Form of y in `fit`, which predictions have, too."""

    container: Literal["numpy", "pandas", "polars", "xarray"]
    shape: tuple[int, ...]  # of a row of y: () for one output, else (n_outputs,), or (*grid, fields)
    names: tuple[Any, ...]  # name or column names of y; (None,) for arrays
    dtype: np.dtype  # float32 if all numbers in fit were float32, else float64
    coordinates: Coordinates | None = None  # of an xarray object

    def squeeze(self, values: np.ndarray) -> np.ndarray:
        """Reshape an array `(..., n_outputs)` to `(..., *shape)`, in y's dtype."""
        values = np.asarray(values)
        return values.reshape(*values.shape[:-1], *self.shape).astype(self.dtype, copy=False)

    def describe(self, n_outputs: int) -> list[str]:
        """Return the names of the outputs for messages."""
        if len(self.names) == n_outputs and self.names != (None,):
            return [repr(name) for name in self.names]
        return ["y"] if n_outputs == 1 else [f"column {k} of y" for k in range(n_outputs)]

    def like(self, values: np.ndarray, X: Any) -> Any:
        """Return predictions `(n_rows, n_outputs)` in y's container, with the index of the requested X."""
        array = self.squeeze(values)
        if self.coordinates is not None:
            return self.coordinates.like(array, X)
        if self.container == "pandas":
            return self._pandas(array, X)
        if self.container == "polars":
            if not self.shape:
                return nw.new_series(self.names[0] or "", array, backend="polars").to_native()
            columns = dict(zip(self.names, array.T, strict=True))
            return nw.from_dict(columns, backend="polars").to_native()
        return array

    def quantiles_like(self, values: np.ndarray, levels: np.ndarray, X: Any) -> Any:
        """Return quantiles `(n_rows, n_outputs, n_levels)`; a frame with levels as columns if y was a Series."""
        values = np.asarray(values).astype(self.dtype, copy=False)
        if self.shape:
            return values.reshape(len(values), *self.shape, -1)
        index = _index_of(X) if self.container == "pandas" else None
        return values[:, 0] if index is None else pd.DataFrame(values[:, 0], index=index, columns=pd.Index(levels))

    def table_like(self, columns: dict[str, Any], rows: np.ndarray, X: Any) -> Any:
        """Return a table of some rows of X, from its columns by name.

        It is a DataFrame with X's index at these rows, or a structured array if predictions are arrays.
        """
        if self.container == "pandas":
            index = _index_of(X)
            return pd.DataFrame(columns, index=None if index is None else index[rows])
        if self.container == "polars":
            return nw.from_dict(columns, backend="polars").to_native()
        arrays = {name: np.asarray(values) for name, values in columns.items()}
        table = np.empty(len(rows), dtype=[(name, array.dtype) for name, array in arrays.items()])
        for name, array in arrays.items():
            table[name] = array
        return table

    def _pandas(self, array: np.ndarray, X: Any) -> Any:
        index = _index_of(X)
        if index is None:
            return array
        if not self.shape:
            return pd.Series(array, index=index, name=self.names[0])
        return pd.DataFrame(array, index=index, columns=pd.Index(self.names))


@dataclass(frozen=True)
class Targets:
    """Values of y `(n_rows, n_outputs)`, with NaN for not observed, and the format of predictions."""

    values: np.ndarray
    output: OutputFormat


def read_targets(y: Any, rows: Any, *, roles: Roles) -> Targets:
    """Check y and record its container.

    NaN means not observed. The roles, from `Roles.fit`, give the dtype, the number of outputs, and the coordinates that
    an xarray y must have; ``rows`` (Rows, Table or int) the number of rows.

    Raises
    ------
    ValueError
        If y is missing or infinite, nothing was observed, or y has an unexpected number of rows or outputs, or
        unexpected coordinates.
    """
    if y is None:
        raise ValueError("This estimator requires y to be passed, but the target y is None.")
    container = _container(y)
    names = _names(y)
    if is_xarray(y):
        y = as_array(y) if roles.coordinates is None else roles.coordinates.read(y)
    array = _numbers(y, roles.state)
    n_rows = rows if isinstance(rows, int) else rows.n_rows
    check_consistent_length(np.empty(n_rows), array)
    values = array.reshape(len(array), -1).astype(roles.dtype, copy=False)
    if values.shape[1] != roles.n_outputs:
        raise ValueError(f"y has {values.shape[1]} column(s), but {roles.n_outputs} in fit.")
    if np.isnan(values).all():
        raise ValueError(
            "Input y contains NaN only: nothing was observed. NaN in y is legal if other rows have a value."
        )
    return Targets(values, OutputFormat(container, array.shape[1:], names, roles.dtype, roles.coordinates))


def _numbers(y: Any, state: tuple[int, ...] | None) -> np.ndarray:
    one_field = state is not None and state[-1] == 1 and np.shape(y)[1:] == state[:-1]
    if state is not None and np.ndim(y) > 2 and np.shape(y)[1:] != state and not one_field:
        raise ValueError(f"y has snapshots of shape {np.shape(y)[1:]}, but the field has the shape {state}.")
    if state is None and getattr(y, "ndim", 0) > 2:
        raise ValueError(
            f"y has shape {y.shape}, but (n_rows,) or (n_rows, n_outputs) is expected. Turn an array of shape "
            "(n_series, n_times, dim) into rows with X, y = to_rows(values, times)."
        )
    if isinstance(getattr(y, "dtype", None), pd.CategoricalDtype):
        raise ValueError("y is categorical, but an equation's state is numeric. Give numbers.")
    if not isinstance(y, (pd.Series, pd.DataFrame)) and nw.dependencies.is_into_series(y):
        y = y.to_numpy()
    array = check_array(y, ensure_2d=False, allow_nd=state is not None, ensure_all_finite="allow-nan", input_name="y")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"y holds {array.dtype}, but an equation's state is numeric. Give numbers.")
    return array


def _index_of(X: Any) -> pd.Index | None:
    """Return the index of predictions for X, if X has one."""
    if isinstance(X, (pd.DatetimeIndex, pd.TimedeltaIndex, pd.PeriodIndex)):
        return X
    return X.index if isinstance(X, (pd.DataFrame, pd.Series)) else None


def _container(y: Any) -> Literal["numpy", "pandas", "polars", "xarray"]:
    if is_xarray(y):
        return "xarray"
    if isinstance(y, (pd.Series, pd.DataFrame)):
        return "pandas"
    return "polars" if nw.dependencies.is_polars_series(y) or nw.dependencies.is_polars_dataframe(y) else "numpy"


def _names(y: Any) -> tuple[Any, ...]:
    if is_xarray(y):
        return tuple(y.data_vars) if hasattr(y, "data_vars") else (y.name,)
    if hasattr(y, "columns"):
        return tuple(y.columns)
    return (getattr(y, "name", None),)
