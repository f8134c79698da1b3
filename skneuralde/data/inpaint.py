"""What a field probably is where nobody looked: between the looks of one sensor, else between sensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import griddata

from skneuralde.data.panel import Panel


def fill_fields(panel: Panel, grid: Sequence[int]) -> np.ndarray:
    """The snapshots of a panel with their gaps filled, ``(n, n_outputs)``.

    A point that was observed before and after is interpolated linearly in time, one that was not from the points
    around it, linearly, or from the nearest one outside of these. Rows without any observation stay empty.

    Parameters
    ----------
    panel : Panel
        Its values hold the fields at every point, point after point.
    grid : sequence of int
    """
    missing = np.isnan(panel.values)
    partly = missing.any(axis=1) & ~missing.all(axis=1)
    if not partly.any():
        return panel.values
    values = panel.values.copy()
    for start, stop in zip(panel.offsets[:-1], panel.offsets[1:], strict=True):
        if partly[start:stop].any():
            seen = start + np.flatnonzero(~missing[start:stop].all(axis=1))
            values[seen] = _between_looks(panel.times[seen], values[seen])
    fields = values.reshape(len(values), *grid, -1)
    for row in np.flatnonzero(partly):
        for k in range(fields.shape[-1]):
            fields[row, ..., k] = _between_points(fields[row, ..., k])
    return values


def _between_looks(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Each column ``(n_times, n)`` interpolated inside the times at which it was observed."""
    for column in np.flatnonzero(np.isnan(values).any(axis=0)):
        there = ~np.isnan(values[:, column])
        if there.any():
            values[:, column] = np.interp(times, times[there], values[there, column], left=np.nan, right=np.nan)
    return values


def _between_points(field: np.ndarray) -> np.ndarray:
    """One field ``(*grid)``, interpolated between the points where it is known; empty where it is known nowhere."""
    unknown = np.isnan(field)
    if not unknown.any() or unknown.all():
        return field
    known = np.argwhere(~unknown)
    at = np.argwhere(unknown)
    filled = field.copy()
    if field.ndim == 1:
        filled[unknown] = np.interp(at[:, 0], known[:, 0], field[~unknown])
        return filled
    filled[unknown] = griddata(known, field[~unknown], at, method="nearest")
    if np.linalg.matrix_rank(known - known[0]) == field.ndim:
        inside = griddata(known, field[~unknown], at, method="linear")
        filled[unknown] = np.where(np.isnan(inside), filled[unknown], inside)
    return filled
