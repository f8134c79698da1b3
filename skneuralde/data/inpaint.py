"""Interpolation of partly observed fields, in time at each point, else between points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import griddata

from skneuralde.data.panel import Panel


def fill_fields(panel: Panel, grid: Sequence[int]) -> np.ndarray:
    """Return the snapshots of a panel with missing values filled, ``(n, n_outputs)``, point after point.

    A point that was observed before and after is interpolated linearly in time. Any other point is interpolated
    linearly from the observed points around it, or takes the nearest one outside their hull. Rows without any
    observation stay empty.
    """
    missing = np.isnan(panel.values)
    partly = missing.any(axis=1) & ~missing.all(axis=1)
    if not partly.any():
        return panel.values
    values = panel.values.copy()
    for start, stop in zip(panel.offsets[:-1], panel.offsets[1:], strict=True):
        if partly[start:stop].any():
            seen = start + np.flatnonzero(~missing[start:stop].all(axis=1))
            values[seen] = _interpolate_in_time(panel.times[seen], values[seen])
    fields = values.reshape(len(values), *grid, -1)
    for row in np.flatnonzero(partly):
        for k in range(fields.shape[-1]):
            fields[row, ..., k] = _interpolate_in_space(fields[row, ..., k])
    return values


def _interpolate_in_time(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Interpolate each column ``(n_times, n)`` between the times at which it was observed."""
    for column in np.flatnonzero(np.isnan(values).any(axis=0)):
        observed = ~np.isnan(values[:, column])
        if observed.any():
            values[:, column] = np.interp(times, times[observed], values[observed, column], left=np.nan, right=np.nan)
    return values


def _interpolate_in_space(field: np.ndarray) -> np.ndarray:
    """Interpolate a field ``(*grid)`` between its known points, if there are any."""
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
