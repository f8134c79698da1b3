"""Moment equations: the differential equations of the mean m and the covariance P of a diffusion.

They are those of S. Sarkka and A. Solin, *Applied Stochastic Differential Equations* (2019), section 9.1:

    m' = E[f] = f(m) + tr(f'' P) / 2,    P' = F P + P F' + E[g g'].

The expectations over the distribution of the state are taken to second order in its standard deviation, so that the
variance of geometric Brownian motion is exact, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skneuralde.inference.moments.propagator import Moments
from skneuralde.problems import Problem
from skneuralde.terms import Term
from skneuralde.terms.base import Expansion, sum_of_squares


def expected_drift(drift: Term, t: Tensor, u: Tensor, c: Tensor, cov: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean of the drift (batch, dim) over states of this covariance around u, to second order, and its Jacobian at u.

    With a covariance of None the drift is taken as linear.
    """
    if cov is None:
        return drift.linearize(t, u, c)
    value, jacobian, bend = drift.curvature(t, u, c, cov)
    return torch.add(value, bend, alpha=0.5), jacobian


def as_matrix(g: Tensor) -> Tensor:
    """Values of a diffusion, ``(batch, dim)`` or ``(batch, dim, m)``, as matrices."""
    if g.ndim == 3:
        return g
    return g[..., None] if g.shape[-1] == 1 else torch.diag_embed(g)


@dataclass(frozen=True)
class LinearNoise:
    """Linear approximation of a diffusion: its matrix g (batch, dim, m) and derivative (batch, dim, m, dim)."""

    g: Tensor
    slope: Tensor

    @classmethod
    def at(cls, diffusion: Term, t: Tensor, u: Tensor, c: Tensor) -> LinearNoise:
        """Linearise the diffusion at the states ``u (batch, dim)``."""
        g, slope = diffusion.linearize(t, u, c)
        if g.ndim == 3:
            return cls(g, slope)
        if g.shape[-1] == 1:
            return cls(g[..., None], slope[:, :, None])
        return cls(torch.diag_embed(g), torch.diag_embed(slope.mT).movedim(1, -1))

    def expected(self, factor: Tensor) -> Tensor:
        """E[g g'], ``(batch, dim, dim)``, over states of covariance L L' with L = ``factor (batch, dim, r)``."""
        change = self.slope @ factor[:, None]
        if change.shape[1:3] == (1, 1):
            return noise_covariance(self.g) + noise_covariance(change[:, 0])
        return noise_covariance(self.g) + torch.einsum("bimr,bjmr->bij", change, change)


@dataclass(frozen=True)
class CurvedNoise:
    """Second-order approximation of a diffusion."""

    g: Tensor
    around: Expansion

    @classmethod
    def at(cls, diffusion: Term, t: Tensor, u: Tensor, c: Tensor) -> CurvedNoise:
        """Expand the diffusion at the states ``u (batch, dim)``."""
        around = diffusion.expand(t, u, c)
        return cls(as_matrix(around.value), around)

    def expected(self, factor: Tensor) -> Tensor:
        """The same as `LinearNoise.expected`: exact for linear g, close to exact for the root of a linear function."""
        slopes, bend = self.around.along(factor.mT)
        mean = torch.add(self.g, as_matrix(bend), alpha=0.5)
        if slopes.shape[2:] == (1,):
            return noise_covariance(mean) + sum_of_squares(slopes, 1)[..., None]
        each = noise_covariance(as_matrix(slopes.flatten(0, 1))).unflatten(0, slopes.shape[:2])
        return noise_covariance(mean) + each.sum(1)


def noise_covariance(g: Tensor) -> Tensor:
    """The covariance g g' of the noise per unit of time."""
    return sum_of_squares(g, -1)[..., None] if g.shape[-2] == 1 else g @ g.mT


def square_root(cov: Tensor) -> Tensor:
    """A matrix L with ``L L' = cov``, differentiable also if ``cov`` is singular."""
    if cov.shape[-1] == 1:
        return cov.clamp_min(torch.finfo(cov.dtype).tiny).sqrt()
    size = cov.diagonal(dim1=-2, dim2=-1)
    jitter = torch.diag_embed(
        100.0 * torch.finfo(cov.dtype).eps * (size + size.mean(-1, keepdim=True)) + torch.finfo(cov.dtype).tiny
    )
    return torch.linalg.cholesky_ex(cov + jitter)[0]


class MomentEquations(nn.Module):
    """The moment equations as an ordinary differential equation in (m, upper triangle of P[, transition matrix]).

    Time starts at zero for every path. The first two inputs of a path are its start time and its direction, 1 or -1.
    The coefficients are evaluated at ``start + direction * time`` with the other inputs. Backwards in time the drift
    changes its sign and the noise does not, and the mean is that of the equation without noise.
    """

    diffusion = None
    jumps = ()
    noise = "diagonal"
    calculus = "ito"
    sparsity = None
    state_ndim = 1

    def __init__(self, problem: Problem, dim: int):
        super().__init__()
        self.problem = problem
        self.dim = dim
        self.rows, self.columns = torch.triu_indices(dim, dim)

    def check(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> None:
        """Nothing to check: the coefficients were checked when the problem was built."""

    def pack(self, moments: Moments) -> Tensor:
        """Moments as one vector per state."""
        if moments.cov is None:
            return moments.mean
        parts = [moments.mean, moments.cov[:, self.rows, self.columns]]
        if moments.transition_matrix is not None:
            parts.append(moments.transition_matrix.flatten(1))
        return torch.cat(parts, -1)

    def unpack(self, packed: Tensor) -> Moments:
        """The inverse of `pack`."""
        mean = packed[:, : self.dim]
        if packed.shape[-1] == self.dim:
            return Moments(mean, None)
        size = self.dim + len(self.rows)
        upper = packed.new_zeros(len(packed), self.dim, self.dim)
        upper[:, self.rows, self.columns] = packed[:, self.dim : size]
        matrix = packed[:, size:].unflatten(1, (self.dim, self.dim)) if packed.shape[-1] > size else None
        return Moments(mean, upper + upper.triu(1).mT, matrix)

    def drift(self, t: Tensor, packed: Tensor, c: Tensor) -> Tensor:
        """Right-hand side of the moment equations."""
        start, direction, c = c[:, :1], c[:, 1:2], c[:, 2:]
        mean, cov, matrix = self.unpack(packed)
        now = start + direction * t
        if cov is None:
            return direction * self.problem.drift(now, mean, c)
        forwards = direction.clamp_min(0.0)[..., None]
        f, jacobian = expected_drift(self.problem.drift, now, mean, c, forwards * cov)
        change = direction[..., None] * (jacobian @ cov)
        growth = change + change.mT
        if self.problem.diffusion is not None:
            noise = CurvedNoise.at(self.problem.diffusion, now, mean, c)
            varies = self.problem.diffusion.state_dependent
            growth = growth + (noise.expected(square_root(cov)) if varies else noise_covariance(noise.g))
        if matrix is not None:
            matrix = direction[..., None] * (jacobian @ matrix)
        return self.pack(Moments(direction * f, growth, matrix))
