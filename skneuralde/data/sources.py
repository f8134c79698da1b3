"""Columns of X and levels of its index, found by the names that parameters give."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.utils import check_array

from skneuralde.data.clock import is_timelike
from skneuralde.data.table import Table


@dataclass(frozen=True)
class Source:
    """Source of a role: a column by its position, or an index level by its position and name."""

    kind: Literal["column", "level"]
    position: int
    name: Hashable

    def __str__(self) -> str:
        if self.kind == "column":
            return f"column {self.name!r}"
        if self.name is None:
            return "the index" if self.position == 0 else f"index level {self.position}"
        return f"index level {self.name!r}"

    def values(self, table: Table) -> Any:
        """Return the raw values in a table."""
        if self.kind == "column":
            return table.column(self.position)
        index = table.index
        if index is None:
            raise ValueError(
                f"In fit X had an index, and {self} has a role, but this X has none. Give a DataFrame; in a Pipeline "
                "keep the index with .set_output(transform='pandas')."
            )
        if not isinstance(index, pd.MultiIndex):
            if self.position > 0:
                raise ValueError(f"In fit X had a MultiIndex, and {self} has a role, but this X has a plain index.")
            return index
        names = list(index.names)
        if self.name is not None and self.name in names:
            return index.get_level_values(names.index(self.name))
        if self.position >= len(names):
            raise ValueError(f"In fit {self} had a role, but the index levels of this X are {names}.")
        return index.get_level_values(self.position)


class Finder:
    """Finds the column or index level that a parameter names."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.names = list(table.names)
        self.levels: list[Any] = [] if table.index is None else list(table.index.names)

    def column(self, key: Any, parameter: str) -> int:
        """Return the position of a column given by name or position."""
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            if -len(self.names) <= key < len(self.names):
                return int(key) % len(self.names)
        elif self._is_name(key):
            if self.names.count(key) > 1:
                raise ValueError(f"{parameter}={key!r}: X has {self.names.count(key)} columns of that name.")
            return self.names.index(key)
        known = f"columns {self.names}" if self.table.named else f"{len(self.names)} columns without names"
        raise ValueError(
            f"{parameter}={key!r} is not a column of X, which has {known}. Give a column's name or its position."
        )

    def source(self, key: Any, parameter: str) -> Source:
        """Return the column or index level of a name (columns first), or the column at a position."""
        if not self._is_name(key) and isinstance(key, str) and key in self.levels:
            return Source("level", self.levels.index(key), key)
        try:
            position = self.column(key, parameter)
        except ValueError as error:
            raise ValueError(f"{error} Index levels are named {self.levels}.") from None
        return Source("column", position, self.names[position])

    def time_and_series(self, time: Any, series: Any, taken: set[int]) -> tuple[Source, tuple[Source, ...]]:
        """Return the sources of the time and of the series' names; ``taken`` are columns with another role."""
        by_series = tuple(self.source(key, "series") for key in listed(series))
        at = self.time(time, taken | {s.position for s in by_series if s.kind == "column"})
        return at, self.other_levels(at) if series is None else by_series

    def time(self, time: Any, taken: set[int]) -> Source:
        """Return the source of the time.

        "auto" takes, in this order: a datetime-like index, the datetime-like or else the last level of a MultiIndex,
        the only datetime column, the first column without another role.
        """
        index = self.table.index
        if is_word(time, "index"):
            if index is None:
                raise ValueError("time='index', but X has no index. Give a DataFrame, or name a column in time=.")
            return _time_level(index)
        if not is_word(time, "auto"):
            return self.source(time, "time")
        if index is not None and (isinstance(index, pd.MultiIndex) or is_timelike(index)):
            return _time_level(index)
        free = [j for j in range(self.table.n_columns) if j not in taken]
        if not free:
            if not self.names:
                check_array(np.empty((self.table.n_rows, 0)), input_name="X")  # raises scikit-learn's message
            raise ValueError("No column of X is left for the time: every one has another role. Name it in time=.")
        timelike = [j for j in free if is_timelike(self.table.column(j))]
        position = timelike[0] if len(timelike) == 1 else free[0]
        return Source("column", position, self.names[position])

    def other_levels(self, time: Source) -> tuple[Source, ...]:
        """Return the levels of a MultiIndex that name the series if `series` is None."""
        if not isinstance(self.table.index, pd.MultiIndex):
            return ()
        if time.kind == "column":
            raise ValueError(
                f"X has a MultiIndex with levels {self.levels}, but its time is {time}. Say which of the levels "
                "name the series: series=[...]."
            )
        return tuple(Source("level", k, name) for k, name in enumerate(self.levels) if k != time.position)

    def _is_name(self, key: Any) -> bool:
        return self.table.named and isinstance(key, Hashable) and key in self.names


def _time_level(index: pd.Index) -> Source:
    if not isinstance(index, pd.MultiIndex):
        return Source("level", 0, index.name)
    timelike = [k for k in range(index.nlevels) if is_timelike(index.levels[k])]
    level = timelike[0] if len(timelike) == 1 else index.nlevels - 1
    return Source("level", level, index.names[level])


def listed(keys: Any) -> list[Any]:
    """Return one name or several as a list."""
    if keys is None:
        return []
    return list(keys) if isinstance(keys, (list, tuple, np.ndarray, pd.Index)) else [keys]


def is_word(value: Any, word: str) -> bool:
    """Whether a parameter of any type is this keyword."""
    return isinstance(value, str) and value == word
