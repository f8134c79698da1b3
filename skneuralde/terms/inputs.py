"""What networks may see, and how it is scaled for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

INPUTS = ("time", "state", "context", "controls")


@dataclass(frozen=True, eq=False)
class Inputs:
    """What every network of an equation may see, with the location and scale of each input.

    Attributes
    ----------
    dim : int
        Dimension of the state.
    n_context, n_controls : int
        Columns of ``c``: static context first, then controls.
    sees : tuple of str
        Those of "time", "state", "context" and "controls" that the networks see.
    time : (float, float)
        Location and scale of time.
    state_loc, state_scale : Tensor of shape (dim,)
    context_loc, context_scale : Tensor of shape (n_context + n_controls,)
    state_sample : Tensor of shape (n, dim)
        Some states, in the caller's units, from which a network's ``features`` are scaled.
    dtype : torch.dtype
        Dtype of the networks' parameters.
    """

    dim: int
    n_context: int
    n_controls: int
    sees: tuple[str, ...]
    time: tuple[float, float]
    state_loc: Tensor
    state_scale: Tensor
    context_loc: Tensor
    context_scale: Tensor
    state_sample: Tensor
    dtype: torch.dtype

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
        """Make inputs that are already centred at 0 with scale 1."""
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
        """The columns of ``c`` that the networks see."""
        start = 0 if "context" in self.sees else self.n_context
        stop = self.n_context + self.n_controls if "controls" in self.sees else self.n_context
        return slice(start, max(start, stop))
