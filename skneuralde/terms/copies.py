"""Copies of the coefficients that a caller gave, for training."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from skneuralde.terms.learned import named_numbers, with_learned
from skneuralde.terms.parameter import Parameter, evaluated


@contextmanager
def refuse_hidden(*modules: nn.Module | None) -> Iterator[None]:
    """Refuse parameters that are evaluated but are no parts of these modules, so that training would miss them.

    Raises
    ------
    ValueError
    """
    with evaluated() as seen:
        yield
    own = {id(part) for module in modules if module is not None for part in module.modules()}
    hidden = next((parameter for parameter in seen if id(parameter) not in own), None)
    if hidden is not None:
        raise ValueError(
            f"the equation uses {hidden!r} as a variable of an enclosing scope, where fit cannot train it: give it to "
            "the callable as the default of an argument, or make it an attribute of a module"
        )


class Copies:
    """The copies that one fit trains, so that the caller's objects do not change.

    An object that the caller gave in several places has one copy. All learned numbers of an equation pass through here,
    where they get their names.

    Attributes
    ----------
    numbers : dict of str to Parameter
        The copies of the caller's `Parameter` objects, by name.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, Parameter] = {}
        self._names: dict[str, Parameter] = {}
        self._memo: dict[int, Any] = {}

    def of(self, spec: Any, name: str, dtype: torch.dtype) -> Any:
        """Copy what is given as the argument ``name``: a module, in this dtype, or a list with modules.

        Callables that hold something to learn become modules; others are returned as they are.

        Raises
        ------
        ValueError
            If a `Parameter` has the name of another one.
        """
        if isinstance(spec, (list, tuple)):
            parts = [self.of(part, f"{name}[{i}]", dtype) for i, part in enumerate(spec)]
            return parts if isinstance(spec, list) else tuple(parts)
        if not callable(spec):
            return copy.deepcopy(spec, self._memo)
        spec = with_learned(spec)
        if not isinstance(spec, nn.Module):
            return spec
        found = list(named_numbers(spec, name))
        copied = copy.deepcopy(spec, self._memo).to(dtype)
        for label, parameter in found:
            self._add(label, parameter)
        return copied

    def _add(self, name: str, parameter: Parameter) -> None:
        known = self._names.setdefault(name, parameter)
        if known is not parameter:
            raise ValueError(
                f"two different parameters have the name {name!r}, {known!r} and {parameter!r}: give the same object "
                "in both places for one parameter, or another name to one of them"
            )
        own = self._memo[id(parameter)]
        if all(own is not other for other in self.numbers.values()):
            self.numbers[name] = own
