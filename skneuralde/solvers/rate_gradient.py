"""Gradients of expectations in the rates of jumps, by branches that have one jump more."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.solvers.core.inputs import InputsOverTime
from skneuralde.solvers.core.results import Trajectory
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.integrate import SolveRequest, integrate
from skneuralde.solvers.jumps.schedule import ExtraJump, is_certain
from skneuralde.solvers.mesh.increment_cache import IncrementCache


class Branch(NamedTuple):
    """Solutions that have one jump more on some channel.

    Attributes
    ----------
    values : Tensor of shape (batch, n_times, dim)
        Without a gradient.
    weight : Tensor of shape (batch,)
        The length of each path times the rate at its extra jump, with the gradient of the rate: in its parameters, and
        in the state.
    """

    values: Tensor
    weight: Tensor


def solve_with_branches(request: SolveRequest) -> tuple[Trajectory, list[Branch]]:
    r"""Solve, and solve again for each channel whose rate has a gradient, with one jump more at a random time.

    The times are uniform over each path's length T, and functions of its key. A path and its branch share the Brownian
    motion, the Poisson processes, the uniforms of thinning and the marks. For functionals F of one path

    .. math:: \frac{d}{d\theta} E F(X) = E \frac{d F(X)}{d\theta}
              + \sum_k E \Bigl[ T \frac{d \lambda_k(X_s)}{d\theta} (F(X^{k, s}) - F(X)) \Bigr],

    where the first term holds the jumps fixed, s is the random time, and the derivative of the rate is total [1]_ [2]_.

    Returns
    -------
    trajectory : Trajectory
    branches : list of Branch
        Empty if no gradient is recorded.

    References
    ----------
    .. [1] G. Last, "Perturbation analysis of Poisson processes", Bernoulli 20 (2014) 486-513.
    .. [2] A. Gupta and M. Khammash, "Unbiased estimation of parameter sensitivities for stochastic chemical reaction
       networks", SIAM Journal on Scientific Computing 35 (2013) A2598-A2620, for rates of Markov chains.
    """
    jumps, poisson = request.problem.jumps, request.poisson
    if poisson is None or not torch.is_grad_enabled() or all(map(is_certain, jumps)):
        return integrate(request), []
    times = request.times.expand(len(request.u0), -1)
    start = times[:, :1]
    length = times.nan_to_num(nan=-torch.inf).amax(1, keepdim=True) - start
    branch_time = start + poisson.shares() * length
    merged, order = torch.cat([times, branch_time], 1).sort(dim=1, stable=True)
    cache = IncrementCache()
    trajectory = integrate(replace(request, times=merged, increment_cache=cache))
    own = order < times.shape[1]
    values = trajectory.values[own].view(*times.shape, -1)
    state = trajectory.values[~own]
    rates = _rates(request, branch_time, start, start + length, state)
    elapsed = torch.where(length > 0.0, branch_time - start, torch.inf)
    branches = []
    for channel, rate in enumerate(rates):
        if rate.requires_grad:
            if jumps[channel].leap:
                raise ValueError(
                    f"jumps[{channel}].rate is learned by one jump more at its exact time, which a jump that leaps has "
                    "not: leave leap=True out"
                )
            extra = ExtraJump(channel, elapsed, state.detach())
            with torch.no_grad():
                branch = integrate(replace(request, extra_jump=extra, increment_cache=cache, gradient="direct")).values
                branch = torch.where((times < branch_time)[..., None], values, branch)
            branches.append(Branch(branch, length[:, 0].to(rate.dtype) * rate))
    return replace(trajectory, values=values), branches


def _rates(request: SolveRequest, t: Tensor, start: Tensor, end: Tensor, u: Tensor) -> list[Tensor]:
    """The rate of each channel, (batch,), at times ``t (batch, 1)`` and states ``u (batch, dim)``."""
    context = request.context
    if context is not None and not isinstance(context, Tensor):
        context = InputsOverTime(context, start[:, 0])
    rhs = RightHandSide(request.problem, context, start, end)
    now = rhs.at(t, u.dtype)
    return [rhs.rate(channel, now, u) for channel in range(len(request.problem.jumps))]
