"""What a field does at the two ends of an axis: its neighbours beyond them, and the basis that makes it diagonal."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


class Boundary(ABC):
    """The two ends of one axis of a grid.

    The second difference of n points of spacing 1, with the neighbours that a boundary gives the outer ones, is
    ``V diag(eigenvalues) V^-1`` with ``V = diag(volumes)^(-1/2) basis``. All of it is computed in float64.

    Attributes
    ----------
    name : str
    fewest : int
        The smallest number of points.
    """

    name: str
    min_points: int = 2

    @abstractmethod
    def ghosts(self, u: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """The neighbours of the first and of the last point, with an axis of length 1."""

    @abstractmethod
    def angles(self, n: int) -> Tensor:
        """The angles a of the eigenvalues ``2 cos(a) - 2``, (n,)."""

    @abstractmethod
    def basis(self, n: int) -> Tensor:
        """Orthonormal eigenvectors as columns, (n, n)."""

    def volumes(self, n: int) -> Tensor:
        """The share of a cell that belongs to each point, (n,)."""
        return torch.ones(n, dtype=torch.float64)

    def homogeneous(self) -> Boundary:
        """The boundary that makes the difference linear, not only affine."""
        return self

    def eigenvalues(self, n: int) -> Tensor:
        """Eigenvalues of the second difference, (n,); written as a square, the small ones keep their digits."""
        return -4.0 * torch.sin(0.5 * self.angles(n)).square()

    def __eq__(self, other: object) -> bool:
        """Whether both have the same basis."""
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


class Neumann(Boundary):
    """Nothing flows through the ends, which are points of the grid: what lies beyond is their mirror image.

    The discrete cosine transform I. An outer point has half a cell, so that the trapezoidal sum is conserved.
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
    """Nothing flows through the ends, which are half a spacing beyond the outer points: the middles of cells.

    The discrete cosine transform II.
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
    """The axis is a circle: the last point's neighbour is the first, one spacing on. The real Fourier transform."""

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
    """The field has given values one spacing beyond the outer points, which are thus all inside.

    The discrete sine transform I.

    Parameters
    ----------
    low, high : float or sequence of float, default=0.0
        The values before the first and after the last point; one per field, or one for all.
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
    """A boundary from its name.

    Raises
    ------
    ValueError
        If it is neither a name nor a boundary.
    """
    if isinstance(value, Boundary):
        return value
    if isinstance(value, str) and value in _NAMED:
        return _NAMED[value]()
    raise ValueError(f"boundary must be one of {', '.join(map(repr, _NAMED))} or Dirichlet(low, high), got {value!r}")


@lru_cache(maxsize=64)
def basis_of(boundary: Boundary, n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The basis of an axis on a device."""
    return boundary.basis(n).to(device, dtype)
