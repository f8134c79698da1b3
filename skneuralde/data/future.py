"""Rows of X for the times after the end of each series."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

from skneuralde.data.clock import Clock, RawTimes, parse_unit
from skneuralde.data.panel import Panel
from skneuralde.data.roles import Roles


def future_rows(panel: Panel, roles: Roles, clock: Clock, steps: int, every: Any = None) -> Any:
    """Return rows for the times after the end of each series, series by series, in the form that X had in `fit`.

    Each series gets ``steps`` rows, in which its last context and controls are held constant. ``every`` is their
    spacing, by default each series' typical (median) gap: a number for numeric times; for others a timedelta, or a
    frequency such as "h" or "B", which follows the calendar of fit's time zone.
    """
    if not roles.layout.has_series:
        raise ValueError("future(steps) needs time series: in this table every row is a trajectory of its own.")
    if not isinstance(steps, Integral) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"steps must be a positive integer, got {steps!r}.")
    steps = int(steps)
    last = panel.offsets[1:] - 1
    if clock.kind == "datetime" and isinstance(every, (str, pd.offsets.BaseOffset)):
        times: RawTimes = _by_frequency(clock.to_user(panel.times[last]), steps, every)
    else:
        gaps = _typical_gaps(panel) if every is None else np.full(len(last), _model_gap(every, clock))
        times = clock.to_user((panel.times[last][:, None] + gaps[:, None] * np.arange(1, steps + 1)).ravel())
    held = np.repeat(last, steps)
    labels = [label for label in panel.labels for _ in range(steps)]
    return _as_seen(roles, times, labels, panel.context[held], panel.controls[held])


def _typical_gaps(panel: Panel) -> np.ndarray:
    """Median gap of each series; the median of all gaps for a series with a single time."""
    series = panel.series_of
    inside = np.diff(series) == 0
    gaps, series = np.diff(panel.times)[inside], series[1:][inside]
    if not len(gaps):
        raise ValueError("No series has two times, so there is no typical gap: give every=.")
    order = np.lexsort((gaps, series))
    begin = np.searchsorted(series, np.arange(panel.n_series))
    count = panel.lengths - 1
    ordered = np.append(gaps[order], 0.0)  # padding for a last series without a gap
    median = (ordered[begin + np.maximum(count - 1, 0) // 2] + ordered[begin + count // 2]) / 2
    return np.where(count > 0, median, np.median(gaps))


def _model_gap(every: Any, clock: Clock) -> float:
    is_number = isinstance(every, Real) and not isinstance(every, bool)
    if is_number != (clock.unit is None):
        expected = "a number" if clock.unit is None else "a timedelta or a frequency such as 'D' or '15min'"
        raise ValueError(f"every={every!r} does not fit the times, which are {clock.kind}s: give {expected}.")
    gap = float(every) if clock.unit is None else parse_unit(every, "every") / clock.unit
    if not 0 < gap < np.inf:
        raise ValueError(f"every={every!r} must be positive and finite.")
    return gap


def _by_frequency(last: pd.DatetimeIndex, steps: int, every: str | pd.offsets.BaseOffset) -> pd.DatetimeIndex:
    try:
        offset = pd.tseries.frequencies.to_offset(every)
    except ValueError as error:
        raise ValueError(f"every={every!r} is not a frequency such as 'D', '15min' or 'B': {error}.") from error
    which, ends = pd.factorize(last)  # series often end together, and calendars are slow
    ranges = []
    for end in ends:
        dates = pd.date_range(end, periods=steps + 1, freq=offset)
        ranges.append(dates[dates > end][:steps])
    if len(ranges[0]) < steps:
        raise ValueError(f"every={every!r} must lead forward in time.")
    return ranges[0].append(ranges[1:])[(which[:, None] * steps + np.arange(steps)).ravel()]


def _as_seen(roles: Roles, times: RawTimes, labels: list[Any], context: np.ndarray, controls: np.ndarray) -> Any:
    """Build X with the columns and index levels of fit, in their order."""
    columns: dict[int, Any] = dict(zip(roles.context + roles.controls, [*context.T, *controls.T], strict=True))
    levels: dict[int, Any] = {}
    (columns if roles.time.kind == "column" else levels)[roles.time.position] = times
    for k, source in enumerate(roles.series):
        names = labels if len(roles.series) == 1 else [label[k] for label in labels]
        (columns if source.kind == "column" else levels)[source.position] = pd.Index(names, tupleize_cols=False)
    ordered = [columns[position] for position in range(len(roles.columns))]
    if roles.levels is None and not roles.named:
        numeric = all(column.dtype.kind in "fiub" for column in ordered)
        return np.column_stack(ordered if numeric else [np.asarray(column, dtype=object) for column in ordered])
    frame = pd.DataFrame(dict(enumerate(ordered)), index=_index(roles, levels, len(times)))
    frame.columns = pd.Index(roles.columns, tupleize_cols=False)
    return frame


def _index(roles: Roles, levels: dict[int, Any], n_rows: int) -> pd.Index:
    if roles.levels is None or not levels:
        return pd.RangeIndex(n_rows)
    if len(roles.levels) == 1:
        return pd.Index(levels[0], name=roles.levels[0])
    nothing = np.full(n_rows, np.nan)  # the values of a level without a role are unknown
    return pd.MultiIndex.from_arrays([levels.get(k, nothing) for k in range(len(roles.levels))], names=roles.levels)
