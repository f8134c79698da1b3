"""`solve`: simulation of a known equation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pandas import DataFrame, MultiIndex
from torch import Tensor

from skneuralde._transforms import constant
from skneuralde.problems import Problem
from skneuralde.solvers.batching import to_batch
from skneuralde.solvers.core.controllers import Controller
from skneuralde.solvers.core.results import Stats
from skneuralde.solvers.core.stepper import Solver
from skneuralde.solvers.integrate import SolveRequest, attempt, refuse_failures
from skneuralde.solvers.jumps.tables import JumpTables
from skneuralde.solvers.registry import get_controller, resolve_solver


@dataclass(frozen=True)
class Solution:
    """Solutions of an equation.

    Attributes
    ----------
    ts : float64 Tensor of shape (n_times,) or (batch..., n_times)
    ys : Tensor of shape (n_paths, batch..., n_times, state...)
    status : int64 Tensor of shape (n_paths, batch...)
        How each path ended: a `Status`, 0 for success.
    stats : Stats
        What it cost; tensors of shape (n_paths, batch...).
    solver : str
        The method used.
    state_ndim : int
        Number of axes of one state.
    jump_times : tuple of float64 Tensor of shape (n_paths, batch..., most)
        When the paths jumped, in order and padded with NaN; one per channel, none in an equation without jumps.
    jump_marks : tuple of Tensor of shape (n_paths, batch..., most, mark...)
        The marks of these jumps; the last axis has length 0 where the affect sees no marks.
    jump_counts : int64 Tensor of shape (n_paths, batch..., n_channels)
    """

    ts: Tensor
    ys: Tensor
    status: Tensor
    stats: Stats
    solver: str
    state_ndim: int
    jump_times: tuple[Tensor, ...]
    jump_marks: tuple[Tensor, ...]
    jump_counts: Tensor

    def mean(self) -> Tensor:
        """Mean over the paths, (batch..., n_times, state...)."""
        return self.ys.mean(0)

    def std(self) -> Tensor:
        """Standard deviation over the paths, (batch..., n_times, state...)."""
        return self.ys.std(0, correction=0)

    def quantile(self, q: float | Sequence[float]) -> Tensor:
        """Quantiles over the paths: (batch..., n_times, state...), behind a leading axis if several are asked for."""
        return self.ys.quantile(torch.as_tensor(q, dtype=self.ys.dtype, device=self.ys.device), 0)

    def to_frame(self) -> DataFrame:
        """The paths as rows, indexed by path, series (where there is a batch) and time."""
        return _to_frame(self.ts, self.ys, self.state_ndim)


def solve(
    problem: Problem,
    y0: Any,
    ts: Any,
    *,
    solver: str | Solver = "auto",
    controller: str | Controller | None = None,
    rtol: float | None = 1e-3,
    atol: float = 1e-6,
    dt: float | None = None,
    stops: Any = None,
    max_step: float | None = None,
    n_paths: int = 1,
    random_state: int | np.random.RandomState | np.random.Generator | None = None,
    context: Any = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    max_steps: int = 100_000,
    gradient: str = "auto",
    on_error: str = "raise",
) -> Solution:
    """Simulate a differential equation.

    Gradients flow from the solution to every parameter of the problem and to ``y0``; not to the rates of jumps, whose
    times count as given: `expect` has that gradient. At a time at which a path jumps, its state is that after the jump.

    Parameters
    ----------
    problem : Problem
    y0 : array-like of shape (batch..., dim), or (batch..., grid..., fields) with an operator
        States at the first time. If neither the operators' spacing, boundary or ndim nor the sparsity gives the number
        of axes of the grid, y0 is one field.
    ts : array-like of shape (n_times,), or (batch..., n_times) padded on the right with NaN
        Save times, in order, as numbers in the unit of time of the coefficients: dates and durations are refused.
        Without noise they may decrease: then time runs backwards. Without noise and jumps, the solution has a
        derivative in a tensor of times.
    solver : str or Solver, default="auto"
        A name of `solver_names`, where "torchsde:..." and "torchdiffeq:..." are methods of these packages, or an
        instance of a method of your own. "auto" takes
        "tsit5" without noise, "rosenbrock" for paths while the equation is stiff for them (over 64 states "rock2"),
        "sosri2" with diagonal and "sosra" with additive noise, and "euler" or "ees25" with
        general noise, Ito's or Stratonovich's, which need dt; of fields "rosenbrock" where a Laplacian is the only
        operator, and with others "tsit5", which leaves stiff paths to "rosenbrock" with and to "rock2" without a
        Laplacian; "rosenbrock" without noise where the problem has a sparsity.
    controller : {"pi", "predictive", "averaged_error"} or Controller, optional
        Step-size controller of an adaptive method, in place of its own.
    rtol, atol : float; rtol also None
        Adaptive methods keep the local error of each path below ``atol + rtol * abs(u)``. With noise ``abs(u)`` is at
        least the largest value so far, times the share of the time since then, and the standard deviation by which the
        noise would have moved the state in a small part of the time so far. With ``rtol=None`` an adaptive method, too,
        takes steps of size dt.
    dt : float, optional
        Step of a fixed-step method, which needs it; first step of an adaptive one.
    stops : array-like of shape (n,), or (batch..., n) padded with NaN, optional
        Times, in any order, at which a coefficient jumps or has a kink: steps end there, and nothing is carried over
        from before. A coefficient is not evaluated at a stop itself, but just before and just after it.
    max_step : float, optional
        Bound on the steps of adaptive methods. They do not see what happens within a step and is over at its stages:
        give the length of the shortest feature whose times are not known.
    n_paths : int, default=1
        Number of independent solutions from each initial state. Without noise they are the same.
    random_state : int, RandomState, Generator or None
        A Brownian path is a function of an int, the numbers of the path and of its place in the batch, the time since
        the first one, and the power of two not below the whole time of its row. Neither the times in between, the
        tolerance, the method nor other rows change it. With fixed steps it is also a function of dt, up to powers of
        two: half the dt gives the same path on a finer mesh, and a dt that is a power of two gives that of adaptive
        steps. The jumps are the same, too: exactly if rates are constant or have a bound, and within the tolerance if
        they are integrated. The three-valued increments of "platen" belong to its steps, and have no path.
    context : array-like of shape (batch..., k) or callable, optional
        What the coefficients see as ``c``. A callable gets float64 times of shape (n_paths, batch...) and returns
        (n_paths, batch..., k), or something that broadcasts to it. If it has an attribute ``knots``, of the shape of
        ``stops``, these are stops as well. At the end of a step it is read just before.
    device : optional
        Default: where y0 is.
    dtype : torch.float32 or torch.float64, optional
        Default: that of y0 if it is a floating array or tensor, else of the problem's parameters, else float64.
    max_steps : int, default=100_000
        Bound on the steps of one path.
    gradient : {"auto", "direct", "checkpoint", "reversible", "forward"}, default="auto"
        How gradients are computed. "direct" stores the graph of every step. "checkpoint" stores the states between
        steps, or the square root of their number with noise or fixed steps, and makes the steps again. "reversible"
        stores the final states and steps back from them ("ees25" only). "forward" propagates the derivatives with
        respect to y0 and all parameters along with the states, for few parameters. "auto" is "checkpoint" for fields,
        where one step is large, and else "direct". Second derivatives store the graph of every step; for fields by
        "rosenbrock" they need "checkpoint" or "forward". Transforms of torch.func, except vmap, take "direct".
    on_error : {"raise", "mask"}, default="raise"
        Whether a path that fails raises an error, or is NaN from there on, with its ``status``.

    Returns
    -------
    Solution

    Raises
    ------
    ValueError
        If an argument makes no sense, before any work.
    SolverError
        If a path fails.

    Warns
    -----
    UserWarning
        If coefficients see time rounded to more than a thousandth of a step, in float32 far from time zero.

    Examples
    --------
    >>> import torch
    >>> from skneuralde import Problem, solve
    >>> decay = Problem(lambda t, u: -u)
    >>> solve(decay, [1.0], [0.0, 1.0], rtol=1e-8, atol=1e-8).ys[0, -1].round(decimals=4)
    tensor([0.3679], dtype=torch.float64)

    A thousand paths of geometric Brownian motion, each with steps of its own:

    >>> asset = Problem(lambda t, u: 0.05 * u, lambda t, u: 0.2 * u)
    >>> solve(asset, [1.0], [0.0, 0.5, 1.0], n_paths=1000, random_state=0).mean().shape
    torch.Size([3, 1])

    The same asset with crashes, twice a year, that it falls by a third in:

    >>> from skneuralde import Jump
    >>> crashing = Problem(asset.drift, asset.diffusion, jumps=(Jump(2.0, lambda t, u: u * 2 / 3),))
    >>> crashes = solve(crashing, [1.0], [0.0, 1.0], n_paths=1000, random_state=0)
    >>> crashes.jump_counts.double().mean().round(decimals=1)
    tensor(2., dtype=torch.float64)
    """
    batch = to_batch(
        problem,
        y0,
        ts,
        n_paths=n_paths,
        context=context,
        stops=stops,
        device=device,
        dtype=dtype,
        range_of_rates=on_error != "mask",
    )
    method = resolve_solver(solver, problem, batch.u0.shape[1])
    request = SolveRequest(
        batch.problem,
        batch.u0,
        batch.flat_times,
        method,
        get_controller(controller),
        batch.context,
        rtol=rtol,
        atol=atol,
        dt=dt,
        stops=batch.stops,
        max_step=max_step,
        max_steps=max_steps,
        gradient=gradient,
        on_error=on_error,
    )
    request = batch.with_noise(request, random_state)
    with batch.explained_failures():
        trajectory = attempt(request)
        batch.warn_of_coarse_time(trajectory)
        refuse_failures(request, trajectory)
    stats, shaped, n_rows = trajectory.stats, batch.shaped, len(trajectory.status)
    jumps = JumpTables((), (), torch.zeros(n_rows, 0, dtype=torch.int64, device=trajectory.status.device))
    if request.poisson is not None and trajectory.jumps is not None:
        start = constant(request.times)[..., 0].expand(n_rows)
        dim, dtype = trajectory.values.shape[-1], trajectory.values.dtype
        jumps = JumpTables.make(trajectory.jumps, problem.jumps, request.poisson, start, dim, dtype)
    return Solution(
        ts=constant(batch.times),
        ys=batch.states(trajectory.values),
        status=shaped(trajectory.status),
        stats=replace(
            stats,
            steps=shaped(stats.steps),
            rejections=shaped(stats.rejections),
            smallest_step=shaped(stats.smallest_step),
            steps_by_method={name: shaped(steps) for name, steps in stats.steps_by_method.items()},
        ),
        solver=method.for_tolerance(rtol).name,
        state_ndim=batch.state_ndim,
        jump_times=tuple(map(shaped, jumps.times)),
        jump_marks=tuple(map(shaped, jumps.marks)),
        jump_counts=shaped(jumps.counts),
    )


def _to_frame(ts: Tensor, ys: Tensor, state_ndim: int = 1) -> DataFrame:
    """One row per path, series and time; one column per component.

    Parameters
    ----------
    ts : Tensor of shape (n_times,) or (*batch, n_times)
    ys : Tensor of shape (n_paths, *batch, n_times, *state)
    state_ndim : int
        Number of axes of one state.

    Returns
    -------
    DataFrame
        Columns ``y0``, ``y1``, ...; those of a field have the levels ``x0``, ``x1``, ... and ``field``. Index levels
        ``path``, then ``series`` (``series_0``, ``series_1``, ... for a batch of several axes), then ``time``. Times
        that only pad are left out.
    """
    values = ys.detach().cpu().numpy()
    lead, state = values.shape[:-state_ndim], values.shape[-state_ndim:]
    times = np.broadcast_to(ts.cpu().numpy(), lead)
    axes = len(lead) - 2
    series = ["series"] if axes == 1 else [f"series_{axis}" for axis in range(axes)]
    positions = np.indices(lead)[:-1].reshape(axes + 1, -1)
    index = MultiIndex.from_arrays([*positions, times.ravel()], names=["path", *series, "time"])
    names = [f"y{i}" for i in range(state[-1])]
    columns = names
    if state_ndim > 1:
        levels = [*(f"x{axis}" for axis in range(state_ndim - 1)), "field"]
        columns = MultiIndex.from_product([*map(range, state[:-1]), names], names=levels)
    frame = DataFrame(values.reshape(-1, math.prod(state)), index=index, columns=columns)
    return frame[~np.isnan(times.ravel())]
