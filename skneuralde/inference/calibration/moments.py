"""Choice of a local linearisation that meets a tolerance: substep and curvature."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.inference.model import Model
from skneuralde.inference.moments.local_linearisation import LocalLinearisation
from skneuralde.inference.transitions.segments import Transitions

#: Largest error of a drift or a noise taken as linear, as a share of the tolerance.
_SHARE_OF_CURVATURE = 0.1
#: Largest number of times that the longest interval is halved.
_MAX_HALVINGS = 10


@torch.no_grad()
def calibrate_moments(model: Model, transitions: Transitions, *, rtol: float) -> LocalLinearisation:
    """Choose the cheapest local linearisation whose predictive densities are exact to ``rtol``, or else the finest one.

    The error is the Kullback-Leibler divergence from the exact Gaussian, in nats per observation, averaged over the
    transitions. It bounds the error of the log likelihood. An error of 1% of a standard deviation in the mean is 5e-5
    nats, one of 1% in the standard deviation itself 1e-4.
    """
    longest = float(transitions.lengths.abs().max()) if len(transitions.lengths) else 0.0
    if longest == 0.0:
        return LocalLinearisation()
    chosen = LocalLinearisation()
    coarse = _densities(model, transitions, chosen)
    for k in range(1, _MAX_HALVINGS + 1):
        finer = LocalLinearisation(longest * 2.0**-k)
        fine = _densities(model, transitions, finer)
        # Richardson extrapolation: the error of a second-order method is 4/3 of its distance to the result with half
        # the step, and the divergence is quadratic in the error.
        if (4.0 / 3.0) ** 2 * _divergence(coarse, fine) <= rtol:
            break
        chosen, coarse = finer, fine
    for part in ("curved_drift", "curved_noise"):
        linear = replace(chosen, **{part: False})
        if _divergence(_densities(model, transitions, linear), coarse) <= _SHARE_OF_CURVATURE * rtol:
            chosen = linear
    return chosen


def _densities(model: Model, transitions: Transitions, propagator: LocalLinearisation) -> tuple[Tensor, Tensor]:
    mean, cov = model.observed(*transitions.moments(model.problem, propagator))
    return mean, cov.diagonal(dim1=-2, dim2=-1).sqrt()


def _divergence(coarse: tuple[Tensor, Tensor], fine: tuple[Tensor, Tensor]) -> float:
    """Mean divergence between the Gaussians of the output that differs most, to leading order."""
    (mean, std), (fine_mean, fine_std) = coarse, fine
    divergence = 0.5 * ((mean - fine_mean) / fine_std).square() + (std / fine_std - 1.0).square()
    worst = float(divergence.mean(0).max())
    return worst if math.isfinite(worst) else math.inf
