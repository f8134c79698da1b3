"""Coefficients given by the user: constants, functions and torch modules."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from skneuralde._calls import CallGuard
from skneuralde._typing import Coefficient, Context, State, Time
from skneuralde.terms.base import Term
from skneuralde.terms.signature import extra_arguments


class Constant(Term):
    """A known number, vector or matrix.

    ``shape`` is that of the value for one path. None is the shape of the state for numbers and vectors, and the value's
    own shape for matrices.
    """

    state_dependent = False
    value: Tensor

    def __init__(self, value: Tensor, shape: tuple[int, ...] | None = None):
        super().__init__()
        self.shape = value.shape if shape is None and value.ndim > 1 else shape
        self.register_buffer("value", value if self.shape is None else value.broadcast_to(self.shape).clone())

    def forward(self, t: Time, u: State, c: Context | None = None) -> Coefficient:
        return self.value.to(u).expand(len(u), *(u.shape[1:] if self.shape is None else self.shape))


class Known(Term):
    """A known function of (t, u) or (t, u, c)."""

    def __init__(self, function: Callable[..., Tensor], name: str):
        super().__init__()
        self.name = name
        self.function = function
        self.takes_context = bool(extra_arguments(function, name))
        self.guard = CallGuard(function, name, ("t", "u", "c"))

    def forward(self, t: Time, u: State, c: Context | None = None) -> Coefficient:
        if not self.takes_context:
            return self.guard.coefficient(self.function, t, u)
        if c is None:
            raise ValueError(f"{self.name} takes c, but there are neither context nor controls to give it")
        return self.guard.coefficient(self.function, t, u, c)


class UserModule(Known):
    """A trainable torch module of (t, u) or (t, u, c), which is not copied."""

    def __init__(self, module: nn.Module, name: str):
        # nn.Module.__call__ accepts anything: the signature is that of forward.
        super().__init__(module, name)
        self.takes_context = bool(extra_arguments(module.forward, name))

    def floating_dtypes(self) -> set[torch.dtype]:
        """Dtypes of the module's real-valued parameters and buffers."""
        tensors = [*self.parameters(), *self.buffers()]
        return {tensor.dtype for tensor in tensors if tensor.is_floating_point()}


class PerPath(Term):
    """A term with one value per path, ``(batch,)``, from a term that may return ``(batch, 1)``."""

    def __init__(self, term: Term):
        super().__init__()
        self.term = term
        self.state_dependent = term.state_dependent

    def forward(self, t: Time, u: State, c: Context | None = None) -> Coefficient:
        value = self.term(t, u, c)
        is_column = isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] == 1
        return value[:, 0] if is_column else value
