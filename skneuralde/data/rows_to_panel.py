"""Panels from rows in the caller's order."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight

from skneuralde.data.canonical import changes, content_order
from skneuralde.data.clock import Clock
from skneuralde.data.fill import Missing, fill_context, fill_controls, refuse_missing
from skneuralde.data.panel import Panel
from skneuralde.data.positions import position_type
from skneuralde.data.roles import Roles, Rows


def as_panel(
    rows: Rows,
    values: np.ndarray | None = None,
    *,
    clock: Clock,
    roles: Roles,
    sample_weight: Any = None,
    fill: Missing | None = "linear",
) -> Panel:
    """Sort rows into a panel.

    The values ``(n_rows, n_outputs)`` are those of `read_targets`; None makes the rows queries. Rows of weight zero are
    dropped before anything else. ``fill`` is the rule that fills NaN in a control within its series; "previous" does
    not look ahead, and None leaves it.

    Raises
    ------
    ValueError
        If NaN in context or controls cannot be filled within its series, context varies within a series, or nothing was
        observed in the rows with a positive weight.
    """
    times = clock.to_model(rows.times)
    weight = _check_sample_weight(sample_weight, times, dtype=np.float64, ensure_non_negative=True)
    is_query = values is None
    if values is None:
        values = np.full((len(times), roles.n_outputs), np.nan, dtype=roles.dtype)
    elif np.isnan(values[weight > 0]).all():
        raise ValueError("Input y contains NaN in every row with a sample weight: nothing was observed.")
    if roles.initial and rows.initial.shape[1] != values.shape[1]:
        raise ValueError(
            f"initial_state names {rows.initial.shape[1]} column(s), but y has {values.shape[1]}: the initial state "
            "needs one column per column of y."
        )
    if roles.layout.has_series:
        return _series_panel(rows, times, values, weight, roles, fill)
    refuse_missing(rows.context, roles.names_of(roles.context))
    refuse_missing(rows.initial, roles.names_of(roles.initial))
    return _query_rows(rows, times, values) if is_query else _distinct_rows(rows, times, values, weight)


def _series_panel(
    rows: Rows, times: np.ndarray, values: np.ndarray, weight: np.ndarray, roles: Roles, fill: Missing | None
) -> Panel:
    order = _order(rows.codes, times, weight)
    codes, times, weight = rows.codes[order], np.ascontiguousarray(times[order]), weight[order]
    first_in_series = np.flatnonzero(np.diff(codes, prepend=codes.dtype.type(-1)))
    labels = [rows.labels[code] for code in codes[first_in_series]]
    context = fill_context(rows.context[order], first_in_series, roles.names_of(roles.context), labels)
    controls = np.ascontiguousarray(rows.controls[order])
    values = np.ascontiguousarray(values[order])

    is_first = np.ones(len(codes), dtype=bool)
    is_first[1:] = (codes[1:] != codes[:-1]) | (times[1:] != times[:-1])
    group = np.cumsum(is_first, dtype=position_type(rows.n_rows))
    group -= 1
    where = np.full(rows.n_rows, -1, dtype=group.dtype)
    where[order] = group
    if not is_first.all():
        starts = np.flatnonzero(is_first)
        values = _grouped_mean(values, weight, starts, group)
        controls = _grouped_mean(controls, weight, starts, group)
        times, context = times[starts], context[starts]
        weight = np.add.reduceat(weight, starts)
    offsets = np.append(group[first_in_series], len(times)).astype(np.int64)
    initial = np.empty((len(times), 0), dtype=roles.dtype)
    panel = Panel(times, values, weight, context, controls, initial, offsets, labels, where)
    return panel if fill is None else fill_controls(panel, where, roles.names_of(roles.controls), fill)


def _order(codes: np.ndarray, times: np.ndarray, weight: np.ndarray) -> np.ndarray | slice:
    """Order of the rows with a positive weight by series and time; a slice, without copies, if they are sorted."""
    same, ascending = codes[1:] == codes[:-1], times[1:] >= times[:-1]
    if np.all(weight > 0) and np.all((codes[1:] > codes[:-1]) | (same & ascending)):
        return slice(None)
    order = np.lexsort((times, codes))
    return order[weight[order] > 0]


def _grouped_mean(values: np.ndarray, weight: np.ndarray, starts: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Weighted mean of the known values in each group; NaN if there are none."""
    # Relative to the group's smallest value, so that the mean of equal values is exact.
    if not values.shape[1]:
        return values[starts]
    low = np.fmin.reduceat(values, starts, axis=0)
    shares = np.where(np.isnan(values), 0.0, weight[:, None])
    total = np.add.reduceat(shares, starts, axis=0)
    shares /= np.where(total > 0, total, 1.0)[group]
    above = np.where(shares > 0, values - low[group], 0.0)
    return low + np.add.reduceat(shares * above, starts, axis=0).astype(values.dtype, copy=False)


def _query_rows(rows: Rows, times: np.ndarray, values: np.ndarray) -> Panel:
    """Panel of queries that are trajectories of their own, in the caller's order."""
    n = len(times)
    inputs = rows.context, rows.controls, rows.initial
    return Panel(times, values, np.ones(n), *inputs, np.arange(n + 1), [None] * n, np.arange(n))


def _distinct_rows(rows: Rows, times: np.ndarray, values: np.ndarray, weight: np.ndarray) -> Panel:
    """Panel of the distinct rows with their total weights, in an order that depends on the rows' content only."""
    keys = [times, *rows.context.T, *rows.initial.T, *values.T]
    order = content_order(keys, weight)
    order = order[weight[order] > 0]
    is_first = changes(keys, order)
    starts = np.flatnonzero(is_first)
    where = np.full(len(times), -1, dtype=np.int64)
    where[order] = np.cumsum(is_first) - 1
    kept = order[starts]
    inputs = rows.context[kept], rows.controls[kept], rows.initial[kept]
    weight, offsets = np.add.reduceat(weight[order], starts), np.arange(len(kept) + 1)
    return Panel(times[kept], values[kept], weight, *inputs, offsets, [None] * len(kept), where)
