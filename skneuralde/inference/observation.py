"""Observation functions: from a state to the outputs that are observed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skneuralde.terms import Copies
from skneuralde.terms.derivatives import value_and_jacobian


class Observation(nn.Module, ABC):
    """A function from states (batch, dim) to outputs (batch, n_outputs)."""

    @abstractmethod
    def forward(self, u: Tensor) -> Tensor:
        """The outputs of states."""

    def linearize(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Value, and Jacobian ``(batch, n_outputs, dim)``; both can be differentiated again."""
        return value_and_jacobian(self, u)


class Selection(Observation):
    """Selected components of the state."""

    components: Tensor

    def __init__(self, components: Sequence[int]):
        super().__init__()
        self.register_buffer("components", torch.tensor(list(components), dtype=torch.int64))

    def forward(self, u: Tensor) -> Tensor:
        """The components (..., n_outputs) of states (..., dim)."""
        return u.index_select(-1, self.components)

    def linearize(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The components, and the corresponding rows of the unit matrix."""
        unit = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)[self.components]
        return self(u), unit.expand(len(u), -1, -1)


class ObservationFunction(Observation):
    """A given function of the state; a module is trained."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, u: Tensor) -> Tensor:
        """The outputs (batch, n_outputs) of states (batch, dim)."""
        return self.function(u)


def resolve_observation(
    spec: Any, *, n_states: int, n_outputs: int, dtype: torch.dtype, copies: Copies | None = None
) -> Observation:
    """Make an observation from the ``observation`` parameter of an estimator, or raise ValueError.

    ``spec`` is a sequence of components of the state (None: the first ones), a callable of u ``(batch, n_states)`` or a
    module, of which ``copies`` makes a copy in this dtype.
    """
    if spec is None:
        if n_states < n_outputs:
            raise ValueError(
                f"n_states={n_states} is less than the {n_outputs} columns of y: give observation=, a function of the "
                "state that returns all of them."
            )
        return Selection(range(n_outputs))
    if callable(spec):
        return ObservationFunction((copies or Copies()).of(spec, "observation", dtype))
    return Selection(_check_components(spec, n_states, n_outputs))


@torch.no_grad()
def check_observation(observation: Observation, u: Tensor, n_outputs: int) -> None:
    """Call an observation once and raise ValueError unless it returns a finite tensor (batch, n_outputs)."""
    value = observation(u)
    shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if shape != (len(u), n_outputs):
        raise ValueError(
            f"observation must return one column for each of the {n_outputs} columns of y, {(len(u), n_outputs)} for "
            f"states {tuple(u.shape)}, got {shape}."
        )
    if value.dtype != u.dtype:
        raise ValueError(f"observation must return {u.dtype}, as the state, got {value.dtype}.")
    if not bool(value.isfinite().all()):
        row = int((~value.isfinite().all(1)).nonzero()[0])
        raise ValueError(f"observation must be finite, got {value[row].tolist()} at the state {u[row].tolist()}.")


def _check_components(spec: Any, n_states: int, n_outputs: int) -> list[int]:
    try:
        components = [int(i) for i in spec]
        exact = all(int(i) == i for i in spec)
    except (TypeError, ValueError):
        exact = False
    if not exact:
        raise ValueError(f"observation must be None, indices of states, a function or a module, got {spec!r}.")
    if len(components) != n_outputs or not all(0 <= i < n_states for i in components):
        raise ValueError(
            f"observation must name one state, from 0 to {n_states - 1}, for each of the {n_outputs} columns of y, got "
            f"{spec!r}."
        )
    return components
