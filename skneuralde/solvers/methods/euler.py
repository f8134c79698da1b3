"""The Euler-Maruyama method."""

from __future__ import annotations

from skneuralde.solvers.core.stepper import Step, StepInput, Stepper


class Euler(Stepper):
    """u + f h + g dW.

    A step evaluates each coefficient once. It is the reference for other methods, and a good choice if speed matters
    more than accuracy. The strong order is 1 with additive noise.

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

    def step(self, inputs: StepInput) -> Step:
        rhs, t, h, u, noise, _ = inputs
        f, g = rhs.coefficients(rhs.at_start(t, h, u.dtype), u)
        u1 = u + h * f
        if g is not None and noise is not None:
            u1 = u1 + rhs.apply_noise(g, noise.w)
        return Step(u1)
