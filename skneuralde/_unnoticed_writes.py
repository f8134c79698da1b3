"""Functions whose code may write into a tensor without torch counting it, found by reading the code."""

from __future__ import annotations

import functools
import types
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

#: Names of ways around torch's count of what is written into a tensor.
_WAYS = {"numpy", "data", "asarray", "__array__", "data_ptr", "untyped_storage", "to_dlpack", "from_dlpack"}
#: Functions that are read; code that needs more counts as one that may write.
_MOST = 100


def may_write_unnoticed(function: Any) -> bool:
    """Whether a function, or one that it names, mentions numpy or another way to the memory of a tensor."""
    seen: dict[int, Any] = {}
    return any(len(seen) > _MOST or _mentions_way(code, names) for code, names in _codes(function, seen))


def _mentions_way(code: types.CodeType, names: Mapping[str, Any]) -> bool:
    return any(name in _WAYS or _package(names.get(name)) == "numpy" for name in _names(code))


def _codes(function: Any, seen: dict[int, Any]) -> Iterator[tuple[types.CodeType, Mapping[str, Any]]]:
    """The code of a callable and of the callables that it names, each with the values of its names."""
    if isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    if id(function) in seen or _package(function) in ("torch", "skneuralde", "builtins"):
        return
    seen[id(function)] = function
    if isinstance(function, types.FunctionType):
        names = ChainMap(_closure(function), function.__globals__)
        codes = [function.__code__]
        for code in codes:  # those of inner functions are appended
            codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
            yield code, names
        for name in {name for code in codes for name in _names(code)}:
            if callable(names.get(name)):
                yield from _codes(names[name], seen)
    elif not isinstance(function, (type, types.BuiltinFunctionType)):
        methods = [method for kind in type(function).__mro__ for method in vars(kind).values()]
        children = function.children() if isinstance(function, nn.Module) else ()
        for part in (*(method for method in methods if isinstance(method, types.FunctionType)), *children):
            yield from _codes(part, seen)


def _names(code: types.CodeType) -> tuple[str, ...]:
    return code.co_names + code.co_freevars


def _package(value: Any) -> str:
    """The package of a module, or of a function, class or instance that a module defines."""
    name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    return name.split(".")[0] if isinstance(name, str) else ""


def _closure(function: types.FunctionType) -> dict[str, Any]:
    """Values of the variables of surrounding functions, as far as they are assigned."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue
    return found
