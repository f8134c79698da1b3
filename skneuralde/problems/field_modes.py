"""States of a field as coefficients of the diffusion's eigenbasis."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from skneuralde.problems.field import FieldDrift


class FieldModes:
    """Transform of flat states ``(batch, n)`` to the eigenbasis of the diffusion, for exponential integrators.

    The fields that diffuse become coefficients of the basis, the others keep their values; the result has shape
    ``(batch, fields, *grid)``. States that are no fields, or fields without diffusion, stay as they are. The state
    given to the constructor determines dtype and device.
    """

    def __init__(self, drift: FieldDrift | None, u: Tensor):
        self.diffusion = None if drift is None else drift.diffusion
        if drift is None or self.diffusion is None:
            return
        self.state, self.field = drift.state, drift.field(u)
        self.basis = self.diffusion.basis(self.field)
        chosen = self.diffusion.diffusing(self.state[-1])
        self.all_diffuse = len(chosen) == self.state[-1]
        self.chosen = torch.tensor(chosen, device=u.device)  # numbers of the fields that diffuse

    def to_modes(self, u: Tensor) -> Tensor:
        """Coefficients of states ``(batch, n)``."""
        if self.diffusion is None:
            return u
        x = u.reshape(len(u), *self.state).movedim(-1, 1)
        if self.all_diffuse:
            return self.basis.to_modes(x)
        return x.index_copy(1, self.chosen, self.basis.to_modes(x.index_select(1, self.chosen)))

    def from_modes(self, x: Tensor) -> Tensor:
        """States ``(batch, n)`` from their coefficients."""
        if self.diffusion is None:
            return x
        if self.all_diffuse:
            x = self.basis.from_modes(x)
        else:
            x = x.index_copy(1, self.chosen, self.basis.from_modes(x.index_select(1, self.chosen)))
        return x.movedim(1, -1).reshape(len(x), -1)

    @cached_property
    def eigenvalues(self) -> Tensor:
        """Eigenvalues of the fields that diffuse, (diffusing, *grid)."""
        assert self.diffusion is not None
        return self.diffusion.eigenvalues(self.field)

    def factors(self, diffusing: Tensor, other: float) -> Tensor:
        """Factors of all coefficients, from those of the fields that diffuse and one number for the others."""
        if self.all_diffuse:
            return diffusing
        result = diffusing.new_full((len(diffusing), self.state[-1], *diffusing.shape[2:]), other)
        return result.index_copy(1, self.chosen, diffusing)
