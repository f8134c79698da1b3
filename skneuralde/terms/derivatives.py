"""Derivatives of functions along directions, for all rows of a batch at once.

Reverse mode is linear in the derivative of the output; differentiating it with respect to that gives forward mode. It
takes half the time of `torch.func.jvp` or less, which spends most of it on zeros, and its graphs belong to a thread:
the levels of torch's forward mode are shared by all threads, callers' own included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from skneuralde._transforms import has_tangent, in_transform, is_forward_mode_open


class Pushforward:
    """Pushes changes of ``sources`` forward to the ``ends`` of a graph."""

    def __init__(self, ends: Sequence[Tensor], sources: Sequence[Tensor]):
        self.ends = ends
        self.at = [k for k, end in enumerate(ends) if end.requires_grad]
        self.weights = [torch.zeros_like(ends[k], requires_grad=True) for k in self.at]
        self.pulled: Sequence[Tensor | None] = [None] * len(sources)
        if self.at:
            differentiable = [ends[k] for k in self.at]
            self.pulled = torch.autograd.grad(
                differentiable, sources, self.weights, create_graph=True, allow_unused=True
            )

    def along(self, changes: Sequence[Tensor | None], *, create_graph: bool = False) -> list[Tensor]:
        """Changes of the ends; None stands for zero."""
        pushed = [torch.zeros_like(end) for end in self.ends]
        pairs = [
            (pull, change) for pull, change in zip(self.pulled, changes, strict=True)
            if pull is not None and change is not None and pull.requires_grad
        ]  # fmt: skip
        if pairs:
            pulls, directions = zip(*pairs, strict=True)
            found = torch.autograd.grad(
                pulls, self.weights, directions, retain_graph=True, create_graph=create_graph, allow_unused=True
            )
            for k, change in zip(self.at, found, strict=True):
                pushed[k] = pushed[k] if change is None else change
        return pushed


def along(
    function: Callable[..., Tensor],
    at: Sequence[Tensor],
    directions: Sequence[Tensor],
    *,
    differences: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Value of ``function(*at)`` and its derivative along the directions, both of which can be differentiated again.

    The value and all arguments have one row per path. ``differences`` gives the derivative from the value where
    automatic differentiation does not; by default central differences do.
    """
    value, _, push, _, has_graph = _linearized(lambda *x: (function(*x), ()), at)
    slope = push(directions) if has_graph else torch.full_like(value, torch.nan)
    differences = differences or (lambda value: _difference_quotients(function, value, at, directions))
    return value, _known(slope, value, lambda: differences(value))


