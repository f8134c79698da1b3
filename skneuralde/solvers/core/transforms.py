"""Function transforms of torch.func, and torch's forward mode, around a solver."""

from __future__ import annotations

from torch import Tensor
from torch._C._functorch import get_unwrapped, is_batchedtensor, is_functorch_wrapped_tensor, maybe_current_level
from torch.autograd import forward_ad


def in_transform() -> bool:
    """Whether a transform of torch.func or a forward-mode level is open."""
    return maybe_current_level() is not None or forward_ad._current_level >= 0


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
