"""Base class of coefficients, with their derivatives with respect to the state."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from skneuralde._typing import Coefficient, Context, Jacobian, State, Time
from skneuralde.terms.derivatives import value_and_jacobian, value_and_two_derivatives

#: Step of the central differences, relative to the directions.
_STEP = 0.1


def sum_of_squares(x: Tensor, dim: int) -> Tensor:
    """Sum of squares over an axis, which is removed."""
    # For an axis of length one, selecting is much faster than summing.
    return x.select(dim, 0).square() if x.shape[dim] == 1 else x.square().sum(dim)


class Expansion(Protocol):
    """Second-order Taylor expansion of a coefficient around states."""

    @property
    def value(self) -> Tensor: ...

    def along(self, directions: Tensor) -> tuple[Tensor, Tensor]:
        """First derivatives along directions ``(batch, r, dim)``, and the sum of the second derivatives along them.

        Their shapes are ``(batch, r, *shape)`` and ``(batch, *shape)``.
        """


@dataclass(frozen=True)
class CentralDifferences:
    """Expansion by central differences, whose small steps keep to the domain of functions such as square roots."""

    term: Term
    t: Tensor
    u: Tensor
    c: Tensor | None
    value: Tensor

    def along(self, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives along directions ``(batch, r, dim)``, from steps of a tenth of their length."""
        batch, r, _ = directions.shape
        steps = _STEP * directions
        points = torch.cat([self.u[:, None] + steps, self.u[:, None] - steps], 1).flatten(0, 1)
        times = self.t.repeat_interleave(2 * r, 0)
        inputs = None if self.c is None else self.c.repeat_interleave(2 * r, 0)
        values = self.term(times, points, inputs)
        above, below = values.view(batch, 2, r, *values.shape[1:]).unbind(1)
        second = (above + below - 2.0 * self.value[:, None]).sum(1) / _STEP**2
        return (above - below) / (2.0 * _STEP), second


class Term(nn.Module, ABC):
    """A coefficient of the equation: drift, diffusion or rate, known, learned or both.

    It is called with ``t (batch, 1)``, ``u (batch, dim)`` and ``c (batch, k)`` (context columns, then controls, or
    None) and returns ``(batch, *shape)``.
    """

    #: Whether the value can change with u. False saves the work of differentiating it.
    state_dependent: bool = True

    @abstractmethod
    def forward(self, t: Time, u: State, c: Context | None = None) -> Coefficient:
        """Value of the coefficient for every path."""

    def linearize(self, t: Time, u: State, c: Context | None = None) -> tuple[Coefficient, Jacobian]:
        """Value and Jacobian ``(batch, *shape, dim)`` with respect to u; both can be differentiated again."""
        if self.state_dependent:
            return self._linearize(t, u, c)
        value = self(t, u, c)
        return value, value.new_zeros(*value.shape, u.shape[-1])

    def curvature(
        self, t: Time, u: State, c: Context | None, cov: Jacobian
    ) -> tuple[Coefficient, Jacobian, Coefficient]:
        """Value, Jacobian, and the second derivatives summed with weights ``cov (batch, dim, dim)``.

        Half of the sum is the second-order change of the mean if the state has this covariance.
        """
        if self.state_dependent:
            return self._curvature(t, u, c, cov)
        value, slope = self.linearize(t, u, c)
        return value, slope, torch.zeros_like(value)

    def expand(self, t: Time, u: State, c: Context | None = None) -> Expansion:
        """Second-order Taylor expansion around the states."""
        return CentralDifferences(self, t, u, c, self(t, u, c))

    def _linearize(self, t: Tensor, u: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Value and Jacobian of a term that depends on the state."""
        return value_and_jacobian(self._of_state, u, t, c)

    def _curvature(self, t: Tensor, u: Tensor, c: Tensor | None, cov: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`curvature` of a term that depends on the state."""
        return value_and_two_derivatives(self._of_state, u, cov, t, c)

    def _of_state(self, u: Tensor, t: Tensor, c: Tensor | None) -> Tensor:
        return self(t, u, c)


class Sum(Term):
    """The sum of several terms: an equation that is partly known and partly learned."""

    def __init__(self, terms: Sequence[Term]):
        super().__init__()
        # nn.ModuleList does not know the type of its modules.
        self.terms: Sequence[Term] = nn.ModuleList(terms)  # type: ignore[assignment]
        self.state_dependent = any(term.state_dependent for term in terms)

    def forward(self, t: Time, u: State, c: Context | None = None) -> Coefficient:
        return functools.reduce(torch.add, [term(t, u, c) for term in self.terms])

    def _linearize(self, t: Tensor, u: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._add_state_independent(t, u, c, [term.linearize(t, u, c) for term in self._varying])

    def _curvature(self, t: Tensor, u: Tensor, c: Tensor | None, cov: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self._add_state_independent(t, u, c, [term.curvature(t, u, c, cov) for term in self._varying])

    @property
    def _varying(self) -> list[Term]:
        return [term for term in self.terms if term.state_dependent]

    def _add_state_independent(self, t: Tensor, u: Tensor, c: Tensor | None, parts: list[tuple[Tensor, ...]]) -> Any:
        """Sum of values and derivatives, to which the terms that do not depend on the state add only values."""
        value, *derivatives = [functools.reduce(torch.add, column) for column in zip(*parts, strict=True)]
        for term in self.terms:
            if not term.state_dependent:
                value = value + term(t, u, c)
        return value, *derivatives
