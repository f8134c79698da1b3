"""Mean and covariance of the state after an interval: the moment equations of a diffusion and two ways to solve them.

The equations are those of S. Sarkka and A. Solin, *Applied Stochastic Differential Equations* (2019), section 9.1, with
the mean noise covariance E[g g'] of a g that is linear around the mean, so that geometric Brownian motion, too, has its
exact variance:

    m' = f(m),    P' = F P + P F' + g g' + sum_kl P_kl (dg/du_k) (dg/du_l)'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from skneuralde.inference.linear_gaussian import linear_gaussian_flow, sandwich, transform
from skneuralde.problems import Problem, ito_form
from skneuralde.solvers import Solver, integrate
from skneuralde.terms import Term

#: The finest division of an interval that the local linearisation will use.
_MAX_SUBSTEPS = 1024


class Propagator(Protocol):
    """Carries mean and covariance across one interval; the inputs c move linearly from ``c0`` to ``c1``.

    A covariance of None going in is zero: the state is known exactly. None comes out where there is no diffusion.
    """

    def advance(
        self, problem: Problem, mean: Tensor, cov: Tensor | None, t: Tensor, h: Tensor, c0: Tensor, c1: Tensor
    ) -> tuple[Tensor, Tensor | None]: ...


def noise_matrix(diffusion: Term, t: Tensor, u: Tensor, c: Tensor) -> tuple[Tensor, Tensor | None]:
    """Diffusion matrix g (batch, dim, m) at u and its derivative (batch, dim, m, dim); None where it has none."""
    if not diffusion.state_dependent:
        g, slope = diffusion(t, u, c), None
    else:
        g, slope = diffusion.linearize(t, u, c)
    if g.ndim == 3:
        return g, slope
    if g.shape[-1] == 1:
        return g[..., None], None if slope is None else slope[:, :, None]
    return torch.diag_embed(g), None if slope is None else torch.diag_embed(slope.mT).movedim(1, -1)


def noise_covariance(g: Tensor) -> Tensor:
    """The covariance g g' of the noise per unit of time."""
    return g.square().sum(-1, keepdim=True) if g.shape[-2] == 1 else g @ g.mT


def excess_noise(slope: Tensor, cov: Tensor) -> Tensor:
    """What E[g g'] over a state of covariance ``cov`` has more than g g', for a g that is linear around the mean."""
    if cov.shape[-1] == 1:
        return slope.square().sum((-1, -2))[..., None] * cov
    return torch.einsum("bimk,bjmk->bij", slope @ cov[:, None], slope)


@dataclass(frozen=True)
class LocalLinearisation:
    """Exact moments of the equation linearised at the mean, on substeps no longer than ``substep``.

    Exact for a linear drift with additive noise at any spacing; of second order in the substep otherwise (T. Ozaki,
    Statistica Sinica 2, 1992; I. Shoji and T. Ozaki, Stochastic Analysis and Applications 16, 1998).
    """

    substep: float = math.inf

    def advance(
        self, problem: Problem, mean: Tensor, cov: Tensor | None, t: Tensor, h: Tensor, c0: Tensor, c1: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        problem = ito_form(problem)
        if math.isinf(self.substep):
            return _substep(problem, mean, cov, t, h, c0, c1)
        count = (h.abs() / self.substep).ceil().clamp(1, _MAX_SUBSTEPS)
        for k in range(int(count.max()) if len(h) else 0):
            begin, end = k / count, (k + 1) / count
            interval = t + begin * h, h / count, _between(c0, c1, begin), _between(c0, c1, end)
            rows = (count > k).nonzero()[:, 0]
            if len(rows) == len(h):
                mean, cov = _substep(problem, mean, cov, *interval)
                continue
            part = None if cov is None else cov[rows]
            moved = _substep(problem, mean[rows], part, *(x[rows] for x in interval))
            mean, cov = put_rows(mean, cov, rows, moved)
        return mean, cov


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
    problem: Problem, mean: Tensor, cov: Tensor | None, t: Tensor, h: Tensor, c0: Tensor, c1: Tensor
) -> tuple[Tensor, Tensor | None]:
    """One step of the local linearisation, with coefficients linearised where Euler's method sees its middle."""
    now = (t + 0.5 * h).to(mean.dtype)[:, None]
    step = h.to(mean.dtype)
    c = c0 if c0 is c1 else torch.lerp(c0, c1, 0.5)
    half = 0.5 * step
    halfway = torch.addcmul(mean, half[:, None], problem.drift(now, mean, c))
    f, jacobian = problem.drift.linearize(now, halfway, c)
    density = None
    if problem.diffusion is not None:
        g, slope = noise_matrix(problem.diffusion, now, halfway, c)
        density = noise_covariance(g)
        if slope is not None:
            between = half.abs()[:, None, None] * density
            if cov is not None:
                transition, _, _ = linear_gaussian_flow(jacobian, f, None, half)
                between = sandwich(transition, cov) + half.abs()[:, None, None] * (density + excess_noise(slope, cov))
            density = density + excess_noise(slope, between)
    transition, shift, spread = linear_gaussian_flow(jacobian, f + transform(jacobian, mean - halfway), density, step)
    if cov is not None and spread is not None:
        spread = spread + sandwich(transition, cov)
    return mean + shift, spread


