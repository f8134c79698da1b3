"""Activation functions of a network, with their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """A function of the pre-activation, its derivative as ``slope(pre, post)``, and the gain that keeps variance."""

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]
    gain: float = 1.0


def _silu_slope(pre: Tensor, post: Tensor) -> Tensor:
    gate = torch.sigmoid(pre)
    return gate + post * (1 - gate)


ACTIVATIONS = {
    "identity": Activation(lambda pre: pre, lambda pre, post: torch.ones_like(pre)),
    "logistic": Activation(torch.sigmoid, lambda pre, post: post * (1 - post)),
    "tanh": Activation(torch.tanh, lambda pre, post: 1 - post * post),
    "relu": Activation(torch.relu, lambda pre, post: (pre > 0).to(pre.dtype), math.sqrt(2)),
    "silu": Activation(F.silu, _silu_slope, math.sqrt(2)),
    "softplus": Activation(F.softplus, lambda pre, post: torch.sigmoid(pre)),
}
