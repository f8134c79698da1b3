"""EES(2,5;1/10): an explicit method whose steps can be reversed."""

from __future__ import annotations

from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.right_hand_side import RightHandSide, TimePoint
from skneuralde.solvers.core.stepper import Step, StepInput, Stepper

_NODES = (0.0, 1 / 3, 5 / 6)
_DECAYS = (0.0, -7 / 15, -35 / 32)
_WEIGHTS = (1 / 3, 15 / 16, 2 / 5)


class EES25(Stepper):
    """Three evaluations a step, second order without noise, in the Stratonovich sense.

    A step with -h and -dW undoes a step, up to the sixth power of its length without noise: a gradient need not store
    the path. The strong order is 1 where the noise commutes: additive noise, and diagonal noise of which each component
    depends on its own component of the state alone.

    Notes
    -----
    Two registers, as in Williamson's Runge-Kutta methods: each stage scales the last change, adds its own and moves the
    state by a part of it.

    References
    ----------
    .. [1] D. Shmelev and C. Salvi, "Explicit and effectively symmetric schemes for neural SDEs" (2025),
       arXiv:2509.20599.
    """

    name = "ees25"
    calculus = ("stratonovich",)
    noise_kinds = ("none", "diagonal", "additive", "general")
    order = 2
    strong_order = 0.5
    weak_order = 1.0
    gradients = (*Stepper.gradients, "reversible")
    reference = "Shmelev & Salvi (2025)"

    def step(self, inputs: StepInput) -> Step:
        rhs, t, h, u, noise, _ = inputs
        change: Tensor | float = 0.0
        time_points = rhs.along(t, h, _NODES, u.dtype)
        for time_point, decay, weight in zip(time_points, _DECAYS, _WEIGHTS, strict=True):
            change = decay * change + _push(rhs, time_point, h, u, noise)
            u = u + weight * change
        return Step(u)


def _push(rhs: RightHandSide, time_point: TimePoint, h: Tensor | float, u: Tensor, noise: Increments | None) -> Tensor:
    """Evaluate f h + g dW."""
    f, g = rhs.coefficients(time_point, u)
    if g is None or noise is None:
        return h * f
    return h * f + rhs.apply_noise(g, noise.w)