class MomentEquations(nn.Module):
    """The moment equations as an ordinary differential equation in (m, upper triangle of P).

    Its own time starts at zero. The first two inputs of a path are where it starts and its direction, 1 or -1; its
    coefficients see ``start + direction * time`` and the other inputs. Against time, the drift changes its sign and the
    noise does not.
    """

    diffusion = None
    noise = "diagonal"
    calculus = "ito"
    state_ndim = 1

    def __init__(self, problem: Problem, dim: int):
        super().__init__()
        self.problem = problem
        self.dim = dim
        self.rows, self.columns = torch.triu_indices(dim, dim)

    def check(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> None:
        """The coefficients were checked when the problem was built."""

    def pack(self, mean: Tensor, cov: Tensor | None) -> Tensor:
        return mean if cov is None else torch.cat([mean, cov[:, self.rows, self.columns]], -1)

    def unpack(self, state: Tensor) -> tuple[Tensor, Tensor | None]:
        mean = state[:, : self.dim]
        if state.shape[-1] == self.dim:
            return mean, None
        upper = state.new_zeros(len(state), self.dim, self.dim)
        upper[:, self.rows, self.columns] = state[:, self.dim :]
        return mean, upper + upper.triu(1).mT

    def drift(self, t: Tensor, state: Tensor, c: Tensor) -> Tensor:
        start, direction, c = c[:, :1], c[:, 1:2], c[:, 2:]
        mean, cov = self.unpack(state)
        now = start + direction * t
        if cov is None:
            return direction * self.problem.drift(now, mean, c)
        f, jacobian = self.problem.drift.linearize(now, mean, c)
        assert self.problem.diffusion is not None  # else there is no covariance
        g, slope = noise_matrix(self.problem.diffusion, now, mean, c)
        change = direction[..., None] * (jacobian @ cov)
        growth = change + change.mT + noise_covariance(g)
        return self.pack(direction * f, growth if slope is None else growth + excess_noise(slope, cov))


@dataclass(frozen=True)
class SolverPropagation:
    """The moment equations integrated by one of the package's solvers at its tolerance."""

    solver: Solver
    rtol: float | None
    atol: Tensor
    dt: float | None
    max_steps: int

    def advance(
        self, problem: Problem, mean: Tensor, cov: Tensor | None, t: Tensor, h: Tensor, c0: Tensor, c1: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        if cov is None and problem.diffusion is not None:
            cov = mean.new_zeros(len(mean), mean.shape[-1], mean.shape[-1])
        equations = MomentEquations(ito_form(problem), mean.shape[-1])
        frame = torch.stack([t, torch.where(h < 0, -1.0, 1.0).to(t)], -1).to(mean.dtype)
        length = h.abs()

        def context(elapsed: Tensor) -> Tensor:
            fraction = (elapsed / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp(0, 1)
            return torch.cat([frame, torch.lerp(c0, c1, fraction.to(c0.dtype)[:, None])], -1)

        atol = self.atol.to(mean)
        if cov is not None:
            atol = torch.cat([atol, (atol[:, None] * atol)[equations.rows, equations.columns]])
        trajectory = integrate(
            equations,
            equations.pack(mean, cov),
            torch.stack([torch.zeros_like(length), length], -1),
            solver=self.solver,
            context=torch.cat([frame, c0], -1) if c0 is c1 else context,
            rtol=self.rtol,
            atol=atol,
            dt=self.dt,
            max_steps=self.max_steps,
        )
        return equations.unpack(trajectory.values[:, -1])
