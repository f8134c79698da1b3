"""Arguments of a user's coefficient, read from its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from skneuralde.terms.learned import LearnedFunction

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
#: The calls that are possible, by the arguments that a coefficient may take after t and u.
_CALLS = {
    ("c",): "(t, u) or (t, u, c)",
    ("c", "z"): "(t, u), (t, u, c), (t, u, z) or (t, u, c, z)",
}


def extra_arguments(function: Callable[..., Any], name: str, *, accepted: tuple[str, ...] = ("c",)) -> tuple[str, ...]:
    """Return those of the ``accepted`` arguments that a coefficient takes after ``(t, u)``, in their order.

    Other arguments with a default keep it, as do those that `functools.partial` binds. Arguments whose default is
    learned are no inputs, whatever their name. A builtin without a signature is called with ``(t, u)``. A coefficient
    that cannot be called in any of these ways is refused.
    """
    if isinstance(function, nn.Module) and not isinstance(function, LearnedFunction):
        function = function.forward  # its __call__ accepts anything
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return ()
    calls = _CALLS[accepted]
    call = "(" + ", ".join(str(p) for p in parameters) + ")"
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    first, rest = positional[:2], positional[2:]
    if len(first) < 2 and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise ValueError(f"{name} must take the arguments {calls}; its signature is {call}")
    if len(first) == 2 and first[1].name == "t":
        raise ValueError(f"{name} is called with the time first, as (t, u); its signature is {call}")
    if "z" not in accepted and any(p.name == "z" for p in rest):
        raise ValueError(
            f"{name} takes z, the mark of a jump, but only the effect of a jump has marks; its signature is {call}, "
            f"expected {calls}"
        )
    taken: list[str] = []
    for parameter in rest:
        if parameter.name not in accepted[accepted.index(taken[-1]) + 1 if taken else 0 :]:
            break
        taken.append(parameter.name)
    own = rest[len(taken) :] + [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    unknown = [p.name for p in own if p.default is p.empty or (p.name in accepted and p.kind in _POSITIONAL)]
    if unknown:
        named = "c (context, then controls)" if accepted == ("c",) else "c (context, then controls) and z (the mark)"
        raise ValueError(
            f"{name} is called as {calls}, where {named} follow u and go by that name; its signature is {call}. Give "
            f"{', '.join(unknown)} a default, or bind it with functools.partial"
        )
    return tuple(taken)
