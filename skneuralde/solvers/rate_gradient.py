"""What one jump more would have changed: the gradient of expectations in the rates of jumps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.noise import Brownian, Clocks
from skneuralde.problems import Jump
from skneuralde.solvers.core.right_hand_side import InputsOverTime, ProblemLike, RightHandSide
from skneuralde.solvers.core.stepper import Solver, Trajectory
from skneuralde.solvers.integrate import Context, integrate
from skneuralde.solvers.jumps.schedule import ExtraJump, is_certain
from skneuralde.solvers.mesh.increment_cache import IncrementCache


@dataclass(frozen=True)
class SolveRequest:
    """All that `integrate` is asked, to be solved more than once with the same noise.

    Attributes
    ----------
    problem, u0, times, solver, context, noise, clocks, rtol, atol, dt, max_steps, aside, gradient, hazard_rtol
        The arguments of `integrate`.
    """

    problem: ProblemLike
    u0: Tensor
    times: Tensor
    solver: Solver
    context: Context
    noise: Brownian | None
    clocks: Clocks | None
    rtol: float | None
    atol: float | Tensor
    dt: float | None
    max_steps: int
    aside: bool = False
    gradient: str = "auto"
    hazard_rtol: float | None = None

    def run(
        self,
        *,
        times: Tensor | None = None,
        extra: ExtraJump | None = None,
        drawn: IncrementCache | None = None,
        gradient: str | None = None,
        on_error: str = "raise",
    ) -> Trajectory:
        """Solve; the arguments replace the simulation's own."""
        return integrate(
            self.problem,
            self.u0,
            self.times if times is None else times,
            solver=self.solver,
            context=self.context,
            noise=self.noise,
            clocks=self.clocks,
            rtol=self.rtol,
            atol=self.atol,
            hazard_rtol=self.hazard_rtol,
            dt=self.dt,
            max_steps=self.max_steps,
            aside=self.aside,
            gradient=self.gradient if gradient is None else gradient,
            on_error=on_error,
            extra=extra,
            drawn=drawn,
        )


class Branch(NamedTuple):
    """The solutions that had one jump more on some channel.

    Attributes
    ----------
    values : Tensor of shape (batch, n_times, dim)
        Without a gradient.
    weight : Tensor of shape (batch,)
        The length of each path times the rate where it branched off, with the gradient of the rate: through its
        parameters, and through the state.
    """

    values: Tensor
    weight: Tensor


def solve_with_branches(simulation: SolveRequest) -> tuple[Trajectory, list[Branch]]:
    r"""Solve, and once more for each channel whose rate has a gradient, with one jump more at a random time.

    The times are uniform over each path's length T, and functions of its key. A path and its branch have the same
    Brownian motion, clocks, uniforms of thinning and marks. For functionals F of one path

    .. math:: \frac{d}{d\theta} E F(X) = E \frac{d F(X)}{d\theta}
              + \sum_k E \Bigl[ T \frac{d \lambda_k(X_s)}{d\theta} (F(X^{k, s}) - F(X)) \Bigr],

    where the first term holds the jumps fixed, s is the random time, and the derivative of the rate is total [1]_ [2]_.

    Returns
    -------
    trajectory : Trajectory
    branches : list of Branch
        None where no gradient is recorded.

    References
    ----------
    .. [1] G. Last, "Perturbation analysis of Poisson processes", Bernoulli 20 (2014) 486-513.
    .. [2] A. Gupta and M. Khammash, "Unbiased estimation of parameter sensitivities for stochastic chemical reaction
       networks", SIAM Journal on Scientific Computing 35 (2013) A2598-A2620, for rates of Markov chains.
    """
    jumps, clocks = simulation.problem.jumps, simulation.clocks
    if clocks is None or not torch.is_grad_enabled() or all(map(is_certain, jumps)):
        return simulation.run(), []
    times = simulation.times.expand(len(simulation.u0), -1)
    start = times[:, :1]
    length = times.nan_to_num(nan=-torch.inf).amax(1, keepdim=True) - start
    time_point = start + clocks.shares() * length
    merged, order = torch.cat([times, time_point], 1).sort(dim=1, stable=True)
    drawn = IncrementCache()
    trajectory = simulation.run(times=merged, drawn=drawn)
    own = order < times.shape[1]
    values = trajectory.values[own].view(*times.shape, -1)
    state = trajectory.values[~own]
    rates = _rates(simulation, jumps, time_point, start, start + length, state)
    elapsed = torch.where(length > 0.0, time_point - start, torch.inf)
    branches = []
    for channel, rate in enumerate(rates):
        if rate.requires_grad:
            if jumps[channel].leap:
                raise ValueError(
                    f"jumps[{channel}].rate is learned by one jump more at its exact time, which a jump that leaps has "
                    "not: leave leap=True out"
                )
            with torch.no_grad():
                extra = ExtraJump(channel, elapsed, state.detach())
                branch = simulation.run(extra=extra, drawn=drawn, gradient="direct").values
                branch = torch.where((times < time_point)[..., None], values, branch)
            branches.append(Branch(branch, length[:, 0].to(rate.dtype) * rate))
    return replace(trajectory, values=values), branches


def _rates(
    simulation: SolveRequest, jumps: Sequence[Jump], time_point: Tensor, start: Tensor, end: Tensor, u: Tensor
) -> list[Tensor]:
    """The rate of each channel, (batch,), at times ``moment (batch, 1)`` and states ``u (batch, dim)``."""
    context = simulation.context
    if context is not None and not isinstance(context, Tensor):
        context = InputsOverTime(context, start[:, 0])
    rhs = RightHandSide(simulation.problem, context, start, end)
    now = rhs.at(time_point, u.dtype)
    return [rhs.rate(channel, now, u) for channel in range(len(jumps))]
