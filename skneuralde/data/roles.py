"""What each column and index level is: decided once in `fit`, read the same way ever after."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.utils import check_array

from skneuralde.data.clock import RawTimes, is_timelike, kind_of, read_times
from skneuralde.data.labels import encode
from skneuralde.data.table import Table, as_table

Layout = Literal["series", "table", "flow"]
InitialState = Literal["first", "context", "learn", "columns"]

_INITIAL_STATES = ("first", "context", "learn")


@dataclass(frozen=True)
class Source:
    """Where a role is found: a column by position, or an index level by position and name."""

    kind: Literal["column", "level"]
    position: int
    name: Hashable

    def __str__(self) -> str:
        if self.kind == "column":
            return f"column {self.name!r}"
        return "the index" if self.name is None else f"index level {self.name!r}"


@dataclass(frozen=True)
class Rows:
    """X's rows by role, in the caller's order.

    Attributes
    ----------
    times : ndarray, DatetimeIndex or TimedeltaIndex of shape (n_rows,)
    codes : ndarray of shape (n_rows,)
        Index into `labels` of each row's series.
    labels : list
        The series' names, sorted; `[None]` where there is one without a name.
    context, controls, initial : ndarray of shape (n_rows, k)
        In the computing dtype; NaN not yet treated.
    """

    times: RawTimes
    codes: np.ndarray
    labels: list[Any]
    context: np.ndarray
    controls: np.ndarray
    initial: np.ndarray

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.times)


@dataclass(frozen=True)
class Roles:
    """The roles of X's columns and index levels.

    Attributes
    ----------
    time : Source
    series : tuple of Source
        Empty: one series.
    context, controls, initial : tuple of int
        Positions of columns.
    initial_state : {"first", "context", "learn", "columns"}
    layout : {"series", "table", "flow"}
        Time series; a plain table, in which every row is its own trajectory; or rows that map an initial state over a
        time.
    columns : tuple
        Names of fit's columns (positions where there were none).
    levels : tuple or None
        Names of fit's index levels; None where X was bare.
    named : bool
        Whether X was a frame with named columns.
    dtype : dtype
        float32 if y and every numeric column but the time are float32, else float64.
    """

    time: Source
    series: tuple[Source, ...]
    context: tuple[int, ...]
    controls: tuple[int, ...]
    initial: tuple[int, ...]
    initial_state: InitialState
    layout: Layout
    columns: tuple[Any, ...]
    levels: tuple[Hashable, ...] | None
    named: bool
    dtype: np.dtype

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
    ) -> Roles:
        """Decide the roles from the constructor parameters and from what X and y are.

        Parameters
        ----------
        X : array-like, DataFrame, 1-D datetimes or Table
        y : array-like, optional
            Only its dtype and its index are looked at.
        time, series, controls, initial_state
            The estimator's parameters: names (or positions) of columns, names of index levels, or "auto".
        """
        table = as_table(X)
        _refuse_lost_index(table, y, time)
        find = _Finder(table)
        series_sources = tuple(find.source(key, "series") for key in _listed(series))
        explicit = not _is(controls, "auto")
        control_columns = tuple(find.column(key, "controls") for key in _listed(controls)) if explicit else ()
        state, initial = _initial_state(initial_state, find)
        taken = {s.position for s in series_sources if s.kind == "column"} | {*control_columns, *initial}
        time_source = find.time(time, taken)
        if series is None:
            series_sources = find.other_levels(time_source)
        _refuse_two_roles(table, time_source, series_sources, control_columns, initial)

        claimed = taken | ({time_source.position} if time_source.kind == "column" else set())
        rest = tuple(j for j in range(table.n_columns) if j not in claimed)
        layout = _layout(time_source, series_sources, control_columns, initial, rest)
        if state is None:
            state = "context" if layout == "table" else "first"
        _check_layout(layout, state, time_source, series, control_columns, rest, table)
        dtype = np.dtype(
            np.float32 if table.is_float32([*rest, *control_columns, *initial]) and _is_float32(y) else float
        )
        if not explicit and layout == "series":
            control_columns = _varying(table, series_sources, rest, dtype)
            rest = tuple(j for j in rest if j not in control_columns)
        levels = None if table.index is None else tuple(table.index.names)
        roles = cls(
            time_source,
            series_sources,
            rest,
            control_columns,
            initial,
            state,
            layout,
            table.names,
            levels,
            table.named,
            dtype,
        )
        _look_for_one_series(roles, table)
        return roles

    def read(self, X: Any) -> Rows:
        """Read rows by these roles.

        Raises
        ------
        TypeError, ValueError
            What scikit-learn refuses, in its words; missing or infinite times and names of series, with their row.
        """
        table = as_table(X)
        if table.n_columns != len(self.columns):
            raise ValueError(f"X has {table.n_columns} features, but {len(self.columns)} were there in fit.")
        times = read_times(_values(table, self.time), str(self.time))
        if not self.series:
            codes, labels = np.zeros(table.n_rows, dtype=np.int64), [None]
        else:
            codes, labels = encode([_values(table, s) for s in self.series], [str(s) for s in self.series])
        return Rows(
            times,
            codes,
            labels,
            table.numeric(self.context, self.dtype),
            table.numeric(self.controls, self.dtype),
            table.numeric(self.initial, self.dtype),
        )

    def names_of(self, positions: Sequence[int]) -> list[Any]:
        """Column names at these positions."""
        return [self.columns[p] for p in positions]


class _Finder:
    """Finds the column or index level that a parameter names."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.names = list(table.names)
        self.levels: list[Any] = [] if table.index is None else list(table.index.names)

    def column(self, key: Any, parameter: str) -> int:
        """Position of a column given by name or position."""
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            if -len(self.names) <= key < len(self.names):
                return int(key) % len(self.names)
        elif isinstance(key, Hashable) and key in self.names and self.table.named:
            if self.names.count(key) > 1:
                raise ValueError(f"{parameter}={key!r}: X has {self.names.count(key)} columns of that name.")
            return self.names.index(key)
        known = f"columns {self.names}" if self.table.named else f"{len(self.names)} columns without names"
        raise ValueError(
            f"{parameter}={key!r} is not a column of X, which has {known}. Give a column's name or its position."
        )

    def source(self, key: Any, parameter: str) -> Source:
        """A column, or an index level, given by name (columns first) or a column's position."""
        is_column = self.table.named and key in self.names
        if not is_column and isinstance(key, str) and key in self.levels:
            return Source("level", self.levels.index(key), key)
        try:
            position = self.column(key, parameter)
        except ValueError as error:
            raise ValueError(f"{error} Index levels: {self.levels}.") from None
        return Source("column", position, self.names[position])

    def time(self, time: Any, taken: set[int]) -> Source:
        """The time: DESIGN's order of places for "auto", the index for "index", else what is named."""
        index = self.table.index
        if _is(time, "index"):
            if index is None:
                raise ValueError(
                    "time='index', but X came without an index. Give a DataFrame, or name a column in time=."
                )
            return self._level(index)
        if not _is(time, "auto"):
            return self.source(time, "time")
        if index is not None and (isinstance(index, pd.MultiIndex) or is_timelike(index)):
            return self._level(index)
        timelike = [j for j in range(self.table.n_columns) if j not in taken and is_timelike(self.table.column(j))]
        free = timelike if len(timelike) == 1 else [j for j in range(self.table.n_columns) if j not in taken]
        if not free:
            if not self.names:
                check_array(np.empty((self.table.n_rows, 0)), input_name="X")  # raises scikit-learn's message
            raise ValueError("No column of X is left for the time: every one has another role. Name it in time=.")
        return Source("column", free[0], self.names[free[0]])

    def _level(self, index: pd.Index) -> Source:
        if not isinstance(index, pd.MultiIndex):
            return Source("level", 0, index.name)
        timelike = [k for k in range(index.nlevels) if is_timelike(index.levels[k])]
        level = timelike[0] if len(timelike) == 1 else index.nlevels - 1
        return Source("level", level, index.names[level])

    def other_levels(self, time: Source) -> tuple[Source, ...]:
        """The levels of a MultiIndex that name the series when `series` is None."""
        if not isinstance(self.table.index, pd.MultiIndex):
            return ()
        if time.kind == "column":
            raise ValueError(
                f"X has a MultiIndex {self.levels}, but its time is {time}. Say what names the series: series=[...] with "
                "the level or levels."
            )
        return tuple(Source("level", k, name) for k, name in enumerate(self.levels) if k != time.position)


