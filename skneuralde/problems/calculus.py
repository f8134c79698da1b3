"""Ito and Stratonovich forms of the same equation."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.problems.problem import Problem
from skneuralde.terms import Sum, Term


class Correction(Term):
    """A share of sum_jk g_kj dg_ij/du_k; half of it is Ito's drift less that of the Stratonovich form.

    P. E. Kloeden and E. Platen, *Numerical Solution of Stochastic Differential Equations* (1992), equation 4.9.11.
    """

    def __init__(self, diffusion: Term, share: float):
        super().__init__()
        self.diffusion = diffusion
        self.share = share

    def forward(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        """The correction at every path, ``(batch, dim)``."""
        g, slope = self.diffusion.linearize(t, u, c)
        if g.ndim == 2:
            return self.share * g * slope.diagonal(dim1=-2, dim2=-1)
        return self.share * torch.einsum("bkj,bijk->bi", g, slope)


def ito_form(problem: Problem) -> Problem:
    """Return the Ito equation with the same solutions; it shares the problem's coefficients."""
    return in_calculus(problem, ("ito",))


def stratonovich_form(problem: Problem) -> Problem:
    """Return the Stratonovich equation with the same solutions; it shares the problem's coefficients."""
    return in_calculus(problem, ("stratonovich",))


def in_calculus(problem: Problem, calculus: tuple[str, ...]) -> Problem:
    """Return an equation with the same solutions in one of these readings of the integral: itself where it can."""
    diffusion = problem.diffusion
    if problem.calculus in calculus or diffusion is None or problem.noise == "additive":
        return problem
    drift = problem.drift
    if diffusion.state_dependent:
        drift = Sum([drift, Correction(diffusion, 0.5 if problem.calculus == "stratonovich" else -0.5)])
    return problem.reinterpreted(drift, calculus[0])
