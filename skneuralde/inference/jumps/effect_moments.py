"""Moments of a state after a jump, from those before it."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.inference.jumps.quadrature import normal_rule
from skneuralde.inference.moments.linear_flow import sandwich
from skneuralde.problems import Jump
from skneuralde.terms import GaussianAffect
from skneuralde.terms.derivatives import value_and_jacobian


def after_jump(jump: Jump, t: Tensor, mean: Tensor, cov: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (batch, dim) and covariance (batch, dim, dim) of states after a jump of one channel, from those before it.

    The effect is linearised in the state, and its mark is integrated out by `normal_rule`. Exact for a `GaussianAffect`
    with linear coefficients. ``t`` is (batch, 1) and ``c`` (batch, k).
    """
    if isinstance(jump.affect, GaussianAffect) and jump.marks is None:
        return _after_gaussian(jump.affect, t, mean, cov, c)
    affect = jump.affect
    n, dim = mean.shape
    nodes, weights = normal_rule(dim, mean)
    if not affect.uses_marks:
        nodes, weights = torch.zeros_like(nodes[:1]), torch.ones_like(weights[:1])
    copies = [x.repeat(len(nodes), 1) for x in (mean, t, c)]
    marks = jump.draw(nodes.repeat_interleave(n, 0))
    value, slope = value_and_jacobian(lambda u, t, c, z: affect(t, u, c, z), *copies, marks)
    value = value.view(-1, n, dim)
    carried = sandwich(slope, cov.repeat(len(nodes), 1, 1)).view(-1, n, dim, dim)
    after = (weights[:, None, None] * value).sum(0)
    off = value - after
    covs = carried + off[..., :, None] * off[..., None, :]
    return after, (weights[:, None, None, None] * covs).sum(0)


def _after_gaussian(affect: GaussianAffect, t: Tensor, mean: Tensor, cov: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    shift, shift_slope = affect.mean.linearize(t, mean, c)
    std, std_slope = affect.std.linearize(t, mean, c)
    variance = std.square()
    if affect.std.state_dependent:
        variance = variance + ((std_slope @ cov) * std_slope).sum(-1)
    if affect.mean.state_dependent:
        unit = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
        cov = sandwich(unit + shift_slope, cov)
    return mean + shift, cov + torch.diag_embed(variance)
