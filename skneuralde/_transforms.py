"""Derivatives that are taken around a solver: transforms of torch.func, torch's forward mode, second derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor
from torch._C._functorch import get_unwrapped, is_batchedtensor, is_functorch_wrapped_tensor, maybe_current_level
from torch.autograd import forward_ad


def in_transform() -> bool:
    """Whether a transform of torch.func or a forward-mode level is open."""
    return maybe_current_level() is not None or forward_ad._current_level >= 0


def has_tangent(x: Tensor) -> bool:
    """Whether derivatives are propagated along with a tensor; an open level of forward mode may be another thread's."""
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None


def plain(x: Tensor) -> Tensor:
    """The tensor inside all wrappers of transforms."""
    while is_functorch_wrapped_tensor(x):
        x = get_unwrapped(x)
    return x


def is_batched(x: Tensor) -> bool:
    """Whether torch.vmap has hidden an axis of a tensor."""
    while is_functorch_wrapped_tensor(x):
        if is_batchedtensor(x):
            return True
        x = get_unwrapped(x)
    return False


_TWICE = ContextVar("_TWICE", default=False)


@contextmanager
def twice_differentiated(requested: bool = True) -> Iterator[None]:
    """Steps made in this context may be differentiated twice, also where this takes extra work."""
    token = _TWICE.set(requested)
    try:
        yield
    finally:
        _TWICE.reset(token)


def is_twice_differentiated() -> bool:
    """Whether steps may be differentiated twice."""
    return _TWICE.get()