def value_and_jacobian(function: Callable[..., Tensor], u: Tensor, *others: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return value ``(batch, *shape)`` and Jacobian ``(batch, *shape, dim)`` in u of ``function(u, *others)``.

    The function is evaluated once, on the batch repeated once per component of the state. If its value is no larger
    than the state, each copy has a row of the Jacobian by reverse mode, else a column by forward mode.
    """
    (batch, dim), (start, copies, directions) = u.shape, _repeated(u, others)
    value, pull, push, _, has_graph = _linearized(lambda v: (function(v, *copies), ()), [start])
    shape = batch, *value.shape[1:]
    rows = math.prod(value.shape[1:])

    def columns(slopes: Tensor) -> Tensor:
        return slopes.view(dim, *shape).movedim(0, -1)

    if not has_graph:
        slope = value.new_full((*shape, dim), torch.nan)
    elif rows > dim:
        slope = columns(push([directions]))
    else:
        units = torch.eye(dim, rows, dtype=u.dtype, device=u.device).repeat_interleave(batch, 0)
        slope = pull(units.view(value.shape)).view(dim, batch, dim)[:rows].movedim(0, 1).reshape(*shape, dim)

    def differences() -> Tensor:
        return columns(_difference_quotients(lambda v: function(v, *copies), value, [start], [directions]))

    return value[:batch], _known(slope, value[:batch, ..., None], differences)


def _known(slope: Tensor, value: Tensor, differences: Callable[[], Tensor]) -> Tensor:
    """A derivative, with difference quotients where it is not a number although the value is finite.

    Automatic differentiation multiplies zero by infinity where the derivative of a masked part is infinite: that of
    ``0 ** 0``, or of a root that `torch.where` leaves out. It knows nothing of a function that leaves torch.
    """
    if not bool(slope.isnan().any()):
        return slope
    unknown = slope.isnan() & value.isfinite()
    if not bool(unknown.any()):
        return slope
    if slope.requires_grad or in_transform() or has_tangent(slope):
        # Not even zero times a derivative of what is not a number is a number.
        return differences()
    return torch.where(unknown, differences(), slope)


def _difference_quotients(
    function: Callable[..., Tensor], value: Tensor, at: Sequence[Tensor], directions: Sequence[Tensor]
) -> Tensor:
    """Central difference quotients along directions; on one side where the function is not defined on the other."""
    with torch.no_grad():
        reach, size = (torch.stack([_row_maximum(x) for x in xs]).amax(0) for xs in (directions, at))
        step = torch.finfo(value.dtype).eps ** (1 / 3) * torch.where(size > 0.0, size, 1.0)
        step = step / torch.where(reach > 0.0, reach, 1.0)

    def moved(sign: float) -> Tensor:
        pairs = zip(at, directions, strict=True)
        return function(*(torch.addcmul(x, _as_rows(step, x), direction, value=sign) for x, direction in pairs))

    length = _as_rows(step, value)
    ahead, behind = (moved(1.0) - value) / length, (value - moved(-1.0)) / length
    central = 0.5 * (ahead + behind)
    return torch.where(central.isnan(), torch.where(ahead.isnan(), behind, ahead), central)


def _row_maximum(x: Tensor) -> Tensor:
    return x.abs().flatten(1).amax(1)


def _as_rows(step: Tensor, x: Tensor) -> Tensor:
    return step.to(x.dtype).view(-1, *[1] * (x.ndim - 1))


class _Linearized(NamedTuple):
    """A function around its arguments."""

    value: Tensor
    pull: Callable[[Tensor], Tensor]  #: derivative in the first argument, summed with weights of the value
    push: Callable[[Sequence[Tensor]], Tensor]  #: derivative along directions
    more: Any  #: what else the function returns
    has_graph: bool  #: whether the value is known to torch as a function of the arguments


def _linearized(function: Callable[..., tuple[Tensor, Any]], at: Sequence[Tensor]) -> _Linearized:
    """A function around its arguments, by the levels of torch.func or by a graph of its own.

    A graph of its own is invisible to the transforms of torch.func, and where operations are recorded, all that comes
    from it requires a gradient. But torch.func allows no hooks on what is saved for a gradient.
    """
    records = torch.is_grad_enabled()
    has_hooks = torch._C._autograd._top_saved_tensors_default_hooks(False) is not None
    tracks = records or is_forward_mode_open()
    if in_transform() or torch.is_inference_mode_enabled() or (tracks and not has_hooks):
        value, pull_back, more = cast(Any, torch.func.vjp(function, *at, has_aux=True))

        def push_by_levels(directions: Sequence[Tensor]) -> Tensor:
            _, push_forward = cast(Any, torch.func.vjp(pull_back, torch.zeros_like(value)))
            return push_forward(tuple(directions))[0]

        return _Linearized(value, lambda weights: pull_back(weights)[0], push_by_levels, more, True)
    with torch.enable_grad():
        start = [x.view_as(x) if records and x.requires_grad else x.detach().requires_grad_() for x in at]
        value, more = function(*start)

    def pull(weights: Tensor) -> Tensor:
        if not value.requires_grad:
            return torch.zeros_like(start[0])
        options = {"create_graph": records, "allow_unused": True, "materialize_grads": True}
        return torch.autograd.grad(value, start[0], weights, **options)[0]

    def push(directions: Sequence[Tensor]) -> Tensor:
        with torch.enable_grad():
            (slope,) = Pushforward([value], start).along(directions, create_graph=records)
        return slope

    if records:
        return _Linearized(value, pull, push, more, value.requires_grad)
    return _Linearized(value.detach(), pull, push, tree_map(Tensor.detach, more), value.requires_grad)


def value_and_two_derivatives(
    function: Callable[..., Tensor], u: Tensor, cov: Tensor, *others: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return value, Jacobian, and the second derivatives summed with weights ``cov (batch, dim, dim)``.

    The function is differentiated along each direction, and then along the direction's column of ``cov``.
    """
    (batch, dim), (start, copies, directions) = u.shape, _repeated(u, others)

    def slope_and_value(v: Tensor) -> tuple[Tensor, Tensor]:
        value, _, push, *_ = _linearized(lambda w: (function(w, *copies), ()), [v])
        return push([directions]), value

    slope, _, push, value, _ = _linearized(slope_and_value, [start])
    second = push([cov.movedim(-1, 0).flatten(0, 1)])
    shape = dim, batch, *value.shape[1:]
    return value[:batch], slope.view(shape).movedim(0, -1), second.view(shape).sum(0)


def _repeated(u: Tensor, others: tuple[Tensor | None, ...]) -> tuple[Tensor, list[Tensor | None], Tensor]:
    """The batch and its other arguments once per component of the state, and these directions."""
    batch, dim = u.shape
    directions = torch.eye(dim, dtype=u.dtype, device=u.device).repeat_interleave(batch, 0)
    start, *copies = (x if x is None or dim == 1 else x.repeat(dim, 1) for x in (u, *others))
    return cast(Tensor, start), copies, directions
