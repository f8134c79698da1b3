"""What a snapshot of a field looks like, and what coefficients see of it: its points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch

from skneuralde.data import Panel
from skneuralde.data.coordinates import field_shape, is_xarray
from skneuralde.problems import Laplacian

#: Points of a grid, and intervals, that scales and first guesses are measured on.
_FEW_POINTS, _FEW_INTERVALS = 256, 64


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


def points_panel(panel: Panel, grid: Sequence[int]) -> Panel:
    """Some points of all fields as series of their own, ``(n_fields,)`` at each time."""
    points = math.prod(grid)
    fields = panel.values.reshape(len(panel.times), points, -1)
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


def changes(panel: Panel, states: np.ndarray, fields: int) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square change of every field between neighbouring rows (intervals, fields), and the times between."""
    start, stop = neighbours(panel, ~np.isnan(states).any(axis=1))
    moved = [
        np.mean((states[b] - states[a]).reshape(-1, fields) ** 2, axis=0) for a, b in zip(start, stop, strict=True)
    ]
    return np.sqrt(np.array(moved).reshape(-1, fields)), panel.times[stop] - panel.times[start]


def guess_diffusivity(panel: Panel, states: np.ndarray, state: Sequence[int], laplacian: Laplacian) -> np.ndarray:
    """A first guess of D for each field, (fields,): the usual slope of its change on its Laplacian.

    In each interval by least squares, next to a law that is a polynomial of the fields. Where diffusion is faster than
    the interval, or snapshots are noisy, it is too small; training goes on from there.
    """
    start, stop = neighbours(panel, ~np.isnan(states).any(axis=1))
    chosen = np.linspace(0, len(start) - 1, min(_FEW_INTERVALS, len(start))).astype(int)
    guesses = []
    for a, b in zip(start[chosen], stop[chosen], strict=True):
        ends = torch.as_tensor(states[[a, b]], dtype=torch.float64).view(2, *state)
        mean = ends.mean(0, keepdim=True)
        curvature = laplacian.second_differences(mean).reshape(-1, state[-1]).numpy()
        change = ((ends[1] - ends[0]) / (panel.times[b] - panel.times[a])).reshape(-1, state[-1]).numpy()
        u = mean.reshape(-1, state[-1]).numpy()
        law = np.hstack([np.ones((len(u), 1)), u, u**2, *(u[:, [k]] * u[:, k + 1 :] for k in range(state[-1]))])
        slopes = [
            np.linalg.lstsq(np.column_stack([curvature[:, k], law]), change[:, k], rcond=None)[0][0]
            for k in range(state[-1])
        ]
        guesses.append(slopes)
    guess = np.median(np.array(guesses).reshape(-1, state[-1]), axis=0)
    # Diffusion that leaves a grid of this spacing as it is over all of the time observed cannot be seen.
    span = float(np.ptp(panel.times)) or 1.0
    return np.maximum(guess, 1e-3 * min(laplacian.axes.spacing) ** 2 / span)
