"""Ito and Stratonovich forms of the same equation."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.problems.problem import Problem
from skneuralde.terms import Sum, Term

#: Step of the finite differences, in standard deviations of the state.
_STEP = 0.01


def noise_times_slope(g: Tensor, slope: Tensor) -> Tensor:
    """Products of values of the diffusion and of its slopes; 0 where g is 0, also if its slope is infinite there."""
    return g * torch.where(g == 0.0, 0.0, slope)


class Correction(Term):
    """A multiple of sum_jk g_kj dg_ij/du_k; half of that sum is the Ito drift minus the Stratonovich drift.

    P. E. Kloeden and E. Platen, *Numerical Solution of Stochastic Differential Equations* (1992), equation 4.9.11.
    """

    def __init__(self, diffusion: Term, share: float):
        super().__init__()
        self.diffusion = diffusion
        self.share = share

    def forward(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        g, slope = self.diffusion.linearize(t, u, c)
        if g.ndim == 2:
            return self.share * noise_times_slope(g, slope.diagonal(dim1=-2, dim2=-1))
        return self.share * noise_times_slope(g.mT[:, None], slope).sum((-2, -1))

    def _curvature(self, t: Tensor, u: Tensor, c: Tensor | None, cov: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # The second derivatives would need the diffusion's third ones: they are central differences of Jacobians, over
        # a small part of the state's standard deviation.
        value, jacobian = self._linearize(t, u, c)
        second = torch.zeros_like(value)
        for i, variance in enumerate(cov.diagonal(dim1=-2, dim2=-1).unbind(-1)):
            std = variance.clamp_min(torch.finfo(u.dtype).tiny).sqrt()[:, None]
            step = _STEP * cov[..., i] / std
            above, below = (self._linearize(t, u + sign * step, c)[1][..., i] for sign in (1.0, -1.0))
            second = second + std * (above - below) / (2.0 * _STEP)
        return value, jacobian, second


def ito_form(problem: Problem) -> Problem:
    """Return the Ito equation with the same solutions, which shares the problem's coefficients."""
    return in_calculus(problem, ("ito",))


def stratonovich_form(problem: Problem) -> Problem:
    """Return the Stratonovich equation with the same solutions, which shares the problem's coefficients."""
    return in_calculus(problem, ("stratonovich",))


def in_calculus(problem: Problem, calculus: tuple[str, ...]) -> Problem:
    """Return an equation with the same solutions in one of the given calculi: the problem itself if it fits."""
    diffusion = problem.diffusion
    if problem.calculus in calculus or diffusion is None or problem.noise == "additive":
        return problem
    drift = problem.drift
    if diffusion.state_dependent:
        drift = Sum([drift, Correction(diffusion, 0.5 if problem.calculus == "stratonovich" else -0.5)])
    return problem.reinterpreted(drift, calculus[0])
