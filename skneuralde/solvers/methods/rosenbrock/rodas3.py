"""Rodas3: a Rosenbrock method for stiff equations."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from skneuralde.solvers.core.controllers import PredictiveController
from skneuralde.solvers.core.dense_output import DenseOutput
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step, StepInput, Stepper
from skneuralde.solvers.core.stiffness import MOST_STATES
from skneuralde.solvers.methods.rosenbrock.linearization import linearized

_GAMMA = 0.5
#: Share of the third difference in the error estimate; the error of the dense output is at most five times as large.
_INSIDE = 0.1
#: The tolerance of iterative linear solves is this share of the relative tolerance, within bounds.
_SHARE, _LEAST, _MOST = 1e-3, 1e-10, 1e-5


class Rosenbrock(Stepper, DenseOutput):
    """Third order and L-stable: for stiff reactions, with or without diffusion.

    A step solves four linear equations with the Jacobian. For fields it is that of the reaction, point by point, and
    diffusion is solved in its eigenbasis. A problem with a sparsity has a sparse Jacobian, by coloured derivatives; up
    to 64 states without space have a dense one. A step evaluates the right-hand side three times, the Jacobian once,
    and, unless the equation is autonomous, the derivative with respect to time. The dense output is a polynomial of
    second order that damps stiff components as the step does. If the right-hand side depends on time, steps end on save
    times: the error estimate does not see, inside a step, a component that follows a forcing at once.

    At a pole of the solution a step may lead over it, and the solution goes on behind it; explicit methods stop there
    with an error.

    Notes
    -----
    The embedded method may agree with the method by coincidence, even at every step: both are exact for ``u' = -u^2``.
    The dense output is not. Where it is used, the error estimate includes that of the dense output.

    References
    ----------
    .. [1] A. Sandu, J. G. Verwer, J. G. Blom, E. J. Spee, G. R. Carmichael and F. A. Potra, "Benchmarking stiff ODE
       solvers for atmospheric chemistry problems II: Rosenbrock solvers", Atmos. Environ. 31 (1997) 3459-3472.
    .. [2] E. Hairer and G. Wanner, *Solving Ordinary Differential Equations II* (1996), section IV.7.
    """

    name = "rosenbrock"
    noise_kinds = ("none",)
    adaptive = handles_stiffness = True
    order = error_order = 3
    controller = PredictiveController()
    reference = "Sandu et al. (1997)"
    #: Tolerance of iterative linear solves, as a share of the right-hand side.
    residual = 1e-8
    #: Whether the right-hand side is known not to depend on time.
    is_autonomous = False

    def prepare(self, rhs: RightHandSide, t: Tensor, u: Tensor, *, rtol: float | None, n_hazards: int) -> Rosenbrock:
        """A copy that knows whether the equation is autonomous, and solves linear equations as accurately as needed.

        Raises
        ------
        ValueError
            For too many states without an operator or a sparsity pattern.
        """
        n, has_pattern = u.shape[1], rhs.pattern(u.shape[1]) is not None
        if n > MOST_STATES and has_pattern and n_hazards:
            raise ValueError(
                f"solver {self.name!r} integrates rates of jumps without a bound along with up to {MOST_STATES} "
                f"states, got {n}: give Jump a bound, or solver='rock2'"
            )
        if n > MOST_STATES and not has_pattern and rhs.field is None:
            raise ValueError(
                f"solver {self.name!r} solves up to {MOST_STATES} states without an operator, got {n}: give "
                "solver='rock2', an operator, or the sparsity of the drift"
            )
        tuned = copy.copy(self)
        # A rate may depend on time even if the drift does not.
        tuned.is_autonomous = not n_hazards and rhs.is_autonomous(t, u)
        tuned.residual = self.residual if rtol is None else min(max(_SHARE * rtol, _LEAST), _MOST)
        return tuned

    def step(self, inputs: StepInput) -> Step:
        rhs, t, h, u, _, _ = inputs
        length = h if isinstance(h, Tensor) else torch.full_like(u[:, :1], h)
        now, end = rhs.along(t, h, (0.0, 1.0), u.dtype)
        f, stages = linearized(rhs, now, u, 1.0 / (_GAMMA * length), self.residual)
        forced = torch.zeros_like(u) if self.is_autonomous else length * rhs.time_derivative(t, h, u)
        k1 = stages.solve(f + 0.5 * forced)
        k2 = stages.solve(f + (4.0 / length) * k1 + 1.5 * forced)
        k3 = stages.solve(rhs.drift(end, u + 2.0 * k1) + (k1 - k2) / length)
        k4 = stages.solve(rhs.drift(end, u + 2.0 * k1 + k3) + (k1 - k2 - (8.0 / 3.0) * k3) / length)
        error = _error(k1, k2, k4) if self.is_autonomous else k4
        if stages.failed is not None:
            error = torch.where(stages.failed, torch.inf, error)
        u1, stiffness = u + 2.0 * k1 + k3 + k4, stages.stiffness(length)
        return Step(u1, error, None, (k1, k2, k3, k4), stiffness=stiffness)

    def can_interpolate(self, rhs: RightHandSide) -> bool:
        return self.is_autonomous

    def interpolate(self, theta: Tensor, u0: Tensor, stages: tuple[Tensor, ...]) -> Tensor:
        # The weights of second order that meet one condition of third order, and leave (1 - theta)^3 of infinitely
        # stiff components.
        x = theta.to(u0.dtype)
        k1, k2, k3, k4 = stages
        start = x * (5.0 - 3.0 * x) * k1 - x * (1.0 - x) * k2
        return u0 + start + x * (1.0 + x * (1.0 - x)) * k3 + x * (3.0 + x * (3.0 - 5.0 * x)) * k4


@torch.no_grad()
def _error(k1: Tensor, k2: Tensor, k4: Tensor) -> Tensor:
    """Error estimate of a step and of its dense output.

    The latter is a share of ``(1 - W)^2 k1`` with ``W = (1 - h gamma J)^-1``, which damps stiff components. The ratio
    of the first two differences, component by component, stands for the second factor, which would take a solve.
    """
    second = 1.5 * k1 - 0.5 * k2  # (1 - W) k1
    third = second * (second / k1).nan_to_num_(0.0).clamp_(-1.0, 1.0)
    return torch.hypot(k4, _INSIDE * third)
