"""`solve`: simulate an equation that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skneuralde.problems import Problem
from skneuralde.solvers.batching import to_batch
from skneuralde.solvers.core.stepper import Stats
from skneuralde.solvers.frame import DataFrame, to_frame
from skneuralde.solvers.jumps.tables import JumpTables


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
        return to_frame(self.ts, self.ys, self.state_ndim)


def solve(
    problem: Problem,
    y0: Any,
    ts: Any,
    *,
    solver: str = "auto",
    rtol: float | None = 1e-3,
    atol: float = 1e-6,
    dt: float | None = None,
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
        States at the first time. Where neither the operators' spacing, boundary nor ndim tells the number of axes of
        the grid, nor the sparsity does, y0 is one field.
    ts : array-like of shape (n_times,), or (batch..., n_times) padded on the right with NaN
        Where the solution is wanted, in order. Without noise they may decrease: then time runs backwards.
    solver : str, default="auto"
        A name of `solver_names`, or "torchsde:..." and "torchdiffeq:..." for a method of these packages. "auto" takes
        "tsit5" without noise, "sosri2" with diagonal and "sosra" with additive noise, and "euler" or "ees25" with
        general noise, Ito's or Stratonovich's, which need dt; of fields "rosenbrock" where a Laplacian diffuses them,
        and "rock2" with other operators; "rosenbrock" without noise where the problem has a sparsity.
    rtol, atol : float; rtol also None
        Adaptive methods keep the local error of each path below ``atol + rtol * abs(u)``. With noise a state counts as
        no smaller than what the noise at the start moves it from one time to the next. With ``rtol=None`` an adaptive
        method, too, takes steps of size dt.
    dt : float, optional
        Step of a fixed-step method, which needs it; first step of an adaptive one.
    n_paths : int, default=1
        Number of independent solutions from each initial state. Without noise they are the same.
    random_state : int, RandomState, Generator or None
        An int gives the same Brownian paths at the same times ``ts``, whatever the tolerance or the method, and for
        fixed steps that divide the usual distance of two times in halves of halves; for other steps, with half the dt
        the same paths on a finer mesh. It gives the same jumps, too: exactly where rates are constant or have a bound,
        within the tolerance where they are integrated.
    context : array-like of shape (batch..., k) or callable, optional
        What the coefficients see as ``c``. A callable gets float64 times of shape (n_paths, batch...) and returns
        (n_paths, batch..., k), or something that broadcasts to it.
    device : optional
        Default: where y0 is.
    dtype : torch.float32 or torch.float64, optional
        Default: that of y0 if it is a floating array or tensor, else of the problem's parameters, else float64.
    max_steps : int, default=100_000
        Bound on the steps of one path.
    gradient : {"auto", "direct", "checkpoint", "reversible", "forward"}, default="auto"
        How gradients are found. "direct" remembers every step. "checkpoint" remembers only the states in between, or
        the square root of their number where there is noise or steps are fixed, and makes the steps once more.
        "reversible" remembers the ends alone and steps back from them ("ees25" only). "forward" carries the derivatives
        with respect to y0 and all parameters along: for few parameters. "auto" is "checkpoint" for fields, of which one
        step is large, and else "direct", which also has second derivatives.
    on_error : {"raise", "mask"}, default="raise"
        Whether a path that fails raises, or is NaN from there on and told by ``status``.

    Returns
    -------
    Solution

    Raises
    ------
    ValueError
        If an argument makes no sense, before any work.
    SolverError
        If a path fails.

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
    arranged = to_batch(
        problem,
        y0,
        ts,
        solver=solver,
        rtol=rtol,
        atol=atol,
        dt=dt,
        n_paths=n_paths,
        random_state=random_state,
        context=context,
        device=device,
        dtype=dtype,
        max_steps=max_steps,
        gradient=gradient,
        on_error=on_error,
    )
    trajectory = arranged.simulation.run(on_error=on_error)
    shaped = arranged.shaped
    stats = replace(
        trajectory.stats,
        steps=shaped(trajectory.stats.steps),
        rejections=shaped(trajectory.stats.rejections),
        smallest_step=shaped(trajectory.stats.smallest_step),
    )
    simulation, n_rows = arranged.simulation, len(trajectory.status)
    jumps = JumpTables((), (), torch.zeros(n_rows, 0, dtype=torch.int64, device=trajectory.status.device))
    if simulation.clocks is not None and trajectory.jumps is not None:
        start = simulation.times[..., 0].expand(n_rows)
        dim, dtype = trajectory.values.shape[-1], trajectory.values.dtype
        jumps = JumpTables.make(trajectory.jumps, problem.jumps, simulation.clocks, start, dim, dtype)
    return Solution(
        arranged.times,
        arranged.states(trajectory.values),
        shaped(trajectory.status),
        stats,
        simulation.solver.name,
        arranged.state_ndim,
        tuple(map(shaped, jumps.times)),
        tuple(map(shaped, jumps.marks)),
        shaped(jumps.counts),
    )
