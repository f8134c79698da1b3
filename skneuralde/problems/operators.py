"""Sums of operators, and operators from the forms that a user may give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skneuralde._calls import CallGuard
from skneuralde.problems.base import Operator
from skneuralde.problems.grid_operator import on_one_grid
from skneuralde.problems.laplacian import Laplacian
from skneuralde.terms import with_learned


class UserOperator(Operator):
    """A function or module of a field ``u (batch, *grid, fields)``; a module is trainable."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = with_learned(function)
        self.guard = CallGuard(function, "operator", ("u",))

    def forward(self, u: Tensor) -> Tensor:
        return self.guard.call(self.function, u)


class Operators(nn.Module):
    """The sum of several operators; ``ndim`` is None if all of them work on grids of any number of axes."""

    def __init__(self, parts: Sequence[nn.Module]):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        ndims: set[Any] = {part.ndim for part in parts if part.ndim is not None}
        if len(ndims) > 1:
            raise ValueError(f"the operators are for grids of different numbers of axes: {sorted(map(str, ndims))}")
        self.ndim: int | None = ndims.pop() if ndims else None
        first = [i for i, part in enumerate(parts) if isinstance(part, Laplacian)]
        self._first = first[0] if first else -1

    @property
    def diffusion(self) -> Laplacian | None:
        """The first Laplacian, which solvers diagonalise; None if there is none."""
        part = self.parts[self._first] if self._first >= 0 else None
        return part if isinstance(part, Laplacian) else None

    @property
    def others(self) -> list[nn.Module]:
        """All but the first Laplacian."""
        return [part for i, part in enumerate(self.parts) if i != self._first]

    def forward(self, u: Tensor) -> Tensor:
        """Value of the sum for fields ``(batch, *grid, fields)``, same shape."""
        total = self.parts[0](u)
        for part in self.parts[1:]:
            total = total + part(u)
        return total

    def check(self, u: Tensor) -> None:
        """Call every operator once on a field; its value must be finite and of the field's shape, dtype and device."""
        for i, part in enumerate(self.parts):
            name = f"operator[{i}]" if len(self.parts) > 1 else "operator"
            with torch.no_grad():
                try:
                    value = part(u)
                except Exception as error:
                    error.add_note(f"raised by {name}, called with a field of shape {tuple(u.shape)}")
                    raise
            if not isinstance(value, Tensor) or value.shape != u.shape:
                got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(f"{name} must return the field's shape {tuple(u.shape)}, got {got}")
            if value.dtype != u.dtype or value.device != u.device:
                raise ValueError(
                    f"{name} must keep the dtype and device of the field, {u.dtype} on {u.device}, got {value.dtype} "
                    f"on {value.device}"
                )
            if not bool(value.isfinite().all()):
                index = tuple((~value.isfinite()).nonzero()[0].tolist())
                raise ValueError(f"{name} returned {value[index].item()} at index {index}")


def resolve_operator(spec: Any) -> Operators | None:
    """Turn the argument ``operator`` of a `Problem` into a module; None stays None."""
    if spec is None:
        return None
    parts = spec if isinstance(spec, (list, tuple)) else [spec]
    if not parts:
        raise ValueError("operator is an empty list; give None for an equation without space")
    return Operators(on_one_grid([_resolve_part(part) for part in parts]))


def _resolve_part(part: Any) -> nn.Module:
    if isinstance(part, type) or not callable(part):
        raise ValueError(
            f"operator must be a Laplacian, an Advection, a function or module of a field u (batch, *grid, fields), "
            f"or a list of these, got {part!r}"
        )
    return part if isinstance(part, Operator) else UserOperator(part)
