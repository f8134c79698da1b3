"""Ito and Stratonovich forms of the same equation."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.problems.problem import Problem
from skneuralde.terms import Sum, Term


class StratonovichCorrection(Term):
    """1/2 sum_jk g_kj dg_ij/du_k: what a Stratonovich equation's drift lacks to be that of Ito's form.

    P. E. Kloeden and E. Platen, *Numerical Solution of Stochastic Differential Equations* (1992), equation 4.9.11.
    """

    def __init__(self, diffusion: Term):
        super().__init__()
        self.diffusion = diffusion

    def forward(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        """The correction at every path, ``(batch, dim)``."""
        g, slope = self.diffusion.linearize(t, u, c)
        if g.ndim == 2:
            return 0.5 * g * slope.diagonal(dim1=-2, dim2=-1)
        return 0.5 * torch.einsum("bkj,bijk->bi", g, slope)


def ito_form(problem: Problem) -> Problem:
    """Return the Ito equation with the same solutions; it shares the problem's coefficients."""
    if problem.calculus == "ito" or problem.diffusion is None or not problem.diffusion.state_dependent:
        return problem
    drift = Sum([problem.drift, StratonovichCorrection(problem.diffusion)])
    return Problem(drift, problem.diffusion, noise=problem.noise)
