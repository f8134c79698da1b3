"""EES(2,5;1/10): an explicit method that can be stepped back."""

from __future__ import annotations

from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.base import Step
from skneuralde.solvers.equation import Equation, Moment
from skneuralde.solvers.fixed import FixedStepper

_NODES = (0.0, 1 / 3, 5 / 6)
_DECAYS = (0.0, -7 / 15, -35 / 32)
_WEIGHTS = (1 / 3, 15 / 16, 2 / 5)


class EES25(FixedStepper):
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
    gradients = (*FixedStepper.gradients, "reversible")
    reference = "Shmelev & Salvi (2025)"

    def step(
        self,
        equation: Equation,
        t: Tensor,
        h: Tensor | float,
        u: Tensor,
        noise: Increments | None,
        state: Tensor | None,
    ) -> Step:
        change: Tensor | float = 0.0
        moments = equation.along(t, h, _NODES, u.dtype)
        for moment, decay, weight in zip(moments, _DECAYS, _WEIGHTS, strict=True):
            change = decay * change + _push(equation, moment, h, u, noise)
            u = u + weight * change
        return Step(u)


def _push(equation: Equation, moment: Moment, h: Tensor | float, u: Tensor, noise: Increments | None) -> Tensor:
    """Evaluate f h + g dW."""
    f, g = equation.coefficients(moment, u)
    if g is None or noise is None:
        return h * f
    return h * f + equation.apply_noise(g, noise.w)
