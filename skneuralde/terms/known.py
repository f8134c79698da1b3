"""Coefficients given by the user: constants, functions and torch modules."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from skneuralde._calls import CallGuard
from skneuralde._typing import Coefficient, Context, State, Time
from skneuralde.terms.base import Term
from skneuralde.terms.learned import strict_tensors, with_learned
from skneuralde.terms.parameter import Parameter, values_like
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


class Number(Constant):
    """A learned number, vector or matrix; ``shape`` is like that of `Constant`."""

    def __init__(self, parameter: Parameter, shape: tuple[int, ...] | None = None):
        Term.__init__(self)
        self.parameter = parameter
        self.shape = tuple(parameter.shape) if shape is None and len(parameter.shape) > 1 else shape

    @property
    def value(self) -> Tensor:  # type: ignore[override]
        """The present value, of its own shape."""
        return self.parameter()

    def forward(self, t: Time, u: State, c: Context | None = None) -> Coefficient:
        value, shape = self.value.to(u), u.shape[1:] if self.shape is None else self.shape
        # A rate may be given as an array with one entry.
        return (value.expand(shape) if shape else value.reshape(())).expand(len(u), *shape)


def is_constant_rate(rate: Term) -> bool:
    """Whether a rate of jumps is the same at all times and states, and cannot become negative."""
    return isinstance(rate, Constant) and not (isinstance(rate, Number) and rate.parameter.low < 0.0)


class Known(Term):
    """A function of (t, u) or (t, u, c); what it holds, such as a default argument, may be learned."""

    def __init__(self, function: Callable[..., Tensor], name: str):
        super().__init__()
        self.name = name
        self.function = with_learned(function)
        self.takes_context = bool(extra_arguments(self.function, name))
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
        super().__init__(module, name)
        self.has_numbers = any(isinstance(part, Parameter) for part in module.modules())

    def forward(self, t: Time, u: State, c: Context | None = None) -> Coefficient:
        if not self.has_numbers:
            return super().forward(t, u, c)
        with values_like(u):
            return super().forward(t, u, c)

    def floating_dtypes(self) -> set[torch.dtype]:
        """Dtypes of the module's real-valued parameters and buffers."""
        return {tensor.dtype for tensor in strict_tensors(self) if tensor.is_floating_point()}


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
