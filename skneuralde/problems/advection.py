"""`Advection`: transport with a constant velocity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skneuralde.problems.axes import neighbours, value_of
from skneuralde.problems.grid_operator import GridOperator


class Advection(GridOperator):
    """Transport, ``-(v grad) u``, by central differences.

    Parameters
    ----------
    velocity : number, array-like of shape (ndim,) or (ndim, fields), Parameter, torch.nn.Parameter or torch.nn.Module
        v along each axis, for all fields or for each. Parameters are learned; a module is called without arguments.
    spacing, boundary, ndim : see `Laplacian`

    Examples
    --------
    >>> import torch
    >>> from skneuralde.problems import Advection
    >>> Advection(2.0, boundary="periodic")(torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1)).flatten()
    tensor([-1.,  0.,  1.])
    """

    def __init__(self, velocity: Any, spacing: Any = None, boundary: Any = None, *, ndim: int | None = None):
        super().__init__(spacing, boundary, ndim)
        if isinstance(velocity, (nn.Parameter, nn.Module)):
            self.velocity = velocity
        else:
            value = torch.as_tensor(velocity, dtype=torch.float64)
            if value.ndim > 2 or not bool(value.isfinite().all()):
                raise ValueError(
                    f"velocity must hold finite numbers of shape (ndim,) or (ndim, fields), got {velocity!r}"
                )
            self.register_buffer("velocity", value)

    def forward(self, u: Tensor) -> Tensor:
        """-v . grad u of fields ``(batch, *grid, fields)``, same shape."""
        axes = self.axes.on(u.shape[1:-1])
        velocity = torch.atleast_1d(value_of(self.velocity, u))
        if len(velocity) != len(axes):
            raise ValueError(f"velocity has {len(velocity)} components, but the grid has {len(axes)} axes")
        total = torch.zeros_like(u)
        for speed, (axis, spacing, boundary) in zip(velocity, axes, strict=True):
            before, after = neighbours(u, axis, boundary)
            total = total + speed * (before - after) / (2.0 * spacing)
        return total
