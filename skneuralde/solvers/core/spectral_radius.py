"""Spectral radius of the Jacobian, followed along a solution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide, TimePoint

#: Estimates are multiplied by this factor.
_SAFETY = 1.2
#: Iterations stop when they change the estimate by less than this.
_CHANGE = 0.01
_MOST_ITERATIONS = 50
#: Accepted steps after which the estimate is renewed.
_LIFETIME = 5


@dataclass(frozen=True)
class Spectrum:
    """Estimates of the spectral radius for a batch, and the vectors from which the next estimates start.

    Attributes
    ----------
    radius : Tensor of shape (batch, 1)
        Bound on the modulus of all eigenvalues.
    vector : Tensor of shape (batch, n)
        Direction of fastest growth.
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
        """The estimates for the present step; those that are too old are computed again.

        They depend on accepted steps only, so that a step that is repeated uses the same estimates.
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
    """Power iteration by directional derivatives: the direction, and the spectral radius.

    For a field whose only operator is a Laplacian, the Laplacian's radius is known, and the iteration is for the
    reaction, at all points at once.
    """
    field = rhs.field
    closed = torch.zeros_like(known)
    points = 1
    if field is not None and field.diffusion is not None and not field.operators.others:
        closed = closed + field.diffusion.spectral_radius(field.field(u))
        points = u.shape[1] // field.state[-1]
        rhs = rhs.with_drift(field.without_diffusion)
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
