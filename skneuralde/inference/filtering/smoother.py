"""The state given all observations, before and after: the smoother of Rauch, Tung and Striebel.

With transitions linearised around the filtered states (S. Sarkka and A. Solin, *Applied Stochastic Differential
Equations*, 2019, section 10.5). A state that is to be known between two observations is one more transition there and
one from there.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.inference.distributions.gaussian import Gaussian
from skneuralde.inference.filtering.kalman import Filtered, ObservationChains, filtered_starts, initial_distribution
from skneuralde.inference.model import Model
from skneuralde.inference.moments.linear_flow import transform
from skneuralde.inference.transitions.segments import Transitions


@torch.no_grad()
def smooth(model: Model, chains: ObservationChains, filtered: Filtered) -> tuple[Gaussian, Gaussian]:
    """The states where chains start, and at the transitions' ends, given all observations of the chain."""
    start = initial_distribution(model, chains.known, chains.first)
    before = filtered_starts(chains, start, filtered.filtered)
    _, matrix = _flow(model, chains.transitions, before)
    gain = gain_of(before, filtered.predicted, matrix)
    ends = Gaussian(filtered.filtered.mean.clone(), filtered.filtered.cov.clone())
    starts = Gaussian(start.mean.clone(), start.cov.clone())
    for step in range(int(chains.step.max()), -1, -1):
        items = (chains.step == step).nonzero()[:, 0]
        mean, cov = look_back(before.rows(items), filtered.predicted.rows(items), gain[items], ends.rows(items))
        if step:
            ends.mean[items - 1], ends.cov[items - 1] = mean, cov
        else:
            starts.mean[chains.chain[items]], starts.cov[chains.chain[items]] = mean, cov
    return starts, ends


@torch.no_grad()
def smooth_between(model: Model, here: Transitions, onwards: Transitions, later: Gaussian) -> Gaussian:
    """The states at the ends of transitions ``here``, given what is known of them at the ends of ``onwards``.

    The latter start where the former end; their own states do not count. ``later`` are the smoothed states.
    """
    assert here.cov is not None  # of filtered states
    state, _ = _flow(model, here, Gaussian(here.state, here.cov))
    predicted, matrix = _flow(model, onwards, state)
    return look_back(state, predicted, gain_of(state, predicted, matrix), later)


def gain_of(state: Gaussian, predicted: Gaussian, matrix: Tensor) -> Tensor:
    """By what a state moves when a later one, so predicted, is found to be elsewhere."""
    # Without noise, and of what is known exactly, the covariance is singular.
    return state.cov @ matrix.mT @ torch.linalg.pinv(predicted.cov, hermitian=True)


def look_back(state: Gaussian, predicted: Gaussian, gain: Tensor, later: Gaussian) -> Gaussian:
    """The state given what is known of a later one."""
    mean = state.mean + transform(gain, later.mean - predicted.mean)
    return Gaussian(mean, state.cov + gain @ (later.cov - predicted.cov) @ gain.mT)


def _flow(model: Model, transitions: Transitions, begun: Gaussian) -> tuple[Gaussian, Tensor]:
    mean, cov, matrix = replace(transitions, state=begun.mean, cov=begun.cov).flow(
        model.problem, model.moment_propagator
    )
    return Gaussian(mean, cov), matrix
