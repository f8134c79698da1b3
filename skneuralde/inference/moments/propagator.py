"""Interface of the objects that propagate mean and covariance."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from skneuralde.problems import Problem


class MomentPropagator(Protocol):
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
