"""How a user's coefficient wants to be called, read from its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def takes_context(function: Callable[..., Any], name: str) -> bool:
    """Whether a coefficient is called with ``(t, u, c)`` rather than ``(t, u)``.

    Arguments with a default that is not named ``c`` stay the caller's own, as do those that `functools.partial` binds.
    A builtin that tells no signature is called with ``(t, u)``.

    Raises
    ------
    ValueError
        If it cannot be called in either way.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    call = "(" + ", ".join(str(p) for p in parameters) + ")"
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    first, rest = positional[:2], positional[2:]
    if len(first) < 2 and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise ValueError(f"{name} must take the arguments (t, u) or (t, u, c); its signature is {call}")
    if len(first) == 2 and first[1].name == "t":
        raise ValueError(f"{name} is called with the time first, as (t, u); its signature is {call}")
    if any(p.name == "z" for p in rest):
        raise ValueError(
            f"{name} takes z, the mark of a jump, but only the effect of a jump has marks; its signature is {call}, "
            "expected (t, u) or (t, u, c)"
        )
    with_context = bool(rest) and rest[0].name == "c"
    own = rest[1:] if with_context else rest
    own += [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    unknown = [p.name for p in own if p.default is p.empty or (p.name == "c" and p.kind in _POSITIONAL)]
    if unknown:
        raise ValueError(
            f"{name} is called as (t, u) or (t, u, c), where c (context, then controls) is the third argument and "
            f"goes by that name; its signature is {call}. Give {', '.join(unknown)} a default, or bind it with "
            "functools.partial"
        )
    return with_context
