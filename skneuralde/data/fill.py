"""Missing values of context and controls: filled within their series, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from skneuralde.data.panel import Panel

Missing = Literal["linear", "previous"]


def refuse_missing(columns: np.ndarray, names: Sequence[Any]) -> None:
    """Refuse NaN in rows that are trajectories of their own."""
    missing = np.isnan(columns)
    if missing.any():
        row, column = np.argwhere(missing)[0]
        raise ValueError(
            f"Input X contains NaN: column {names[column]!r}, first in row {row}. Every row is a trajectory of its "
            "own, so no other row can fill it. Drop such rows, or impute with SimpleImputer."
        )


def fill_context(context: np.ndarray, starts: np.ndarray, names: Sequence[Any], labels: Sequence[Any]) -> np.ndarray:
    """Fill static context ``(n, p)``: every row of a series gets the value that its other rows have.

    Rows are sorted by series; ``starts`` are the positions at which the series begin.
    """
    if not context.shape[1]:
        return context
    low = np.fmin.reduceat(context, starts, axis=0)
    high = np.fmax.reduceat(context, starts, axis=0)
    if (low < high).any():
        series, column = np.argwhere(low < high)[0]
        raise ValueError(
            f"Column {names[column]!r} varies within {_series(labels[series])} (from {low[series, column]} to "
            f"{high[series, column]}), but it is static context. If it varies with time, name it in controls= in the "
            "constructor."
        )
    if np.isnan(low).any():
        series, column = np.argwhere(np.isnan(low))[0]
        raise ValueError(
            f"Input X contains NaN: column {names[column]!r} has no value in {_series(labels[series])}. Static context "
            "is filled within its series only: give it in one of the series' rows, or impute with SimpleImputer."
        )
    return np.repeat(low, np.diff(starts, append=len(context)), axis=0)


def fill_controls(panel: Panel, rows: np.ndarray, names: Sequence[Any], how: Missing) -> Panel:
    """Fill NaN in each control from its neighbours in time within the series.

    "previous" takes the latest value before, so that no row depends on later ones. "linear" interpolates in time, and
    the ends of a series take the nearest value. ``rows`` are the positions of the caller's rows.

    Raises
    ------
    ValueError
        If there is no value to fill with.
    """
    missing = np.isnan(panel.controls)
    if not missing.any():
        return panel
    times, offsets = panel.times, panel.offsets
    filled = panel.controls.copy()
    starts = np.repeat(offsets[:-1], panel.lengths)
    stops = np.repeat(offsets[1:], panel.lengths)
    n = len(times)
    for k in map(int, np.flatnonzero(missing.any(axis=0))):
        known = ~missing[:, k]
        position = np.arange(n)
        before = np.maximum.accumulate(np.where(known, position, -1))
        after = np.minimum.accumulate(np.where(known, position, n)[::-1])[::-1]
        holes = np.flatnonzero(~known)
        left, right = before[holes], after[holes]
        no_left, no_right = left < starts[holes], right >= stops[holes]
        empty = no_left & no_right if how == "linear" else no_left
        if empty.any():
            _refuse_hole(panel, rows, int(holes[np.argmax(empty)]), names[k], how)
        left, right = np.where(no_left, right, left), np.where(no_right, left, right)
        if how == "previous":
            right = left
        gap = times[right] - times[left]
        share = np.where(gap > 0, (times[holes] - times[left]) / np.where(gap > 0, gap, 1.0), 0.0)
        filled[holes, k] = (1.0 - share) * panel.controls[left, k] + share * panel.controls[right, k]
    return replace(panel, controls=filled)


def _refuse_hole(panel: Panel, rows: np.ndarray, position: int, name: Any, how: Missing) -> None:
    """Refuse a missing control that nothing can fill."""
    series = _series(panel.labels[panel.series_of[position]])
    if how == "linear":
        raise ValueError(
            f"Input X contains NaN: control {name!r} has no value in {series}, so there is nothing to interpolate. "
            "Give it in at least one row, or drop the series."
        )
    row = np.flatnonzero(rows == position)
    at = f" in row {row[0]}" if len(row) else ""
    raise ValueError(
        f"Input X contains NaN: control {name!r} is missing{at}, and {series} has no value of it before. Missing "
        "controls are filled from earlier rows only: give it, drop the rows without it at the start of the series, or "
        "set control_interpolation='linear', which also looks ahead."
    )


def _series(label: Any) -> str:
    return "the series" if label is None else f"series {label!r}"
