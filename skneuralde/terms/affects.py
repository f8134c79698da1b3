"""Effects of jumps: the state after a jump as a function of the state before it and of a random mark."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from skneuralde._calls import CallGuard
from skneuralde._typing import Context, State, Time
from skneuralde.terms.base import Term
from skneuralde.terms.learned import with_learned
from skneuralde.terms.signature import extra_arguments


class Affect(nn.Module, ABC):
    """The effect of a jump, which returns the state after it, ``(batch, dim)``."""

    #: Whether the effect depends on the mark z, and so is random.
    uses_marks: bool = False

    @abstractmethod
    def forward(self, t: Time, u: State, c: Context | None, z: Tensor) -> State:
        """State after a jump at time t, from the state u before it and the mark z."""

    def with_mark(self, z: Tensor) -> Term:
        """Effect of jumps with the given marks, as a term of ``(t, u, c)``."""
        return _AffectWithMark(self, z)


class _AffectWithMark(Term):
    def __init__(self, affect: Affect, z: Tensor):
        super().__init__()
        self.affect = affect
        self.z = z

    def forward(self, t: Time, u: State, c: Context | None = None) -> State:
        return self.affect(t, u, c, self.z)


class KnownAffect(Affect):
    """A function or trainable module of ``(t, u)``, ``(t, u, c)``, ``(t, u, z)`` or ``(t, u, c, z)``."""

    def __init__(self, function: Callable[..., Tensor], name: str):
        super().__init__()
        self.name = name
        self.function = with_learned(function)
        self.extra = extra_arguments(self.function, name, accepted=("c", "z"))
        self.uses_marks = "z" in self.extra
        self.guard = CallGuard(function, name, ("t", "u", *self.extra))

    def forward(self, t: Time, u: State, c: Context | None, z: Tensor) -> State:
        given: dict[str, Tensor] = {"z": z} if c is None else {"c": c, "z": z}
        if c is None and "c" in self.extra:
            raise ValueError(f"{self.name} takes c, but there are neither context nor controls to give it")
        return self.guard.coefficient(self.function, t, u, *[given[name] for name in self.extra])


class SetState(Affect):
    """An effect that sets the state to the value of a term, independently of the mark."""

    def __init__(self, term: Term):
        super().__init__()
        self.term = term

    def forward(self, t: Time, u: State, c: Context | None, z: Tensor) -> State:
        return self.term(t, u, c)


class GaussianAffect(Affect):
    """A normal jump, to u + m(t, u) + s(t, u) z with standard normal marks z."""

    uses_marks = True

    def __init__(self, mean: Term, std: Term):
        super().__init__()
        self.mean = mean
        self.std = std

    def forward(self, t: Time, u: State, c: Context | None, z: Tensor) -> State:
        return u + self.mean(t, u, c) + self.std(t, u, c) * z


class SumAffect(Affect):
    """An effect that sets the state to the sum of other effects, partly known and partly learned."""

    def __init__(self, affects: Sequence[Affect]):
        super().__init__()
        # nn.ModuleList does not know the type of its modules.
        self.affects: Sequence[Affect] = nn.ModuleList(affects)  # type: ignore[assignment]
        self.uses_marks = any(affect.uses_marks for affect in self.affects)

    def forward(self, t: Time, u: State, c: Context | None, z: Tensor) -> State:
        return functools.reduce(torch.add, [affect(t, u, c, z) for affect in self.affects])
