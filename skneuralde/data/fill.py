"""Missing values of context and controls: filled within their series, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

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


def fill_controls(
    controls: np.ndarray,
    times: np.ndarray,
    offsets: np.ndarray,
    names: Sequence[Any],
    labels: Sequence[Any],
    how: Missing,
) -> np.ndarray:
    """Fill NaN in each control ``(n, k)`` from its neighbours in time within the series.

    Rows are sorted by series and time. The ends of a series take the nearest value.
    "linear" interpolates in time, "previous" takes the earlier neighbour's value.
    """
    missing = np.isnan(controls)
    if not missing.any():
        return controls
    filled = controls.copy()
    starts = np.repeat(offsets[:-1], np.diff(offsets))
    stops = np.repeat(offsets[1:], np.diff(offsets))
    n = len(times)
    for k in map(int, np.flatnonzero(missing.any(axis=0))):
        known = ~missing[:, k]
        position = np.arange(n)
        before = np.maximum.accumulate(np.where(known, position, -1))
        after = np.minimum.accumulate(np.where(known, position, n)[::-1])[::-1]
        holes = np.flatnonzero(~known)
        left, right = before[holes], after[holes]
        no_left, no_right = left < starts[holes], right >= stops[holes]
        if (no_left & no_right).any():
            series = int(np.searchsorted(offsets, holes[np.argmax(no_left & no_right)], side="right")) - 1
            raise ValueError(
                f"Input X contains NaN: control {names[k]!r} has no value in {_series(labels[series])}, so there is "
                "nothing to interpolate. Give it in at least one row, or drop the series."
            )
        left, right = np.where(no_left, right, left), np.where(no_right, left, right)
        if how == "previous":
            right = left
        gap = times[right] - times[left]
        share = np.where(gap > 0, (times[holes] - times[left]) / np.where(gap > 0, gap, 1.0), 0.0)
        filled[holes, k] = (1.0 - share) * controls[left, k] + share * controls[right, k]
    return filled


def _series(label: Any) -> str:
    return "the series" if label is None else f"series {label!r}"
