"""What every coefficient is: a value and, on request, its Jacobian with respect to the state."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from skneuralde._typing import Coefficient, Context, Jacobian, State, Time

#: Distance of sigma points from the mean, in standard deviations.
_SPREAD = 0.1


def value_and_jacobian(function: Callable[..., Tensor], u: Tensor, *others: Tensor | None) -> tuple[Tensor, Tensor]:
    """Value ``(batch, *shape)`` and derivative ``(batch, *shape, dim)`` in u of ``function(u, *others)``.

    Forward mode: one evaluation on a batch repeated once per direction, differentiable again by reverse mode.
    """
    batch, dim = u.shape
    directions = torch.eye(dim, dtype=u.dtype, device=u.device).repeat_interleave(batch, 0)
    copies = [x if x is None or dim == 1 else x.repeat(dim, 1) for x in (u, *others)]
    value, slope, *_ = torch.func.jvp(lambda v: function(v, *copies[1:]), (copies[0],), (directions,))
    return value[:batch], slope.view(dim, batch, *value.shape[1:]).movedim(0, -1)


class Around(Protocol):
    """A coefficient around states, to second order."""

    @property
    def value(self) -> Tensor: ...

    def along(self, directions: Tensor) -> tuple[Tensor, Tensor]:
        """First derivatives ``(batch, r, *shape)`` along directions ``(batch, r, dim)``, and the sum of the second.

        The sum is ``(batch, *shape)``.
        """


@dataclass(frozen=True)
class SigmaPoints:
    """A coefficient around states by values close to them: where it ends, as roots do at zero, they stay inside."""

    term: Term
    t: Tensor
    u: Tensor
    c: Tensor | None
    value: Tensor

    def along(self, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives along directions ``(batch, r, dim)``, as central differences of steps of a tenth of them."""
        batch, r, _ = directions.shape
        around = _SPREAD * directions
        points = torch.cat([self.u[:, None] + around, self.u[:, None] - around], 1).flatten(0, 1)
        times = self.t.repeat_interleave(2 * r, 0)
        inputs = None if self.c is None else self.c.repeat_interleave(2 * r, 0)
        values = self.term(times, points, inputs)
        above, below = values.view(batch, 2, r, *values.shape[1:]).unbind(1)
        bend = (above + below - 2.0 * self.value[:, None]).sum(1) / _SPREAD**2
        return (above - below) / (2.0 * _SPREAD), bend


class Term(nn.Module, ABC):
    """A coefficient of the equation: drift or diffusion, known, learned or both.

    Call it with ``t (batch, 1)``, ``u (batch, dim)`` and ``c (batch, k)`` (context columns, then controls; None where
    there are none). The value has shape ``(batch, *shape)``.
    """

    #: Whether the value can change with u. False spares the work of differentiating it.
    state_dependent: bool = True

    @abstractmethod
    def forward(self, t: Time, u: State, c: Context | None = None) -> Coefficient:
        """Value of the coefficient at every path."""

    def linearize(self, t: Time, u: State, c: Context | None = None) -> tuple[Coefficient, Jacobian]:
        """Value and Jacobian ``(batch, *shape, dim)`` with respect to u; both can be differentiated again."""
        if self.state_dependent:
            return self._linearize(t, u, c)
        value = self(t, u, c)
        return value, value.new_zeros(*value.shape, u.shape[-1])

    def around(self, t: Time, u: State, c: Context | None = None) -> Around:
        """The coefficient around the states, to second order."""
        return SigmaPoints(self, t, u, c, self(t, u, c))

    def _linearize(self, t: Tensor, u: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Value and Jacobian of a term that depends on the state."""
        return value_and_jacobian(self._of_state, u, t, c)

    def _of_state(self, u: Tensor, t: Tensor, c: Tensor | None) -> Tensor:
        return self(t, u, c)


class Sum(Term):
    """The sum of several terms: an equation that is partly known and partly learned."""

    def __init__(self, terms: Sequence[Term]):
        super().__init__()
        # Typed as terms, for what nn.ModuleList does not know of its modules.
        self.terms: Sequence[Term] = nn.ModuleList(terms)  # type: ignore[assignment]
        self.state_dependent = any(term.state_dependent for term in terms)

    def forward(self, t: Time, u: State, c: Context | None = None) -> Coefficient:
        """Value of the sum at every path."""
        return functools.reduce(torch.add, [term(t, u, c) for term in self.terms])

    def _linearize(self, t: Tensor, u: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        fixed = [term(t, u, c) for term in self.terms if not term.state_dependent]
        (value, slope), *others = [term.linearize(t, u, c) for term in self.terms if term.state_dependent]
        for other_value, other_slope in others:
            value, slope = value + other_value, slope + other_slope
        for constant in fixed:
            value = value + constant
        return value, slope
