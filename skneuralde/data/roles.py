"""Roles of columns and index levels, decided in `fit` and used to read all later rows."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skneuralde.data.clock import Clock, RawTimes, read_times
from skneuralde.data.coordinates import Coordinates, as_array, is_xarray
from skneuralde.data.labels import encode
from skneuralde.data.layout import InitialState, Layout, choose_layout
from skneuralde.data.role_checks import (
    find_initial_state,
    refuse_lost_index,
    refuse_no_context,
    refuse_two_roles,
    varying_columns,
)
from skneuralde.data.sources import Finder, Source, is_word, listed
from skneuralde.data.table import Table, as_table


@dataclass(frozen=True)
class Rows:
    """The rows of X by role, in the caller's order; NaN is not yet filled."""

    times: RawTimes  # (n_rows,)
    codes: np.ndarray  # (n_rows,), series of each row, as an index into `labels`
    labels: list[Any]  # sorted names of the series; [None] for one series without a name
    context: np.ndarray  # (n_rows, k) in the dtype of the computation, like `controls` and `initial`
    controls: np.ndarray
    initial: np.ndarray

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.codes)


@dataclass(frozen=True)
class Roles:
    """The roles of X's columns and index levels. Columns are given by their positions."""

    time: Source
    series: tuple[Source, ...]  # empty for a single series
    context: tuple[int, ...]
    controls: tuple[int, ...]
    initial: tuple[int, ...]
    initial_state: InitialState
    layout: Layout
    columns: tuple[Any, ...]  # names of fit's columns, or their positions
    levels: tuple[Hashable, ...] | None  # names of fit's index levels; None if X had no index
    named: bool  # whether X was a frame with named columns
    n_outputs: int  # number of columns of y
    dtype: np.dtype  # float32 if y and every numeric column but the time are float32, else float64
    state: tuple[int, ...] | None = None  # (*grid, fields) if a row of y is a snapshot of a field
    coordinates: Coordinates | None = None  # of a y that was an xarray object

    @classmethod
    def fit(
        cls,
        X: Any,
        y: Any = None,
        *,
        time: Any = "auto",
        series: Any = None,
        controls: Any = "auto",
        initial_state: Any = "auto",
        state: tuple[int, ...] | None = None,
    ) -> Roles:
        """Decide the roles from X, from y's shape, dtype, index and coordinates, and from the estimator's parameters.

        These are names (or positions) of columns, names of index levels, or "auto". ``state`` is the shape
        ``(*grid, fields)`` of y's snapshots.
        """
        table = as_table(X)
        refuse_lost_index(table, y, time)
        coordinates = Coordinates.of(y)
        if is_xarray(y):
            y = as_array(y)
        find = Finder(table)
        auto_controls = is_word(controls, "auto")
        control_columns = () if auto_controls else tuple(find.column(key, "controls") for key in listed(controls))
        begin, initial = find_initial_state(initial_state, find)
        at, by_series = find.time_and_series(time, series, {*control_columns, *initial})
        refuse_two_roles(table, at, by_series, control_columns, initial)

        taken = {s.position for s in (at, *by_series) if s.kind == "column"} | {*control_columns, *initial}
        rest = tuple(j for j in range(table.n_columns) if j not in taken)
        layout = choose_layout(at, by_series, control_columns, initial, rest)
        begin = begin or layout.default_initial_state
        layout.check(begin, at, series, control_columns, table)
        single = _is_float32(y) and table.is_float32([*rest, *control_columns, *initial])
        dtype = np.dtype(np.float32 if single else np.float64)
        if auto_controls and layout.has_series:
            control_columns = varying_columns(table, by_series, rest, dtype)
            rest = tuple(j for j in rest if j not in control_columns)
        refuse_no_context(begin, rest)
        levels = None if table.index is None else tuple(table.index.names)
        n_outputs = _n_outputs(y) if state is None else math.prod(state)
        names = table.names
        return cls(
            at,
            by_series,
            rest,
            control_columns,
            initial,
            begin,
            layout,
            names,
            levels,
            table.named,
            n_outputs,
            dtype,
            state,
            coordinates,
        )

    def read(self, X: Any) -> Rows:
        """Read rows according to these roles.

        Input that scikit-learn refuses raises its message; times and names of series must not be missing.
        """
        table = as_table(X)
        if table.n_columns != len(self.columns):
            raise ValueError(f"X has {table.n_columns} features, but {len(self.columns)} in fit.")
        times = read_times(self.time.values(table), str(self.time))
        codes, labels = _read_series(table, self.series)
        return Rows(
            times,
            codes,
            labels,
            table.numeric(self.context, self.dtype),
            table.numeric(self.controls, self.dtype),
            table.numeric(self.initial, self.dtype),
        )

    def names_of(self, positions: Sequence[int]) -> list[Any]:
        """Return the column names at these positions."""
        return [self.columns[p] for p in positions]


def read_row_times(X: Any, y: Any = None, *, time: Any = "auto", series: Any = None) -> tuple[np.ndarray, Clock]:
    """Return the model times of rows, float64 ``(n_rows,)``, and the clock that converts them.

    Other roles are not needed; the index of y shows whether X has lost one. ``time`` and ``series`` are the estimator's
    parameters.
    """
    table = as_table(X)
    refuse_lost_index(table, y, time)
    at, by_series = Finder(table).time_and_series(time, series, set())
    refuse_two_roles(table, at, by_series, (), ())
    times = read_times(at.values(table), str(at))
    clock = Clock.fit(times, _read_series(table, by_series)[0])
    return clock.to_model(times), clock


def _read_series(table: Table, series: Sequence[Source]) -> tuple[np.ndarray, list[Any]]:
    """Return codes and labels of the rows' series; a single series without a name if ``series`` is empty."""
    if not series:
        return np.zeros(table.n_rows, dtype=np.int64), [None]
    return encode([s.values(table) for s in series], [str(s) for s in series])


def _n_outputs(y: Any) -> int:
    shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    return int(shape[1]) if len(shape) == 2 else 1


def _is_float32(y: Any) -> bool:
    if isinstance(y, pd.DataFrame):
        return bool((y.dtypes == np.float32).all())
    dtype = getattr(y, "dtype", None)
    if dtype is None and hasattr(y, "__array__"):
        dtype = np.asarray(y).dtype
    return str(dtype) in ("float32", "Float32")
