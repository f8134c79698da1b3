"""Coefficients in the forms that a user may give, turned into terms."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skneuralde.terms.affects import Affect, KnownAffect, SetState, SumAffect
from skneuralde.terms.base import Sum, Term
from skneuralde.terms.inputs import Inputs
from skneuralde.terms.known import Constant, Known, Number, PerPath, UserModule
from skneuralde.terms.learned import LearnedFunction
from skneuralde.terms.mlp import MLP
from skneuralde.terms.network import Network, copy_learned
from skneuralde.terms.parameter import Parameter

_CHOICES = (
    "None, a number or array, a Parameter, a function of (t, u) or (t, u, c), a torch.nn.Module with the same call, "
    '"mlp", an MLP, or a list of these, which is their sum'
)


def resolve(
    spec: Any,
    *,
    name: str,
    shape: tuple[int, ...],
    default: MLP,
    inputs: Inputs,
    output_scale: Tensor,
    positive: str | None = None,
    generator: torch.Generator,
) -> Term | None:
    """Turn a coefficient given to an estimator into a term; None stays None.

    A module is copied, so that training does not change the user's own. A list of numbers is an array, any other list
    the sum of its elements. ``shape`` is that of the coefficient for one path: numbers and vectors are expanded to it,
    a matrix keeps its own. ``default`` has the settings of the network that "mlp" stands for. `Network` explains the
    other arguments; ``output_scale`` is expanded to ``shape``.

    Raises
    ------
    ValueError
        If the spec is not one of the forms that a coefficient may have, or does not fit the shape.
    """

    def network(mlp: MLP, label: str) -> Term:
        scale = output_scale.broadcast_to(shape)
        return Network(mlp, inputs, scale, positive=positive, generator=generator, name=label)

    def leaf(part: Any, label: str) -> Term:
        if isinstance(part, str) and part == "mlp":
            return network(default, label)
        if isinstance(part, MLP):
            return network(part, label)
        part = inputs.copies.of(part, label, inputs.dtype)
        if isinstance(part, Parameter):
            return _fitted_number(part, shape, label)
        if isinstance(part, nn.Module) and not isinstance(part, LearnedFunction):
            return UserModule(part, label)
        if _is_array(part):
            return _fitted_constant(_constant(part, label).to(inputs.dtype), shape, label)
        return Known(part, label)

    def copied(part: Any, label: str) -> Any:
        return copy_learned(part, label, inputs) if isinstance(part, Term) else part

    own = [copied(part, f"{name}[{i}]") for i, part in enumerate(spec)] if is_sum(spec) else copied(spec, name)
    return _resolve(own, name, leaf)


def resolve_known(spec: Any, *, name: str) -> Term | None:
    """Turn a coefficient of a `Problem` into a term; the shapes of constants follow the state.

    A module is not copied, so that gradients reach the user's own parameters. An MLP is refused, since data determine
    its scales.
    """
    return _resolve(spec, name, _known_leaf)


def _known_leaf(part: Any, label: str) -> Term:
    _refuse_network(part, label)
    if isinstance(part, Parameter):
        return Number(part)
    if isinstance(part, nn.Module) and not isinstance(part, LearnedFunction):
        return UserModule(part, label)
    if _is_array(part):
        return Constant(_constant(part, label))
    return Known(part, label)


def _refuse_network(part: Any, label: str) -> None:
    if isinstance(part, MLP) or (isinstance(part, str) and part == "mlp"):
        raise ValueError(
            f"{label} is an MLP, whose inputs are scaled by data: give it to an estimator, or give Problem a "
            "torch.nn.Module of (t, u)"
        )


def resolve_known_rate(spec: Any, *, name: str) -> Term:
    """Turn the rate of a `Jump` into a term with one value per path, ``(batch,)``; it must not be None or an array."""

    def leaf(part: Any, label: str) -> Term:
        if isinstance(part, Parameter):
            _check_rate(part().detach(), label)
            return Number(part, ())
        if not _is_array(part):
            return PerPath(_known_leaf(part, label))
        value = _constant(part, label)
        _check_rate(value, label)
        return Constant(value.reshape(()), ())

    rate = _resolve(spec, name, leaf)
    if rate is None:
        raise ValueError(f"{name} is None; leave a jump that never happens out of jumps=")
    return rate


def _check_rate(value: Tensor, label: str) -> None:
    if value.numel() != 1:
        raise ValueError(f"{label} must be one number, got shape {tuple(value.shape)}: each channel has one rate")
    if float(value) < 0.0:
        raise ValueError(f"{label} must not be negative, got {float(value):g}")


def resolve_known_affect(spec: Any, *, name: str) -> Affect:
    """Turn the effect of a `Jump` into a function of the state before it and its mark; None is refused."""
    if isinstance(spec, Affect):
        return spec
    if is_sum(spec) and spec:
        return SumAffect([resolve_known_affect(part, name=f"{name}[{i}]") for i, part in enumerate(spec)])
    if callable(spec) and not (isinstance(spec, (Term, Parameter)) or inspect.isclass(spec) or _is_array(spec)):
        _refuse_network(spec, name)
        return KnownAffect(spec, name)
    term = resolve_known(spec, name=name)
    if term is None:
        raise ValueError(f"{name} is None; give the state after the jump, as a function of (t, u) or (t, u, z)")
    return SetState(term)


def trainable(term: Term | None) -> bool:
    """Whether a term has parameters to train."""
    return term is not None and any(p.requires_grad for p in term.parameters())


def has_known_units(spec: Any) -> bool:
    """Whether a coefficient has a known part, whose value depends on the unit of time."""
    if is_sum(spec):
        return any(has_known_units(part) for part in spec)
    return not (spec is None or isinstance(spec, (str, MLP)))


def summands(spec: Any) -> list[Any]:
    """Return the terms of a coefficient: the elements of a list that is a sum, else the coefficient itself."""
    return list(spec) if is_sum(spec) else [spec]


def _resolve(spec: Any, name: str, leaf: Callable[[Any, str], Term]) -> Term | None:
    if spec is None:
        return None
    if is_sum(spec):
        if not spec:
            raise ValueError(f"{name} is an empty list; give None for a coefficient that is absent")
        return Sum([_resolve_part(part, f"{name}[{i}]", leaf) for i, part in enumerate(spec)])
    return _resolve_part(spec, name, leaf)


def _resolve_part(part: Any, name: str, leaf: Callable[[Any, str], Term]) -> Term:
    if isinstance(part, Term):
        return part
    if inspect.isclass(part):
        raise ValueError(f"{name} is the class {part.__name__}; pass an instance, {part.__name__}(...)")
    if isinstance(part, str) and part != "mlp":
        raise ValueError(f'{name}={part!r} is not known; the only string is "mlp". Expected {_CHOICES}')
    if part is None or is_sum(part):
        raise ValueError(f"{name} is {part!r}, which is no term of a sum. Expected {_CHOICES}")
    if not (isinstance(part, (str, MLP)) or callable(part) or _is_array(part)):
        raise ValueError(f"{name} is a {type(part).__name__}. Expected {_CHOICES}")
    return leaf(part, name)


def _is_number(value: Any) -> bool:
    """Whether a value is a number or a nested list of numbers."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(_is_number(item) for item in value)
    return isinstance(value, Real) or (getattr(value, "shape", None) == () and not isinstance(value, str))


