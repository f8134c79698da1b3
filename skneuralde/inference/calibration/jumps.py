"""Choice of a jump splitting that meets a tolerance: numbers of jumps and of nodes."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from skneuralde.inference.distributions.mixture import Mixture
from skneuralde.inference.jumps.quadrature import normal_rule
from skneuralde.inference.jumps.splitting import JumpSplitting
from skneuralde.inference.model import Model
from skneuralde.inference.moments.propagator import MomentPropagator
from skneuralde.inference.transitions.segments import Transitions

#: Numbers of jumps to try, and the largest probability of more jumps, in units of the tolerance.
_MAX_JUMPS, _TAIL = (2, 3, 4, 6, 8), 0.1
#: Largest number of nodes in a segment.
_MAX_NODES = 16


@torch.no_grad()
def calibrate_jumps(
    model: Model, transitions: Transitions, propagator: MomentPropagator, *, rtol: float
) -> JumpSplitting:
    """Choose the cheapest splitting whose predictive densities are exact to ``rtol``, or else the finest one tried.

    The number of jumps is large enough if more jumps have a probability of at most a tenth of ``rtol``. The number of
    nodes is large enough if twice as many change the densities by a divergence of at most ``rtol`` nats, averaged over
    the transitions.
    """
    chosen = JumpSplitting(propagator, most=_MAX_JUMPS[0])
    if not len(transitions):
        return chosen
    for most in _MAX_JUMPS:
        chosen = replace(chosen, most=most)
        further = _distribution(model, transitions, replace(chosen, most=most + 1))
        if float(further.weight[-1].mean()) <= _TAIL * rtol:
            break
    coarse = _distribution(model, transitions, chosen)
    while chosen.nodes < _MAX_NODES:
        finer = replace(chosen, nodes=2 * chosen.nodes)
        fine = _distribution(model, transitions, finer)
        if divergence(fine, coarse) <= rtol:
            break
        chosen, coarse = finer, fine
    return chosen


def _distribution(model: Model, transitions: Transitions, splitting: JumpSplitting) -> Mixture:
    return splitting.state_distribution(model.problem, transitions).observed(model.observed)


def divergence(of: Mixture, other: Mixture) -> float:
    """Mean Kullback-Leibler divergence of one mixture from another, in nats.

    The mean of r + exp(-r) - 1, which is never negative, where r is the log ratio of the densities. `normal_rule`
    integrates over each normal component.
    """
    nodes, weights = normal_rule(of.means.shape[-1], of.means)
    factors = torch.linalg.cholesky_ex(of.covs)[0]
    total = torch.zeros_like(of.log_weight[0])
    for share, mean, factor in zip(of.weight, of.means, factors, strict=True):
        for node, weight in zip(nodes, weights, strict=True):
            point = mean + factor @ node
            ratio = of.log_density(point) - other.log_density(point)
            total += share * weight * (ratio + torch.expm1(-ratio))
    mean = float(total.mean())
    return mean if math.isfinite(mean) else math.inf
