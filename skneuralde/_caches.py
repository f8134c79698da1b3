"""Caches of constant tensors, which outlive the call that made them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")


def cached_tensors(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator of a function that makes constant tensors: its latest ``maxsize`` results are kept.

    They are ordinary tensors, whatever the mode of the call that made them: a tensor of inference mode could not be
    saved for a gradient later, and one of a function transform belongs to that transform. The arguments must name the
    dtype and the device, if these may differ.
    """

    def decorate(make: Callable[P, R]) -> Callable[P, R]:
        @lru_cache(maxsize=maxsize)
        @wraps(make)
        def make_outside_modes(*args: P.args, **kwargs: P.kwargs) -> R:
            with torch.inference_mode(False), torch._C._DisableFuncTorch():
                return make(*args, **kwargs)

        return cast(Callable[P, R], make_outside_modes)

    return decorate
