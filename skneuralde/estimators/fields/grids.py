"""What a snapshot of a field looks like, and what coefficients see of it: its points."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from skneuralde.data import Panel
from skneuralde.data.coordinates import field_shape, is_xarray
from skneuralde.data.inpaint import fill_fields

#: Points of a grid that scales are measured on.
_FEW_POINTS = 256
#: An interval moves if a field changes by more than this many standard deviations; fields are nearly all at rest when
#: the usual run has no more than so many intervals that move.
_MOVES, _FEW_MOVING = 1e-2, 2


def state_shape(y: Any, grid: Any) -> tuple[int, ...] | None:
    """``(*grid, fields)`` of y's rows; None where they are no snapshots of a field.

    Raises
    ------
    ValueError
        If y does not fit the grid.
    """
    told = None if grid is None else _read_grid(grid)
    if is_xarray(y):
        shape = field_shape(y, told)
    elif hasattr(y, "shape"):
        shape = tuple(y.shape)
    else:
        shape = np.asarray(y).shape
    if len(shape) > 2:
        state = shape[1:]
        if told not in (None, state[:-1]):
            raise ValueError(f"y has snapshots of shape {state}, fields last, but grid={grid!r}.")
        return state
    if told is None:
        return None
    width = shape[1] if len(shape) == 2 else 1
    points = math.prod(told)
    if width % points:
        raise ValueError(
            f"y has {width} column(s), but grid={grid!r} has {points} points: their number must be a multiple, one "
            "column per point and field, fields changing fastest."
        )
    return (*told, width // points)


def _read_grid(grid: Any) -> tuple[int, ...]:
    sizes = (grid,) if isinstance(grid, Integral) else tuple(grid)
    if not 1 <= len(sizes) <= 3 or any(not isinstance(n, Integral) or isinstance(n, bool) or n < 2 for n in sizes):
        raise ValueError(f"grid must hold one to three numbers of points, each at least 2, got {grid!r}.")
    return tuple(int(n) for n in sizes)


def refuse_space(estimator: Any) -> None:
    """Refuse parameters of space where y has none.

    Raises
    ------
    ValueError
    """
    given = {
        "spacing": estimator.spacing is not None,
        "boundary": estimator.boundary != "neumann",
        "operator": estimator.operator is not None,
        "sparsity": estimator.sparsity is not None,
        "diffusivity": not (isinstance(estimator.diffusivity, str) or estimator.diffusivity is None),
    }
    for name, told in given.items():
        if told:
            raise ValueError(
                f"{name}={getattr(estimator, name)!r} needs a grid, but each row of y is a single point. Give y as "
                "(n_rows, *grid, fields), or name grid=."
            )


def refuse_unseen(panel: Panel, fields: int) -> None:
    """Refuse a field that nobody looked at, and fields that nobody looked at together.

    Raises
    ------
    ValueError
    """
    seen = ~np.isnan(panel.values).reshape(len(panel.times), -1, fields)
    never = ~seen.any(axis=(0, 1))
    if never.any():
        raise ValueError(
            f"Field {int(np.argmax(never))} of y was never observed: it is NaN at every point of every row. Leave it "
            "out of y."
        )
    if not seen.any(axis=1).all(axis=1).any():
        raise ValueError("No snapshot in y shows every field somewhere, so that none is a state to start from.")


def points_panel(panel: Panel, states: np.ndarray, grid: Sequence[int]) -> Panel:
    """Some points of snapshots without gaps ``(n, n_outputs)``, as series of their own, ``(fields,)`` at each time."""
    points = math.prod(grid)
    fields = states.reshape(len(panel.times), points, -1)
    chosen = np.sort(np.random.default_rng(0).permutation(points)[:_FEW_POINTS])
    lengths = np.repeat(panel.lengths, len(chosen))
    begin = np.repeat(panel.offsets[:-1], len(chosen))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    row = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - begin, lengths)
    point = np.repeat(np.tile(chosen, panel.n_series), lengths)
    return Panel(
        panel.times[row],
        fields[row, point],
        panel.weight[row],
        panel.context[row],
        panel.controls[row],
        panel.initial[row],
        offsets,
        [(label, int(p)) for label in panel.labels for p in chosen],
        np.arange(len(row)),
    )


def neighbours(panel: Panel, eligible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of eligible rows that follow another one of their series, and of the one before."""
    rows = np.flatnonzero(eligible)
    follows = np.flatnonzero(np.diff(panel.series_of[rows]) == 0)
    return rows[follows], rows[follows + 1]


@dataclass(frozen=True)
class Changes:
    """How the fields change between neighbouring rows.

    Attributes
    ----------
    sizes : ndarray of shape (intervals, fields)
        Root mean squares over the points.
    lengths : ndarray of shape (intervals,)
        Times between.
    moves : bool array of shape (intervals,)
        Whether some field changes by more than a hundredth of its standard deviation.
    spread : ndarray of shape (fields,)
        These deviations.
    """

    sizes: np.ndarray
    lengths: np.ndarray
    moves: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, panel: Panel, states: np.ndarray, fields: int) -> Changes:
        """Measure those of snapshots without gaps, ``(n, n_outputs)``; rows without any are left out."""
        start, stop = neighbours(panel, ~np.isnan(states).any(axis=1))
        pairs = zip(start, stop, strict=True)
        squares = [np.mean((states[b] - states[a]).reshape(-1, fields) ** 2, axis=0) for a, b in pairs]
        sizes = np.sqrt(np.array(squares).reshape(-1, fields))
        spread = np.nanstd(states.reshape(-1, fields), axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        moves = np.asarray((sizes > _MOVES * spread).any(axis=1))
        return cls(sizes, panel.times[stop] - panel.times[start], moves, spread)


def typical_rates(panel: Panel, states: np.ndarray, fields: int) -> np.ndarray:
    """How fast each field usually moves where any does, (fields,)."""
    changes = Changes.of(panel, states, fields)
    span = float(np.ptp(panel.times)) or 1.0
    if not changes.moves.any():
        return changes.spread / span
    rates = changes.sizes[changes.moves] / changes.lengths[changes.moves, None]
    return np.maximum(np.median(rates, axis=0), 1e-2 * changes.spread / span)


def warn_of_rest(panel: Panel, grid: Sequence[int]) -> None:
    """Warn when the usual run moves in no more than two intervals, and rests in others."""
    fields = panel.values.shape[1] // math.prod(grid)
    moves = Changes.of(panel, fill_fields(panel, grid), fields).moves
    few = _FEW_MOVING * panel.n_series
    if moves.size > few >= moves.sum():
        warnings.warn(
            f"The fields are nearly all at rest: they move in {moves.sum()} of {moves.size} intervals between "
            "snapshots. Snapshots at rest tell where fields end, not the law that leads there; many laws fit them. Add "
            "early snapshots, log-spaced in time, and several initial fields.",
            UserWarning,
            stacklevel=4,
        )
