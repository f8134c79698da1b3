"""Changes of fields between neighbouring snapshots."""

from __future__ import annotations

import warnings

import numpy as np

from skneuralde.data import Panel

#: A field moves in an interval if it changes by more than this many standard deviations. Fields are nearly all at rest
#: if a run moves in no more than so many intervals on average.
_MOVES, _FEW_MOVING = 1e-2, 2


def neighbours(panel: Panel, eligible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of neighbouring eligible rows in the same series: the first of each pair, and the second."""
    rows = np.flatnonzero(eligible)
    follows = np.flatnonzero(np.diff(panel.series_of[rows]) == 0)
    return rows[follows], rows[follows + 1]


class FieldChanges:
    """Changes of fields between neighbouring snapshots of a panel without gaps; empty rows are left out.

    Attributes
    ----------
    sizes : ndarray of shape (intervals, fields)
        Root mean squares over the points.
    lengths : ndarray of shape (intervals,)
        Times between the snapshots.
    std : ndarray of shape (fields,)
        The standard deviation of each field.
    moves : bool array of shape (intervals,)
        Whether some field changes by more than a hundredth of its standard deviation.
    """

    def __init__(self, panel: Panel, fields: int):
        states = panel.values
        start, stop = neighbours(panel, ~np.isnan(states).any(axis=1))
        pairs = zip(start, stop, strict=True)
        squares = [np.mean((states[b] - states[a]).reshape(-1, fields) ** 2, axis=0) for a, b in pairs]
        self.sizes = np.sqrt(np.array(squares).reshape(-1, fields))
        self.lengths = panel.times[stop] - panel.times[start]
        std = np.nanstd(states.reshape(-1, fields), axis=0)
        self.std = np.where(std > 0, std, 1.0)
        self.moves = np.asarray((self.sizes > _MOVES * self.std).any(axis=1))


def typical_rates(panel: Panel, fields: int) -> np.ndarray:
    """The usual rate of change of each field in the intervals in which some field moves, ``(fields,)``."""
    changes = FieldChanges(panel, fields)
    span = float(np.ptp(panel.times)) or 1.0
    if not changes.moves.any():
        return changes.std / span
    rates = changes.sizes[changes.moves] / changes.lengths[changes.moves, None]
    return np.maximum(np.median(rates, axis=0), 1e-2 * changes.std / span)


def warn_of_rest(panel: Panel, fields: int) -> None:
    """Warn if runs, without gaps, move in no more than two intervals on average and are at rest in others."""
    moves = FieldChanges(panel, fields).moves
    few = _FEW_MOVING * panel.n_series
    if moves.size > few >= moves.sum():
        warnings.warn(
            f"The fields are nearly all at rest: they move in {moves.sum()} of {moves.size} intervals between "
            "snapshots. Snapshots at rest determine the steady state but not the reaction that leads there. Add early "
            "snapshots, log-spaced in time, and several initial fields.",
            UserWarning,
            stacklevel=4,
        )
