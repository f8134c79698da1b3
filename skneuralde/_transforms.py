"""Derivatives that are taken around a solver: transforms of torch.func, torch's forward mode, second derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_batchedtensor, is_functorch_wrapped_tensor, maybe_current_level
from torch.autograd import forward_ad


def in_transform() -> bool:
    """Whether this thread is in a transform of torch.func."""
    return maybe_current_level() is not None


def is_forward_mode_open() -> bool:
    """Whether a level of torch's forward mode is open; it may be another thread's."""
    return forward_ad._current_level >= 0


def has_tangent(x: Tensor) -> bool:
    """Whether torch's forward mode propagates derivatives along with a tensor."""
    return is_forward_mode_open() and forward_ad.unpack_dual(x).tangent is not None


def plain(x: Tensor) -> Tensor:
    """The tensor inside all wrappers of transforms."""
    while is_functorch_wrapped_tensor(x):
        x = get_unwrapped(x)
    return x


def is_differentiated(x: Tensor) -> bool:
    """Whether derivatives in a tensor are recorded or propagated, at any level of transforms.

    Inside a transform all results are wrapped, those that do not depend on its argument as well.
    """
    while not ((torch.is_grad_enabled() and x.requires_grad) or has_tangent(x)):
        if not is_functorch_wrapped_tensor(x):
            return False
        x = get_unwrapped(x)
    return True


def constant(x: Tensor) -> Tensor:
    """The values of a tensor, without derivatives."""
    return plain(x).detach()


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
