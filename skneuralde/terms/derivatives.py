"""Derivatives of functions along directions, for all rows of a batch at once.

Reverse mode is linear in the derivative of the output; differentiating it with respect to that gives forward mode. It
takes half the time of `torch.func.jvp`, which spends most of it on zeros, and nests in every transform. Its levels are
those of a thread; the levels of torch's forward mode are shared by all threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor


def along(function: Callable[..., Tensor], at: Any, directions: Any) -> tuple[Tensor, Tensor]:
    """Value of ``function(*at)`` and its derivative along the directions, both of which can be differentiated again."""
    value, pull_back = cast(Any, torch.func.vjp(function, *at))
    return value, _pushed(pull_back, value, directions)


def _pushed(pull_back: Callable[[Tensor], Any], value: Tensor, directions: Any) -> Tensor:
    _, push_forward = cast(Any, torch.func.vjp(pull_back, torch.zeros_like(value)))
    return push_forward(directions)[0]


def value_and_jacobian(function: Callable[..., Tensor], u: Tensor, *others: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return value ``(batch, *shape)`` and Jacobian ``(batch, *shape, dim)`` in u of ``function(u, *others)``.

    The function is evaluated once, on the batch repeated once per direction.
    """
    (batch, dim), (start, copies, directions) = u.shape, _repeated(u, others)
    value, slope = along(lambda v: function(v, *copies), (start,), (directions,))
    return value[:batch], slope.view(dim, batch, *value.shape[1:]).movedim(0, -1)


def value_and_two_derivatives(
    function: Callable[..., Tensor], u: Tensor, cov: Tensor, *others: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return value, Jacobian, and the second derivatives summed with weights ``cov (batch, dim, dim)``.

    The function is differentiated along each direction, and then along the direction's column of ``cov``.
    """
    (batch, dim), (start, copies, directions) = u.shape, _repeated(u, others)

    def slope_and_value(v: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = along(lambda w: function(w, *copies), (v,), (directions,))
        return slope, value

    slope, pull_back, value = cast(Any, torch.func.vjp(slope_and_value, start, has_aux=True))
    second = _pushed(pull_back, slope, (cov.movedim(-1, 0).flatten(0, 1),))
    shape = dim, batch, *value.shape[1:]
    return value[:batch], slope.view(shape).movedim(0, -1), second.view(shape).sum(0)


def _repeated(u: Tensor, others: tuple[Tensor | None, ...]) -> tuple[Tensor, list[Tensor | None], Tensor]:
    """The batch and its other arguments once per component of the state, and these directions."""
    batch, dim = u.shape
    directions = torch.eye(dim, dtype=u.dtype, device=u.device).repeat_interleave(batch, 0)
    start, *copies = (x if x is None or dim == 1 else x.repeat(dim, 1) for x in (u, *others))
    return cast(Tensor, start), copies, directions
