"""Rodas3: a Rosenbrock method for stiff equations whose Jacobian is at hand."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.controllers import PredictiveController
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step, Task, Trajectory
from skneuralde.solvers.mesh.mesh import DenseOutput
from skneuralde.solvers.methods.rosenbrock.linearization import MOST_STATES, linearized
from skneuralde.solvers.stepping.adaptive import AdaptiveStepper

_GAMMA = 0.5
#: What iterations may leave is this share of the relative tolerance, within bounds.
_SHARE, _LEAST, _MOST = 1e-3, 1e-10, 1e-5


class Rosenbrock(AdaptiveStepper, DenseOutput):
    """Third order and L-stable: for stiff reactions, with or without diffusion.

    A step solves four linear equations with the Jacobian: of fields that of the reaction at every point by itself, with
    diffusion in its eigenbasis; of a problem with a sparsity the sparse one, by coloured derivatives; of up to 64
    states without space the dense one. It evaluates the right-hand side three times, the Jacobian once, and where there
    is one the derivative with respect to time. Inside a step the solution is a polynomial of second order that forgets
    stiff components as the step does. Where the right-hand side depends on time, steps end on the times wanted: a
    component that follows a forcing at once is known there, but the error estimate says nothing of it in between.

    Where a solution becomes infinite, a step may lead over the pole, and the solution goes on behind it, as that of a
    rational function does; explicit methods stop there with an error.

    References
    ----------
    .. [1] A. Sandu, J. G. Verwer, J. G. Blom, E. J. Spee, G. R. Carmichael and F. A. Potra, "Benchmarking stiff ODE
       solvers for atmospheric chemistry problems II: Rosenbrock solvers", Atmos. Environ. 31 (1997) 3459-3472.
    .. [2] E. Hairer and G. Wanner, *Solving Ordinary Differential Equations II* (1996), section IV.7.
    """

    name = "rosenbrock"
    noise_kinds = ("none",)
    order = error_order = 3
    handles_stiffness = True
    smooth = PredictiveController
    reference = "Sandu et al. (1997)"
    #: What iterations may leave of a linear equation, as a share of its right-hand side.
    residual = 1e-8

    def solve(self, task: Task) -> Trajectory:
        """Solve, unless there are too many states without an operator that tells how they hang together."""
        n = task.u0.shape[1]
        told = task.rhs.pattern(n) is not None
        if told and task.hazards is not None and n > MOST_STATES:
            raise ValueError(
                f"solver {self.name!r} carries rates of jumps without a bound along with up to {MOST_STATES} states, "
                f"got {n}: give Jump a bound, or solver='rock2'"
            )
        if task.rhs.field is None and not told and n > MOST_STATES:
            raise ValueError(
                f"solver {self.name!r} solves up to {MOST_STATES} states without an operator, got {n}: give "
                "solver='rock2', an operator, or the sparsity of the drift"
            )
        task.rhs.notice_time(task.start.expand(len(task.u0), 1), task.u0)
        # As exact as the steps deserve.
        tuned = copy.copy(self)
        tuned.residual = self.residual if task.rtol is None else min(max(_SHARE * task.rtol, _LEAST), _MOST)
        return super(Rosenbrock, tuned).solve(task)

    def step(
        self,
        rhs: RightHandSide,
        t: Tensor,
        h: Tensor | float,
        u: Tensor,
        noise: Increments | None,
        state: Tensor | None,
    ) -> Step:
        length = h if isinstance(h, Tensor) else torch.full_like(u[:, :1], h)
        now, end = rhs.at(t, u.dtype), rhs.at(t + h, u.dtype)
        f, stages = linearized(rhs, now, u, 1.0 / (_GAMMA * length), self.residual)
        change = rhs.drift_over_time(t, h, u)
        forced = torch.zeros_like(u) if change is None else length * change
        k1 = stages.solve(f + 0.5 * forced)
        k2 = stages.solve(f + (4.0 / length) * k1 + 1.5 * forced)
        k3 = stages.solve(rhs.drift(end, u + 2.0 * k1) + (k1 - k2) / length)
        k4 = stages.solve(rhs.drift(end, u + 2.0 * k1 + k3) + (k1 - k2 - (8.0 / 3.0) * k3) / length)
        error = k4 if stages.failed is None else torch.where(stages.failed, torch.inf, k4)
        return Step(u + 2.0 * k1 + k3 + k4, error, None, (k1, k2, k3, k4))

    def can_interpolate(self, rhs: RightHandSide) -> bool:
        return not rhs.counter.depends_on_time

    def interpolate(self, theta: Tensor, u0: Tensor, stages: tuple[Tensor, ...]) -> Tensor:
        # The weights of second order that meet one condition of third order, and leave (1 - theta)^3 of what is
        # infinitely stiff.
        x = theta.to(u0.dtype)
        k1, k2, k3, k4 = stages
        start = x * (5.0 - 3.0 * x) * k1 - x * (1.0 - x) * k2
        return u0 + start + x * (1.0 + x * (1.0 - x)) * k3 + x * (3.0 + x * (3.0 - 5.0 * x)) * k4
