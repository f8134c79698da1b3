"""Checks of the parameters that name columns, and choice of the columns that vary in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from skneuralde.data.clock import is_timelike
from skneuralde.data.labels import encode
from skneuralde.data.layout import InitialState
from skneuralde.data.sources import Finder, Source, is_word, listed
from skneuralde.data.table import Table

_INITIAL_STATES = ("first", "context", "learn")


def find_initial_state(initial_state: Any, find: Finder) -> tuple[InitialState | None, tuple[int, ...]]:
    """Return the keyword (None for "auto"), and for "columns" the positions of the columns."""
    if is_word(initial_state, "auto"):
        return None, ()
    for word in _INITIAL_STATES:
        if is_word(initial_state, word) and word not in find.names:
            return word, ()  # type: ignore[return-value]
    columns = listed(initial_state)
    if not columns or any(isinstance(c, (bool, float, np.floating)) for c in columns):
        raise ValueError(
            f"initial_state={initial_state!r} is not understood. Give 'auto', 'first', 'context', 'learn', or the "
            "column(s) of X that hold the initial state: values go into columns."
        )
    return "columns", tuple(find.column(c, "initial_state") for c in columns)


def varying_columns(table: Table, series: Sequence[Source], columns: Sequence[int], dtype: np.dtype) -> tuple[int, ...]:
    """Return the columns that vary within a series, which are controls.

    A column with a single value in all of X does not distinguish series, so it counts as a control as well: it may vary
    in later rows, as the indicator of a rare event does.
    """
    if not columns or not series:
        return tuple(columns)
    values = table.numeric(columns, dtype)
    codes, labels = encode([s.values(table) for s in series], [str(s) for s in series])
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(labels)))
    low = np.fmin.reduceat(values[order], starts, axis=0)
    high = np.fmax.reduceat(values[order], starts, axis=0)
    varies = (low < high).any(axis=0)
    differs = np.fmin.reduce(low, axis=0) < np.fmax.reduce(high, axis=0)
    return tuple(j for j, is_control in zip(columns, varies | ~differs, strict=True) if is_control)


def refuse_lost_index(table: Table, y: Any, time: Any) -> None:
    """Refuse an array X if y has a time index: a Pipeline step has probably dropped that of X."""
    index = getattr(y, "index", None)
    if table.index is not None or table.named or not is_word(time, "auto") or not isinstance(index, pd.Index):
        return
    levels = index.levels if isinstance(index, pd.MultiIndex) else [index]
    if any(is_timelike(level) for level in levels):
        raise ValueError(
            "y has a time index, but X is a bare array without one: a step of a Pipeline, such as StandardScaler, has "
            "probably dropped it. Call .set_output(transform='pandas') on that step or on the Pipeline, or name the "
            "column in time= if X holds the times."
        )


def refuse_two_roles(
    table: Table, time: Source, series: Sequence[Source], controls: Sequence[int], initial: Sequence[int]
) -> None:
    """Refuse a column or level with two roles."""
    columns = [*(s.position for s in (time, *series) if s.kind == "column"), *controls, *initial]
    twice = sorted({c for c in columns if columns.count(c) > 1})
    if twice:
        raise ValueError(
            f"Column {table.names[twice[0]]!r} has two roles among time (here {time}), series, controls and "
            "initial_state. A column has one role."
        )
    levels = [s.position for s in (time, *series) if s.kind == "level"]
    if len(set(levels)) < len(levels):
        raise ValueError(f"{time} is the time, or is named twice in series=. An index level has one role.")


def refuse_no_context(initial_state: InitialState, context: Sequence[int]) -> None:
    """Refuse an initial state from the context if there is no context."""
    if initial_state == "context" and not context:
        raise ValueError("initial_state='context' needs columns of context, but X has none. Use 'first' or 'learn'.")
