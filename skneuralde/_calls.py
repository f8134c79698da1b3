"""Calls of the functions that callers give, which leave their arguments alone and keep the form of their value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from skneuralde._unnoticed_writes import may_write_unnoticed

_SETS_FORM = ContextVar("_SETS_FORM", default=False)


@contextmanager
def form_is_set() -> Iterator[None]:
    """The values of calls in this context set the form that those of later calls must have."""
    token = _SETS_FORM.set(True)
    try:
        yield
    finally:
        _SETS_FORM.reset(token)


def is_same(a: Tensor, b: Tensor) -> bool:
    """Whether two values of a function agree, up to the rounding of operations whose order is not determined."""
    rounding = 1e3 * torch.finfo(b.dtype).eps
    return a.shape == b.shape and torch.allclose(a, b, rtol=rounding, atol=rounding, equal_nan=True)


class CallGuard:
    """Calls one function that a caller gave.

    torch counts what is written into a tensor, and the count is read before and after each call. A function that hands
    its arguments to numpy, or goes around the count in another way, gets copies: what it writes there reaches nobody.
    Its values are copied as well.

    Parameters
    ----------
    function : callable
        It is not kept: a module is registered by the term that holds it.
    name : str
        For messages.
    arguments : tuple of str
        The names of the arguments of a call, for messages.
    """

    def __init__(self, function: Callable[..., Any], name: str, arguments: tuple[str, ...]):
        self.name, self.arguments = name, arguments
        self.copies = may_write_unnoticed(function)
        # Shape of the value for one row of u, by the size of that row.
        self._forms: dict[int, torch.Size] = {}
        #: Forms of the arguments for which the function has passed its check.
        self.fits: set[tuple[Any, ...]] = set()
        # Form of the latest value that was right, and of its u, which most calls repeat.
        self._latest: tuple[Any, ...] | None = None

    def call(self, function: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
        """The value of the function.

        Raises
        ------
        ValueError
            If the function has changed an argument.
        """
        if self.copies:
            arguments = tuple([x.clone() for x in arguments])
        try:
            before = [x._version for x in arguments]
        except RuntimeError:  # tensors of inference mode have no count
            return function(*[x.clone() for x in arguments])
        value = function(*arguments)
        if self.copies and isinstance(value, Tensor):
            value = value.clone()  # it may be memory that the function writes into again
        if before != [x._version for x in arguments]:
            changed = next(k for k, x in enumerate(arguments) if x._version != before[k])
            raise ValueError(
                f"{self.name} changes {self.arguments[changed]} in place{self._at_time(arguments)}; it must return a "
                "new tensor, computed from its arguments or from clones of them"
            )
        return value

    def coefficient(self, function: Callable[..., Tensor], t: Tensor, u: Tensor, *others: Tensor) -> Tensor:
        """The value of a function of (t, u, ...), which has the form that was set.

        Raises
        ------
        ValueError
            If the function has changed an argument, or its value the shape or the dtype.
        """
        value = self.call(function, t, u, *others)
        form = (u.shape, u.dtype, value.shape, value.dtype) if isinstance(value, Tensor) else None
        if form is not None and form == self._latest:
            return value
        if _SETS_FORM.get():
            if isinstance(value, Tensor):
                self._forms[u.shape[-1]], self._latest = value.shape[1:], None
            return value
        row = self._forms.get(u.shape[-1])
        if row is not None and not (
            isinstance(value, Tensor) and value.shape == u.shape[:-1] + row and value.dtype == u.dtype
        ):
            got = f"shape {tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"{self.name} must keep to the shape of its first value, {(*u.shape[:-1], *row)} for u of shape "
                f"{tuple(u.shape)}, and to the dtype of u, {u.dtype}: it returned {got}{self._at_time((t,))}"
            )
        if row is not None:
            self._latest = form
        return value

    def _at_time(self, arguments: tuple[Tensor, ...]) -> str:
        """The time of a call, in words; none where values are hidden by a transform."""
        if self.arguments[0] != "t":
            return ""
        try:
            return f" at time {float(arguments[0].detach().flatten()[0]):.6g}"
        except (RuntimeError, IndexError):
            return ""
