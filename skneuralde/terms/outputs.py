"""From a network's last layer to a coefficient: scaled, and positive where it must be."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: The smallest value of a positive output, in units of its scale: noise may not vanish.
FLOOR = 1e-4
#: The pre-activation at which a positive output equals its scale.
_UNIT = math.log(math.expm1(1 - FLOOR))


class Output(nn.Module):
    """A value of any sign, ``scale * raw``.

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
        """Biases of the last layer to start from."""
        return torch.zeros(self.width, dtype=torch.float64)

    def forward(self, raw: Tensor) -> Tensor:
        """Coefficient ``(batch, *shape)`` from the last layer ``(batch, width)``."""
        return self._shaped(raw if self.scale is None else raw * self.scale)

    def linearize(self, raw: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficient and its Jacobian, given those of the last layer, ``(batch, width, dim)``."""
        scaled = slope if self.scale is None else slope * self.scale[:, None]
        return self(raw), self._shaped(scaled, slope.shape[-1])

    def bend(self, raw: Tensor, squares: Tensor, bend: Tensor) -> Tensor:
        """Weighted sum of second derivatives, ``(batch, *shape)``, given that of the last layer, ``(batch, width)``.

        ``squares (batch, width)`` are the sums of products of its first derivatives with the same weights.
        """
        return self._shaped(bend if self.scale is None else bend * self.scale)

    def _shaped(self, flat: Tensor, *last: int) -> Tensor:
        return flat if len(self.shape) == 1 else flat.reshape(len(flat), *self.shape, *last)


class PositiveOutput(Output):
    """Positive components, ``scale * (softplus(raw) + floor)``, equal to the scale at the start."""

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

    def bend(self, raw: Tensor, squares: Tensor, bend: Tensor) -> Tensor:
        """Weighted sum of second derivatives, see `Output.bend`."""
        gate = torch.sigmoid(raw)
        return self._shaped(gate * (bend + (1 - gate) * squares) * self.scale)


class CholeskyOutput(Output):
    """A lower triangular matrix with positive diagonal: the factor of a noise covariance.

    Parameters
    ----------
    scale : Tensor of shape (dim, dim)
        The diagonal counts: it is the diagonal to start from, and each row is in units of its own.
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

    def bend(self, raw: Tensor, squares: Tensor, bend: Tensor) -> Tensor:
        """Weighted sum of second derivatives, see `Output.bend`."""
        gate = torch.where(self.diagonal, torch.sigmoid(raw), 1.0)
        return self._matrix(gate * (bend + (1 - gate) * squares) * self.scale)

    def _matrix(self, entries: Tensor, *last: int) -> Tensor:
        flat = entries.new_zeros(len(entries), self.dim * self.dim, *last)
        return flat.index_copy(1, self.entries, entries).view(-1, self.dim, self.dim, *last)


OUTPUTS: dict[str | None, type[Output]] = {None: Output, "softplus": PositiveOutput, "cholesky": CholeskyOutput}
