"""Callables that hold what is learned: as default or bound arguments, as attributes, or as the owner of a method."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves, tree_map, tree_unflatten

from skneuralde.terms.parameter import Parameter, values_like

_Kind = inspect._ParameterKind


def is_learned(value: Any) -> bool:
    """Whether a value, or one in its lists, tuples and dicts, is a `Parameter`, a torch parameter or a module."""
    return any(isinstance(leaf, (nn.Module, nn.Parameter)) for leaf in tree_leaves(value))


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
        self.arguments = nn.ModuleDict({f"_{name}": _Tree(value) for name, value in learned.items()})
        self.order = [(p.name, p.kind) for p in parameters]
        self.known = {name: value for name, value in bound.items() if name not in learned}
        by_position = (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD)
        self.free = [name for name, kind in self.order if kind in by_position and name not in {**bound, **learned}]
        owner = getattr(base, "__self__", None) if inspect.ismethod(base) else base
        self.owner = owner if owner is not base and isinstance(owner, nn.Module) else None
        plain = isinstance(owner, nn.Module) or inspect.isroutine(owner) or inspect.isclass(owner)
        attributes = {} if plain else {k: v for k, v in getattr(owner, "__dict__", {}).items() if is_learned(v)}
        self.attributes = nn.ModuleDict({f"_{name}": _Tree(value) for name, value in attributes.items()})

    @property
    def holds_something(self) -> bool:
        """Whether there is anything to learn, apart from attributes of a module that is called itself."""
        return len(self.arguments) > 0 or len(self.attributes) > 0 or self.owner is not None

    @property
    def __signature__(self) -> inspect.Signature:
        held = {*self.known, *(name for name, _ in _trees(self.arguments))}
        signature = _signature(self.function)
        return signature.replace(parameters=[p for name, p in signature.parameters.items() if name not in held])

    def forward(self, *arguments: Tensor) -> Any:
        values = {name: tree.values(arguments[-1]) for name, tree in _trees(self.arguments)}
        values = {**self.known, **values, **dict(zip(self.free, arguments, strict=False))}
        positional, keywords, gap = [], dict[str, Any](), False
        for name, kind in self.order:
            if kind is _Kind.VAR_POSITIONAL:
                positional += [*values.get(name, ()), *arguments[len(self.free) :]]
            elif name not in values:
                gap = True
            elif kind is _Kind.KEYWORD_ONLY or gap:
                keywords[name] = values[name]
            else:
                positional.append(values[name])
        with values_like(arguments[-1]):
            return self._bound_function(arguments[-1])(*positional, **keywords)

    def _bound_function(self, like: Tensor) -> Callable[..., Any]:
        """The callable, bound to a copy of its object if that has tensors among its learned attributes."""
        tensors = {name: tree for name, tree in _trees(self.attributes) if tree.has_tensors}
        if not tensors:
            return self.function
        is_method = inspect.ismethod(self.function)
        function: Any = self.function
        owner = copy.copy(function.__self__ if is_method else function)
        for name, tree in tensors.items():
            setattr(owner, name, tree.own(lambda leaf: _as(leaf, like)))
        return function.__func__.__get__(owner) if is_method else owner

    def named_numbers(self, label: str) -> Iterator[tuple[str, Parameter]]:
        """The names of its `Parameter` objects; ``label`` is the callable's own."""
        for name, tree in _trees(self.arguments):
            yield from tree.named_numbers(name)
        for name, tree in _trees(self.attributes):
            yield from tree.named_numbers(f"{label}.{name}")
        for module in (self.function, self.owner):
            if isinstance(module, nn.Module):
                yield from named_numbers(module, label)


@dataclass(frozen=True)
class _Place:
    """Stands for a learned part in the structure that holds it."""

    index: int


def _trees(held: nn.ModuleDict) -> list[tuple[str, _Tree]]:
    # Names of arguments may be names that nn.ModuleDict uses itself.
    return [(name.removeprefix("_"), cast(_Tree, tree)) for name, tree in held.items()]


class _Tree(nn.Module):
    """A value, or nested lists, tuples and dicts of values, of which some are learned."""

    def __init__(self, value: Any):
        super().__init__()
        leaves, spec = tree_flatten_with_path(value)
        self.paths: list[str] = []
        places = []
        for path, leaf in leaves:
            places.append(_Place(len(self.paths)) if is_learned(leaf) else leaf)
            if is_learned(leaf):
                setattr(self, f"leaf{len(self.paths)}", leaf)
                self.paths.append(keystr(path))
        self.template = tree_unflatten(places, spec)
        self.has_tensors = len(self._parameters) > 0

    def own(self, of: Callable[[Any], Any]) -> Any:
        """The value, with a function of each learned part in its place."""
        return tree_map(lambda x: of(getattr(self, f"leaf{x.index}")) if isinstance(x, _Place) else x, self.template)

    def values(self, like: Tensor) -> Any:
        """The value with present numbers, in dtype and device of another tensor."""
        return self.own(lambda leaf: _as(leaf() if isinstance(leaf, Parameter) else leaf, like))

    def named_numbers(self, name: str) -> Iterator[tuple[str, Parameter]]:
        for i, path in enumerate(self.paths):
            leaf = getattr(self, f"leaf{i}")
            if isinstance(leaf, nn.Module):
                yield from named_numbers(leaf, f"{name}{path}")


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
    is_number = isinstance(value, Tensor) and value.is_floating_point()
    return value.to(dtype=like.dtype, device=like.device) if is_number else value


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
