"""Inputs of networks and their scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from skneuralde.terms.copies import Copies

INPUTS = ("time", "state", "context", "controls")


@dataclass(frozen=True, eq=False)
class Inputs:
    """Inputs that the networks of an equation may see, with their locations and scales.

    The columns of ``c`` are the static context, then the controls.
    """

    dim: int  # of the state
    n_context: int
    n_controls: int
    sees: tuple[str, ...]  # inputs of the networks by default, among INPUTS
    time: tuple[float, float]  # location and scale
    state_loc: Tensor  # (dim,)
    state_scale: Tensor
    context_loc: Tensor  # (n_context + n_controls,)
    context_scale: Tensor
    state_sample: Tensor  # (n, dim), states in the caller's units, by which a network's features are scaled
    dtype: torch.dtype  # of the networks' parameters
    copies: Copies = field(default_factory=Copies)  # of what the caller gave, shared by all coefficients

    def __post_init__(self) -> None:
        unknown = [name for name in self.sees if name not in INPUTS]
        if unknown:
            raise ValueError(f"inputs must be among {INPUTS}, got {unknown[0]!r}")

    @classmethod
    def unit(
        cls,
        dim: int,
        *,
        n_context: int = 0,
        n_controls: int = 0,
        sees: Sequence[str] = ("state", "context", "controls"),
        dtype: torch.dtype = torch.float64,
    ) -> Inputs:
        """Inputs that need no scaling: all with location 0 and scale 1."""
        width = n_context + n_controls
        return cls(
            dim=dim,
            n_context=n_context,
            n_controls=n_controls,
            sees=tuple(sees),
            time=(0.0, 1.0),
            state_loc=torch.zeros(dim, dtype=dtype),
            state_scale=torch.ones(dim, dtype=dtype),
            context_loc=torch.zeros(width, dtype=dtype),
            context_scale=torch.ones(width, dtype=dtype),
            state_sample=torch.linspace(-2, 2, 33, dtype=dtype)[:, None].expand(-1, dim),
            dtype=dtype,
        )

    @property
    def context_columns(self) -> slice:
        """Columns of ``c`` that the networks see."""
        start = 0 if "context" in self.sees else self.n_context
        stop = self.n_context + self.n_controls if "controls" in self.sees else self.n_context
        return slice(start, max(start, stop))
