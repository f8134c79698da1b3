"""`solve`: simulate an equation that is known."""

from __future__ import annotations

import math
import numbers
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skneuralde.noise import Brownian, Clocks
from skneuralde.problems import Problem
from skneuralde.solvers.base import Stats
from skneuralde.solvers.frame import DataFrame, to_frame
from skneuralde.solvers.integrate import check_numbers, integrate
from skneuralde.solvers.jump_tables import JumpTables
from skneuralde.solvers.registry import choose_solver, get_solver

#: Cells of the noise between two times that follow each other.
_MOST_CELLS_PER_GAP = 256


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
    gradient: str = "direct",
    on_error: str = "raise",
) -> Solution:
    """Simulate a differential equation.

    Gradients flow from the solution to every parameter of the problem and to ``y0``; not to the rates of jumps, whose
    times count as given. At a time at which a path jumps, it is in the state after the jump.

    Parameters
    ----------
    problem : Problem
    y0 : array-like of shape (batch..., dim), or (batch..., grid..., fields) with an operator
        States at the first time. Where neither the operators' spacing, boundary nor ndim tells the number of axes of
        the grid, y0 is one field.
    ts : array-like of shape (n_times,), or (batch..., n_times) padded on the right with NaN
        Where the solution is wanted, in order. Without noise they may decrease: then time runs backwards.
    solver : str, default="auto"
        A name of `solver_names`, or "torchsde:..." and "torchdiffeq:..." for a method of these packages. "auto" takes
        "tsit5" without noise, "sosri2" with diagonal and "sosra" with additive noise, and "euler" or "ees25" with
        general noise, Ito's or Stratonovich's, which need dt; of fields "rosenbrock" where a Laplacian diffuses them,
        and "rock2" with other operators.
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
    gradient : {"direct", "checkpoint", "reversible", "forward"}, default="direct"
        How gradients are found. "direct" remembers every step. "checkpoint" remembers the square root of their number
        and makes the others once more. "reversible" remembers the ends alone and steps back from them ("ees25" only).
        "forward" carries the derivatives with respect to y0 and all parameters along: for few parameters.
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
    method = get_solver(choose_solver(problem) if solver == "auto" else solver)
    method.check(problem)
    n_paths = _check_n_paths(n_paths)
    u0 = _state(y0, problem, device, dtype)
    check_numbers(method, u0.dtype, rtol, atol, dt, max_steps, gradient, on_error)
    state_ndim = u0.ndim if problem.state_ndim is None else problem.state_ndim
    batch, state = u0.shape[:-state_ndim], u0.shape[-state_ndim:]
    flat_problem = problem.flattened(state)
    size, dim = math.prod(batch), math.prod(state)
    is_random = problem.diffusion is not None or bool(problem.jumps)
    times = _times(ts, batch, u0.device, may_decrease=not is_random)
    copies = n_paths if is_random else 1
    inputs = _context(context, copies, batch, u0)
    u = u0.reshape(size, dim).repeat(copies, 1)
    flat_times = times if times.ndim == 1 else times.reshape(size, -1).repeat(copies, 1)
    start = flat_times[..., 0].expand(len(u))
    c = inputs(start) if callable(inputs) else inputs
    flat_problem.check(start[:, None].to(u.dtype), u, c)
    noise = clocks = None
    path, series = torch.meshgrid(torch.arange(copies), torch.arange(size), indexing="ij")
    keys = (path.flatten().to(u.device), series.flatten().to(u.device))
    seed = _seed(random_state)
    if problem.jumps:
        clocks = Clocks(seed, *keys, len(problem.jumps))
    if problem.diffusion is not None:
        cell = _cell(times, dt if rtol is None or not method.adaptive else None)
        noise = Brownian(seed, *keys, problem.noise_dim(dim), origin=start, cell=cell)
    trajectory = integrate(
        flat_problem,
        u,
        flat_times,
        solver=method,
        context=inputs,
        noise=noise,
        clocks=clocks,
        rtol=rtol,
        atol=atol,
        dt=dt,
        max_steps=max_steps,
        gradient=gradient,
        on_error=on_error,
    )

    def shaped(x: Tensor) -> Tensor:
        return x.reshape(copies, *batch, *x.shape[1:]).expand(n_paths, *batch, *x.shape[1:])

    stats = replace(
        trajectory.stats,
        steps=shaped(trajectory.stats.steps),
        rejections=shaped(trajectory.stats.rejections),
        smallest_step=shaped(trajectory.stats.smallest_step),
    )
    values = shaped(trajectory.values.unflatten(-1, state))
    jumps = JumpTables((), (), torch.zeros(len(u), 0, dtype=torch.int64, device=u.device))
    if clocks is not None and trajectory.jumps is not None:
        jumps = JumpTables.make(trajectory.jumps, problem.jumps, clocks, start, dim, u.dtype)
    return Solution(
        times,
        values,
        shaped(trajectory.status),
        stats,
        method.name,
        state_ndim,
        tuple(map(shaped, jumps.times)),
        tuple(map(shaped, jumps.marks)),
        shaped(jumps.counts),
    )


def _cell(times: Tensor, dt: float | None) -> float:
    """Length of the noise's cells: the usual distance of two times, or the nearest one that dt goes into by halving.

    So steps can end on regular times, a smaller dt refines the same path, and so does an adaptive method that is asked
    for the same times.
    """
    gaps = times.diff(dim=-1)
    gaps = gaps[gaps > 0]
    # No step with noise is longer than a cell: the longest gap must not need too many of them.
    usual = max(float(gaps.median()), float(gaps.max()) / _MOST_CELLS_PER_GAP) if len(gaps) else 1.0
    return usual if dt is None else math.ldexp(dt, round(math.log2(usual / dt)))


def _check_n_paths(n_paths: int) -> int:
    if isinstance(n_paths, bool) or not isinstance(n_paths, numbers.Integral) or n_paths < 1:
        raise ValueError(f"n_paths must be an integer of at least 1, got {n_paths!r}")
    return int(n_paths)


def _seed(random_state: int | np.random.RandomState | np.random.Generator | None) -> int:
    """A seed from what scikit-learn takes as random_state; None asks the operating system."""
    if random_state is None:
        return secrets.randbits(62)
    if isinstance(random_state, numbers.Integral) and not isinstance(random_state, bool):
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**62))
    raise ValueError(f"random_state must be None, an int, a RandomState or a Generator, got {random_state!r}")


def _state(y0: Any, problem: Problem, device: str | torch.device | None, dtype: torch.dtype | None) -> Tensor:
    """The initial states as a floating tensor."""
    values = y0 if isinstance(y0, Tensor) else torch.as_tensor(np.asarray(y0))
    if dtype is None:
        parameter = next(problem.parameters(), None)
        known = isinstance(y0, Tensor | np.ndarray | np.generic) and values.is_floating_point()
        dtype = values.dtype if known else torch.float64 if parameter is None else parameter.dtype
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"states are float32 or float64, got {dtype}: give dtype, or convert y0")
    if values.is_complex():
        raise ValueError("Complex data not supported: y0 must be real")
    fewest = 2 if problem.state_ndim is None else problem.state_ndim
    if values.ndim < fewest or values.numel() == 0:
        shape = "(*batch, dim)" if problem.operator is None else f"(*batch, *grid, fields), of {fewest} axes or more,"
        raise ValueError(f"y0 must have shape {shape} with at least one state, got {tuple(values.shape)}")
    u0 = values.to(device=device, dtype=dtype)
    wrong = (~u0.detach().isfinite()).nonzero()
    if len(wrong):
        index = tuple(wrong[0].tolist())
        raise ValueError(f"y0 must be finite, got {u0[index].item()} at index {index}")
    return u0


def _times(ts: Any, batch: torch.Size, device: torch.device, *, may_decrease: bool) -> Tensor:
    """The times as float64, checked to be in order."""
    times = ts.detach() if isinstance(ts, Tensor) else torch.as_tensor(np.asarray(ts, dtype=np.float64))
    times = times.to(device=device, dtype=torch.float64)
    if times.ndim == 0 or times.shape[-1] == 0:
        raise ValueError(f"ts must hold at least one time, got shape {tuple(times.shape)}")
    if times.ndim > 1 and times.shape[:-1] != batch:
        raise ValueError(
            f"ts must have shape (n_times,) or {(*batch, 'n_times')}, as y0 has the batch {tuple(batch)}, "
            f"got {tuple(times.shape)}"
        )
    missing = times.isnan()
    padding = missing if times.ndim > 1 else torch.zeros_like(missing)
    wrong = times.isinf() | (missing & ~padding)
    wrong[..., 0] |= missing[..., 0]
    wrong[..., 1:] |= missing[..., :-1] & ~missing[..., 1:]
    _refuse(times, wrong, "must be finite, with NaN only to fill up the right of shorter rows")
    change = times.diff(dim=-1)
    falling = change < 0
    backwards = falling.any(-1, keepdim=True)
    if not may_decrease:
        _refuse(times[..., 1:], falling, "must not decrease in an equation with noise or jumps", shift=1)
    _refuse(times[..., 1:], backwards & (change > 0), "must be in order", shift=1)
    return times


def _refuse(times: Tensor, wrong: Tensor, rule: str, *, shift: int = 0) -> None:
    found = wrong.nonzero()
    if len(found):
        index = tuple(found[0].tolist())
        place = (*index[:-1], index[-1] + shift)
        raise ValueError(f"ts {rule}, got {times[index].item()} at index {place[0] if len(place) == 1 else place}")


def _context(context: Any, copies: int, batch: torch.Size, u0: Tensor) -> Tensor | Callable[[Tensor], Tensor] | None:
    """Inputs of the flat batch of all paths."""
    if context is None:
        return None
    size = copies * math.prod(batch)

    def flat(c: Tensor) -> Tensor:
        if c.ndim < 1 or c.shape[:-1] not in (batch, (copies, *batch)):
            raise ValueError(f"context must have shape {(*batch, 'k')}, got {tuple(c.shape)}")
        return c.to(u0).expand(copies, *batch, c.shape[-1]).reshape(size, c.shape[-1])

    if callable(context):
        return lambda t: flat(context(t.reshape(copies, *batch)))
    values = context if isinstance(context, Tensor) else torch.as_tensor(np.asarray(context))
    return flat(values)
