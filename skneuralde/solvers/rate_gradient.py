"""Gradients of expectations in the rates of jumps, by branches that have one jump more."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.noise.keys import keyed_normals
from skneuralde.solvers.core.errors import SolverError
from skneuralde.solvers.core.inputs import InputsOverTime
from skneuralde.solvers.core.results import Status, Trajectory
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.gradients.dependencies import leaf_tensors
from skneuralde.solvers.integrate import SolveRequest, integrate
from skneuralde.solvers.jumps.rate_check import RateCheck
from skneuralde.solvers.jumps.schedule import ExtraJump, is_certain
from skneuralde.solvers.mesh.increment_cache import IncrementCache
from skneuralde.terms import trainable


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
    Where a rate and its derivative are zero, so is the second term. The path is not given a jump then, which may lead
    out of the domain of the equation.

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
    if (
        poisson is None
        or not torch.is_grad_enabled()
        or all(is_certain(jump) and not trainable(jump.rate) for jump in jumps)
    ):
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
    _check(request, trajectory, branch_time, state, rates)
    branches = []
    for channel, rate in enumerate(rates):
        rate = rate.clamp_min(0.0)
        if rate.requires_grad:
            if jumps[channel].leap:
                raise ValueError(
                    f"jumps[{channel}].rate is learned by one jump more at its exact time, which a jump that leaps has "
                    "not: leave leap=True out"
                )
            has_weight = (length > 0.0) & _has_weight(request, channel, branch_time, start, start + length, state)
            elapsed = torch.where(has_weight, branch_time - start, torch.inf)
            extra = ExtraJump(
                channel, elapsed, state.detach(), None if trajectory.rates is None else trajectory.rates.largest
            )
            with torch.no_grad():
                branch = integrate(replace(request, extra_jump=extra, increment_cache=cache, gradient="direct")).values
                branch = torch.where(((times < branch_time) | ~has_weight)[..., None], values, branch)
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


def _check(request: SolveRequest, trajectory: Trajectory, t: Tensor, u: Tensor, rates: list[Tensor]) -> None:
    """Raise SolverError for a rate that is invalid at times ``t (batch, 1)`` and states ``u (batch, dim)``."""
    check, path = trajectory.rates, torch.arange(len(u), device=u.device)
    assert isinstance(check, RateCheck)
    _, invalid = check.check(range(len(rates)), path, t, u, torch.stack(rates, 1))
    if bool(invalid.any()):
        failed = invalid.any(1)
        status = trajectory.status.masked_fill(failed, int(Status.INVALID_RATE))
        reached = torch.where(failed, t[:, 0], trajectory.reached)
        trajectory = replace(trajectory, status=status, reached=reached)
        has_noise = request.problem.diffusion is not None
        raise SolverError.from_trajectory(request.solver.name, trajectory, has_noise=has_noise)


def _has_weight(request: SolveRequest, channel: int, t: Tensor, start: Tensor, end: Tensor, u: Tensor) -> Tensor:
    """Whether the rate of a channel or its derivative differs from zero, bool (batch, 1)."""
    around = u.detach().requires_grad_()
    rate = _rates(request, t, start, end, around)[channel].clamp_min(0.0)
    unknown = rate.detach() == 0.0
    if not bool(unknown.any()):
        return torch.ones_like(unknown)[:, None]
    dependencies = [x for x in leaf_tensors(rate) if x is not around]
    has_weight = ~unknown | _depends_on(rate, dependencies)
    if u.requires_grad:
        (slope,) = torch.autograd.grad(rate.sum(), around, allow_unused=True, materialize_grads=True)
        has_weight |= _moves(u, torch.where(has_weight[:, None], 0.0, slope))
    return has_weight[:, None]


def _depends_on(values: Tensor, dependencies: list[Tensor]) -> Tensor:
    """Whether each of the values (n,) has a derivative in some of the dependencies, bool (n,).

    The derivatives of all values in one random direction come from a reverse pass that is differentiated in the weights
    of the values, since it is linear in these.
    """
    weights = torch.ones_like(values, requires_grad=True)
    slopes = (
        torch.autograd.grad(values, dependencies, weights, create_graph=True, allow_unused=True) if dependencies else ()
    )
    along = sum((_direction(slope) * slope).sum() for slope in slopes if slope is not None)
    if not isinstance(along, Tensor) or not along.requires_grad:
        return torch.zeros_like(values, dtype=torch.bool)
    (change,) = torch.autograd.grad(along, weights, allow_unused=True, materialize_grads=True)
    return change != 0.0


def _moves(u: Tensor, slope: Tensor) -> Tensor:
    """The rows of states ``u (n, dim)`` whose derivative, times ``slope (n, dim)``, may differ from zero.

    One reverse pass tests them together: if any of them is not zero, all rows with a slope count.
    """
    rows = (slope != 0.0).any(1)
    if bool(rows.any()):
        found = torch.autograd.grad(u, leaf_tensors(u), _direction(u) * slope, retain_graph=True, allow_unused=True)
        rows &= any(bool((gradient != 0.0).any()) for gradient in found if gradient is not None)
    return rows


def _direction(like: Tensor) -> Tensor:
    """Random numbers, of the shape of a tensor, that no structure of the problem knows."""
    number = torch.arange(like.numel(), device=like.device)
    return keyed_normals(0, number).view(like.shape).to(like.dtype)
