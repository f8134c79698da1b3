"""Propagation of moments by a solver of ordinary differential equations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.inference.moments.equations import MomentEquations
from skneuralde.inference.moments.propagator import Interval, Moments
from skneuralde.problems import Problem, ito_form
from skneuralde.solvers import Controller, Solver, SolveRequest, integrate


@dataclass(frozen=True)
class SolverPropagation:
    """The moment equations integrated by one of the package's solvers at its tolerance."""

    solver: Solver
    rtol: float
    atol: Tensor
    dt: float | None
    max_steps: int
    controller: Controller | None = None

    def advance(self, problem: Problem, start: Moments, interval: Interval) -> Moments:
        """See `MomentPropagator.advance`."""
        mean, cov, matrix = start
        if cov is None and problem.diffusion is not None:
            cov = mean.new_zeros(len(mean), mean.shape[-1], mean.shape[-1])
        equations = MomentEquations(ito_form(problem), mean.shape[-1])
        # The solution begins at the unit matrix, so that the tolerance is relative to that.
        unit = None if matrix is None else torch.eye(mean.shape[-1]).to(mean).expand_as(matrix)
        end = equations.unpack(self._solve(equations, Moments(mean, cov, unit), interval))
        if matrix is None or end.transition_matrix is None:
            return end
        return end._replace(transition_matrix=end.transition_matrix @ matrix)

    def _solve(self, equations: MomentEquations, start: Moments, interval: Interval) -> Tensor:
        t, h, c0, c1 = interval
        frame = torch.stack([t, torch.where(h < 0, -1.0, 1.0).to(t)], -1).to(start.mean.dtype)
        length = h.abs()

        def context(elapsed: Tensor) -> Tensor:
            fraction = (elapsed / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp(0, 1)
            return torch.cat([frame, interval.inputs_at(fraction)], -1)

        atol = self.atol.to(start.mean)
        if start.cov is not None:
            atol = torch.cat([atol, (atol[:, None] * atol)[equations.rows, equations.columns]])
        if start.transition_matrix is not None:
            atol = torch.cat([atol, torch.full((equations.dim**2,), self.rtol).to(atol)])
        request = SolveRequest(
            equations,
            equations.pack(start),
            torch.stack([torch.zeros_like(length), length], -1),
            self.solver,
            self.controller,
            torch.cat([frame, c0], -1) if c0 is c1 else context,
            rtol=self.rtol,
            atol=atol,
            dt=self.dt,
            max_steps=self.max_steps,
        )
        return integrate(request).values[:, -1]
