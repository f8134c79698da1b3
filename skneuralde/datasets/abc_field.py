"""Reaction-diffusion problem of three substances in a plane, one of which diffuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from skneuralde.problems import Laplacian, Problem
from skneuralde.solvers import solve

#: Share of the columns in which A is produced, the last 21 of 100.
_SHARE = 0.21


def abc_law(t: Tensor, u: Tensor) -> Tensor:
    """Reaction term of `make_abc_field` without its source, for states ``(..., 3)``."""
    a, b, c = u.unbind(-1)
    bound = a * b
    return torch.stack([c - a - bound, 1.0 - b - bound + c, 1.0 - 2.0 * c + bound], -1)


def abc_source(grid: Sequence[int] = (100, 100)) -> np.ndarray:
    """Source of A, an array ``(*grid, 3)``: 1 for A on the last 21% of the columns, 0 elsewhere."""
    source = np.zeros((*grid, 3))
    source[:, grid[1] - round(_SHARE * grid[1]) :, 0] = 1.0
    return source


def abc_problem(grid: Sequence[int] = (100, 100), *, diffusivity: Any = 100.0) -> Problem:
    """Equation of `make_abc_field`."""
    return Problem([abc_source(grid), abc_law], operator=Laplacian([diffusivity, 0.0, 0.0], ndim=2))


def make_abc_field(
    n_fields: int = 1,
    *,
    grid: Sequence[int] = (100, 100),
    diffusivity: float = 100.0,
    times: Any = None,
    rtol: float = 1e-5,
    random_state: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Simulate a reaction-diffusion problem of three fields in the plane.

    ::

        dA/dt = D Lap A + s - A - A B + C
        dB/dt = 1 - B - A B + C
        dC/dt = 1 - 2 C + A B

    on nodes of spacing 1 with no flux through the edges; s is 1 on the last 21% of the columns. The fields start
    uniformly at random between 0 and 1 and are almost at rest by t = 5.

    Parameters
    ----------
    n_fields : int, default=1
        Number of initial fields.
    grid : (int, int), default=(100, 100)
        Rows and columns.
    diffusivity : float, default=100.0
        D.
    times : array-like of shape (n_times,), default=None
        Times of the snapshots, beginning at 0; None is every 5 up to 100.
    rtol : float, default=1e-5
        Relative tolerance of the simulation; the absolute one is the same.
    random_state : int, RandomState or None
        Draws the initial fields.

    Returns
    -------
    X : ndarray of shape (n_rows, 1) or (n_rows, 2)
        Times; with several fields the number of the field comes first.
    y : ndarray of shape (n_rows, rows, columns, 3)

    References
    ----------
    .. [1] C. Rackauckas, M. Innes, Y. Ma, J. Bettencourt, L. White and V. Dixit, "DiffEqFlux.jl: a Julia library for
       neural differential equations", arXiv:1902.02376 (2019).

    Examples
    --------
    >>> from skneuralde.datasets import make_abc_field
    >>> X, y = make_abc_field(grid=(10, 10), times=[0.0, 0.1, 1.0], random_state=0)
    >>> X.shape, y.shape
    ((3, 1), (3, 10, 10, 3))
    """
    if n_fields < 1:
        raise ValueError(f"n_fields must be at least 1, got {n_fields!r}")
    ts = np.arange(0.0, 101.0, 5.0) if times is None else np.asarray(times, dtype=np.float64)
    if ts.ndim != 1 or not len(ts) or ts[0] != 0.0:
        raise ValueError("times must be one-dimensional and begin at 0")
    start = check_random_state(random_state).uniform(size=(n_fields, *grid, 3))
    problem = abc_problem(grid, diffusivity=diffusivity)
    ys = solve(problem, start, ts, solver="rosenbrock", rtol=rtol, atol=rtol).ys[0].numpy()
    column = np.tile(ts, n_fields)[:, None]
    if n_fields > 1:
        column = np.hstack([np.repeat(np.arange(float(n_fields)), len(ts))[:, None], column])
    return column, ys.reshape(-1, *grid, 3)
