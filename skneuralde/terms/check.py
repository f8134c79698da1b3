"""Check of a coefficient by one call, with errors that say what to change."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from skneuralde._calls import CallGuard, form_is_set, is_same
from skneuralde.terms.base import Sum
from skneuralde.terms.known import Constant, UserModule


def check_term(
    term: nn.Module,
    *,
    name: str,
    shape: tuple[int | None, ...],
    t: Tensor,
    u: Tensor,
    c: Tensor | None = None,
    finite: bool = True,
) -> Tensor:
    """Call a coefficient, check its value ``(batch, *shape)`` and return it.

    It is also called twice with another number of rows, which no shape fits by chance: its values must be the same.

    None in ``shape`` stands for any size. ``name`` is for messages, where an element of a list gets its position
    appended. The arguments of the call are ``t (batch, 1)``, ``u (batch, dim)`` and ``c (batch, k)`` or None.

    Raises
    ------
    ValueError
        If the value is not a tensor of the expected shape and of the state's dtype and device, and finite unless
        ``finite`` is False.
    """
    if isinstance(term, Sum):
        parts = [
            check_term(part, name=f"{name}[{i}]", shape=shape, t=t, u=u, c=c, finite=finite)
            for i, part in enumerate(term.terms)
        ]
        if len({part.shape for part in parts}) > 1:
            shapes = ", ".join(str(tuple(part.shape)) for part in parts)
            raise ValueError(f"the terms of {name} must have one shape, got {shapes}")
        return functools.reduce(torch.add, parts)
    if isinstance(term, UserModule) and term.floating_dtypes() - {u.dtype}:
        other = (term.floating_dtypes() - {u.dtype}).pop()
        raise ValueError(
            f"{name} has parameters of dtype {other}, but the state is {u.dtype}: convert it with .to({u.dtype})"
        )
    if isinstance(term, Constant) and term.shape is None and term.value.shape not in (torch.Size([]), u.shape[1:]):
        raise ValueError(
            f"{name} must be a number or have the shape of one state, {tuple(u.shape[1:])}, got the shape "
            f"{tuple(term.value.shape)}"
        )
    value = _call(term, name, t, u, c)
    _check_form(value, name, shape, u)
    if finite:
        _check_finite(value, name, t, u)
    _check_few_paths(term, name, value.shape[1:], t, u, c)
    return value


def _writes_into(value: Tensor) -> int:
    """Number of writes into a tensor and its views; inference mode counts none."""
    return 0 if value.is_inference() else value._version


def _check_few_paths(term: nn.Module, name: str, shape: torch.Size, t: Tensor, u: Tensor, c: Tensor | None) -> None:
    """Call a coefficient twice with another number of paths, two or three, where its value must be the same.

    Once is enough for a function and the form of its arguments.
    """
    found = [getattr(part, "guard", None) for part in term.modules()]
    guards = [guard for guard in found if isinstance(guard, CallGuard)]
    form = u.shape[1:], u.dtype, None if c is None else c.shape[1:]
    if all(form in guard.fits for guard in guards):
        return
    rows = torch.arange(3 if len(u) == 2 else 2, device=u.device) % len(u)
    few = t[rows], u[rows], None if c is None else c[rows]
    try:
        value = _call(term, name, *few)
        _check_form(value, name, tuple(shape), few[1])
    except Exception as error:
        error.add_note(
            f"{name} fits {len(u)} paths, but not {len(rows)}: a coefficient must take any number of paths; give "
            "values that differ between paths as context"
        )
        raise
    kept, writes = value.clone(), _writes_into(value)
    again = _call(term, name, *few)
    if _writes_into(value) != writes:
        raise ValueError(
            f"{name} writes into a tensor that it has returned before; it must return a new one at every call"
        )
    if not is_same(again, kept):
        raise ValueError(
            f"{name} is not a function of (t, u): two calls with the same arguments did not return the same value; "
            "randomness comes from the diffusion and from jumps, and what else changes is given as context"
        )
    for guard in guards:
        guard.fits.add(form)


def _call(term: nn.Module, name: str, t: Tensor, u: Tensor, c: Tensor | None) -> Tensor:
    before = u.clone()
    try:
        with torch.no_grad(), form_is_set():
            value = term(t, u, c)
    except Exception as error:
        shapes = ", ".join(f"{k} {tuple(x.shape)}" for k, x in (("t", t), ("u", u), ("c", c)) if x is not None)
        error.add_note(f"raised by {name}, called with the shapes {shapes}")
        raise
    if not torch.equal(before, u):
        raise ValueError(f"{name} changes u in place; it must return a new tensor")
    return value


def _check_form(value: object, name: str, shape: tuple[int | None, ...], u: Tensor) -> None:
    expected = (len(u), *shape)
    sizes = ", ".join("m" if size is None else str(size) for size in expected)
    form = f"({sizes})" if shape else f"({sizes},)"
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{name} must return a torch tensor of shape {form}, got {type(value).__name__}: compute it from u with "
            "torch functions"
        )
    got = tuple(value.shape)
    if len(got) != len(expected) or any(b is not None and a != b for a, b in zip(got, expected, strict=True)):
        raise ValueError(
            f"{name} must return shape {form} for u of shape {tuple(u.shape)}, got {got}: nothing is broadcast, and "
            "the first axis is the batch"
        )
    if value.dtype != u.dtype:
        raise ValueError(f"{name} must keep the dtype of u, {u.dtype}, got {value.dtype}")
    if value.device != u.device:
        raise ValueError(f"{name} must stay on the device of u, {u.device}, got {value.device}")


def _check_finite(value: Tensor, name: str, t: Tensor, u: Tensor) -> None:
    finite = value.isfinite()
    if not bool(finite.all()):
        index = tuple((~finite).nonzero()[0].tolist())
        raise ValueError(
            f"{name} returned {value[index].item()} at index {index}, where t = {t[index[0]].item():g} and "
            f"u = {u[index[0]].tolist()}"
        )
