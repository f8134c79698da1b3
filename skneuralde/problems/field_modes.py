"""States of a field in the basis in which its diffusion is diagonal."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from skneuralde.problems.field import FieldDrift


class FieldModes:
    """The fields that diffuse as coefficients of the basis, the others as they are: ``(batch, fields, *grid)``.

    Without a field, or without diffusion, states stay as they are.

    Parameters
    ----------
    drift : FieldDrift or None
    u : Tensor of shape (batch, n)
        Tells shape, dtype and device.
    """

    def __init__(self, drift: FieldDrift | None, u: Tensor):
        self.diffusion = None if drift is None else drift.diffusion
        if drift is None or self.diffusion is None:
            return
        self.state, self.field = drift.state, drift.field(u)
        self.basis = self.diffusion.basis(self.field)
        chosen = self.diffusion.diffusing(self.state[-1])
        self.all_move = len(chosen) == self.state[-1]
        self.chosen = torch.tensor(chosen, device=u.device)

    def to_modes(self, u: Tensor) -> Tensor:
        """From states ``(batch, n)``."""
        if self.diffusion is None:
            return u
        x = u.reshape(len(u), *self.state).movedim(-1, 1)
        if self.all_move:
            return self.basis.to_modes(x)
        return x.index_copy(1, self.chosen, self.basis.to_modes(x.index_select(1, self.chosen)))

    def from_modes(self, x: Tensor) -> Tensor:
        """Back to states ``(batch, n)``."""
        if self.diffusion is None:
            return x
        if self.all_move:
            x = self.basis.from_modes(x)
        else:
            x = x.index_copy(1, self.chosen, self.basis.from_modes(x.index_select(1, self.chosen)))
        return x.movedim(1, -1).reshape(len(x), -1)

    @cached_property
    def eigenvalues(self) -> Tensor:
        """Of the fields that diffuse, (diffusing, *grid)."""
        assert self.diffusion is not None
        return self.diffusion.eigenvalues(self.field)

    def factors(self, moving: Tensor, still: float) -> Tensor:
        """Factors for `to_modes`'s result: those of the fields that diffuse, and one number for the others."""
        if self.all_move:
            return moving
        whole = moving.new_full((len(moving), self.state[-1], *moving.shape[2:]), still)
        return whole.index_copy(1, self.chosen, moving)