def is_sum(spec: Any) -> bool:
    """Whether a specification is a list of terms to add, not an array of numbers."""
    return isinstance(spec, (list, tuple)) and not _is_number(spec)


def _is_array(value: Any) -> bool:
    return _is_number(value) or (hasattr(value, "__array__") and not isinstance(value, nn.Module))


def _constant(value: Any, name: str) -> Tensor:
    """Read a finite real constant as a float64 tensor of at most two axes."""
    if isinstance(value, Tensor):
        if value.requires_grad:
            raise ValueError(
                f"{name} is a tensor that requires a gradient; to learn it, give a Parameter, or wrap it in a "
                "torch.nn.Module"
            )
        value = value.cpu().numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.ndim > 2:
        raise ValueError(f"{name} must have at most two axes, got shape {array.shape}")
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite, got {array[index]} at index {index}")
    return torch.from_numpy(array.astype(np.float64))


def _fitted_constant(value: Tensor, shape: tuple[int, ...], name: str) -> Constant:
    """Constant for a coefficient of this shape."""
    return Constant(value, _fitted_shape(value, shape, name))


def _fitted_number(parameter: Parameter, shape: tuple[int, ...], name: str) -> Number:
    """Learned constant for a coefficient of this shape."""
    return Number(parameter, _fitted_shape(parameter(), shape, name))


def _fitted_shape(value: Tensor, shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """The shape of a constant coefficient; a matrix of noise may have any number of columns."""
    if value.ndim == 2 and shape and value.shape[0] == shape[0]:
        return tuple(value.shape)
    vector_for_matrix = len(shape) == 2 and value.ndim < 2
    if vector_for_matrix or value.shape not in (torch.Size([]), torch.Size(shape)):
        expected = f"{shape}" if vector_for_matrix else f"{shape} or be a number"
        raise ValueError(f"{name} must have shape {expected}, got {tuple(value.shape)}")
    return shape
