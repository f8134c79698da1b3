"""Fields as flat state vectors, the form that solvers use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skneuralde.problems.laplacian import Laplacian
from skneuralde.problems.operators import Operators
from skneuralde.problems.pattern import Pattern
from skneuralde.problems.reaction import Reaction
from skneuralde.problems.sparsity import Sparsity, pattern_of
from skneuralde.terms import Term


@dataclass(frozen=True)
class Linearized:
    """The right-hand side of a field and the Jacobian of its reaction term at a state."""

    value: Tensor  # right-hand side, operators included, (batch, n)
    slope: Tensor  # Jacobian of the reaction term at every point, (batch, *grid, fields, fields)


class FieldDrift(Term):
    """Reaction term and operators as a function of flat states ``(batch, n)``, fields of the shape ``state``."""

    def __init__(self, reaction: Reaction, operators: Operators, state: Sequence[int]):
        super().__init__()
        self.reaction, self.operators, self.state = reaction, operators, tuple(state)

    @property
    def diffusion(self) -> Laplacian | None:
        """The Laplacian that solvers diagonalise; None if there is none or no field diffuses."""
        diffusion = self.operators.diffusion
        return diffusion if diffusion is not None and diffusion.diffusing(self.state[-1]) else None

    def field(self, u: Tensor) -> Tensor:
        """States as fields ``(batch, *grid, fields)``."""
        return u.reshape(-1, *self.state)

    def forward(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        field = self.field(u)
        return (self.reaction(t, field, c) + self.operators(field)).reshape(u.shape)

    def without_diffusion(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        """Right-hand side without the linear part of `diffusion`, ``(batch, n)``."""
        field = self.field(u)
        value = self.reaction(t, field, c)
        for other in self.operators.others:
            value = value + other(field)
        offset = None if self.operators.diffusion is None else self.operators.diffusion.offset(field)
        return (value if offset is None else value + offset).reshape(u.shape)

    def pointwise(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> Linearized:
        """Right-hand side, and the Jacobian of the reaction term at every point."""
        field = self.field(u)
        value, slope = self.reaction.linearize(t, field, c)
        return Linearized((value + self.operators(field)).reshape(u.shape), slope)

    def sparse(self, pattern: Pattern, t: Tensor, u: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Right-hand side, and the entries of its Jacobian, operators included, ``(batch, entries)``."""
        reaction, slope = self.reaction.linearize(t, self.field(u), c)
        value, entries = pattern.linearize(self.operate, u)
        return reaction.reshape(u.shape) + value, pattern.entries(entries, slope)

    def operate(self, u: Tensor) -> Tensor:
        """Value of the operators, ``(batch, n)``."""
        return self.operators(self.field(u)).reshape(u.shape)


class FieldProblem(nn.Module):
    """The equation of fields of one shape, for flat states; it shares the coefficients of its `Problem`."""

    noise = "diagonal"
    calculus = "ito"
    diffusion = None
    jumps = ()

    def __init__(
        self,
        original: nn.Module,
        reaction: Reaction,
        operators: Operators,
        state: Sequence[int],
        sparsity: Sparsity | None = None,
    ):
        super().__init__()
        self.sparsity = sparsity
        # A tuple keeps it out of the submodules: functional_call refuses modules that are registered twice.
        self._original = (original,)
        self.drift = FieldDrift(reaction, operators, state)

    @property
    def original(self) -> Any:
        """The `Problem` that it was made from."""
        return self._original[0]

    def check(self, t: Tensor, u: Tensor, c: Tensor | None = None, *, range_of_rates: bool = True) -> None:
        """Call every coefficient once on states ``(batch, n)`` and check its value, as `Problem.check` does."""
        field = self.drift.field(u)
        self.drift.reaction.check(t, field, c)
        self.drift.operators.check(field)
        with torch.no_grad():
            self.drift(t, u, c)
        if self.sparsity is not None:
            pattern_of(self.sparsity, self.drift.state).check(self.drift.operate, u)
