"""Rodas3: a Rosenbrock method for stiff equations whose Jacobian is at hand."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.adaptive import AdaptiveStepper
from skneuralde.solvers.base import Step
from skneuralde.solvers.equation import Equation
from skneuralde.solvers.march import Dense
from skneuralde.solvers.stage_equations import stage_equations

_GAMMA = 0.5


class Rosenbrock(AdaptiveStepper, Dense):
    """Third order and L-stable: for stiff reactions, with or without diffusion.

    A step solves four linear equations with the Jacobian: of fields that of the reaction at every point by itself, with
    diffusion in its eigenbasis; of up to 64 states without space the dense one. It evaluates the right-hand side three
    times and the Jacobian once. The solution inside a step is of second order.

    References
    ----------
    .. [1] A. Sandu, J. G. Verwer, J. G. Blom, E. J. Spee, G. R. Carmichael and F. A. Potra, "Benchmarking stiff ODE
       solvers for atmospheric chemistry problems II: Rosenbrock solvers", Atmos. Environ. 31 (1997) 3459-3472.
    .. [2] E. Hairer and G. Wanner, *Solving Ordinary Differential Equations II* (1996), section IV.7.
    """

    name = "rosenbrock"
    noise_kinds = ("none",)
    order = error_order = 3
    gradients = ("direct", "checkpoint")
    handles_stiffness = True
    reference = "Sandu et al. (1997)"

    def step(
        self,
        equation: Equation,
        t: Tensor,
        h: Tensor | float,
        u: Tensor,
        noise: Increments | None,
        state: Tensor | None,
    ) -> Step:
        length = h if isinstance(h, Tensor) else torch.full_like(u[:, :1], h)
        f, change = equation.drift_over_time(t, h, u)
        now, end = equation.at(t, u.dtype), equation.at(t + h, u.dtype)
        stages = stage_equations(equation, now, u, 1.0 / (_GAMMA * length))
        forced = length * change
        k1 = stages.solve(f + 0.5 * forced)
        k2 = stages.solve(f + (4.0 / length) * k1 + 1.5 * forced)
        k3 = stages.solve(equation.drift(end, u + 2.0 * k1) + (k1 - k2) / length)
        k4 = stages.solve(equation.drift(end, u + 2.0 * k1 + k3) + (k1 - k2 - (8.0 / 3.0) * k3) / length)
        error = k4 if stages.failed is None else torch.where(stages.failed, torch.inf, k4)
        return Step(u + 2.0 * k1 + k3 + k4, error, None, (k1, k2, k3 + k4))

    def inside(self, theta: Tensor, u0: Tensor, stages: tuple[Tensor, ...]) -> Tensor:
        # The weights meet the conditions of second order at every theta, and those of the step at its end.
        theta = theta.to(u0.dtype)
        first, second, rest = stages
        return u0 + theta * (5.0 - 3.0 * theta) * first + theta * (theta - 1.0) * second + theta**3 * rest
