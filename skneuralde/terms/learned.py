"""Callables that hold what is learned: as default or bound arguments, as attributes, or as the owner of a method."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves, tree_map, tree_unflatten

from skneuralde.terms.parameter import Parameter, as_state, values_like


def is_learned(value: Any) -> bool:
    """Whether a value, or one in its lists, tuples and dicts, is a `Parameter`, a torch parameter or a module."""
    return any(isinstance(part, (nn.Module, nn.Parameter)) for part in tree_leaves(value))


def with_learned(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a callable as a `LearnedFunction` if it holds something to learn, else as it is.

    Attributes of a module are no reason, since torch knows them.
    """
    if isinstance(function, LearnedFunction) or inspect.isclass(function):
        return function
    learned = LearnedFunction(function)
    return learned if learned.holds_something else function


class LearnedFunction(nn.Module):
    """A callable, with what it holds as submodules and parameters, from which it is called.

    So training, gradients and `copy.deepcopy` find them. Numbers are given to the callable in dtype and device of the
    state. The signature is that of the callable without the learned arguments.
    """

    function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        base, bound = _unbound(function)
        parameters = _parameters(base, bound)
        given = {p.name: p.default for p in parameters if p.default is not p.empty} | bound
        learned = {name: value for name, value in given.items() if is_learned(value)}
        self.function = base
        self.arguments = [(name, _Tree(value)) for name, value in learned.items()]
        self.known = {name: value for name, value in bound.items() if name not in learned}
        #: Arguments by position: the name of one that is held, or the number of one that is given in a call.
        self.positions: list[str | int] = []
        self.n_given = 0
        self.rest: tuple[Any, ...] = ()
        for parameter in parameters:
            if parameter.kind is parameter.VAR_POSITIONAL:
                self.rest = self.known.pop(parameter.name, ())
            elif parameter.kind is not parameter.KEYWORD_ONLY:
                is_held = parameter.name in learned or parameter.name in bound
                self.positions.append(parameter.name if is_held else self.n_given)
                self.n_given += not is_held
        owner = getattr(base, "__self__", None) if inspect.ismethod(base) else base
        self.owner = owner if owner is not base and isinstance(owner, nn.Module) else None
        plain = isinstance(owner, nn.Module) or inspect.isroutine(owner) or inspect.isclass(owner)
        attributes = {} if plain else {k: v for k, v in getattr(owner, "__dict__", {}).items() if is_learned(v)}
        self.attributes = [(name, _Tree(value)) for name, value in attributes.items()]
        self.changing = [(name, tree) for name, tree in self.attributes if tree.has_tensors]
        self.held = nn.ModuleList(tree for _, tree in self.arguments + self.attributes)

    @property
    def holds_something(self) -> bool:
        """Whether there is anything to learn, apart from attributes of a module that is called itself."""
        return len(self.held) > 0 or self.owner is not None

    @property
    def __signature__(self) -> inspect.Signature:
        held = {*self.known, *(name for name, _ in self.arguments)}
        signature = _signature(self.function)
        return signature.replace(parameters=[p for name, p in signature.parameters.items() if name not in held])

    def forward(self, *arguments: Tensor) -> Any:
        like, positional = arguments[-1], []
        held = dict(self.known)
        for name, tree in self.arguments:
            held[name] = tree.values(like)
        for position in self.positions:
            if isinstance(position, str):
                positional.append(held.pop(position))
            elif position < len(arguments):
                positional.append(arguments[position])
            else:  # an argument with a default of its own: those behind it are given by name
                break
        else:
            positional += [*self.rest, *arguments[self.n_given :]]
        function = self._bound_function(like) if self.changing else self.function
        with values_like(like):
            return function(*positional, **held)

    def _bound_function(self, like: Tensor) -> Callable[..., Any]:
        """The callable, bound to a copy of its object with present tensors as attributes."""
        is_method = inspect.ismethod(self.function)
        function: Any = self.function
        owner = copy.copy(function.__self__ if is_method else function)
        for name, tree in self.changing:
            setattr(owner, name, tree.own(lambda part: _as(part, like)))
        return function.__func__.__get__(owner) if is_method else owner

    def named_numbers(self, label: str) -> Iterator[tuple[str, Parameter]]:
        """The names of its `Parameter` objects; ``label`` is the callable's own."""
        for name, tree in self.arguments:
            yield from tree.named_numbers(name)
        for name, tree in self.attributes:
            yield from tree.named_numbers(f"{label}.{name}")
        for module in (self.function, self.owner):
            if isinstance(module, nn.Module):
                yield from named_numbers(module, label)


