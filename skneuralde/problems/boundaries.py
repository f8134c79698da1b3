"""Boundary conditions of an axis: ghost points, and the eigenbasis of the second difference."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skneuralde._caches import cached_tensors


class Boundary(ABC):
    """Boundary condition at both ends of one axis of a grid.

    The second difference of n points of spacing 1, with the ghost points of the boundary, is
    ``V diag(eigenvalues) V^-1`` with ``V = diag(volumes)^(-1/2) basis``, computed in float64. To add a boundary
    condition, derive from this class and implement `ghosts`, `angles` and `basis`.

    Attributes
    ----------
    name : str
    min_points : int, default=2
        Smallest number of points along the axis.
    """

    name: str
    min_points: int = 2

    @abstractmethod
    def ghosts(self, u: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Values before the first and after the last point of an axis, each with length 1 along it."""

    @abstractmethod
    def angles(self, n: int) -> Tensor:
        """Angles a of the eigenvalues ``2 cos(a) - 2``, (n,)."""

    @abstractmethod
    def basis(self, n: int) -> Tensor:
        """Orthonormal eigenvectors as columns, (n, n)."""

    def volumes(self, n: int) -> Tensor:
        """Volume of each point, in units of the spacing, (n,)."""
        return torch.ones(n, dtype=torch.float64)

    def homogeneous(self) -> Boundary:
        """The same boundary condition with values of zero, for which the second difference is linear."""
        return self

    def eigenvalues(self, n: int) -> Tensor:
        """Eigenvalues of the second difference, (n,)."""
        # As a square, the small ones keep their digits.
        return -4.0 * torch.sin(0.5 * self.angles(n)).square()

    def __eq__(self, other: object) -> bool:
        """Whether both have the same eigenbasis."""
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


class Neumann(Boundary):
    """No flux through the ends, which are grid points: values beyond an end are the mirror image of those inside.

    The basis is the discrete cosine transform I. An outer point has half a volume, so that the trapezoidal sum is
    conserved.
    """

    name = "neumann"

    def ghosts(self, u: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        return u.narrow(axis, 1, 1), u.narrow(axis, u.shape[axis] - 2, 1)

    def angles(self, n: int) -> Tensor:
        return math.pi / (n - 1) * torch.arange(n, dtype=torch.float64)

    def basis(self, n: int) -> Tensor:
        waves = torch.cos(torch.outer(torch.arange(n, dtype=torch.float64), self.angles(n)))
        ends = torch.ones(n, dtype=torch.float64)
        ends[[0, -1]] = math.sqrt(0.5)
        return math.sqrt(2.0 / (n - 1)) * waves * torch.outer(ends, ends)

    def volumes(self, n: int) -> Tensor:
        shares = torch.ones(n, dtype=torch.float64)
        shares[[0, -1]] = 0.5
        return shares


class NeumannCell(Boundary):
    """No flux through the ends, which lie half a spacing beyond the outer points.

    The basis is the discrete cosine transform II.
    """

    name = "neumann_cell"

    def ghosts(self, u: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        return u.narrow(axis, 0, 1), u.narrow(axis, u.shape[axis] - 1, 1)

    def angles(self, n: int) -> Tensor:
        return math.pi / n * torch.arange(n, dtype=torch.float64)

    def basis(self, n: int) -> Tensor:
        waves = torch.cos(torch.outer(torch.arange(n, dtype=torch.float64) + 0.5, self.angles(n)))
        waves[:, 0] *= math.sqrt(0.5)
        return math.sqrt(2.0 / n) * waves


class Periodic(Boundary):
    """Periodic axis: the first point follows the last. The basis is the real Fourier transform."""

    name = "periodic"
    min_points = 3

    def ghosts(self, u: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        return u.narrow(axis, u.shape[axis] - 1, 1), u.narrow(axis, 0, 1)

    def angles(self, n: int) -> Tensor:
        # 0, then cosine and sine of each frequency.
        return 2.0 * math.pi / n * ((torch.arange(n) + 1) // 2).double()

    def basis(self, n: int) -> Tensor:
        turns = torch.outer(torch.arange(n, dtype=torch.float64), self.angles(n))
        waves = torch.where(torch.arange(n) % 2 == 1, torch.cos(turns), torch.sin(turns))
        waves[:, 0] = math.sqrt(0.5)
        if n % 2 == 0:
            waves[:, -1] *= math.sqrt(0.5)  # the highest frequency has no sine
        return math.sqrt(2.0 / n) * waves


class Dirichlet(Boundary):
    """Given values of the field one spacing beyond the outer points.

    The basis is the discrete sine transform I.

    Parameters
    ----------
    low, high : float or sequence of float, default=0.0
        Values before the first and after the last point; one per field, or one for all.
    """

    name = "dirichlet"
    min_points = 1

    def __init__(self, low: float | Sequence[float] = 0.0, high: float | Sequence[float] = 0.0):
        self.low, self.high = torch.as_tensor(low, dtype=torch.float64), torch.as_tensor(high, dtype=torch.float64)

    def ghosts(self, u: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        edge = u.narrow(axis, 0, 1)
        return self.low.to(edge).expand_as(edge), self.high.to(edge).expand_as(edge)

    def angles(self, n: int) -> Tensor:
        return math.pi / (n + 1) * torch.arange(1, n + 1, dtype=torch.float64)

    def basis(self, n: int) -> Tensor:
        return math.sqrt(2.0 / (n + 1)) * torch.sin(torch.outer(torch.arange(1.0, n + 1).double(), self.angles(n)))

    def homogeneous(self) -> Boundary:
        return self if not bool(self.low.any() | self.high.any()) else Dirichlet()


_NAMED = {kind.name: kind for kind in (Neumann, NeumannCell, Periodic, Dirichlet)}


def as_boundary(value: Any) -> Boundary:
    """Return a boundary, given by itself or by its name."""
    if isinstance(value, Boundary):
        return value
    if isinstance(value, str) and value in _NAMED:
        return _NAMED[value]()
    raise ValueError(f"boundary must be one of {', '.join(map(repr, _NAMED))} or Dirichlet(low, high), got {value!r}")


@cached_tensors(maxsize=64)
def basis_of(boundary: Boundary, n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Eigenbasis of an axis, on a device."""
    return boundary.basis(n).to(device, dtype)
