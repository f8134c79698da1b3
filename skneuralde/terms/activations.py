"""Activation functions of a network, with their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """An activation function, its derivatives, and the gain of initial weights that preserves the variance.

    ``with_slope`` returns value and first derivative, ``with_curvature`` also the second derivative.
    """

    function: Callable[[Tensor], Tensor]
    with_slope: Callable[[Tensor], tuple[Tensor, Tensor]]
    with_curvature: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    gain: float = 1.0


def _activation(
    function: Callable[[Tensor], Tensor],
    slope: Callable[[Tensor, Tensor], Tensor],
    curvature: Callable[[Tensor, Tensor, Tensor], Tensor],
    gain: float = 1.0,
) -> Activation:
    """An activation whose derivatives are ``slope(pre, post)`` and ``curvature(pre, post, slope)``."""

    def with_slope(pre: Tensor) -> tuple[Tensor, Tensor]:
        post = function(pre)
        return post, slope(pre, post)

    def with_curvature(pre: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        post, first = with_slope(pre)
        return post, first, curvature(pre, post, first)

    return Activation(function, with_slope, with_curvature, gain)


def _silu_slope(pre: Tensor, post: Tensor) -> Tensor:
    gate = torch.sigmoid(pre)
    return gate + post * (1 - gate)


def _silu_curvature(pre: Tensor, post: Tensor, slope: Tensor) -> Tensor:
    gate = torch.sigmoid(pre)
    return gate * (1 - gate) * (2 + pre * (1 - 2 * gate))


def _no_curvature(pre: Tensor, post: Tensor, slope: Tensor) -> Tensor:
    return torch.zeros_like(pre)


def _tanh(pre: Tensor) -> Tensor:
    # Exact to a rounding of one; in double precision the logistic function takes a quarter of torch.tanh's time.
    return (2 * pre).sigmoid_().mul_(2).sub_(1)


class _Tanh(torch.autograd.Function):
    """tanh with its derivative in closed form."""

    generate_vmap_rule = True

    @staticmethod
    def forward(pre: Tensor) -> Tensor:
        return _tanh(pre)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (post,) = ctx.saved_tensors
        return torch.addcmul(grad, grad * post, post, value=-1)

    @staticmethod
    def jvp(ctx: Any, pre_tangent: Tensor) -> Tensor:
        (post,) = ctx.saved_tensors
        return torch.addcmul(pre_tangent, pre_tangent * post, post, value=-1)


class _TanhWithSlope(torch.autograd.Function):
    """tanh and its derivative with their derivatives in closed form: half the time and a third of the memory."""

    @staticmethod
    def forward(pre: Tensor) -> tuple[Tensor, Tensor]:
        post = _tanh(pre)
        return post, torch.addcmul(post.new_ones(()), post, post, value=-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(ctx: Any, post_grad: Tensor, slope_grad: Tensor) -> Tensor:
        post, slope = ctx.saved_tensors
        return torch.addcmul(post_grad, post, slope_grad, value=-2).mul_(slope)

    @staticmethod
    def jvp(ctx: Any, pre_tangent: Tensor) -> tuple[Tensor, Tensor]:
        post, slope = ctx.saved_tensors
        post_tangent = slope * pre_tangent
        return post_tangent, -2 * post * post_tangent


class _TanhWithCurvature(torch.autograd.Function):
    """tanh and its first two derivatives with their derivatives in closed form."""

    @staticmethod
    def forward(pre: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        post = _tanh(pre)
        slope = torch.addcmul(post.new_ones(()), post, post, value=-1)
        return post, slope, (post * slope).mul_(-2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.save_for_backward(*output[:2])
        ctx.save_for_forward(*output[:2])

    @staticmethod
    def backward(ctx: Any, post_grad: Tensor, slope_grad: Tensor, curvature_grad: Tensor) -> Tensor:
        post, slope = ctx.saved_tensors
        inner = torch.addcmul(post_grad, post, slope_grad, value=-2)
        return inner.addcmul(torch.addcmul(slope, post, post, value=-2), curvature_grad, value=-2).mul_(slope)

    @staticmethod
    def jvp(ctx: Any, pre_tangent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        post, slope = ctx.saved_tensors
        post_tangent = slope * pre_tangent
        return post_tangent, -2 * post * post_tangent, -2 * (slope - 2 * post * post) * post_tangent


ACTIVATIONS = {
    "identity": _activation(lambda pre: pre, lambda pre, post: torch.ones_like(pre), _no_curvature),
    "logistic": _activation(
        torch.sigmoid, lambda pre, post: post * (1 - post), lambda pre, post, slope: slope * (1 - 2 * post)
    ),
    "tanh": Activation(_Tanh.apply, _TanhWithSlope.apply, _TanhWithCurvature.apply),
    "relu": _activation(torch.relu, lambda pre, post: (pre > 0).to(pre.dtype), _no_curvature, math.sqrt(2)),
    "silu": _activation(F.silu, _silu_slope, _silu_curvature, math.sqrt(2)),
    "softplus": _activation(
        F.softplus, lambda pre, post: torch.sigmoid(pre), lambda pre, post, slope: slope * (1 - slope)
    ),
}