def _initial_state(initial_state: Any, find: _Finder) -> tuple[InitialState | None, tuple[int, ...]]:
    """The keyword (None for "auto"), or "columns" and their positions."""
    if _is(initial_state, "auto"):
        return None, ()
    if isinstance(initial_state, str) and initial_state in _INITIAL_STATES and initial_state not in find.names:
        return initial_state, ()  # type: ignore[return-value]
    columns = _listed(initial_state)
    if not columns or any(isinstance(c, (bool, float, np.floating)) for c in columns):
        raise ValueError(
            f"initial_state={initial_state!r} is not understood. Give 'auto', {', '.join(map(repr, _INITIAL_STATES))}, or "
            "the column(s) of X that hold the initial state; values go into such columns."
        )
    return "columns", tuple(find.column(c, "initial_state") for c in columns)


def _layout(
    time: Source, series: Sequence[Source], controls: Sequence[int], initial: Sequence[int], rest: Sequence[int]
) -> Layout:
    if initial:
        return "flow"
    is_table = time.kind == "column" and not series and not controls and rest
    return "table" if is_table else "series"


def _check_layout(
    layout: Layout,
    state: InitialState,
    time: Source,
    series: Any,
    controls: Sequence[int],
    rest: Sequence[int],
    table: Table,
) -> None:
    """Refuse combinations that mean nothing."""
    if layout == "flow":
        if controls or series is not None:
            raise ValueError(
                "With columns as initial_state every row is a trajectory of its own, so controls= and series= have no "
                "meaning. Leave them out, or give initial_state='first'."
            )
        if kind_of(read_times(_values(table, time), str(time))) == "datetime":
            raise ValueError(
                f"With columns as initial_state the time is what passed since that state, but {time} holds datetimes. "
                "Give numbers or timedeltas."
            )
    if layout == "table" and state == "first":
        raise ValueError(
            "initial_state='first' needs series of observations, but X is a plain table, in which every row is a trajectory "
            "of its own. Name series= or controls=, give a time index, or use initial_state='context' or 'learn'."
        )
    if state == "context" and not rest:
        raise ValueError("initial_state='context' needs columns of context, but X has none. Use 'first' or 'learn'.")


