"""Tensors within reach of callables, found without calling them."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from itertools import chain
from types import BuiltinMethodType, CellType, CodeType, FunctionType, MethodType, MethodWrapperType, ModuleType
from typing import Any

from torch import Tensor, nn

from skneuralde._transforms import has_tangent, in_transform, is_forward_mode_open

#: Objects that are looked at.
_MOST = 100_000
#: Where packages are installed, whose globals are no tensors of a caller.
_INSTALLED = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib"))
_PLAIN = {str, bytes, int, float, complex, bool, type(None)}


def captured_tensors(*roots: Any) -> Iterator[Tensor]:
    """All tensors within reach of some objects, each once.

    A function reaches its closure, defaults, attributes, and the globals that its code names; any other object its
    attributes and items, and the methods of its class. Globals of installed packages are left out. What only a call
    would show, as ``globals()["rate"]``, is not found.
    """
    seen: dict[int, Any] = {}  # the objects keep their identities from being used again
    following = list(roots)
    while following and len(seen) < _MOST:
        x = following.pop()
        if type(x) in _PLAIN or id(x) in seen:
            continue
        seen[id(x)] = x
        if isinstance(x, Tensor):
            yield x
        else:
            following += _within(x)


def is_transformed(tensors: Iterable[Tensor], *roots: Any) -> bool:
    """Whether torch.func or forward mode may take derivatives in tensors, or in those within reach of some objects."""
    if in_transform():
        return True
    return is_forward_mode_open() and any(map(has_tangent, chain(tensors, captured_tensors(*roots))))


def _within(x: Any) -> Iterable[Any]:
    """The objects that one object refers to."""
    if isinstance(x, dict):
        return x.values()
    if isinstance(x, (list, tuple, set, frozenset)):
        return x
    if isinstance(x, FunctionType):
        named = [] if _is_of_package(x.__module__) else _named_globals(x)
        return [x.__closure__, x.__defaults__, x.__kwdefaults__, x.__dict__, *named]
    if isinstance(x, CellType):
        try:
            return [x.cell_contents]
        except ValueError:  # the cell is empty
            return []
    if isinstance(x, MethodType):
        return [x.__self__, x.__func__]
    if isinstance(x, (BuiltinMethodType, MethodWrapperType)):
        return [x.__self__]
    if isinstance(x, partial):
        return [x.func, x.args, x.keywords]
    if isinstance(x, (staticmethod, classmethod)):
        return [x.__func__]
    if isinstance(x, property):
        return [x.fget]
    if isinstance(x, type):
        return [] if _is_of_package(x.__module__) else [*vars(x).values(), *x.__bases__]
    if isinstance(x, ModuleType):
        return []
    if isinstance(x, Mapping):
        return list(x.values())
    if isinstance(x, nn.Module):
        return [type(x), *vars(x).values(), *x.parameters(recurse=False)]  # a scripted one keeps them elsewhere
    kind = type(x)
    found = [] if _is_of_package(kind.__module__) else [kind]
    return [*found, *getattr(x, "__dict__", {}).values(), *(getattr(x, name, None) for name in _slots(kind))]


def _slots(kind: type) -> tuple[str, ...]:
    """Names of the attributes that a class keeps outside a dictionary."""
    found = (vars(base).get("__slots__", ()) for base in kind.__mro__)
    return tuple(name for slots in found for name in ([slots] if isinstance(slots, str) else slots))


def _named_globals(function: FunctionType) -> list[Any]:
    """Globals that the code of a function names, and of a module among them the attributes that it names."""
    names = set(_names(function.__code__))
    found = [function.__globals__[name] for name in names if name in function.__globals__]
    modules = [x for x in found if isinstance(x, ModuleType) and not _is_of_package(x.__name__)]
    return found + [vars(module)[name] for module in modules for name in names if name in vars(module)]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


@lru_cache(maxsize=1024)
def _is_of_package(module: str | None) -> bool:
    name = (module or "").partition(".")[0]
    if name in sys.stdlib_module_names or name == __name__.partition(".")[0]:
        return True
    return (getattr(sys.modules.get(module or ""), "__file__", None) or "").startswith(_INSTALLED)
