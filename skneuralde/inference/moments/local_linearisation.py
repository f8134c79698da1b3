"""Mean and covariance of the state after an interval: the moment equations of a diffusion and two ways to solve them.

The equations are those of S. Sarkka and A. Solin, *Applied Stochastic Differential Equations* (2019), section 9.1, with
the means of drift and noise covariance over the spread of the state, to second order in it, so that geometric Brownian
motion, too, has its exact variance:

    m' = E[f] = f(m) + tr(f'' P) / 2,    P' = F P + P F' + E[g g'].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from skneuralde.inference.moments.linear_flow import linear_gaussian_flow, sandwich, transform
from skneuralde.problems import Problem, ito_form
from skneuralde.solvers import Controller, Solver, SolveRequest, integrate
from skneuralde.terms import Term
from skneuralde.terms.base import Expansion, sum_of_squares

#: The finest division of an interval that the local linearisation will use.
_MAX_SUBSTEPS = 1024


class Propagator(Protocol):
    """Carries mean and covariance across one interval; the inputs c move linearly from ``c0`` to ``c1``.

    A covariance of None going in is zero: the state is known exactly. None comes out where there is no diffusion,
    either.
    """

    def advance(
        self, problem: Problem, mean: Tensor, cov: Tensor | None, t: Tensor, h: Tensor, c0: Tensor, c1: Tensor
    ) -> tuple[Tensor, Tensor | None]: ...

    def flow(
        self, problem: Problem, mean: Tensor, cov: Tensor, t: Tensor, h: Tensor, c0: Tensor, c1: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, covariance, and the matrix (batch, dim, dim) by which the covariance is carried."""


def as_matrix(g: Tensor) -> Tensor:
    """Values of a diffusion, ``(batch, dim)`` or ``(batch, dim, m)``, as matrices."""
    if g.ndim == 3:
        return g
    return g[..., None] if g.shape[-1] == 1 else torch.diag_embed(g)


@dataclass(frozen=True)
class LinearNoise:
    """A diffusion around a state, taken as linear: its matrix g (batch, dim, m) and derivative (batch, dim, m, dim)."""

    g: Tensor
    slope: Tensor

    @classmethod
    def at(cls, diffusion: Term, t: Tensor, u: Tensor, c: Tensor) -> LinearNoise:
        """The diffusion around the states ``u (batch, dim)``."""
        g, slope = diffusion.linearize(t, u, c)
        if g.ndim == 3:
            return cls(g, slope)
        if g.shape[-1] == 1:
            return cls(g[..., None], slope[:, :, None])
        return cls(torch.diag_embed(g), torch.diag_embed(slope.mT).movedim(1, -1))

    def expected(self, factor: Tensor) -> Tensor:
        """E[g g'] over states of covariance L L', ``factor (batch, dim, r)`` being L; (batch, dim, dim)."""
        change = self.slope @ factor[:, None]
        if change.shape[1:3] == (1, 1):
            return noise_covariance(self.g) + noise_covariance(change[:, 0])
        return noise_covariance(self.g) + torch.einsum("bimr,bjmr->bij", change, change)


@dataclass(frozen=True)
class CurvedNoise:
    """A diffusion around a state to second order."""

    g: Tensor
    around: Expansion

    @classmethod
    def at(cls, diffusion: Term, t: Tensor, u: Tensor, c: Tensor) -> CurvedNoise:
        """The diffusion around the states ``u (batch, dim)``."""
        around = diffusion.expand(t, u, c)
        return cls(as_matrix(around.value), around)

    def expected(self, factor: Tensor) -> Tensor:
        """The same as `LinearNoise.expected`: exact for linear g, close to exact for the root of a linear function."""
        slopes, bend = self.around.along(factor.mT)
        mean = torch.add(self.g, as_matrix(bend), alpha=0.5)
        if slopes.shape[2:] == (1,):
            return noise_covariance(mean) + sum_of_squares(slopes, 1)[..., None]
        return noise_covariance(mean) + noise_covariance(as_matrix(slopes.flatten(0, 1))).unflatten(
            0, slopes.shape[:2]
        ).sum(1)


