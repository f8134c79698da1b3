"""The method of Euler and Maruyama."""

from __future__ import annotations

from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step
from skneuralde.solvers.stepping.fixed import FixedStepper


class Euler(FixedStepper):
    """u + f h + g dW.

    One evaluation a step; the reference for everything else, and a good choice where the network costs more than the
    error matters. Strong order 1 with additive noise.

    References
    ----------
    .. [1] G. Maruyama, "Continuous Markov processes and stochastic equations", Rend. Circ. Mat. Palermo 4 (1955).
    """

    name = "euler"
    calculus = ("ito",)
    noise_kinds = ("none", "diagonal", "additive", "general")
    order = 1
    strong_order = 0.5
    weak_order = 1.0
    reference = "Maruyama (1955)"

    def step(
        self,
        rhs: RightHandSide,
        t: Tensor,
        h: Tensor | float,
        u: Tensor,
        noise: Increments | None,
        state: Tensor | None,
    ) -> Step:
        f, g = rhs.coefficients(rhs.at(t, u.dtype), u)
        u1 = u + h * f
        if g is not None and noise is not None:
            u1 = u1 + rhs.apply_noise(g, noise.w)
        return Step(u1)