def _varying(table: Table, series: Sequence[Source], columns: Sequence[int], dtype: np.dtype) -> tuple[int, ...]:
    """Columns that vary within a series, which makes them controls.

    A column with one value in all of X is no help in telling series apart, so it counts as a control as well: it may move
    in rows that are asked for later.
    """
    if not columns:
        return ()
    values = table.numeric(columns, dtype)
    if not series:
        return tuple(columns)
    codes, labels = encode([_values(table, s) for s in series], [str(s) for s in series])
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(labels)))
    low = np.fmin.reduceat(values[order], starts, axis=0)
    high = np.fmax.reduceat(values[order], starts, axis=0)
    varies = (low < high).any(axis=0) | ~(np.fmin.reduce(low, axis=0) < np.fmax.reduce(high, axis=0))
    return tuple(j for j, v in zip(columns, varies, strict=True) if v)


def _values(table: Table, source: Source) -> Any:
    """The raw values of a column or index level."""
    if source.kind == "column":
        return table.column(source.position)
    if table.index is None:
        raise ValueError(
            f"In fit X had an index, and {source} holds a role, but this X has none. Give a DataFrame; in a Pipeline keep "
            "the index with .set_output(transform='pandas')."
        )
    if not isinstance(table.index, pd.MultiIndex):
        if source.position > 0 or (source.name is not None and table.index.name not in (source.name, None)):
            raise ValueError(f"In fit {source} held a role, but the index of this X is {table.index.name!r}.")
        return table.index
    names = list(table.index.names)
    if source.name is not None and source.name in names:
        return table.index.get_level_values(names.index(source.name))
    if source.position >= len(names):
        raise ValueError(f"In fit {source} held a role, but the index levels of this X are {names}.")
    return table.index.get_level_values(source.position)


def _refuse_lost_index(table: Table, y: Any, time: Any) -> None:
    """Catch a Pipeline step that turned a frame with a time index into an array."""
    index = getattr(y, "index", None)
    if table.index is not None or not _is(time, "auto") or not isinstance(index, pd.Index):
        return
    levels = index.levels if isinstance(index, pd.MultiIndex) else [index]
    if any(is_timelike(level) for level in levels):
        raise ValueError(
            "y has a time index, but X is a bare array without one: a step of a Pipeline, such as StandardScaler, has "
            "probably dropped it. Call .set_output(transform='pandas') on that step or on the Pipeline, or name the time's "
            "column in time= if X holds the times."
        )


def _refuse_two_roles(
    table: Table, time: Source, series: Sequence[Source], controls: Sequence[int], initial: Sequence[int]
) -> None:
    columns = [*(s.position for s in (time, *series) if s.kind == "column"), *controls, *initial]
    twice = sorted({c for c in columns if columns.count(c) > 1})
    levels = [s.position for s in (time, *series) if s.kind == "level"]
    if twice:
        raise ValueError(
            f"Column {table.names[twice[0]]!r} has two roles among time={str(time)!r}, series, controls and initial_state. "
            "Name the right columns; a column has one role."
        )
    if len(set(levels)) < len(levels):
        raise ValueError(f"{time} is the time and cannot name the series as well. Name other levels in series=.")


def _look_for_one_series(roles: Roles, table: Table) -> None:
    """Warn where a plain table looks like one long series."""
    if roles.layout != "table" or table.n_rows < 3:
        return
    times = read_times(_values(table, roles.time), str(roles.time))
    ticks = times if isinstance(times, np.ndarray) else times.asi8
    if np.all(np.diff(ticks) > 0):
        warnings.warn(
            f"The time ({roles.time}) increases strictly from row to row, yet X is a plain table: every row is taken as a "
            "trajectory of its own. If the rows are one series, name its time-varying columns in controls= (or give a "
            "time index).",
            UserWarning,
            stacklevel=4,
        )


def _listed(keys: Any) -> list[Any]:
    """Parameters take one name or several."""
    if keys is None:
        return []
    if isinstance(keys, (list, np.ndarray, pd.Index)):
        return list(keys)
    return list(keys) if isinstance(keys, tuple) else [keys]


def _is(value: Any, word: str) -> bool:
    return isinstance(value, str) and value == word


def _is_float32(y: Any) -> bool:
    if isinstance(y, pd.DataFrame):
        return bool((y.dtypes == np.float32).all())
    dtype = getattr(y, "dtype", None)
    if dtype is None and hasattr(y, "__array__"):
        dtype = np.asarray(y).dtype
    return str(dtype) in ("float32", "Float32")
