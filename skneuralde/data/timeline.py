"""Common timeline of two panels, and the observations before and after each of its positions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skneuralde.data.panel import Panel
from skneuralde.data.positions import position_type


def merge(kept: Panel, query: Panel) -> tuple[Panel, np.ndarray]:
    """Return one panel with the times of both, and the position in it of each of the caller's rows of ``query``.

    If both have the same time in a series, the observation is that of ``query`` if it has one, else the kept one, and
    the inputs are those of ``query``, but for controls that are NaN there. The labels are those of ``kept``, then those
    that only ``query`` has.
    """
    labels = list(kept.labels)
    codes = {label: code for code, label in enumerate(labels)}
    for label in query.labels:
        if label not in codes:
            codes[label] = len(labels)
            labels.append(label)
    query_series = np.array([codes[label] for label in query.labels], dtype=np.intp)[query.series_of]
    series = np.concatenate([kept.series_of, query_series])
    times = np.concatenate([kept.times, query.times])
    is_query = np.repeat([0, 1], [len(kept.times), len(query.times)])
    order = np.lexsort((is_query, times, series))
    series, times = series[order], times[order]

    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (series[1:] != series[:-1]) | (times[1:] != times[:-1])
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], len(order)) - 1
    slot = np.cumsum(is_first) - 1

    values = np.concatenate([kept.values, query.values])[order]
    merged_values = np.where(np.isnan(values[last]), values[first], values[last])
    position = np.empty(len(order), dtype=np.intp)
    position[order] = slot
    controls = np.concatenate([kept.controls, query.controls])[order]
    merged = replace(
        kept,
        times=times[first],
        values=merged_values,
        weight=np.concatenate([kept.weight, query.weight])[order][last],
        context=np.concatenate([kept.context, query.context])[order][last],
        controls=np.where(np.isnan(controls[last]), controls[first], controls[last]),
        initial=np.concatenate([kept.initial, query.initial])[order][last],
        offsets=np.searchsorted(series[first], np.arange(len(labels) + 1)),
        labels=labels,
        rows=np.arange(len(first)),
    )
    return merged, position[len(kept.times) :][query.rows]


def truncate(kept: Panel, query: Panel) -> Panel:
    """Drop the rows from the first time of ``query`` in their series on; all labels stay."""
    begin = dict(zip(query.labels, query.times[query.offsets[:-1]], strict=True))
    limit = np.array([begin.get(label, np.inf) for label in kept.labels])
    keep = kept.times < limit[kept.series_of]
    left = kept.subset(keep)
    counts = np.bincount(kept.series_of[keep], minlength=len(kept.labels))
    return replace(left, labels=kept.labels, offsets=np.concatenate([[0], np.cumsum(counts)]))


def complete(panel: Panel) -> np.ndarray:
    """Mask ``(n,)`` of the positions with all values observed, from which a transition can start."""
    return ~np.isnan(panel.values).any(axis=1)


def previous(panel: Panel, eligible: np.ndarray) -> np.ndarray:
    """Last eligible position before each position in the same series, ``(n,)``; -1 if there is none."""
    n = len(eligible)
    before = np.arange(-1, n - 1, dtype=position_type(n))
    before[1:][~eligible[:-1]] = -1
    np.maximum.accumulate(before, out=before)
    before[before < np.repeat(panel.offsets[:-1].astype(before.dtype), panel.lengths)] = -1
    return before


def following(panel: Panel, eligible: np.ndarray) -> np.ndarray:
    """First eligible position after each position in the same series, ``(n,)``; -1 if there is none."""
    n = len(eligible)
    nearest = np.minimum.accumulate(np.where(eligible, np.arange(n), n)[::-1])[::-1]
    after = np.append(nearest[1:], n) if n else nearest
    return np.where(after < panel.offsets[1:][panel.series_of], after, -1)


def first_position(panel: Panel, eligible: np.ndarray) -> np.ndarray:
    """First eligible position of each series, ``(n_series,)``; -1 if there is none."""
    found = np.full(len(panel.labels), -1)
    positions = np.flatnonzero(eligible)[::-1]
    found[panel.series_of[positions]] = positions
    return found
