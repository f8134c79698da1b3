"""`expect`: the mean of a functional of the paths, with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skneuralde.problems import Problem
from skneuralde.solvers.batching import PathBatch, to_batch
from skneuralde.solvers.core.controllers import Controller
from skneuralde.solvers.core.stepper import Solver
from skneuralde.solvers.integrate import SolveRequest
from skneuralde.solvers.rate_gradient import solve_with_branches
from skneuralde.solvers.registry import get_controller, resolve_solver


def expect(
    problem: Problem,
    y0: Any,
    ts: Any,
    functional: Callable[[Tensor], Tensor],
    *,
    n_paths: int,
    solver: str | Solver = "auto",
    controller: str | Controller | None = None,
    rtol: float | None = 1e-3,
    atol: float = 1e-6,
    dt: float | None = None,
    stops: Any = None,
    max_step: float | None = None,
    random_state: int | np.random.RandomState | np.random.Generator | None = None,
    context: Any = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    max_steps: int = 100_000,
    gradient: str = "auto",
) -> Tensor:
    """Monte Carlo mean of a functional of the paths, whose gradient is unbiased in rates too.

    A gradient through the solutions of `solve` holds the times of jumps fixed, and misses the effect of their rate.
    Here the rate's part of the gradient comes from one jump more on each path, at a uniform random time: the change of
    the functional is weighted by the derivative of the rate there [1]_ [2]_. This needs no likelihood and holds for any
    functional, also for a discontinuous one. It costs one more solution without gradients for each channel whose rate
    has a gradient; with fixed steps only from the random times on. All paths also stop at their random times, so that
    the value may differ from that without gradients by the error of the solver.

    The gradient in the other parameters, those of drift, diffusion, affects and y0, is that of the functional along
    each path. It is unbiased if the functional is continuous in the states and piecewise differentiable, like a call
    option or a maximum. What jumps as a path crosses a threshold, like a digital option or the indicator of a
    knock-out, contributes nothing to it: replace the indicator by ``torch.sigmoid((level - x) / width)``, whose bias
    vanishes as the width does. A functional without any derivative in the states is refused.

    Parameters
    ----------
    problem : Problem
        To learn a rate, give `Jump` a module and its bound; one that returns a parameter, ``(batch,)``, is a constant.
    y0, ts, solver, controller, rtol, atol, dt, stops, max_step
        Like in `solve`.
    random_state, context, device, dtype, max_steps, gradient
        Like in `solve`.
    functional : callable
        From solutions (n_paths, batch..., n_times, state...) to one value per path, (n_paths, batch..., ...), which
        depends on no other path.
    n_paths : int

    Returns
    -------
    Tensor of shape (batch..., ...)

    Raises
    ------
    ValueError
        If an argument makes no sense, the functional returns another shape, or the paths have a gradient and its value
        has none.
    SolverError
        If a path fails.

    See Also
    --------
    solve : The paths themselves.

    References
    ----------
    .. [1] G. Last, "Perturbation analysis of Poisson processes", Bernoulli 20 (2014) 486-513.
    .. [2] A. Gupta and M. Khammash, "Unbiased estimation of parameter sensitivities for stochastic chemical reaction
       networks", SIAM Journal on Scientific Computing 35 (2013) A2598-A2620.

    Examples
    --------
    Prices that halve at a rate to be learned: their mean at time 1 is exp(-rate / 2), its derivative -1/2 times that.

    >>> import torch
    >>> from skneuralde import Jump, Problem, expect
    >>> rate = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    >>> crash = Jump(lambda t, u: rate.expand(len(u)), lambda t, u: u / 2, bound=4.0)
    >>> mean = expect(
    ...     Problem(None, jumps=(crash,)), [1.0], [0.0, 1.0], lambda ys: ys[..., -1, 0],
    ...     n_paths=10_000, solver="euler", dt=1.0, random_state=0,
    ... )
    >>> mean.backward()
    >>> round(mean.item(), 4), round(-2 * rate.grad.item(), 4)
    (0.3713, 0.3713)
    """
    batch = to_batch(problem, y0, ts, n_paths=n_paths, context=context, stops=stops, device=device, dtype=dtype)
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
    )
    with batch.explained_failures():
        trajectory, branches = solve_with_branches(batch.with_noise(request, random_state))
    batch.warn_of_coarse_time(trajectory)
    value = _evaluate(functional, batch, trajectory.values)
    if trajectory.values.requires_grad and not value.requires_grad:
        raise ValueError(
            "functional has no derivative in the states, which depend on parameters or on y0: the gradient of an "
            "indicator is zero along each path, and that of its mean is not. Replace indicators such as x > level by "
            "torch.sigmoid((x - level) / width), or take the value alone under torch.no_grad()"
        )
    mean = value.mean(0)
    for branch in branches:
        with torch.no_grad():
            change = _evaluate(functional, batch, branch.values) - value
        weight = batch.shaped(branch.weight - branch.weight.detach())
        mean = mean + (weight.reshape(*weight.shape, *[1] * (value.ndim - weight.ndim)) * change).mean(0)
    return mean


def _evaluate(functional: Callable[[Tensor], Tensor], batch: PathBatch, values: Tensor) -> Tensor:
    value, shape = functional(batch.states(values)), (batch.n_paths, *batch.batch)
    if value.shape[: len(shape)] != shape:
        raise ValueError(
            f"functional must return one value per path, a tensor of shape {shape} or (*{shape}, ...), got "
            f"{tuple(value.shape)}"
        )
    return value
