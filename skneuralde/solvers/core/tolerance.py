"""Tolerances of the local error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: The largest ratio of an error to its tolerance.
MAX_ERROR_RATIO = 1e10
#: Share of the time so far in which noise of the present size would move a state by as much as its tolerance assumes.
_SHARE = 0.04


def size_of_noise(g: Tensor, elapsed: Tensor) -> Tensor:
    """Size (batch, dim) of states that noise of size ``g (batch, dim)`` has moved for a time ``elapsed (batch, 1)``."""
    return g * (_SHARE * elapsed).sqrt().to(g.dtype)


def size_so_far(before: Tensor, u: Tensor, share: Tensor) -> Tensor:
    """Size (batch, dim) of states that were of size ``before`` and are now at ``u``.

    ``share (batch, 1)`` is the time before over the time now. What is long ago counts less, so that a state that decays
    keeps its relative accuracy, whatever the unit of time.
    """
    return torch.maximum(u.abs(), before * share.to(u.dtype))


@dataclass(frozen=True)
class Tolerance:
    """Allowed local error: ``atol + rtol * abs(u)``, as a root mean square over the components.

    The last ``n_hazards`` components are tested apart from the others and must meet the tolerance, too.
    """

    rtol: float
    atol: Tensor
    n_hazards: int = 0

    def ratio(self, error: Tensor | None, u0: Tensor, u1: Tensor, floor: Tensor | None = None) -> Tensor:
        """Error over tolerance, float64 (batch, 1); a step is accepted up to 1.

        The ratio stays between 1e-10 and `MAX_ERROR_RATIO`, which also stands for an error that is not finite, and for
        a new state that is not. ``floor (batch, dim)`` is a size that replaces that of smaller states.
        """
        assert error is not None  # adaptive methods estimate it
        size = torch.maximum(u0.abs(), u1.abs())
        if floor is not None:
            size = torch.maximum(size, floor)
        # An infinite state has an infinite tolerance, which any finite error meets; zero times infinity is NaN.
        error = torch.add(error, u1, alpha=0.0)
        return self._compare(error, size).nan_to_num_(nan=MAX_ERROR_RATIO).clamp_(1e-10, MAX_ERROR_RATIO)

    def size(self, u: Tensor) -> Tensor:
        """The allowed error of each component of states u, (batch, dim)."""
        return torch.add(self.atol, u.abs(), alpha=self.rtol)

    def measure(self, vector: Tensor, u: Tensor) -> Tensor:
        """Size of a vector over the tolerance at u, float64 (batch, 1)."""
        return self._compare(vector, u.abs())

    def _compare(self, vector: Tensor, size: Tensor) -> Tensor:
        scaled = vector / torch.add(self.atol, size, alpha=self.rtol)
        squares = scaled.square_()
        if self.n_hazards == 0:
            return squares.mean(-1, keepdim=True).sqrt_().double()
        parts = squares.split([squares.shape[-1] - self.n_hazards, self.n_hazards], -1)
        return torch.cat([part.mean(-1, keepdim=True) for part in parts], -1).amax(-1, keepdim=True).sqrt_().double()
