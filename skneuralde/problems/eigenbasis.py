"""Eigenbasis of the Laplacian of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde._caches import cached_tensors
from skneuralde.problems.axes import Axes, along
from skneuralde.problems.boundaries import basis_of


@dataclass(frozen=True)
class Eigenbasis:
    """An orthonormal basis of the fields on a grid, the product of one basis per axis.

    Fields are transformed as ``(batch, fields, *grid)`` by dense products along each axis, which is fastest on grids of
    up to some 200 points per axis and works on every device. Values are first multiplied by the square root of their
    volume, which makes the Laplacian symmetric.
    """

    factors: tuple[Tensor, ...]  # eigenvectors of each axis as columns, (n, n)
    eigenvalues: Tensor  # (*grid), of the Laplacian with diffusivity 1
    root_volumes: Tensor  # (*grid), square root of the volume of each point, in units of a cell

    def to_modes(self, x: Tensor) -> Tensor:
        """Coefficients of fields ``(batch, fields, *grid)``, same shape."""
        return self._transform(x * self.root_volumes, self.factors)

    def from_modes(self, coefficients: Tensor) -> Tensor:
        """Fields from their coefficients, the inverse of `to_modes`."""
        return self._transform(coefficients, [factor.mT for factor in self.factors]) / self.root_volumes

    def _transform(self, x: Tensor, factors: Sequence[Tensor]) -> Tensor:
        shape = x.shape
        for axis, factor in enumerate(factors, 2):
            x = x @ factor if axis == len(shape) - 1 else (factor.mT @ x.flatten(axis + 1)).view(shape)
        return x


@cached_tensors(maxsize=16)
def eigenbasis(axes: Axes, grid: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Eigenbasis:
    """Return the basis of a grid; the latest ones are cached."""
    factors = []
    values, shares = torch.zeros(grid, dtype=torch.float64), torch.ones(grid, dtype=torch.float64)
    for axis, spacing, boundary in axes.on(grid):
        n = grid[axis - 1]
        factors.append(basis_of(boundary.homogeneous(), n, dtype, device))
        values = values + along(boundary.eigenvalues(n) / spacing**2, axis - 1, len(grid))
        shares = shares * along(boundary.volumes(n), axis - 1, len(grid))
    return Eigenbasis(tuple(factors), values.to(device, dtype), shares.sqrt().to(device, dtype))