def square_root(cov: Tensor) -> Tensor:
    """A matrix L with ``L L' = cov``, which may be singular, differentiable."""
    if cov.shape[-1] == 1:
        return cov.clamp_min(torch.finfo(cov.dtype).tiny).sqrt()
    size = cov.diagonal(dim1=-2, dim2=-1)
    jitter = torch.diag_embed(
        100.0 * torch.finfo(cov.dtype).eps * (size + size.mean(-1, keepdim=True)) + torch.finfo(cov.dtype).tiny
    )
    return torch.linalg.cholesky_ex(cov + jitter)[0]


def noise_covariance(g: Tensor) -> Tensor:
    """The covariance g g' of the noise per unit of time."""
    return sum_of_squares(g, -1)[..., None] if g.shape[-2] == 1 else g @ g.mT


@dataclass(frozen=True)
class LocalLinearisation:
    """Exact moments of the equation linearised at the mean, on substeps no longer than ``substep``.

    The means over the spread of the state take the drift and the noise as curved, or else as linear, which is cheaper.

    Exact for a linear drift with additive noise at any spacing; of second order in the substep otherwise (T. Ozaki,
    Statistica Sinica 2, 1992; I. Shoji and T. Ozaki, Stochastic Analysis and Applications 16, 1998).
    """

    substep: float = math.inf
    curved_drift: bool = True
    curved_noise: bool = True

    def advance(
        self, problem: Problem, mean: Tensor, cov: Tensor | None, t: Tensor, h: Tensor, c0: Tensor, c1: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        problem = ito_form(problem)
        for rows, interval in self._substeps(t, h, c0, c1):
            if rows is None:
                mean, cov, _ = _substep(self, problem, mean, cov, *interval)
                continue
            part = None if cov is None else cov[rows]
            moved = _substep(self, problem, mean[rows], part, *interval)[:2]
            mean, cov = put_rows(mean, cov, rows, moved)
        return mean, cov

    def flow(
        self, problem: Problem, mean: Tensor, cov: Tensor, t: Tensor, h: Tensor, c0: Tensor, c1: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        problem = ito_form(problem)
        transition = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device).expand_as(cov)
        for rows, interval in self._substeps(t, h, c0, c1):
            rows = torch.arange(len(mean), device=mean.device) if rows is None else rows
            new_mean, new_cov, carried = _substep(self, problem, mean[rows], cov[rows], *interval)
            assert new_cov is not None  # there was one before
            mean, cov = mean.index_copy(0, rows, new_mean), cov.index_copy(0, rows, new_cov)
            transition = transition.index_copy(0, rows, carried @ transition[rows])
        return mean, cov, transition

    def _substeps(
        self, t: Tensor, h: Tensor, c0: Tensor, c1: Tensor
    ) -> Iterator[tuple[Tensor | None, tuple[Tensor, Tensor, Tensor, Tensor]]]:
        """Start, length and inputs at both ends of each substep, and the rows that make it; None for all of them."""
        if math.isinf(self.substep):
            yield None, (t, h, c0, c1)
            return
        count = (h.abs() / self.substep).ceil().clamp(1, _MAX_SUBSTEPS)
        for k in range(int(count.max()) if len(h) else 0):
            begin, end = k / count, (k + 1) / count
            interval = t + begin * h, h / count, _between(c0, c1, begin), _between(c0, c1, end)
            rows = (count > k).nonzero()[:, 0]
            if len(rows) == len(h):
                yield None, interval
            else:
                start, length, left, right = interval
                inputs = left[rows]
                yield rows, (start[rows], length[rows], inputs, inputs if left is right else right[rows])


def put_rows(
    mean: Tensor, cov: Tensor | None, rows: Tensor, moments: tuple[Tensor, Tensor | None]
) -> tuple[Tensor, Tensor | None]:
    """Moments in which these rows are replaced."""
    mean = mean.index_copy(0, rows, moments[0])
    return mean, cov if cov is None or moments[1] is None else cov.index_copy(0, rows, moments[1])


def _between(c0: Tensor, c1: Tensor, fraction: Tensor) -> Tensor:
    """Inputs part of the way from ``c0`` to ``c1``."""
    return c0 if c0 is c1 else torch.lerp(c0, c1, fraction.to(c0.dtype)[:, None])


def _substep(
    method: LocalLinearisation,
    problem: Problem,
    mean: Tensor,
    cov: Tensor | None,
    t: Tensor,
    h: Tensor,
    c0: Tensor,
    c1: Tensor,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """One step of the local linearisation, with coefficients linearised where Euler's method sees its middle.

    The last tensor is the matrix by which a covariance is carried.
    """
    now = (t + 0.5 * h).to(mean.dtype)[:, None]
    step = h.to(mean.dtype)
    c = c0 if c0 is c1 else torch.lerp(c0, c1, 0.5)
    half, length = 0.5 * step, (0.5 * step).abs()[:, None, None]
    drift, diffusion = problem.drift, problem.diffusion
    # Against time, where the spread knows no bounds, the mean is that of the flow without noise.
    ahead = torch.heaviside(step, step.new_ones(()))[:, None, None]
    # The state half way and its spread there, of which the coefficients are then expected.
    spread = None
    if cov is None:
        start = drift(now, mean, c)
    else:
        start, slope = expected_drift(drift, now, mean, c, ahead * cov if method.curved_drift else None)
        spread = sandwich(linear_gaussian_flow(slope, start, None, half)[0], cov)
    halfway = torch.addcmul(mean, half[:, None], start)
    density = None
    if diffusion is not None:
        varies = diffusion.state_dependent
        noise = (LinearNoise if varies and not method.curved_noise else CurvedNoise).at(diffusion, now, halfway, c)
        density = noise_covariance(noise.g)
        if cov is None or spread is None:
            factor = length.sqrt() * noise.g
            spread = length * density
        else:
            spread = spread + length * (noise.expected(square_root(cov)) if varies else density)
            factor = square_root(spread) if varies else noise.g
        if varies:
            density = noise.expected(factor)
    of = ahead * spread if method.curved_drift and spread is not None else None
    f, jacobian = expected_drift(drift, now, halfway, c, of)
    transition, shift, grown = linear_gaussian_flow(jacobian, f + transform(jacobian, mean - halfway), density, step)
    if cov is not None:
        carried = sandwich(transition, cov)
        grown = carried if grown is None else grown + carried
    return mean + shift, grown, transition


def expected_drift(drift: Term, t: Tensor, u: Tensor, c: Tensor, cov: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean of the drift (batch, dim) over states of this covariance around u, to second order, and its Jacobian at u.

    With None the drift is taken as linear.
    """
    if cov is None:
        return drift.linearize(t, u, c)
    value, jacobian, bend = drift.curvature(t, u, c, cov)
    return torch.add(value, bend, alpha=0.5), jacobian


class MomentEquations(nn.Module):
    """The moment equations as an ordinary differential equation in (m, upper triangle of P[, transition matrix]).

    Its own time starts at zero. The first two inputs of a path are where it starts and its direction, 1 or -1; its
    coefficients see ``start + direction * time`` and the other inputs. Against time, the drift changes its sign and the
    noise does not, and the mean is that of the flow without noise.
    """

    diffusion = None
    jumps = ()
    noise = "diagonal"
    calculus = "ito"
    sparsity = None
    state_ndim = 1

    def __init__(self, problem: Problem, dim: int, *, with_transition: bool = False):
        super().__init__()
        self.problem = problem
        self.dim = dim
        self.with_transition = with_transition
        self.rows, self.columns = torch.triu_indices(dim, dim)

    def check(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> None:
        """The coefficients were checked when the problem was built."""

    def pack(self, mean: Tensor, cov: Tensor | None, transition: Tensor | None = None) -> Tensor:
        if cov is None:
            return mean
        parts = [mean, cov[:, self.rows, self.columns]]
        return torch.cat(parts if transition is None else [*parts, transition.flatten(1)], -1)

    def unpack(self, state: Tensor) -> tuple[Tensor, Tensor | None]:
        mean = state[:, : self.dim]
        if state.shape[-1] == self.dim:
            return mean, None
        upper = state.new_zeros(len(state), self.dim, self.dim)
        upper[:, self.rows, self.columns] = state[:, self.dim : self.dim + len(self.rows)]
        return mean, upper + upper.triu(1).mT

    def transition(self, state: Tensor) -> Tensor:
        """The matrix by which a covariance is carried, the last part of the state."""
        return state[:, -(self.dim**2) :].unflatten(1, (self.dim, self.dim))

    def drift(self, t: Tensor, state: Tensor, c: Tensor) -> Tensor:
        start, direction, c = c[:, :1], c[:, 1:2], c[:, 2:]
        mean, cov = self.unpack(state)
        now = start + direction * t
        if cov is None:
            return direction * self.problem.drift(now, mean, c)
        ahead = direction.clamp_min(0.0)[..., None]
        f, jacobian = expected_drift(self.problem.drift, now, mean, c, ahead * cov)
        change = direction[..., None] * (jacobian @ cov)
        growth = change + change.mT
        if self.problem.diffusion is not None:
            noise = CurvedNoise.at(self.problem.diffusion, now, mean, c)
            varies = self.problem.diffusion.state_dependent
            growth = growth + (noise.expected(square_root(cov)) if varies else noise_covariance(noise.g))
        carried = direction[..., None] * (jacobian @ self.transition(state)) if self.with_transition else None
        return self.pack(direction * f, growth, carried)


@dataclass(frozen=True)
class SolverPropagation:
    """The moment equations integrated by one of the package's solvers at its tolerance."""

    solver: Solver
    rtol: float
    atol: Tensor
    dt: float | None
    max_steps: int
    controller: Controller | None = None

    def advance(
        self, problem: Problem, mean: Tensor, cov: Tensor | None, t: Tensor, h: Tensor, c0: Tensor, c1: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        if cov is None and problem.diffusion is not None:
            cov = mean.new_zeros(len(mean), mean.shape[-1], mean.shape[-1])
        equations = MomentEquations(ito_form(problem), mean.shape[-1])
        return equations.unpack(self._solve(equations, equations.pack(mean, cov), t, h, c0, c1))

    def flow(
        self, problem: Problem, mean: Tensor, cov: Tensor, t: Tensor, h: Tensor, c0: Tensor, c1: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        equations = MomentEquations(ito_form(problem), mean.shape[-1], with_transition=True)
        unit = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device).expand_as(cov)
        state = self._solve(equations, equations.pack(mean, cov, unit), t, h, c0, c1)
        mean, new_cov = equations.unpack(state)
        assert new_cov is not None  # there was one before
        return mean, new_cov, equations.transition(state)

    def _solve(self, equations: MomentEquations, start: Tensor, t: Tensor, h: Tensor, c0: Tensor, c1: Tensor) -> Tensor:
        frame = torch.stack([t, torch.where(h < 0, -1.0, 1.0).to(t)], -1).to(start.dtype)
        length = h.abs()

        def context(elapsed: Tensor) -> Tensor:
            fraction = (elapsed / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp(0, 1)
            return torch.cat([frame, torch.lerp(c0, c1, fraction.to(c0.dtype)[:, None])], -1)

        atol = self.atol.to(start)
        if start.shape[-1] > equations.dim:
            atol = torch.cat([atol, (atol[:, None] * atol)[equations.rows, equations.columns]])
        if equations.with_transition:
            atol = torch.cat([atol, torch.full((equations.dim**2,), self.rtol).to(start)])
        request = SolveRequest(
            equations,
            start,
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
