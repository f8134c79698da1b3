"""Platen's method of weak order 2."""

from __future__ import annotations

from skneuralde.solvers.core.stepper import Step, StepInput, Stepper


class Platen(Stepper):
    """Second order for expectations and distributions; single paths do not converge.

    A step evaluates the drift twice and the diffusion three times. Increments take the values 0 and +-sqrt(3 h) only.
    The order is reached if each component of g depends on its own component of the state alone.

    References
    ----------
    .. [1] P. E. Kloeden and E. Platen, *Numerical Solution of Stochastic Differential Equations* (1992), section 15.1.
    """

    name = "platen"
    calculus = ("ito",)
    noise_kinds = ("diagonal", "additive")
    weak_order = 2.0
    increments = "three-point"
    reference = "Kloeden & Platen (1992)"

    def step(self, inputs: StepInput) -> Step:
        rhs, t, h, u, noise, _ = inputs
        assert noise is not None
        w = noise.w
        start, end = rhs.along(t, h, (0.0, 1.0), u.dtype)
        f, g = rhs.coefficients(start, u)
        assert g is not None
        k, kick = h * f, rhs.apply_noise(g, w)
        drifted = u + k
        mean_drift = 0.5 * (k + h * rhs.drift(end, drifted + kick))
        if rhs.has_additive_noise:
            return Step(u + mean_drift + 0.5 * (kick + rhs.apply_noise(rhs.diffusion(end, u), w)))
        root = h**0.5
        swing = root * g
        above, below = rhs.diffusion(end, drifted + swing), rhs.diffusion(end, drifted - swing)
        spread = (above - below) * ((w * w - h) / root)
        return Step(u + mean_drift + 0.25 * ((above + below) * w + spread) + 0.5 * kick)
