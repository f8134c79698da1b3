"""Detection of functions that do not depend on time, by following a tensor through all operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skneuralde._transforms import plain

_ATEN = torch.ops.aten
#: Operations whose result has nothing of their argument but shape, dtype and device.
_SHAPES = {
    *(_ATEN.zeros_like, _ATEN.ones_like, _ATEN.empty_like, _ATEN.full_like),
    *(_ATEN.new_zeros, _ATEN.new_ones, _ATEN.new_empty, _ATEN.new_full, _ATEN.new_empty_strided),
}
#: Methods that hand a tensor's values to other libraries.
_EXPORTS = {Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__, Tensor.data_ptr}


def depends_on_first(function: Callable[..., Tensor], first: Tensor, *others: Tensor) -> bool:
    """Whether the value of a function may depend on its first argument, in any way, also where the others differ.

    A derivative of zero does not tell: comparisons have none. Every result of an operation on the argument counts as
    dependent, and so does every tensor into which such a result is written. A function that reads values of any
    argument into Python or numpy counts as well, since it may go another way for other values.
    """
    follower, other = _Follower(), _Follower()
    with torch.no_grad():
        arguments = [x.clone() for x in (first, *others)]
        for x, its_follower in zip(arguments, [follower, *[other] * len(others)], strict=True):
            its_follower.follow(x)
        with _Exports(follower, other), follower, other:
            value = function(*arguments)
    return follower.exported or other.exported or follower.follows(value)


class _Follower(TorchDispatchMode):
    """Follows tensors by their storage, since views and writes in place share it."""

    def __init__(self) -> None:
        super().__init__()
        self.exported = False
        self._followed: dict[int, Tensor] = {}  # the tensors keep their storage from being used again

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else torch imports its compiler for the first operation: two seconds and 70 MB.
        return False

    def follow(self, x: Any) -> None:
        if isinstance(x, Tensor):
            self._followed[_identity(x)] = x
        elif x is not None:
            self.exported = True  # a value that Python has read

    def follows(self, x: Any) -> bool:
        return isinstance(x, Tensor) and _identity(x) in self._followed

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket not in _SHAPES and any(map(self.follows, tree_leaves((args, kwargs)))):
            for x in tree_leaves((result, list(_written(func, args, kwargs or {})))):
                self.follow(x)
        return result


def _identity(x: Tensor) -> int:
    """The storage of a tensor; sparse ones have none, and no views."""
    x = plain(x)
    return x.untyped_storage()._cdata if x.layout == torch.strided else id(x)


def _written(func: Any, args: Any, kwargs: dict[str, Any]) -> Iterator[Any]:
    """The arguments that an operation changes in place."""
    for i, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield args[i] if i < len(args) else kwargs.get(argument.name)


class _Exports(TorchFunctionMode):
    """Notes that values of followed tensors leave torch."""

    def __init__(self, *followers: _Follower):
        super().__init__()
        self.followers = followers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _EXPORTS:
            for follower in self.followers:
                follower.exported |= follower.follows(args[0])
        return func(*args, **(kwargs or {}))