@dataclass(frozen=True)
class _Place:
    """Stands for a learned part in the structure that holds it."""

    index: int


class _Tree(nn.Module):
    """A value, or nested lists, tuples and dicts of values, of which some are learned."""

    def __init__(self, value: Any):
        super().__init__()
        found, spec = tree_flatten_with_path(value)
        self.paths: list[str] = []
        places = []
        for path, part in found:
            places.append(_Place(len(self.paths)) if is_learned(part) else part)
            if is_learned(part):
                setattr(self, f"part{len(self.paths)}", part)
                self.paths.append(keystr(path))
        self.template = tree_unflatten(places, spec)
        self.has_tensors = len(self._parameters) > 0

    def own(self, of: Callable[[Any], Any]) -> Any:
        """The value, with a function of each learned part in its place."""
        if isinstance(self.template, _Place):
            return of(self.part0)
        return tree_map(lambda x: of(getattr(self, f"part{x.index}")) if isinstance(x, _Place) else x, self.template)

    def values(self, like: Tensor) -> Any:
        """The value with present numbers, in dtype and device of another tensor."""
        return self.own(lambda part: _as(part.forward() if isinstance(part, Parameter) else part, like))

    def named_numbers(self, name: str) -> Iterator[tuple[str, Parameter]]:
        for i, path in enumerate(self.paths):
            part = getattr(self, f"part{i}")
            if isinstance(part, nn.Module):
                yield from named_numbers(part, f"{name}{path}")


def named_numbers(module: nn.Module, label: str) -> Iterator[tuple[str, Parameter]]:
    """The `Parameter` objects of a module that is given as the argument ``label``, by name."""
    if isinstance(module, LearnedFunction):
        yield from module.named_numbers(label)
        return
    if isinstance(module, Parameter):
        yield label, module
    for name, part in module.named_children():
        yield from named_numbers(part, f"{label}.{name}")


def strict_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers with the dtype of the state; a `Parameter` and learned arguments are converted to it."""
    for part in module.modules():
        if not isinstance(part, (Parameter, _Tree)):
            yield from part.parameters(recurse=False)
            yield from part.buffers(recurse=False)


def _as(value: Any, like: Tensor) -> Any:
    return as_state(value, like) if isinstance(value, Tensor) and value.is_floating_point() else value


def _signature(function: Any, *, follow_wrapped: bool = True) -> inspect.Signature:
    # The __call__ of a module accepts anything.
    call = function.forward if isinstance(function, nn.Module) else function
    return inspect.signature(call, follow_wrapped=follow_wrapped)


def _unbound(function: Any) -> tuple[Any, dict[str, Any]]:
    """The function inside of a `functools.partial`, and the arguments that are bound, by name."""
    if not isinstance(function, functools.partial):
        return function, {}
    base, inner = _unbound(function.func)
    try:
        bound = _signature(base).bind_partial(*function.args, **function.keywords)
    except (TypeError, ValueError):
        return function, {}
    return base, inner | dict(bound.arguments)


def _parameters(function: Any, bound: dict[str, Any]) -> list[inspect.Parameter]:
    """The parameters of a callable; none if they are unknown, or if a decorator does not pass them on.

    Bound keywords that ``**keywords`` takes become parameters of their own, in ``bound`` as well.
    """
    try:
        parameters = list(_signature(function, follow_wrapped=False).parameters.values())
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            parameters = list(_signature(function).parameters.values())
    except (TypeError, ValueError):
        return []
    found = []
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            keywords = bound.pop(parameter.name, {})
            bound.update(keywords)
            found += [inspect.Parameter(name, parameter.KEYWORD_ONLY) for name in keywords]
        else:
            found.append(parameter)
    return found
