"""The Milstein method."""

from __future__ import annotations

import torch

from skneuralde.problems import noise_times_slope
from skneuralde.solvers.core.stepper import Step, StepInput, Stepper


class Milstein(Stepper):
    """u + f h + g dW + g g' (dW^2 - h) / 2; without the last h in the Stratonovich sense.

    A step evaluates the drift once and differentiates the diffusion: a good choice if the drift is expensive and the
    diffusion is cheap. The order is reached if each component of g depends on its own component of the state
    alone. With additive noise it is the Euler-Maruyama method.

    References
    ----------
    .. [1] G. N. Milstein, "Approximate integration of stochastic differential equations", Theory Probab. Appl. 19
       (1975) 557-562.
    """

    name = "milstein"
    calculus = ("ito", "stratonovich")
    noise_kinds = ("diagonal", "additive")
    strong_order = 1.0
    weak_order = 1.0
    reference = "Milstein (1975)"

    def step(self, inputs: StepInput) -> Step:
        rhs, t, h, u, noise, _ = inputs
        assert noise is not None
        w, now = noise.w, rhs.at_start(t, h, u.dtype)
        if rhs.has_additive_noise:
            f, g = rhs.coefficients(now, u)
            assert g is not None
            return Step(u + h * f + rhs.apply_noise(g, w))
        f = rhs.drift(now, u)
        g, jacobian = rhs.linearized_diffusion(now, u)
        along_itself = noise_times_slope(g, jacobian.diagonal(dim1=-2, dim2=-1))
        square = w * w - h if rhs.problem.calculus == "ito" else w * w
        return Step(torch.add(u + h * f + g * w, along_itself * square, alpha=0.5))
