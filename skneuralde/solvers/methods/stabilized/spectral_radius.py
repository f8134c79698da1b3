"""How stiff an equation is: the spectral radius of its Jacobian, followed along a solution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide, TimePoint

#: An estimate is taken to be too small by at most this factor.
_SAFETY = 1.2
#: Iterations stop when they change the estimate by less than this.
_CHANGE = 0.01
_MOST_ITERATIONS = 50
#: Accepted steps after which the estimate is renewed.
_LIFETIME = 5


@dataclass(frozen=True)
class Spectrum:
    """Estimates for a batch, and where the next ones start from.

    Attributes
    ----------
    radius : Tensor of shape (batch, 1)
        No eigenvalue is taken to be larger.
    vector : Tensor of shape (batch, n)
        The direction that grows fastest.
    age : Tensor of shape (batch, 1)
        Steps since the estimate.
    """

    radius: Tensor
    vector: Tensor
    age: Tensor

    @classmethod
    @torch.no_grad()
    def estimate(cls, rhs: RightHandSide, now: TimePoint, u: Tensor) -> Spectrum:
        """A first estimate at states ``(batch, n)``."""
        n = u.shape[1]
        steps = torch.arange(n, dtype=torch.float64, device=u.device)
        start = torch.cos(1.7 * steps + steps.square()).to(u.dtype).expand_as(u)
        vector, radius = _iterate(rhs, now, u.detach(), start, torch.zeros_like(u[:, :1]))
        return cls(radius, vector, torch.zeros_like(radius))

    @torch.no_grad()
    def renewed(self, rhs: RightHandSide, t: Tensor, u: Tensor) -> Spectrum:
        """The estimates of which the old ones are no longer good, at the states of the present step.

        A function of the accepted steps alone: whoever makes these again finds the same.
        """
        rows = (self.age[:, 0] >= _LIFETIME).nonzero()[:, 0]
        if len(rows) == 0:
            return self
        part = rhs.select(rows)
        old, states = self.radius[rows], u.detach()[rows]
        vector, radius = _iterate(part, part.at(t[rows], u.dtype), states, self.vector[rows], old)
        return Spectrum(
            self.radius.index_copy(0, rows, radius),
            self.vector.index_copy(0, rows, vector),
            self.age.index_fill(0, rows, 0.0),
        )


def _iterate(rhs: RightHandSide, now: TimePoint, u: Tensor, vector: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Power iteration by derivatives in one direction, and the radius that follows.

    Where a field's operator is a Laplacian, whose spectrum is known, only its reaction is asked: every point has
    eigenvalues and directions of its own, all of them followed at once.
    """
    field = rhs.field
    closed = torch.zeros_like(known)
    points = 1
    if field is not None and field.diffusion is not None and not field.operators.others:
        closed = closed + field.diffusion.spectral_radius(field.field(u))
        points = u.shape[1] // field.state[-1]
        rhs = _without_diffusion(rhs)
    size = (known - closed) / _SAFETY
    done = torch.zeros_like(size, dtype=torch.bool)
    for _ in range(_MOST_ITERATIONS):
        image = rhs.derivative(now, u, vector).view(len(u), points, -1)
        length = image.norm(dim=-1, keepdim=True)
        aligned = torch.where(length > 0, image / length, vector.view_as(image)).view_as(u)
        largest = length.amax(1)
        settled = (largest - size).abs() <= _CHANGE * largest
        vector = torch.where(done, vector, aligned)
        size = torch.where(done, size, largest)
        done = done | settled
        if bool(done.all()):
            break
    return vector, closed + _SAFETY * size


class _Rest:
    """A field's equation without its diffusion."""

    noise, calculus, diffusion, jumps, sparsity = "diagonal", "ito", None, (), None

    def __init__(self, rhs: RightHandSide):
        assert rhs.field is not None
        self.drift = rhs.field.without_diffusion


def _without_diffusion(rhs: RightHandSide) -> RightHandSide:
    return RightHandSide(_Rest(rhs), rhs.context, rhs.lower, rhs.upper, rhs.counter)
