"""Output transforms of a network: scaling and positivity."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Smallest value of a positive output, in units of its scale: noise must not vanish.
FLOOR = 1e-4
#: Value of the last layer at which a positive output equals its scale.
_UNIT = math.log(math.expm1(1 - FLOOR))


def weighted_sum(pairs: Tensor, cov: Tensor) -> Tensor:
    """Sum ``(batch, width)`` of ``pairs (batch, dim, dim, width)`` with weights ``cov (batch, dim, dim)``."""
    if cov.shape[-1] == 1:
        return pairs[:, 0, 0] * cov[:, 0]
    return (pairs * cov[..., None]).sum((1, 2))


def squares(slope: Tensor, cov: Tensor) -> Tensor:
    """Quadratic forms ``(batch, width)`` of derivatives ``slope (batch, width, dim)`` in ``cov (batch, dim, dim)``."""
    if cov.shape[-1] == 1:
        return slope[..., 0].square() * cov[:, 0]
    return ((slope @ cov) * slope).sum(-1)


class Output(nn.Module):
    """An output of any sign, ``scale * raw``.

    Parameters
    ----------
    scale : Tensor of shape (*shape,)
        Typical size of each component, in the caller's units.
    """

    scale: Tensor | None

    def __init__(self, scale: Tensor):
        super().__init__()
        self.shape = tuple(scale.shape)
        self.width = scale.numel()
        self.register_buffer("scale", None if bool((scale == 1).all()) else scale.flatten())

    def initial_bias(self) -> Tensor:
        """Initial biases of the last layer."""
        return torch.zeros(self.width, dtype=torch.float64)

    def forward(self, raw: Tensor) -> Tensor:
        """Coefficient ``(batch, *shape)`` from the last layer ``(batch, width)``."""
        return self._shaped(raw if self.scale is None else raw * self.scale)

    def linearize(self, raw: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficient and its Jacobian, given those of the last layer, ``(batch, width, dim)``."""
        scaled = slope if self.scale is None else slope * self.scale[:, None]
        return self(raw), self._shaped(scaled, slope.shape[-1])

    def curvature(self, raw: Tensor, slope: Tensor, second: Tensor, cov: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficient, Jacobian and curvature, given those of the last layer; see `Term.curvature`."""
        return *self.linearize(raw, slope), self._shaped(second if self.scale is None else second * self.scale)

    def _shaped(self, flat: Tensor, *last: int) -> Tensor:
        return flat if len(self.shape) == 1 else flat.reshape(len(flat), *self.shape, *last)


class PositiveOutput(Output):
    """An output with positive components, ``scale * (softplus(raw) + floor)``, initially the scale."""

    scale: Tensor
    floor: Tensor

    def __init__(self, scale: Tensor):
        super().__init__(scale)
        self.scale = scale.flatten()
        self.register_buffer("floor", FLOOR * self.scale)

    def initial_bias(self) -> Tensor:
        """Biases at which the output equals its scale."""
        return torch.full((self.width,), _UNIT, dtype=torch.float64)

    def forward(self, raw: Tensor) -> Tensor:
        """Coefficient ``(batch, *shape)`` from the last layer ``(batch, width)``."""
        return self._shaped(torch.addcmul(self.floor, F.softplus(raw), self.scale))

    def linearize(self, raw: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficient and its Jacobian, given those of the last layer, ``(batch, width, dim)``."""
        factor = torch.sigmoid(raw) * self.scale
        return self(raw), self._shaped(slope * factor[..., None], slope.shape[-1])

    def curvature(self, raw: Tensor, slope: Tensor, second: Tensor, cov: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficient, Jacobian and curvature; see `Output.curvature`."""
        gate = torch.sigmoid(raw)
        factor = gate * self.scale
        second = factor * torch.addcmul(second, 1 - gate, squares(slope, cov))
        return self(raw), self._shaped(slope * factor[..., None], slope.shape[-1]), self._shaped(second)


class CholeskyOutput(Output):
    """An output that is a lower triangular matrix with positive diagonal: the factor of a noise covariance.

    Parameters
    ----------
    scale : Tensor of shape (dim, dim)
        Its diagonal is the initial diagonal, and the unit of each row.
    """

    scale: Tensor
    floor: Tensor
    entries: Tensor
    diagonal: Tensor

    def __init__(self, scale: Tensor):
        if scale.ndim != 2 or scale.shape[0] != scale.shape[1]:
            raise ValueError(f"a Cholesky factor is a square matrix, got the shape {tuple(scale.shape)}")
        dim = len(scale)
        rows, columns = torch.tril_indices(dim, dim, device=scale.device)
        super().__init__(scale.diagonal()[rows])
        self.dim = dim
        self.scale = scale.diagonal()[rows]
        self.register_buffer("diagonal", rows == columns)
        self.register_buffer("entries", rows * dim + columns)
        self.register_buffer("floor", FLOOR * self.scale * self.diagonal)

    def initial_bias(self) -> Tensor:
        """Biases at which the matrix is the diagonal of its scales."""
        return torch.where(self.diagonal, _UNIT, 0.0).to("cpu", torch.float64)

    def forward(self, raw: Tensor) -> Tensor:
        """Matrices ``(batch, dim, dim)`` from the last layer ``(batch, width)``."""
        entries = torch.addcmul(self.floor, torch.where(self.diagonal, F.softplus(raw), raw), self.scale)
        return self._matrix(entries)

    def linearize(self, raw: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Matrices and their Jacobian, given that of the last layer, ``(batch, width, dim)``."""
        factor = torch.where(self.diagonal, torch.sigmoid(raw), 1.0) * self.scale
        return self(raw), self._matrix(slope * factor[..., None], slope.shape[-1])

    def curvature(self, raw: Tensor, slope: Tensor, second: Tensor, cov: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Matrices, their Jacobian and curvature; see `Output.curvature`."""
        gate = torch.where(self.diagonal, torch.sigmoid(raw), 1.0)
        factor = gate * self.scale
        second = factor * torch.addcmul(second, 1 - gate, squares(slope, cov))
        return self(raw), self._matrix(slope * factor[..., None], slope.shape[-1]), self._matrix(second)

    def _matrix(self, entries: Tensor, *last: int) -> Tensor:
        flat = entries.new_zeros(len(entries), self.dim * self.dim, *last)
        return flat.index_copy(1, self.entries, entries).view(-1, self.dim, self.dim, *last)


OUTPUTS: dict[str | None, type[Output]] = {None: Output, "softplus": PositiveOutput, "cholesky": CholeskyOutput}
