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
    """An output of any sign, ``scale * raw``; the scale ``(*shape,)`` is its typical size in the caller's units."""

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
        return torch.full((self.width,), _UNIT, dtype=torch.float64)

    def forward(self, raw: Tensor) -> Tensor:
        return self._shaped(torch.addcmul(self.floor, F.softplus(raw), self.scale))

    def _gate(self, raw: Tensor) -> Tensor:
        """Derivative of the unscaled output."""
        return torch.sigmoid(raw)

    def linearize(self, raw: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        factor = self._gate(raw) * self.scale
        return self(raw), self._shaped(slope * factor[..., None], slope.shape[-1])

    def curvature(self, raw: Tensor, slope: Tensor, second: Tensor, cov: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gate = self._gate(raw)
        factor = gate * self.scale
        second = factor * torch.addcmul(second, 1 - gate, squares(slope, cov))
        return self(raw), self._shaped(slope * factor[..., None], slope.shape[-1]), self._shaped(second)


class CholeskyOutput(PositiveOutput):
    """An output that is a lower triangular matrix with positive diagonal: the factor of a noise covariance.

    The diagonal of the scale, ``(dim, dim)``, is the initial diagonal, and the unit of each row.
    """

    entries: Tensor
    diagonal: Tensor

    def __init__(self, scale: Tensor):
        if scale.ndim != 2 or scale.shape[0] != scale.shape[1]:
            raise ValueError(f"a Cholesky factor is a square matrix, got the shape {tuple(scale.shape)}")
        dim = len(scale)
        rows, columns = torch.tril_indices(dim, dim, device=scale.device)
        super().__init__(scale.diagonal()[rows])
        self.dim = dim
        self.register_buffer("diagonal", rows == columns)
        self.register_buffer("entries", rows * dim + columns)
        self.floor = self.floor * self.diagonal

    def initial_bias(self) -> Tensor:
        return torch.where(self.diagonal, _UNIT, 0.0).to("cpu", torch.float64)

    def forward(self, raw: Tensor) -> Tensor:
        values = torch.where(self.diagonal, F.softplus(raw), raw)
        return self._shaped(torch.addcmul(self.floor, values, self.scale))

    def _gate(self, raw: Tensor) -> Tensor:
        return torch.where(self.diagonal, torch.sigmoid(raw), 1.0)

    def _shaped(self, flat: Tensor, *last: int) -> Tensor:
        matrix = flat.new_zeros(len(flat), self.dim * self.dim, *last)
        return matrix.index_copy(1, self.entries, flat).view(-1, self.dim, self.dim, *last)


OUTPUTS: dict[str | None, type[Output]] = {None: Output, "softplus": PositiveOutput, "cholesky": CholeskyOutput}
